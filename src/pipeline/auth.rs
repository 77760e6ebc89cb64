//! Who asks: a key becomes a [`Caller`], or the request is refused. Nothing else in the gateway compares keys.
//!
//! Clients show the master key, operators the admin key, which is the master key where none is configured. Neither gives
//! access to what the other does. Without any key everybody on this machine may do both.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::fault::{Refusal, RefusalKind};
use crate::snapshot::{Caller, Snapshot};

/// What a key gives access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// What clients ask: models and replies.
    Client,
    /// What operators ask and do.
    Admin,
}

impl Access {
    /// The key that gives it, and whoever shows it.
    fn expected_key(self, snapshot: &Snapshot) -> Option<(&SecretString, &Arc<Caller>)> {
        let (server, callers) = (&snapshot.settings.server, &snapshot.callers);
        let master = server.master_key.as_ref().map(|key| (key, &callers.master));
        match self {
            Self::Client => master,
            Self::Admin => server.admin_key.as_ref().map(|key| (key, &callers.admin)).or(master),
        }
    }
}

/// The caller behind a key.
///
/// # Errors
/// `Unauthorized` where a key is configured and another one, or none, was shown.
pub fn authenticate(snapshot: &Snapshot, access: Access, key: Option<&SecretString>) -> Result<Arc<Caller>, Refusal> {
    let Some((expected, caller)) = access.expected_key(snapshot) else {
        return Ok(Arc::clone(&snapshot.callers.anonymous));
    };
    let Some(key) = key else {
        let message = "no API key was sent; send the gateway's key as `Authorization: Bearer KEY` or `x-api-key: KEY`";
        return Err(Refusal::new(RefusalKind::Unauthorized, message));
    };
    if same(expected, key) {
        return Ok(Arc::clone(caller));
    }
    let message = match (access, &snapshot.settings.server.admin_key) {
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::config;
    use crate::limits::{Limits, Scope};
    use crate::snapshot::Callers;

    fn snapshot(keys: &str) -> Snapshot {
        let text = format!("model_list: [{{model_name: g, litellm_params: {{model: simulated/m}}}}]\n{keys}");
        let settings = config::parse(&text, "c", &|_| None).unwrap().settings;
        let global = Limits::new(&BTreeMap::new()).id(&Scope::Global);
        Snapshot {
            generation: 1,
            settings: Arc::new(settings),
            groups: BTreeMap::new(),
            wildcards: crate::snapshot::Wildcards::default(),
            callers: Callers::new(global),
            headers_read: Vec::new(),
            fingerprint: [0; 32],
            rollouts: Arc::default(),
        }
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
            let caller = authenticate(&snapshot(keys), access, shown.as_ref()).ok();
            assert_eq!(caller.as_ref().map(|caller| caller.key.as_str()), expected, "{keys}, {access:?}");
        }
    }
}
