//! What vendors say where a status alone does not tell what went wrong: their own words, read as they come.

use http::HeaderMap;

use crate::failover::classify;
use crate::fault::Cause::{self, ContentPolicy, ContextWindow, Credential};
use crate::fault::FaultKind::{self, Misconfigured, RateLimited, Rejected, Unavailable};
use crate::format::provider_format;

/// What a refusal in a vendor's format is taken for.
fn read(format: &str, status: u16, body: &str) -> (FaultKind, Option<Cause>) {
    let format = provider_format(format).expect("a format");
    let mut fault = format.decode_error(status, &HeaderMap::new(), body.as_bytes());
    classify(&mut fault);
    (fault.kind, fault.cause)
}

fn openai(status: u16, code: &str, message: &str) -> (FaultKind, Option<Cause>) {
    let code = if code.is_empty() { "null".to_owned() } else { format!("{code:?}") };
    read("openai", status, &format!(r#"{{"error":{{"message":{message:?},"type":null,"param":null,"code":{code}}}}}"#))
}

fn anthropic(status: u16, kind: &str, message: &str) -> (FaultKind, Option<Cause>) {
    read("anthropic", status, &format!(r#"{{"type":"error","error":{{"type":{kind:?},"message":{message:?}}}}}"#))
}

fn gemini(status: u16, kind: &str, message: &str) -> (FaultKind, Option<Cause>) {
    read("gemini", status, &format!(r#"{{"error":{{"code":{status},"message":{message:?},"status":{kind:?}}}}}"#))
}

fn bedrock(status: u16, name: &str, message: &str) -> (FaultKind, Option<Cause>) {
    read("bedrock", status, &format!(r#"{{"__type":{name:?},"message":{message:?}}}"#))
}

#[test]
fn what_the_key_or_its_account_is_to_blame_for_leaves_it_alone() {
    for (vendor, told) in [
        (
            "OpenAI",
            openai(
                429,
                "insufficient_quota",
                "You exceeded your current quota, please check your plan and billing details.",
            ),
        ),
        (
            "OpenAI",
            openai(
                429,
                "billing_not_active",
                "Your account is not active, please check your billing details on our website.",
            ),
        ),
        (
            "an imitator",
            openai(429, "", "Your account is not active, please check your billing details on our website."),
        ),
        (
            "an imitator",
            openai(403, "", "You exceeded your current quota, please check your plan and billing details."),
        ),
        ("a proxy", openai(403, "", "Payment Required")),
        ("a proxy", openai(429, "", "Payment required: add funds.")),
        (
            "Moonshot",
            openai(
                429,
                "exceeded_current_quota_error",
                "You exceeded your current token quota: 0, please check your account balance",
            ),
        ),
        (
            "Moonshot",
            openai(429, "", "Your account org-1<ak-2> is suspended, please check your plan and billing details"),
        ),
        (
            "Groq",
            openai(400, "organization_restricted", "Organization has been restricted. Please reach out to support."),
        ),
        (
            "xAI",
            read(
                "openai",
                400,
                r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: ab***cd."}"#,
            ),
        ),
        (
            "xAI",
            read(
                "openai",
                403,
                r#"{"code":"The caller does not have permission","error":"Your newly created teams doesn't have any credits yet."}"#,
            ),
        ),
        (
            "xAI",
            read(
                "openai",
                429,
                r#"{"code":"Some resource has been exhausted","error":"Your team 1 has either used all available credits or reached its monthly spending limit."}"#,
            ),
        ),
        ("DeepSeek", openai(402, "invalid_request_error", "Insufficient Balance")),
        (
            "OpenRouter",
            openai(402, "402", "Insufficient credits. Add more using https://openrouter.ai/settings/credits"),
        ),
        ("Zhipu", openai(429, "1113", "余额不足或无可用资源包,请充值。")),
        ("DashScope", openai(400, "Arrearage", "Access denied, please make sure your account is in good standing.")),
        (
            "Fireworks",
            openai(
                412,
                "",
                "Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices.",
            ),
        ),
        ("Novita", openai(403, "", "not enough balance")),
        ("SiliconFlow", openai(403, "30001", "Sorry, your account balance is insufficient")),
    ] {
        assert_eq!(told, (Misconfigured, Some(Credential)), "{vendor}");
    }
}

#[test]
fn what_the_key_is_to_blame_for_is_known_in_other_formats() {
    const EXHAUSTED: &str = "RESOURCE_EXHAUSTED";
    for (vendor, told) in [
        (
            "Anthropic",
            anthropic(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        ),
        ("Anthropic", anthropic(400, "invalid_request_error", "This organization has been disabled.")),
        (
            "Anthropic",
            anthropic(
                400,
                "invalid_request_error",
                "You have reached your specified workspace API usage limits. You will regain access on 2026-12-01.",
            ),
        ),
        ("Anthropic", anthropic(400, "invalid_request_error", "You're out of extra usage.")),
        ("Gemini", gemini(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")),
        ("Gemini", gemini(400, "INVALID_ARGUMENT", "API Key not found. Please pass a valid API key.")),
        (
            "Gemini",
            gemini(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key."),
        ),
        ("Gemini", gemini(403, "PERMISSION_DENIED", "Permission denied: Consumer 'api_key:AIza' has been suspended.")),
        (
            "Gemini",
            gemini(
                400,
                "FAILED_PRECONDITION",
                "Gemini API free tier is not available in your country. Please enable billing.",
            ),
        ),
        ("Gemini", gemini(429, EXHAUSTED, "Your prepayment credits are depleted. Please go to AI Studio.")),
        ("Gemini", gemini(429, EXHAUSTED, "Your project has exceeded its monthly spending cap.")),
        (
            "Vertex",
            gemini(
                403,
                "PERMISSION_DENIED",
                "This API method requires billing to be enabled. Please enable billing on project #1.",
            ),
        ),
        (
            "Bedrock",
            bedrock(
                403,
                "com.amazon.coral.service#UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
        ),
        ("Bedrock", bedrock(403, "ExpiredTokenException", "The security token included in the request is expired")),
    ] {
        assert_eq!(told, (Misconfigured, Some(Credential)), "{vendor}");
    }
}

#[test]
fn a_prompt_that_is_too_long_is_known_in_every_vendor_s_words() {
    for (vendor, told) in [
        ("OpenAI", openai(400, "context_length_exceeded", "Your input exceeds the context window of this model.")),
        (
            "vLLM",
            openai(400, "400", "The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
        ),
        (
            "vLLM",
            openai(
                400,
                "400",
                "The prompt (total length 9000) is too long to fit into the model (context length 8192).",
            ),
        ),
        (
            "SGLang",
            openai(400, "400", "The input (9000 tokens) is longer than the model's context length (8192 tokens)."),
        ),
        (
            "llama.cpp",
            openai(
                400,
                "exceed_context_size_error",
                "the request exceeds the available context size, try increasing it",
            ),
        ),
        (
            "LM Studio",
            openai(400, "", "The number of tokens to keep from the initial prompt is greater than the context length."),
        ),
        ("Ollama", openai(400, "", "the input length exceeds the context length")),
        (
            "TGI",
            openai(422, "validation", "Input validation error: `inputs` must have less than 1000 tokens. Given: 1500"),
        ),
        (
            "Together",
            openai(422, "", "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000"),
        ),
        (
            "xAI",
            read(
                "openai",
                400,
                r#"{"code":"Client specified an invalid argument","error":"This model's maximum prompt length is 131072 but the request contains 537812 tokens."}"#,
            ),
        ),
        (
            "Cerebras",
            openai(
                400,
                "context_length_exceeded",
                "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
            ),
        ),
        (
            "Mistral",
            openai(
                400,
                "3051",
                "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            ),
        ),
        (
            "Moonshot",
            openai(400, "invalid_request_error", "Invalid request: Your request exceeded model token limit: 8192"),
        ),
        (
            "Cohere",
            openai(
                400,
                "",
                "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 9000.",
            ),
        ),
        ("DashScope", openai(400, "invalid_parameter_error", "Range of input length should be [1, 30720]")),
        (
            "watsonx",
            openai(
                400,
                "invalid_input_argument",
                "the number of input tokens 9000 cannot exceed the total tokens limit 8192 for this model",
            ),
        ),
        (
            "GitHub",
            openai(413, "tokens_limit_reached", "Request body too large for gpt-4o model. Max size: 8000 tokens."),
        ),
        (
            "GitHub",
            openai(400, "model_max_prompt_tokens_exceeded", "prompt token count of 13613 exceeds the limit of 12288"),
        ),
    ] {
        assert_eq!(told, (Rejected, Some(ContextWindow)), "{vendor}");
    }
}

#[test]
fn a_prompt_that_is_too_long_is_known_in_other_formats() {
    for (vendor, told) in [
        (
            "OpenRouter",
            read(
                "openai",
                400,
                r#"{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 208310 tokens > 200000 maximum\"}}","provider_name":"Anthropic"}}}"#,
            ),
        ),
        (
            "Anthropic",
            anthropic(
                400,
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000",
            ),
        ),
        (
            "Gemini",
            gemini(
                400,
                "INVALID_ARGUMENT",
                "The input token count (2500000) exceeds the maximum number of tokens allowed (1048576).",
            ),
        ),
        (
            "Vertex",
            gemini(
                400,
                "INVALID_ARGUMENT",
                "Unable to submit request because the input token count is 2500000 but model only supports up to 1048576.",
            ),
        ),
        ("Bedrock", bedrock(400, "ValidationException", "Input is too long for requested model.")),
        (
            "Bedrock",
            bedrock(
                400,
                "ValidationException",
                "Too many input tokens. Max input tokens: 8192, request input token count: 9000",
            ),
        ),
    ] {
        assert_eq!(told, (Rejected, Some(ContextWindow)), "{vendor}");
    }
}

#[test]
fn moderation_is_known_in_every_vendor_s_words() {
    for (vendor, told) in [
        (
            "OpenAI",
            openai(
                400,
                "invalid_prompt",
                "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            ),
        ),
        ("OpenAI", openai(400, "moderation_blocked", "Your request was rejected by the safety system.")),
        ("OpenAI", openai(400, "", "Your request was rejected as a result of our safety system.")),
        ("OpenAI", openai(400, "", "This content has been flagged for possible abuse.")),
        (
            "Azure",
            openai(
                400,
                "content_filter",
                "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            ),
        ),
        ("xAI", openai(403, "", "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE")),
        ("DeepSeek", openai(400, "invalid_request_error", "Content Exists Risk")),
        ("DashScope", openai(400, "data_inspection_failed", "Input data may contain inappropriate content.")),
        ("Moonshot", openai(400, "", "The request was rejected because it was considered high risk")),
        (
            "Volcengine",
            openai(
                400,
                "InputTextSensitiveContentDetected",
                "The request failed because the input text may contain sensitive information.",
            ),
        ),
        ("Anthropic", anthropic(400, "invalid_request_error", "Output blocked by content filtering policy")),
        ("Bedrock", bedrock(400, "ValidationException", "The generated text has been blocked by our content filters.")),
    ] {
        assert_eq!(told, (Rejected, Some(ContentPolicy)), "{vendor}");
    }
}

#[test]
fn who_is_overloaded_or_lacks_the_model_is_not_the_request_s_fault() {
    for (vendor, told, kind) in [
        (
            "OpenAI",
            openai(503, "server_error", "The engine is currently overloaded, please try again later"),
            Unavailable,
        ),
        ("a proxy", openai(400, "overloaded_error", "Overloaded"), Unavailable),
        ("a proxy", openai(400, "", "The model is overloaded. Please try again later."), Unavailable),
        (
            "Moonshot",
            openai(429, "engine_overloaded_error", "The engine is currently overloaded, please try again later"),
            RateLimited,
        ),
        ("Mistral", openai(429, "3505", "Service tier capacity exceeded for this model."), RateLimited),
        (
            "Cerebras",
            openai(429, "queue_exceeded", "We're experiencing high traffic right now! Please try again soon."),
            RateLimited,
        ),
        ("Hugging Face", openai(503, "", "Model x is currently loading"), Unavailable),
        ("Ollama", openai(503, "", "server busy, please try again. maximum pending requests exceeded"), Unavailable),
        ("LM Studio", openai(400, "", "Model unloaded."), Unavailable),
        (
            "NVIDIA",
            read(
                "openai",
                400,
                r#"{"status":400,"title":"Bad Request","detail":"Function id 'x': DEGRADED function cannot be invoked"}"#,
            ),
            Unavailable,
        ),
        ("Anthropic", anthropic(529, "overloaded_error", "Overloaded"), Unavailable),
        ("Gemini", gemini(503, "UNAVAILABLE", "The model is overloaded. Please try again later."), Unavailable),
        ("Vertex", gemini(429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later."), RateLimited),
        // The very words of an empty account at others.
        (
            "Gemini",
            gemini(
                429,
                "RESOURCE_EXHAUSTED",
                "You exceeded your current quota, please check your plan and billing details.",
            ),
            RateLimited,
        ),
        (
            "Moonshot",
            openai(
                429,
                "rate_limit_reached_error",
                "Your account org-1 request reached organization max RPM: 3, please try again after 1 seconds",
            ),
            RateLimited,
        ),
        (
            "Bedrock",
            bedrock(429, "ThrottlingException", "Too many requests, please wait before trying again."),
            RateLimited,
        ),
        (
            "Groq",
            openai(400, "model_decommissioned", "The model `x` has been decommissioned and is no longer supported."),
            Misconfigured,
        ),
        ("Mistral", openai(400, "1500", "Invalid model: x"), Misconfigured),
        ("Together", openai(400, "model_not_available", "Unable to access non-serverless model x."), Misconfigured),
        (
            "Gemini",
            gemini(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
            Misconfigured,
        ),
        (
            "Vertex",
            gemini(400, "FAILED_PRECONDITION", "Project `1` is not allowed to use Publisher Model `x`"),
            Misconfigured,
        ),
        (
            "Bedrock",
            bedrock(
                400,
                "ValidationException",
                "Invocation of model ID x with on-demand throughput isn\u{2019}t supported.",
            ),
            Misconfigured,
        ),
        ("Bedrock", bedrock(400, "ValidationException", "The provided model identifier is invalid."), Misconfigured),
        // The request's after all.
        (
            "OpenAI",
            openai(400, "invalid_request_error", "Invalid value: 'overloaded'. Supported values are: 'auto'."),
            Rejected,
        ),
        ("OpenAI", openai(400, "", "invalid value 'Invalid model: x'"), Rejected),
    ] {
        assert_eq!(told, (kind, None), "{vendor}");
    }
}

#[test]
fn a_400_that_names_a_field_is_the_request_s() {
    for (param, kind) in [("\"x\"", Rejected), ("\"model\"", Misconfigured), ("null", Misconfigured)] {
        let body = format!(r#"{{"error":{{"message":"Incorrect API key provided: x","param":{param},"code":"bad"}}}}"#);
        assert_eq!(read("openai", 400, &body).0, kind, "{param}");
    }
}

#[test]
fn an_error_inside_a_reply_is_known_by_the_status_that_it_repeats() {
    for (code, message, kind, cause) in [
        (402, "Insufficient credits", Misconfigured, Some(Credential)),
        (400, "prompt is too long: 208310 tokens > 200000 maximum", Rejected, Some(ContextWindow)),
        (502, "Insufficient credits", Unavailable, None),
    ] {
        let format = provider_format("openai").expect("a format");
        let body = format!(r#"{{"error":{{"code":{code},"message":{message:?}}}}}"#);
        let mut fault = format.decode(body.as_bytes()).unwrap_err();
        classify(&mut fault);
        assert_eq!((fault.kind, fault.cause), (kind, cause), "{code}");
    }
}
