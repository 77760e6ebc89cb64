use serde_json::{Map, Value, json};

use super::*;
use crate::chat::ChatRequest;
use crate::format::{ClientRequest, operation_at};
use http::Uri;

mod vendors;

fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn asked(path: &'static str, body: &Value) -> ChatRequest {
    let (api, _) = operation_at(path).unwrap();
    api.parse(&ClientRequest::post(Uri::from_static(path), body.to_string())).unwrap()
}

#[test]
fn a_policy_counts_by_class_and_falls_back_to_its_default() {
    let by_class = ByClass::default().with(FaultClass::RateLimit, Some(5)).with(FaultClass::BadRequest, Some(0));
    let rule = RetryRule { retries: 2, by_class };
    assert_eq!(rule.allowed(Some(FaultClass::RateLimit)), 5);
    assert_eq!(rule.allowed(Some(FaultClass::BadRequest)), 0);
    assert_eq!(rule.allowed(Some(FaultClass::Timeout)), 2);
    let rule = RetryRule { by_class: ByClass { default: Some(7), ..by_class }, ..rule };
    assert_eq!((rule.allowed(Some(FaultClass::Timeout)), rule.allowed(None)), (7, 2));
}

#[test]
fn each_fault_has_one_class() {
    for (kind, status, cause, expected) in [
        (FaultKind::Rejected, Some(400), None, Some(FaultClass::BadRequest)),
        (FaultKind::Rejected, Some(400), Some(Cause::ContentPolicy), Some(FaultClass::ContentPolicy)),
        (FaultKind::Misconfigured, Some(429), Some(Cause::Credential), Some(FaultClass::Authentication)),
        (FaultKind::Misconfigured, Some(404), None, Some(FaultClass::NotFound)),
        (FaultKind::RateLimited, Some(429), None, Some(FaultClass::RateLimit)),
        (FaultKind::TimedOut, None, None, Some(FaultClass::Timeout)),
        (FaultKind::Unavailable, Some(500), None, Some(FaultClass::InternalServer)),
        (FaultKind::Unavailable, Some(502), None, Some(FaultClass::BadGateway)),
        (FaultKind::Unavailable, None, None, Some(FaultClass::ServiceUnavailable)),
        (FaultKind::BrokenStream, None, None, Some(FaultClass::InternalServer)),
        (FaultKind::Cancelled, None, None, None),
    ] {
        assert_eq!(FaultClass::of(kind, status, cause), expected, "{kind} {status:?} {cause:?}");
    }
}

#[test]
fn a_fallback_may_ask_otherwise_but_not_steer() {
    assert_eq!(Overrides::parse(fields(&json!({"model": "b"}))), Ok(None));
    for name in ["api_base", "api_key", "apiKey", "Base-URL", "aws_region_name", "vertexCredentials", "stream"] {
        let refused = Overrides::parse(fields(&json!({"model": "b", name: "x"}))).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(name));
    }
    // Of the request as a whole: its provider would get them, and nothing here would act.
    for name in ["timeout", "stream_timeout", "num_retries", "guardrails", "drop_params", "fallbacks", "no-log"] {
        let refused = Overrides::parse(fields(&json!({"model": "b", "temperature": 0, name: 1}))).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(name));
        assert!(refused.message.contains("make a group"), "{}", refused.message);
    }
    // A file that says them is served without, but not without what holds back or leads on.
    let mut given =
        fields(&json!({"model": "b", "temperature": 0, "timeout": 1, "num_retries": 2, "guardrails": ["g"]}));
    assert_eq!(Overrides::leave_out(&mut given), ["timeout", "num_retries"]);
    assert_eq!(given, fields(&json!({"model": "b", "temperature": 0, "guardrails": ["g"]})));
    let overrides =
        Overrides::parse(fields(&json!({"model": "b", "temperature": 0.5, "max_tokens": 7}))).unwrap().unwrap();
    let body = json!({"model": "a", "max_tokens": 100, "stream": true, "seed": 3,
        "messages": [{"role": "user", "content": "hello"}]});
    let original = asked("/v1/chat/completions", &body);
    let other = overrides.apply(&original);
    assert_eq!((other.temperature, other.max_tokens, other.stream), (Some(0.5), Some(7), true));
    assert_eq!((&other.messages, &other.rest), (&original.messages, &original.rest));
    let body = json!({"model": "a", "max_tokens": 100, "own": 1, "messages": [{"role": "user", "content": "hello"}]});
    let original = asked("/v1/messages", &body);
    let other = overrides.apply(&original);
    assert_eq!((other.max_tokens, other.dialect, &other.rest), (Some(7), original.dialect, &original.rest));
}

#[test]
fn the_list_for_a_cause_comes_before_the_one_for_all() {
    let target = |name: &str| Target { group: GroupName::from(name), overrides: None };
    let fallbacks =
        Fallbacks { generic: vec![target("b")], context_window: vec![target("long")], content_policy: Vec::new() };
    let first = |cause| fallbacks.after(cause)[0].group.as_str().to_owned();
    assert_eq!(first(Some(Cause::ContextWindow)), "long");
    assert_eq!([first(Some(Cause::ContentPolicy)), first(Some(Cause::Credential)), first(None)], ["b", "b", "b"]);
}
