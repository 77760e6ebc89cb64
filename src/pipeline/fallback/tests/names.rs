//! Lists, policies and keys by the name that is asked for, which may be another than the group's.

use super::*;

/// Which group took over, or nothing where the request failed.
async fn served_by(scene: &Scene, model: &str) -> Option<String> {
    let answer = scene.ask(&format!(r#", "model": "{model}""#)).await;
    answer.ok().map(|served| served.group.to_string())
}

#[tokio::test(start_paused = true)]
async fn lists_are_those_of_the_name_that_is_asked_for() {
    let pattern = [("openai/*", "down-1"), ("b", "ok-b"), ("c", "ok-c")];
    let plain = [("a", "down-1"), ("b", "ok-b"), ("c", "ok-c")];
    let aliases = "model_group_alias: {one: a, two: a}";
    for (groups, settings, asked) in [
        (
            pattern,
            "fallbacks: [{openai/gpt-4o: [b]}, {openai/*: [c]}]",
            [("openai/gpt-4o", Some("b")), ("openai/gpt-5", Some("c"))],
        ),
        (pattern, "fallbacks: [{openai/gpt-4o: [b]}]", [("openai/gpt-4o", Some("b")), ("openai/gpt-5", None)]),
        // Without its provider, which the default list does not go before.
        (
            pattern,
            "fallbacks: [{gpt-4o: [b]}], default_fallbacks: [c]",
            [("openai/gpt-4o", Some("b")), ("gpt-4o", Some("b"))],
        ),
        (
            plain,
            &format!("{aliases}, fallbacks: [{{one: [b]}}, {{two: [c]}}]"),
            [("one", Some("b")), ("two", Some("c"))],
        ),
        (plain, &format!("{aliases}, fallbacks: [{{one: [b]}}]"), [("a", None), ("two", None)]),
        // Its own stands before its group's, which it has where it has none.
        (plain, &format!("{aliases}, fallbacks: [{{a: [b]}}, {{one: [c]}}]"), [("one", Some("c")), ("two", Some("b"))]),
    ] {
        for (model, group) in asked {
            let scene = Scene::new(&groups, &format!("router_settings: {{num_retries: 0, {settings}}}"));
            assert_eq!(served_by(&scene, model).await.as_deref(), group, "{settings}: {model}");
        }
    }
}

/// As in LiteLLM: all requests for the one go to the other.
#[tokio::test(start_paused = true)]
async fn an_alias_stands_above_a_group_of_its_name() {
    let groups = [("a", "down-1"), ("b", "ok-b"), ("c", "ok-c")];
    let settings = "router_settings: {num_retries: 0, model_group_alias: {a: b}, fallbacks: [{a: [c]}]}";
    let scene = Scene::new(&groups, settings);
    assert_eq!(served_by(&scene, "a").await.as_deref(), Some("b"));
    assert_eq!(scene.hosts.called(), ["ok-b"]);
    // What is said of the name is said of whoever serves it.
    let scene = Scene::new(&[("a", "ok-1"), ("b", "down-1"), ("c", "ok-c")], settings);
    assert_eq!(served_by(&scene, "a").await.as_deref(), Some("c"));
}

#[tokio::test(start_paused = true)]
async fn retries_are_those_of_the_name_that_is_asked_for() {
    for (group, other, settings) in [
        ("openai/*", "openai/gpt-5", "model_group_retry_policy: {openai/gpt-4o: {InternalServerErrorRetries: 2}}"),
        (
            "a",
            "a",
            "model_group_alias: {openai/gpt-4o: a}, model_group_retry_policy: {openai/gpt-4o: {InternalServerErrorRetries: 2}}",
        ),
    ] {
        for (model, calls) in [("openai/gpt-4o", 3), (other, 1)] {
            let scene = Scene::new(&[(group, "down-1")], &format!("router_settings: {{num_retries: 0, {settings}}}"));
            assert_eq!(served_by(&scene, model).await, None);
            assert_eq!(scene.hosts.called().len(), calls, "{settings}: {model}");
        }
    }
}

/// As in LiteLLM.
#[tokio::test(start_paused = true)]
async fn a_key_for_all_of_a_provider_s_models_may_ask_for_one_without_naming_the_provider() {
    let settings = "general_settings: {master_key: sk-master}\n\
        witgate: {keys: [{key: sk-all-of-them, key_alias: all, models: [openai/*]}, {key: sk-one-of-them, key_alias: one, models: [openai/gpt-4o]}]}";
    let scene = Scene::new(&[("openai/*", "ok-1"), ("anthropic/*", "ok-2")], settings);
    for (key, model, may) in [
        ("sk-all-of-them", "openai/gpt-4o", true),
        ("sk-all-of-them", "gpt-4o", true),
        ("sk-all-of-them", "claude-sonnet-4-5", false),
        ("sk-one-of-them", "openai/gpt-4o", true),
        ("sk-one-of-them", "gpt-4o", false),
    ] {
        let asked = scene.ask_as(key, &format!(r#", "model": "{model}""#)).await;
        let status = asked.as_ref().map_or_else(|refusal| refusal.status, |_| 200);
        assert_eq!(status, if may { 200 } else { 403 }, "{key} {model}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_is_told_when_the_first_of_all_that_were_asked_is_back() {
    let list = deployment("a", "later-65", ", order: 1") + &deployment("a", "later-3000", ", order: 2");
    let scene = Scene::of(&list, "router_settings: {num_retries: 0}");
    let refusal = scene.ask("").await.unwrap_err();
    assert_eq!((refusal.kind, refusal.retry_after.unwrap().as_secs()), (RefusalKind::RateLimited, 65));
    let groups = [("a", "later-3000"), ("b", "later-70")];
    let scene = Scene::new(&groups, "router_settings: {num_retries: 0, fallbacks: [{a: [b]}]}");
    let refusal = scene.ask("").await.unwrap_err();
    assert_eq!((refusal.kind, refusal.retry_after.unwrap().as_secs()), (RefusalKind::RateLimited, 70));
    // A retry waits no longer than for the first of them.
    let scene = Scene::new(&[("a", "later-3"), ("a", "later-2")], "router_settings: {num_retries: 2}");
    let began = tokio::time::Instant::now();
    scene.ask("").await.unwrap_err();
    let called = scene.hosts.called();
    assert_eq!((began.elapsed().as_secs(), called.len(), called[2].as_str()), (2, 3, "later-2"));
}
