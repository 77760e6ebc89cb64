//! What stands in the log of a policy's calls: whom it worked for, and for which request.

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::captured_log::CapturedLog;
use crate::format::{ClientApi, ClientRequest, NO_QUIRKS, OpenAi, ProviderFormat, Target, provider_format};
use crate::id::{GroupName, RequestId};

/// The lines that `work` logs on this thread.
fn logged(work: impl FnOnce()) -> Vec<Value> {
    let (log, subscriber) = CapturedLog::begin();
    tracing::subscriber::with_default(subscriber, work);
    log.lines()
}

/// A router of the group `g`, and a request for it.
fn served(settings: &str) -> (Arc<Router>, RouteRequest) {
    let setup = Setup { group: Some(GroupName::from("g")), ..setup(settings, &["a"]) };
    let router = Router::start(Arc::clone(&COMPONENT), setup, None).unwrap();
    let now = Moment::from_millis(1_000);
    (router, RouteRequest { id: Some(RequestId::derive(now, 5)), ..question(CURSED, now) })
}

fn route(router: &Router, request: &RouteRequest) {
    let _answer_or_fault = router.route(request, &[], &[], &[], &mut Vec::new());
}

#[test]
fn a_policys_own_lines_name_the_request_and_the_group() {
    let (router, request) = served("log-long");
    let lines = logged(|| route(&router, &request));
    let id = request.id.unwrap().to_string();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((&lines[0]["id"], &lines[0]["group"]), (&id.into(), &"g".into()), "{lines:?}");
    let dry = RouteRequest { id: None, ..request };
    let lines = logged(|| route(&router, &dry));
    assert_eq!((lines[0].get("id"), &lines[0]["group"]), (None, &"g".into()), "it is for no request: {lines:?}");
}

#[test]
fn a_fault_beside_a_request_names_it_though_the_decision_is_none_of_its() {
    for settings in ["route-trap", "duplicate"] {
        let (router, request) = served(settings);
        let id = request.id.unwrap();
        let beside = RouteRequest { id: None, ..request };
        let lines = logged(|| {
            let fault = router.beside(Some(id), &beside, &[], &[], &[], &mut Vec::new());
            assert!(matches!(fault, Err(RouteError::Fault(_))), "{fault:?}");
        });
        assert_eq!(lines[0]["id"], id.to_string(), "{settings}: {lines:?}");
    }
}

#[test]
fn a_fault_names_the_request_and_outside_of_one_the_group_alone() {
    let (router, request) = served("route-trap");
    let id = request.id.unwrap().to_string();
    let lines = logged(|| route(&router, &request));
    assert_eq!((&lines[0]["id"], &lines[0]["group"]), (&id.clone().into(), &"g".into()), "{lines:?}");
    let (router, request) = served("duplicate");
    let lines = logged(|| route(&router, &request));
    assert_eq!((&lines[0]["id"], &lines[0]["group"]), (&id.into(), &"g".into()), "a broken answer too: {lines:?}");
    let (router, _) = served("observe-trap");
    let lines = logged(|| router.observe(&outcome(0)));
    assert_eq!((lines[0].get("id"), &lines[0]["group"]), (None, &"g".into()), "{lines:?}");
}

#[test]
fn a_providers_lines_and_faults_name_them_too() {
    let guest = include_bytes!("../../../tests/fixtures/policies/hostile-provider.wasm");
    let component = ENGINE.load(&PolicyName::from("hostile-provider"), guest).unwrap();
    let now = Moment::from_millis(5_000);
    let id = RequestId::derive(now, 5);
    for deed in ["encode-say", "encode-trap", "encode-path"] {
        let settings = format!(r#"{{"do":"{deed}"}}"#).into();
        let setup = ProviderSetup { group: Some(GroupName::from("g")), settings, model: "m".into(), seed: 1 };
        let policy = ProviderPolicy::start(Arc::clone(&component), setup, None).unwrap();
        let base = provider_format("openai").unwrap();
        let format = ComponentFormat::new(Arc::clone(&policy), base).serving(Some(id), now);
        let body = r#"{"model":"g","messages":[{"role":"user","content":"666"}]}"#;
        let request = OpenAi.parse(&ClientRequest::post(http::Uri::from_static("/"), body)).unwrap();
        let target = Target::plain("m", &NO_QUIRKS, 9);
        let lines = logged(|| drop(format.encode(&request, &target)));
        assert_eq!(lines.len(), 1, "{deed}: {lines:?}");
        assert_eq!((&lines[0]["id"], &lines[0]["group"]), (&id.to_string().into(), &"g".into()), "{deed}: {lines:?}");
        assert_eq!(policy.last_seen(), now, "its calls have the time of their request");
    }
}

#[test]
fn a_slow_policy_is_told_once_with_its_group() {
    let budget = std::time::Duration::from_secs(2);
    let engine = Engine::new(EngineOptions { cpu_budget: budget, ..EngineOptions::default() }).unwrap();
    let component = engine.load(&PolicyName::from("hostile"), HOSTILE).unwrap();
    let setup = Setup { group: Some(GroupName::from("g")), ..setup("slow", &["a"]) };
    let router = Router::start(component, setup, None).unwrap();
    let request = question(CURSED, Moment::from_millis(1_000));
    // One call in eight is measured, and two make it slow.
    let lines = logged(|| (0..17).for_each(|_| route(&router, &request)));
    assert_eq!((lines.len(), &lines[0]["group"]), (1, &"g".into()), "{lines:?}");
    assert!(lines[0]["message"].as_str().is_some_and(|told| told.contains("over a millisecond")), "{lines:?}");
}

/// A section that says nothing, as long as this.
fn section(length: u32) -> Vec<u8> {
    let (mut bytes, mut left) = (vec![0], length + 2);
    while left >= 0x80 {
        bytes.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    bytes.extend([u8::try_from(left).unwrap(), 1, b'x']);
    bytes.resize(bytes.len() + length as usize, 0);
    bytes
}

#[test]
fn what_a_component_may_take_is_told_when_it_is_loaded_by_its_size() {
    let call = format!("loaded; it may take {} ms of CPU time a call, ", ENGINE.options().cpu_budget.as_millis());
    for (mib, seconds) in [(0, 30), (1, 40), (3, 60)] {
        let bytes = [HOSTILE, &section(mib << 20)].concat();
        let lines = logged(|| drop(ENGINE.load(&PolicyName::from("hostile"), &bytes).unwrap()));
        let told: Vec<&str> = lines.iter().filter_map(|line| line["message"].as_str()).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        let compiles = format!(", {seconds} s to compile; instances of a group, where pure: router ");
        assert!(told[0].starts_with(&call) && told[0].contains(&compiles), "{mib} MiB: {told:?}");
    }
}
