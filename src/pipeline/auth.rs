//! Who asks: a key becomes a [`Caller`], or the request is refused. Nothing else in the gateway compares keys.
//!
//! Clients show the master key or a virtual one, operators the admin key, which is the master key where none is configured. Neither gives
//! access to what the other does. Without any key everybody on this machine may do both.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::config;
use crate::fault::{Refusal, RefusalKind};
use crate::id::{KeyId, TeamId};
use crate::keys::{KnownKey, KnownTeam};
use crate::moment::Moment;
use crate::snapshot::{Caller, Snapshot};
use crate::virtual_key::{KeyHash, VirtualKey, allows, allows_by_pattern};

/// What a key gives access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// What clients ask: models and replies.
    Client,
    /// What operators ask and do.
    Admin,
    /// What operators ask of any key, and a key's holder of this one.
    OwnKey,
}

impl Access {
    /// The key that gives it, and whoever shows it.
    fn expected_key(self, snapshot: &Snapshot) -> Option<(&SecretString, &Arc<Caller>)> {
        let (server, callers) = (&snapshot.settings.server, &snapshot.callers);
        let master = server.master_key.as_ref().map(|key| (key, &callers.master));
        match self {
            Self::Client => master,
            Self::Admin | Self::OwnKey => server.admin_key.as_ref().map(|key| (key, &callers.admin)).or(master),
        }
    }
}

/// The caller behind a key.
///
/// # Errors
/// `Unauthorized` where a key is asked for and another one, or none, was shown, or one that is blocked or whose time is over;
/// `Forbidden` where a virtual key was shown and the operator's is asked for; `Unavailable` where the database that may know it is yet to
/// be read.
pub fn authenticate(
    snapshot: &Snapshot,
    access: Access,
    key: Option<&SecretString>,
    now: Moment,
) -> Result<Arc<Caller>, Refusal> {
    let expected = access.expected_key(snapshot);
    if let (Some((expected, caller)), Some(key)) = (expected, key)
        && same(expected, key)
    {
        return Ok(Arc::clone(caller));
    }
    let open = expected.is_none() && (access == Access::Admin || !snapshot.settings.asks_for_keys());
    match key.and_then(|key| snapshot.callers.keys.find(key.expose_secret())) {
        Some(known) if access != Access::Admin => return may_ask(snapshot, known, now),
        Some(_) if !open => {
            let message = "this key is a caller's; only the operator's key opens this";
            return Err(Refusal::new(RefusalKind::Forbidden, message));
        }
        // Who shows a key means to be bound by it; one that was deleted must not do more than before.
        None if open && access != Access::Admin && key.is_some() && !snapshot.callers.keys.is_empty() => {}
        _ if open => return Ok(Arc::clone(&snapshot.callers.anonymous)),
        _ => {}
    }
    if key.is_none() {
        let message = "no API key was sent; send the gateway's key as `Authorization: Bearer KEY` or `x-api-key: KEY`";
        return Err(Refusal::new(RefusalKind::Unauthorized, message));
    }
    if access != Access::Admin && snapshot.callers.keys.is_awaiting() {
        return Err(not_read());
    }
    let message = match (access, &snapshot.settings.server.admin_key) {
        (Access::Admin, Some(_)) => "this API key does not open /admin; send `witgate.admin_key`",
        _ => "this API key is not known to the gateway",
    };
    Err(unauthorized("invalid_api_key", message))
}

/// Whether a caller is an operator: whoever shows the admin key, where there is none the master key, and without either anybody.
pub fn is_operator(snapshot: &Snapshot, caller: &Caller) -> bool {
    let operator = match Access::Admin.expected_key(snapshot) {
        Some((_, operator)) => operator,
        None => &snapshot.callers.anonymous,
    };
    caller.key == operator.key
}

/// The caller that a name stands for, as its records have it: of somebody who was authenticated before.
///
/// # Errors
/// `Unauthorized`: there is no such caller any more, or it may ask nothing now. `Unavailable`: the database that may know it is yet to be read.
pub fn caller_named(snapshot: &Snapshot, name: &KeyId, now: Moment) -> Result<Arc<Caller>, Refusal> {
    let callers = &snapshot.callers;
    if let Some(known) = KeyHash::parse(name.as_str()).and_then(|hash| callers.keys.get(hash)) {
        return may_ask(snapshot, known, now);
    }
    let open = !snapshot.settings.asks_for_keys();
    if *name == callers.master.key || (open && *name == callers.anonymous.key) {
        return Ok(if open { Arc::clone(&callers.anonymous) } else { Arc::clone(&callers.master) });
    }
    if callers.keys.is_awaiting() {
        return Err(not_read());
    }
    Err(unauthorized("invalid_api_key", "the API key that this was asked with is not known to the gateway any more"))
}

/// The caller of a key that may be used now, by itself and by its team.
fn may_ask(snapshot: &Snapshot, known: KnownKey, now: Moment) -> Result<Arc<Caller>, Refusal> {
    usable(&known.key, now)?;
    team_is_open(snapshot, &known.caller)?;
    Ok(known.caller)
}

