//! Asking every deployment whether it answers: `/health`, and `witgate check --connections`.

use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::gateway::{Gateway, read};
use crate::support::upstream::{ScriptedUpstream, Step};

const SECRET: &str = "sk-lab-connections-1234";

fn reply() -> Step {
    let message = json!({"role": "assistant", "content": "H"});
    let choice = json!({"index": 0, "message": message, "finish_reason": "length"});
    let usage = json!({"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9});
    Step::json(200, &json!({"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}))
}

fn refused() -> Step {
    let words = format!("Incorrect API key provided: {SECRET}.");
    Step::json(401, &json!({"error": {"message": words, "type": "invalid_request_error", "code": "invalid_api_key"}}))
}

fn config(good: &str, bad: &str) -> String {
    format!(
        "model_list:
  - {{ model_name: g, litellm_params: {{ model: openai/good, api_base: \"{good}/v1\", api_key: {SECRET} }}, model_info: {{ id: good }} }}
  - {{ model_name: g, litellm_params: {{ model: openai/bad, api_base: \"{bad}/v1\", api_key: {SECRET} }}, model_info: {{ id: bad }} }}
  - {{ model_name: h, litellm_params: {{ model: simulated/h }}, model_info: {{ id: inside }} }}
"
    )
}

#[tokio::test]
async fn health_asks_every_deployment_for_one_token_behind_the_admin_key() {
    let good = ScriptedUpstream::start([reply()]).await;
    let bad = ScriptedUpstream::start([refused()]).await;
    let keys = "general_settings: { master_key: sk-master-key }\nwitgate: { admin_key: sk-admin-key }";
    let gateway = Gateway::start(&(config(&good.origin(), &bad.origin()) + keys)).await;
    let ask = async |path: &str, key: &str| {
        let request = gateway.client.get(format!("{}{path}", gateway.url)).bearer_auth(key);
        read(request.send().await.expect("an answer")).await
    };
    for key in ["sk-nobody", "sk-master-key"] {
        assert!(matches!(ask("/health", key).await.status, 401 | 403), "{key}");
    }
    assert_eq!(good.count(), 0, "nobody is asked for those who may not");
    let answer = ask("/health", "sk-admin-key").await;
    let told = answer.json();
    assert_eq!(
        (answer.status, &told["healthy_count"], &told["unhealthy_count"]),
        (200, &json!(2), &json!(1)),
        "{told}"
    );
    let unhealthy = &told["unhealthy_endpoints"][0];
    assert_eq!((&unhealthy["model"], &unhealthy["model_id"]), (&json!("openai/bad"), &json!("bad")));
    assert!(unhealthy["error"].as_str().is_some_and(|words| words.contains("Incorrect API key")), "{unhealthy}");
    assert!(!answer.text.contains(SECRET), "{}", answer.text);
    assert_eq!(
        good.asked()[0].body["max_tokens"].as_u64().or(good.asked()[0].body["max_completion_tokens"].as_u64()),
        Some(1)
    );
    let one = ask("/health?model=h", "sk-admin-key").await.json();
    assert_eq!((&one["healthy_count"], &one["unhealthy_count"]), (&json!(1), &json!(0)));
    assert_eq!((good.count(), bad.count()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_connections_prints_a_table_and_fails_where_one_does_not_answer() {
    let good = ScriptedUpstream::start([reply(), reply(), reply()]).await;
    let bad = ScriptedUpstream::start([refused()]).await;
    let folder = TempDir::new().expect("a folder");
    let run = |text: String| {
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, text).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_witgate"));
        command.arg("check").arg(&file).arg("--connections").env("XDG_STATE_HOME", folder.path());
        let output = command.output().expect("the binary runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (success, told) = run(config(&good.origin(), &bad.origin()));
    assert!(!success && told.contains("1 of 3 do not answer"), "{told}");
    let line = |id: &str| told.lines().find(|line| line.contains(&format!("  {id} "))).unwrap_or_default().to_owned();
    assert!(line("good").contains("ok ") && line("inside").contains("ok "), "{told}");
    assert!(line("bad").contains("failed") && line("bad").contains("Incorrect API key"), "{told}");
    assert!(!told.contains(SECRET), "{told}");
    let (success, told) = run(config(&good.origin(), &good.origin()));
    assert!(success && told.matches("  ok ").count() == 3, "{told}");
}

/// What makes vectors is asked for one, and not for a reply that it cannot give.
#[tokio::test]
async fn models_that_make_vectors_are_asked_for_one() {
    let vectors =
        json!({"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]});
    let upstream = ScriptedUpstream::start([Step::json(200, &vectors)]).await;
    let config = format!(
        "model_list:
  - {{ model_name: known, litellm_params: {{ model: openai/text-embedding-3-small, api_base: \"{0}/v1\", api_key: k }} }}
  - {{ model_name: told, litellm_params: {{ model: openai/own, api_base: \"{0}/v1\", api_key: k }}, model_info: {{ mode: embedding }} }}
",
        upstream.origin()
    );
    let gateway = Gateway::start(&config).await;
    let told = gateway.get("/health").await.json();
    assert_eq!((&told["healthy_count"], &told["unhealthy_count"]), (&json!(2), &json!(0)), "{told}");
    assert!(upstream.asked().iter().all(|asked| asked.path == "/v1/embeddings"));
}
