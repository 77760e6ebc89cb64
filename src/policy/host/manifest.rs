//! What a component says it needs beyond what it asks for when it starts: signals and attributes it names itself, but of what it
//! will do with a request or a reply, and of what its runtime imports, nothing can be known before it happens. A custom section
//! says it; the configuration grants it, and a policy whose needs are not granted is not taken.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::custom_section::append;
use super::inspect::Role;

/// The section's name.
pub(super) const MANIFEST: &str = "witgate:manifest";
/// The largest manifest taken, bytes.
const LARGEST: usize = 4 * 1024;

/// What a policy needs of the operator. Each is named as the configuration's grant of it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of `may_reject`, `hold` and `allow_wasi_stubs`")]
pub struct PolicyManifest {
    /// It refuses requests in its own words: routers and prompt builders.
    pub may_reject: bool,
    /// It must have read a streamed reply to its end before the client gets any of it: response parsers.
    pub hold: bool,
    /// It imports WASI, every call of which traps.
    pub allow_wasi_stubs: bool,
}

impl PolicyManifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// It is too large or no such object; the words say why.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        if text.len() > LARGEST {
            return Err(format!("it has {} bytes, {LARGEST} are allowed", text.len()));
        }
        // Read as an object first: a list would do for serde.
        let object: Map<String, Value> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())
    }

    /// Whether policies of these roles can need it all.
    ///
    /// # Errors
    /// What none of them can.
    pub(super) fn suits(self, roles: &[Role]) -> Result<(), String> {
        let foreign = [
            (self.may_reject, "may_reject", [Role::Router, Role::PromptBuilder].as_slice()),
            (self.hold, "hold", &[Role::ResponseParser]),
        ];
        let foreign = foreign.into_iter().find(|(set, _, of)| *set && !roles.iter().any(|role| of.contains(role)));
        let Some((_, key, of)) = foreign else { return Ok(()) };
        let of = of.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" or a ");
        Err(format!("`{key}` is what a {of} may need, and it is none"))
    }

    /// The component with this manifest in it; one that needs nothing stays as it is.
    #[must_use]
    pub fn embed(self, mut component: Vec<u8>) -> Vec<u8> {
        // Three flags cannot fail to be written.
        if self != Self::default()
            && let Ok(text) = serde_json::to_vec(&self)
        {
            append(&mut component, MANIFEST, &text);
        }
        component
    }

    /// What the entry of a policy in this role must grant, by the name of its key.
    #[must_use]
    pub const fn needs(self, role: Role) -> Option<&'static str> {
        match role {
            Role::Router | Role::PromptBuilder if self.may_reject => Some("may_reject"),
            Role::ResponseParser if self.hold => Some("hold"),
            _ => None,
        }
    }
}