/// Whether a key may be used now.
fn usable(key: &VirtualKey, now: Moment) -> Result<(), Refusal> {
    if key.blocked {
        return Err(unauthorized(
            "key_blocked",
            "this API key is blocked; whoever operates the gateway can unblock it",
        ));
    }
    match key.expires.filter(|_| key.is_expired(now)) {
        Some(expires) => Err(unauthorized("expired_key", &format!("this API key expired at {}", expires.iso()))),
        None => Ok(()),
    }
}

/// Whether the keys of its team may be used now.
fn team_is_open(snapshot: &Snapshot, caller: &Caller) -> Result<(), Refusal> {
    match caller.team.as_ref().and_then(|team| kept_team(snapshot, team)) {
        Some(known) if known.team.blocked => {
            let message = "the team of this API key is blocked; whoever operates the gateway can unblock it";
            Err(unauthorized("team_blocked", message))
        }
        _ => Ok(()),
    }
}

/// A team that is kept; `None` where the configuration has one of this name.
pub(super) fn kept_team(snapshot: &Snapshot, team: &TeamId) -> Option<KnownTeam> {
    if snapshot.payers.teams.contains_key(team) { None } else { snapshot.callers.keys.teams.get(team) }
}

/// Whoever has a key that is kept is to come back, and not to believe that it is none.
fn not_read() -> Refusal {
    let message =
        "the database that keeps the API keys does not answer, so that nobody knows whether this is one; ask again";
    Refusal::new(RefusalKind::Unavailable, message).after(Duration::from_secs(1))
}

fn unauthorized(code: &str, message: &str) -> Refusal {
    let mut refusal = Refusal::new(RefusalKind::Unauthorized, message);
    refusal.code = Some(code.to_owned());
    refusal
}

/// Whether a caller may ask for a model, by any of the names that lead to it: its key's list and its team's let it in. Patterns are of names
/// with their providers, as in LiteLLM, and `openai/*` lets `gpt-4o` in.
pub fn may_use(snapshot: &Snapshot, caller: &Caller, model: &str) -> bool {
    let Some(key) = &caller.virtual_key else { return true };
    let group = snapshot.alias(model).map(|alias| alias.group.as_str());
    let names = std::iter::once(model).chain(group);
    let team = caller.team.as_ref();
    let configured = team.and_then(|team| snapshot.payers.teams.get(team));
    let kept = team.and_then(|team| kept_team(snapshot, team));
    let with_provider = LazyCell::new(|| {
        let provider = config::provider_of(model).filter(|_| !model.contains('/'))?;
        Some(format!("{provider}/{model}"))
    });
    let lets_in = |models: &[String]| {
        allows(models, &names) || with_provider.as_ref().is_some_and(|name| allows_by_pattern(models, name))
    };
    lets_in(&key.models)
        && configured.is_none_or(|team| lets_in(&team.models))
        && kept.is_none_or(|known| lets_in(&known.team.models))
}

/// The same as a refusal.
///
/// # Errors
/// `Forbidden`: it may not.
pub(super) fn check_model(snapshot: &Snapshot, caller: &Caller, model: &str) -> Result<(), Refusal> {
    if may_use(snapshot, caller, model) {
        return Ok(());
    }
    let model = &model[..model.floor_char_boundary(200)];
    let message = format!(
        "the model `{model}` is not among those that the key `{}` may use; `/v1/models` lists them",
        caller.name
    );
    let mut refusal = Refusal::new(RefusalKind::Forbidden, message).at("model");
    refusal.code = Some("key_model_access_denied".to_owned());
    Err(refusal)
}

