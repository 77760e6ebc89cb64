//! Clouds whose requests are authorised by what is fetched, and what is asked of them beside replies.

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::upstream::{ScriptedUpstream, Step};

fn group(params: &str) -> String {
    format!("model_list: [{{model_name: g, litellm_params: {{{params}}}}}]\n")
}

const KEYS: &str = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIATEMPORARY</AccessKeyId>\
    <SecretAccessKey>temporary</SecretAccessKey><SessionToken>FwoG==</SessionToken><Expiration>2299-01-01T00:00:00Z</Expiration>\
    </Credentials></AssumeRoleResult></AssumeRoleResponse>";

#[tokio::test]
async fn vectors_are_asked_of_bedrock_as_a_role() {
    let reply = json!({"embedding": [0.5, -0.25], "inputTextTokenCount": 4});
    let upstream = ScriptedUpstream::start([Step::json(200, &reply), Step::json(200, &reply)]).await;
    let service = ScriptedUpstream::start([Step::bytes(200, "text/xml", KEYS)]).await;
    let gateway = Gateway::start(&group(&format!(
        "model: \"bedrock/amazon.titan-embed-text-v2:0\", api_base: \"{}\", aws_region_name: eu-west-1, aws_access_key_id: AKIDOWN, \
         aws_secret_access_key: very-secret-key, aws_role_name: \"arn:aws:iam::1:role/study\", aws_sts_endpoint: \"{}\"",
        upstream.origin(),
        service.origin()
    )))
    .await;
    for _ in 0..2 {
        let asked = json!({"model": "g", "input": "A speech", "dimensions": 256, "user": "u"});
        let answer = gateway.post("/v1/embeddings", &asked).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let told = answer.json();
        assert_eq!((&told["data"][0]["embedding"], &told["usage"]["prompt_tokens"]), (&json!([0.5, -0.25]), &json!(4)));
        assert_eq!(answer.header("x-witgate-dropped"), "user");
    }
    assert_eq!(service.count(), 1, "the keys are kept");
    let asked = &service.asked()[0];
    assert!(asked.headers["authorization"].to_str().unwrap().contains("Credential=AKIDOWN/"));
    let asked = &upstream.asked()[1];
    assert_eq!(asked.path, "/model/amazon.titan-embed-text-v2%3A0/invoke");
    assert_eq!(asked.body, json!({"inputText": "A speech", "dimensions": 256}));
    let told = asked.headers["authorization"].to_str().unwrap();
    assert!(told.contains("Credential=ASIATEMPORARY/") && told.contains("/eu-west-1/bedrock/aws4_request"), "{told}");
    assert_eq!(asked.headers["x-amz-security-token"], "FwoG==");
    let several = gateway.post("/v1/embeddings", &json!({"model": "g", "input": ["One", "Two"]})).await;
    assert_eq!((several.status, &several.json()["error"]["param"]), (400, &json!("input")), "{}", several.text);
}

