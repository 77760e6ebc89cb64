//! Who asks: a key becomes a [`KeyId`], or the request is refused. Nothing else in the gateway compares keys.
//!
//! Clients show the master key, operators the admin key, which is the master key where none is configured. Neither gives
//! access to what the other does. Without any key everybody on this machine may do both.

use std::sync::LazyLock;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::config::{ServerSettings, Settings};
use crate::fault::{Refusal, RefusalKind};
use crate::id::KeyId;

static ANYBODY: LazyLock<KeyId> = LazyLock::new(|| KeyId::from("anonymous"));
static MASTER: LazyLock<KeyId> = LazyLock::new(|| KeyId::from("master"));
static ADMIN: LazyLock<KeyId> = LazyLock::new(|| KeyId::from("admin"));

/// What a key gives access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// What clients ask: models and replies.
    Client,
    /// What operators ask and do.
    Admin,
}

impl Access {
    /// The key that gives it, and the name of whoever shows it.
    fn expected_key(self, server: &ServerSettings) -> Option<(&SecretString, &'static KeyId)> {
        let master = server.master_key.as_ref().map(|key| (key, &*MASTER));
        match self {
            Self::Client => master,
            Self::Admin => server.admin_key.as_ref().map(|key| (key, &*ADMIN)).or(master),
        }
    }
}

/// The caller behind a key.
///
/// # Errors
/// `Unauthorized` where a key is configured and another one, or none, was shown.
pub fn authenticate(settings: &Settings, access: Access, key: Option<&SecretString>) -> Result<KeyId, Refusal> {
    let Some((expected, caller)) = access.expected_key(&settings.server) else { return Ok(ANYBODY.clone()) };
    let Some(key) = key else {
        let message = "no API key was sent; send the gateway's key as `Authorization: Bearer KEY` or `x-api-key: KEY`";
        return Err(Refusal::new(RefusalKind::Unauthorized, message));
    };
    if same(expected, key) {
        return Ok(caller.clone());
    }
    let message = match (access, &settings.server.admin_key) {
        (Access::Admin, Some(_)) => "this API key does not open /admin; send `witgate.admin_key`",
        _ => "this API key is not known to the gateway",
    };
    let mut refusal = Refusal::new(RefusalKind::Unauthorized, message);
    refusal.code = Some("invalid_api_key".to_owned());
    Err(refusal)
}

/// The time this takes tells nothing about the key but its length.
fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret().as_bytes().ct_eq(other.expose_secret().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn settings(keys: &str) -> Settings {
        config::parse(
            &format!("model_list: [{{model_name: g, litellm_params: {{model: simulated/m}}}}]\n{keys}"),
            "c",
            &|_| None,
        )
        .unwrap()
        .settings
    }

    #[test]
    fn each_key_gives_access_to_its_own() {
        let both = "general_settings: {master_key: sk-master}\nwitgate: {admin_key: sk-admin}";
        let master = "general_settings: {master_key: sk-master}";
        let admin = "witgate: {admin_key: sk-admin}";
        let cases = [
            ("", Access::Client, "", Some("anonymous")),
            ("", Access::Admin, "", Some("anonymous")),
            (master, Access::Client, "sk-master", Some("master")),
            (master, Access::Admin, "sk-master", Some("master")),
            (master, Access::Client, "sk-maste", None),
            (master, Access::Client, "", None),
            (both, Access::Client, "sk-master", Some("master")),
            (both, Access::Client, "sk-admin", None),
            (both, Access::Admin, "sk-admin", Some("admin")),
            (both, Access::Admin, "sk-master", None),
            (admin, Access::Client, "", Some("anonymous")),
            (admin, Access::Admin, "", None),
        ];
        for (keys, access, shown, expected) in cases {
            let shown = (!shown.is_empty()).then(|| SecretString::from(shown));
            let caller = authenticate(&settings(keys), access, shown.as_ref()).ok();
            assert_eq!(caller.as_ref().map(KeyId::as_str), expected, "{keys}, {access:?}");
        }
    }
}
