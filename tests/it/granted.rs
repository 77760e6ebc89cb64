//! What policies are told of a request, as far as the configuration grants it, and what becomes of one that no deployment is fit
//! for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use witgate::fault::{Refusal, RefusalKind};
use witgate::format::OpenAi;
use witgate::pipeline::Gateway as Pipeline;

use crate::support::gateway::{Gateway, read};
use crate::support::upstream::{ScriptedUpstream, Step};
use crate::support::virtual_time::{ask, assembled_with};
use crate::support::{fixture, until};

const LIST: &str = "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, simulated: {ttft_ms: 0, output_tokens: 3}}, model_info: {id: first}}
  - {model_name: g, litellm_params: {model: simulated/m, simulated: {ttft_ms: 0, output_tokens: 3}}, model_info: {id: second}}
";

fn hostile() -> PathBuf {
    fixture("policies/hostile.wasm")
}

/// The fixture puts the last deployment first where the attribute it asks for begins with a z.
#[tokio::test]
async fn what_is_granted_reaches_the_policy_and_explaining_tells_it() {
    let asks = [
        ("header:x-tier", json!({}), "zinc"),
        ("tag:tier", json!({"metadata": {"tags": ["tier:zinc", "other"]}}), ""),
        ("metadata:team", json!({"metadata": {"team": "zinc"}}), ""),
        ("prompt", json!({"messages": [{"role": "user", "content": "zinc"}]}), ""),
    ];
    for (attribute, fields, header) in asks {
        let config = format!(
            "{LIST}witgate: {{routers: {{g: {{policy: hostile, settings: {{do: \"attribute {attribute}\"}}, may_read: [\"{attribute}\"]}}}}}}\n"
        );
        let gateway = Gateway::start_with(&config, &[("hostile.wasm", &hostile())]).await;
        let plain = json!({"model": "g", "messages": [{"role": "user", "content": "Hi"}]});
        let mut told = plain.clone();
        for (name, value) in fields.as_object().expect("an object") {
            told[name] = value.clone();
        }
        let post = |path: &str, body: &Value, header: &str| {
            let request =
                gateway.client.post(format!("{}{path}", gateway.url)).header("content-type", "application/json");
            request.header("x-tier", header).body(body.to_string()).send()
        };
        for (body, header, expected) in [(&plain, "", "first"), (&told, header, "second")] {
            let answer = read(post("/v1/chat/completions", body, header).await.expect("an answer")).await;
            assert_eq!(answer.header("x-witgate-deployment"), expected, "{attribute}: {}", answer.text);
        }
        let explained = read(post("/route/explain", &told, header).await.expect("an answer")).await.json();
        assert_eq!(explained["attributes"][attribute], "zinc", "{explained}");
        assert_eq!(explained["deployments"][0]["deployment"], "second", "{explained}");
        assert_eq!(explained["input_tokens_are"], "upper-bound", "{explained}");
    }
}

/// Prompt builders and response parsers are told what the configuration grants, and are not put into service with more.
#[tokio::test]
async fn what_is_granted_reaches_builders_and_parsers_too() {
    for (section, file) in [("prompt_builders", "hostile-prompt"), ("response_parsers", "hostile-reply")] {
        let upstream = ScriptedUpstream::start([Step::json(200, &crate::chat::openai_reply("Hello"))]).await;
        let config = |may_read: &str| {
            format!(
                "model_list: [{{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: k}}}}]\n\
                 witgate: {{{section}: {{g: {{policy: {file}, settings: {{do: \"attribute header:x-tier\"}}, may_read: [{may_read}]}}}}}}\n",
                upstream.origin()
            )
        };
        let file = fixture(&format!("policies/{file}.wasm"));
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let gateway = Gateway::start_with(&config("\"header:x-tier\""), &[(name, &file)]).await;
        let body = json!({"model": "g", "messages": [{"role": "user", "content": "Hi"}]}).to_string();
        let request = gateway.client.post(format!("{}/v1/chat/completions", gateway.url));
        let request = request.header("content-type", "application/json").header("x-tier", "zinc").body(body);
        let answer = read(request.send().await.expect("an answer")).await;
        let told = if section == "prompt_builders" {
            upstream.asked()[0].body["messages"].to_string()
        } else {
            answer.json()["choices"][0]["message"]["content"].to_string()
        };
        assert!(told.contains("told: zinc"), "{section}: {told} {}", answer.text);
        std::fs::write(gateway.config(), config("")).expect("written");
        let refused = gateway.generation();
        until("the configuration is refused", || gateway.metric("witgate_reload_ok") == Some(0.0)).await;
        assert_eq!(gateway.generation(), refused, "{section}");
    }
}

fn none_config(do_what: &str, when: &str) -> String {
    format!(
        "{LIST}witgate: {{queue: {{max_wait_seconds: 30}}, routers: {{g: {{policy: hostile, settings: {{do: {do_what}}}, when_none: {when}}}}}}}\n"
    )
}

fn gateway(do_what: &str, when: &str) -> Arc<Pipeline> {
    assembled_with(&none_config(do_what, when), &[("hostile", &hostile())])
}

/// At this priority the fixture misbehaves as its settings say.
fn body(priority: u32) -> Value {
    json!({"model": "g", "priority": priority, "messages": [{"role": "user", "content": "Hi"}]})
}

fn told(refusal: &Refusal) -> (RefusalKind, u16) {
    (refusal.kind, refusal.status)
}

#[tokio::test(start_paused = true)]
async fn a_request_no_deployment_is_fit_for_is_refused_or_waits_as_configured() {
    let unavailable = (RefusalKind::Unavailable, 503);
    let refusing = gateway("empty", "refuse");
    let began = refusing.clock.now();
    let refused = ask(&refusing, &OpenAi, &body(666)).await.expect_err("none is fit");
    assert_eq!(told(&refused), unavailable);
    assert!(
        refused.message.starts_with("the policy `hostile@") && refused.message.contains("finds no deployment of `g`"),
        "{refused}"
    );
    assert_eq!(refusing.clock.now(), began, "at once");
    assert!(ask(&refusing, &OpenAi, &body(0)).await.is_ok(), "others are served");

    let waiting = gateway("empty", "wait");
    let began = waiting.clock.now();
    let refused = ask(&waiting, &OpenAi, &body(666)).await.expect_err("none ever is");
    assert_eq!((told(&refused), waiting.clock.now().since(began)), (unavailable, Duration::from_secs(30)));
    assert!(refused.message.contains("within 30 s"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_is_asked_about_again_when_something_ends() {
    let gateway = gateway("empty-first", "wait");
    let waiting = {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move { ask(&gateway, &OpenAi, &body(666)).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    // Its outcome is what the policy waits for.
    assert!(ask(&gateway, &OpenAi, &body(0)).await.is_ok());
    let (about, _) = waiting.await.expect("no panic").expect("served");
    assert!((300..500).contains(&about.waited.as_millis()), "{:?}", about.waited);
}