#[tokio::test]
async fn a_role_that_is_refused_is_told_without_a_secret() {
    let refusal = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>very-secret-key may not</Message></Error></ErrorResponse>";
    let service = ScriptedUpstream::start((0..3).map(|_| Step::bytes(403, "text/xml", refusal))).await;
    let gateway = Gateway::start(&group(&format!(
        "model: \"bedrock/amazon.nova-lite-v1:0\", api_base: \"http://127.0.0.1:9\", aws_access_key_id: AKIDOWN, num_retries: 0, \
         aws_secret_access_key: very-secret-key, aws_role_name: \"arn:aws:iam::1:role/study\", aws_sts_endpoint: \"{}\"",
        service.origin()
    )))
    .await;
    let asked = json!({"model": "g", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    let answer = gateway.post("/v1/chat/completions", &asked).await;
    assert!(answer.status >= 500, "{} {}", answer.status, answer.text);
    assert!(answer.text.contains("AccessDenied") && !answer.text.contains("very-secret-key"), "{}", answer.text);
}

/// A key file that cannot be used leaves its deployment out and the others serve: here a user's credentials, at an address that names the model.
#[tokio::test]
async fn a_user_of_google_s_cloud_is_served_beside_a_key_file_that_is_not_there() {
    let token = json!({"access_token": "user-token", "expires_in": 3599, "token_type": "Bearer"});
    let tokens = ScriptedUpstream::start([Step::json(200, &token)]).await;
    let reply = crate::chat::gemini_reply("Hello");
    let upstream = ScriptedUpstream::start([Step::json(200, &reply), Step::json(200, &reply)]).await;
    let gateway = Gateway::start(&format!(
        "model_list:\n\
         - {{model_name: g, litellm_params: {{model: vertex_ai/gemini-2.5-pro, vertex_project: p, vertex_credentials: /nowhere/a.json}}}}\n\
         - {{model_name: g, litellm_params: {{model: gemini-2.5-pro, api_base: \"{}/v1/projects/p/models/tuned\", vertex_credentials: \
         {{type: authorized_user, client_id: c, client_secret: s3cret, refresh_token: consent, quota_project_id: q, token_uri: \"{}/token\"}}}}}}\n",
        upstream.origin(),
        tokens.origin()
    ))
    .await;
    two_are_served_by_one_token(&gateway, &tokens).await;
    for asked in upstream.asked() {
        assert_eq!(asked.path, "/v1/projects/p/models/tuned:generateContent");
        assert_eq!(asked.headers["authorization"], "Bearer user-token");
        assert_eq!(asked.headers["x-goog-user-project"], "q");
    }
}

async fn two_are_served_by_one_token(gateway: &Gateway, tokens: &ScriptedUpstream) {
    let asked = json!({"model": "g", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    for _ in 0..2 {
        let answer = gateway.post("/v1/chat/completions", &asked).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!(tokens.count(), 1, "one token for both");
}

/// A program that another service knows, whose token is exchanged for Google's.
#[tokio::test]
async fn a_workload_is_served_by_the_token_that_another_service_gave_it() {
    let token = json!({"access_token": "federated-token", "expires_in": 3599, "token_type": "Bearer"});
    let tokens = ScriptedUpstream::start([Step::json(200, &token)]).await;
    let reply = crate::chat::gemini_reply("Hello");
    let upstream = ScriptedUpstream::start([Step::json(200, &reply), Step::json(200, &reply)]).await;
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "ey.of-the-cluster").unwrap();
    let gateway = Gateway::start(&group(&format!(
        "model: vertex_ai/gemini-2.5-pro, vertex_project: p, api_base: \"{}/v1/projects/p/models/tuned\", vertex_credentials: \
         {{type: external_account, audience: \"//iam.test/x\", subject_token_type: jwt, token_url: \"{}/v1/token\", \
         credential_source: {{file: \"{}\"}}}}",
        upstream.origin(),
        tokens.origin(),
        path.display()
    )))
    .await;
    two_are_served_by_one_token(&gateway, &tokens).await;
    for asked in upstream.asked() {
        assert_eq!(asked.headers["authorization"], "Bearer federated-token");
    }
}

/// What authorises a request is waited for no longer than the reply would be, and the next deployment takes over.
#[tokio::test]
async fn a_service_of_keys_that_never_answers_is_not_waited_for() {
    let service = ScriptedUpstream::start((0..9).map(|_| Step::silent())).await;
    let upstream = ScriptedUpstream::start([Step::json(200, &crate::chat::openai_reply("Hello"))]).await;
    let gateway = Gateway::start(&format!(
        "model_list:\n\
         - {{model_name: g, litellm_params: {{model: \"bedrock/amazon.nova-lite-v1:0\", api_base: \"http://127.0.0.1:9\", aws_access_key_id: AKIDOWN, \
         aws_secret_access_key: very-secret-key, aws_role_name: \"arn:aws:iam::1:role/study\", aws_sts_endpoint: \"{}\", timeout: 0.3, order: 1}}}}\n\
         - {{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: k, order: 2}}}}\n",
        service.origin(),
        upstream.origin()
    ))
    .await;
    let asked = json!({"model": "g", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    let answer = gateway.post("/v1/chat/completions", &asked).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!((answer.header("x-witgate-attempts"), service.count()), ("2", 1), "the second deployment answered");
}

/// What only the responses API has and nobody acts on is told; what would make another reply is refused.
#[tokio::test]
async fn fields_of_the_responses_api_are_sent_told_or_refused() {
    let upstream = ScriptedUpstream::start((0..9).map(|_| Step::json(200, &crate::chat::openai_reply("Hello")))).await;
    let gateway =
        Gateway::start(&group(&format!("model: openai/m, api_base: \"{}/v1\", api_key: k", upstream.origin()))).await;
    let ask = async |more: &Value| {
        let mut body = json!({"model": "g", "input": "Hi"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        gateway.post("/v1/responses", &body).await
    };
    let said = ask(&json!({
        "metadata": {"a": "b"}, "store": false, "include": ["reasoning.encrypted_content", "web_search_call.results"], "truncation": "auto",
        "max_tool_calls": 3, "service_tier": "flex", "prompt_cache_key": "k", "safety_identifier": "s", "prompt_cache_retention": "24h",
        "text": {"verbosity": "low"}, "reasoning": {"effort": "low", "summary": "detailed", "context": "all_turns"},
        "stream_options": {"include_obfuscation": false}, "background": false, "top_logprobs": 0
    }))
    .await;
    assert_eq!(said.status, 200, "{}", said.text);
    let told = "include[1], truncation, max_tool_calls, reasoning.context, reasoning.summary";
    assert_eq!(said.header("x-witgate-dropped"), told);
    let sent = upstream.asked()[0].body.clone();
    for (name, value) in [
        ("service_tier", json!("flex")),
        ("prompt_cache_key", json!("k")),
        ("safety_identifier", json!("s")),
        ("prompt_cache_retention", json!("24h")),
        ("verbosity", json!("low")),
        ("reasoning_effort", json!("low")),
    ] {
        assert_eq!(sent[name], value, "{name}: {sent}");
    }
    for name in ["metadata", "store", "include", "truncation", "max_tool_calls", "reasoning", "text"] {
        assert!(sent.get(name).is_none(), "{name}: {sent}");
    }
    assert_eq!(said.json()["metadata"], json!({"a": "b"}), "what is kept and told again is not lost");
    let told = ask(&json!({"top_logprobs": 2})).await;
    assert_eq!((told.status, told.header("x-witgate-dropped")), (200, "top_logprobs"), "of what is not asked for");
    assert!(upstream.asked()[1].body.get("top_logprobs").is_none());
    let told = ask(&json!({"include": ["message.output_text.logprobs"], "top_logprobs": 2})).await;
    assert_eq!((told.status, told.header("x-witgate-dropped")), (200, ""), "{}", told.text);
    let sent = upstream.asked()[2].body.clone();
    assert_eq!((&sent["logprobs"], &sent["top_logprobs"]), (&json!(true), &json!(2)), "{sent}");
    let told = ask(&json!({"truncation": "disabled", "include": [], "reasoning": {"summary": "auto"}})).await;
    assert_eq!((told.status, told.header("x-witgate-dropped")), (200, ""));
    for drop in [json!({"drop_params": true}), json!({"additional_drop_params": ["background"]})] {
        let mut asked = drop.clone();
        asked["background"] = true.into();
        let told = ask(&asked).await;
        assert_eq!((told.status, told.header("x-witgate-dropped")), (200, "background"), "{drop}: {}", told.text);
        assert_eq!(told.json()["background"], false, "it was waited for");
        assert!(upstream.asked().last().unwrap().body.get("background").is_none(), "{drop}");
    }
    for (more, param) in [
        (json!({"reasoning": {"mode": "pro"}}), "reasoning.mode"),
        (json!({"background": true}), "background"),
        (json!({"conversation": "c"}), "conversation"),
        (json!({"prompt": {"id": "p"}}), "prompt"),
    ] {
        let refused = ask(&more).await;
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(param)), "{}", refused.text);
    }
}