/// The time this takes tells nothing about the key but its length.
fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret().as_bytes().ct_eq(other.expose_secret().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::config;
    use crate::keys::KeyBook;
    use crate::limits::{Limits, Scope};
    use crate::snapshot::{Callers, Payers};
    use crate::virtual_key::KeptTeam;

    fn snapshot(keys: &str) -> Snapshot {
        let text = format!("model_list: [{{model_name: g, litellm_params: {{model: simulated/m}}}}]\n{keys}");
        let settings = config::parse(&text, "c", &|_| None).unwrap().settings;
        let limits = Arc::new(Limits::new(&BTreeMap::new()));
        let global = limits.id(&Scope::Global);
        let keys = Arc::new(KeyBook::new(limits, Arc::default()));
        keys.apply(Moment::default(), &settings.payers.keys, BTreeSet::new(), BTreeMap::new());
        Snapshot {
            generation: 1,
            settings: Arc::new(settings),
            groups: BTreeMap::new(),
            wildcards: crate::snapshot::Wildcards::default(),
            callers: Callers::new(global, keys),
            payers: Payers::default(),
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
            let caller = authenticate(&snapshot(keys), access, shown.as_ref(), Moment::default()).ok();
            assert_eq!(caller.as_ref().map(|caller| caller.key.as_str()), expected, "{keys}, {access:?}");
        }
    }

    #[test]
    fn where_no_key_is_asked_for_one_that_is_shown_must_be_known_once_there_are_any() {
        let snapshot = snapshot("witgate: {admin_key: sk-admin}");
        let now = Moment::default();
        let client = |shown: Option<&str>| {
            let shown = shown.map(SecretString::from);
            authenticate(&snapshot, Access::Client, shown.as_ref(), now).map(|caller| caller.key.to_string())
        };
        assert_eq!(client(Some("sk-any")).ok().as_deref(), Some("anonymous"), "there are no keys");
        let hash = crate::virtual_key::KeyHash::of("sk-kept");
        snapshot.callers.keys.put(now, VirtualKey::new(hash, String::new(), now));
        assert_eq!(client(Some("sk-kept")).ok(), Some(hash.id().to_string()));
        assert_eq!(client(Some("sk-any")).unwrap_err().kind, RefusalKind::Unauthorized);
        assert_eq!(client(None).ok().as_deref(), Some("anonymous"));
    }

    #[test]
    fn as_long_as_the_kept_keys_are_not_read_one_that_is_not_known_is_to_come_back() {
        let snapshot = snapshot("general_settings: {master_key: sk-master}\nwitgate: {keys: [{key: sk-by-file}]}");
        let (now, shown) = (Moment::default(), |key: &str| SecretString::from(key.to_owned()));
        let client = |key: &str| authenticate(&snapshot, Access::Client, Some(&shown(key)), now).map(drop);
        let status = |key: &str| client(key).err().map(|refusal| refusal.status);
        assert_eq!(status("sk-kept"), Some(401));
        snapshot.callers.keys.await_kept();
        assert_eq!([status("sk-kept"), status("sk-by-file"), status("sk-master")], [Some(503), None, None]);
        assert!(client("sk-kept").unwrap_err().retry_after.is_some());
        let named = caller_named(&snapshot, &KeyHash::of("sk-kept").id(), now);
        assert_eq!(named.unwrap_err().status, 503);
        // The operator's key is the configuration's.
        let operator = authenticate(&snapshot, Access::Admin, Some(&shown("sk-kept")), now);
        assert_eq!(operator.unwrap_err().status, 401);
        let none = authenticate(&snapshot, Access::Client, None, now);
        assert_eq!(none.unwrap_err().status, 401);
    }

    /// What nobody shows a key for any more, a batch's lines, is asked by name.
    #[test]
    fn a_team_that_is_blocked_bars_whoever_is_named_as_whoever_shows_a_key() {
        let snapshot = snapshot("general_settings: {master_key: sk-master}");
        let (now, hash) = (Moment::default(), KeyHash::of("sk-kept"));
        let mut key = VirtualKey::new(hash, String::new(), now);
        key.team = Some("lab".to_owned());
        snapshot.callers.keys.put(now, key);
        let shown = SecretString::from("sk-kept");
        for (blocked, expected) in [(false, None), (true, Some("team_blocked")), (false, None)] {
            snapshot.callers.keys.teams.put(now, KeptTeam { blocked, ..KeptTeam::new("lab".to_owned(), now) });
            for told in
                [authenticate(&snapshot, Access::Client, Some(&shown), now), caller_named(&snapshot, &hash.id(), now)]
            {
                assert_eq!(told.err().and_then(|refusal| refusal.code).as_deref(), expected, "{blocked}");
            }
        }
    }

    #[test]
    fn a_virtual_key_is_a_client_s_and_each_refusal_says_why() {
        let keys = "general_settings: {master_key: sk-master}
witgate:
  keys:
    - {key: sk-good-one, key_alias: good}
    - {key: sk-blocked, key_alias: blocked, blocked: true}
    - {key: sk-expired, key_alias: expired, expires: 2026-01-01}
";
        let now = Moment::of_date(2026, 2, 1);
        let snapshot = snapshot(keys);
        for (access, shown, expected) in [
            (Access::Client, "sk-good-one", Ok("good")),
            (Access::OwnKey, "sk-good-one", Ok("good")),
            (Access::Client, "sk-master", Ok("master")),
            (Access::Admin, "sk-good-one", Err((403, None))),
            (Access::Client, "sk-blocked", Err((401, Some("key_blocked")))),
            (Access::Client, "sk-expired", Err((401, Some("expired_key")))),
            (Access::Client, "sk-other", Err((401, Some("invalid_api_key")))),
            (Access::Client, "", Err((401, None))),
        ] {
            let key = (!shown.is_empty()).then(|| SecretString::from(shown));
            let found = authenticate(&snapshot, access, key.as_ref(), now);
            let told = found.as_ref().map(|caller| &*caller.name);
            let told = told.map_err(|refusal| (refusal.status, refusal.code.as_deref()));
            assert_eq!(told, expected, "{access:?} {shown}");
        }
        // Before its time is over.
        let key = SecretString::from("sk-expired");
        assert!(authenticate(&snapshot, Access::Client, Some(&key), Moment::of_date(2025, 12, 31)).is_ok());
    }
}
