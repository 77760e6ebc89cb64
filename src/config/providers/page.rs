//! `docs/providers.md`: what each provider takes, drops and refuses, written from the tables and the code that decide it.
//!
//! `UPDATE_EXPECTED=1` writes the page anew.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::{Found, TABLE, find};
use crate::format::{ClientRequest, Target, lost, meant, operation_at};

/// Whom the parameters are tried with: a heading, and a model as configurations name it.
const TRIED: [(&str, &str); 11] = [
    ("OpenAI", "openai/gpt-4o"),
    ("OpenAI, reasoning", "openai/gpt-5"),
    ("OpenAI, `responses/`", "openai/responses/gpt-5"),
    ("imitators", "cerebras/m"),
    ("Mistral", "mistral/m"),
    ("Claude, newest", "anthropic/claude-newest"),
    ("Claude, to 4.5", "anthropic/claude-sonnet-4-5"),
    ("Vertex, Claude", "vertex_ai/claude-newest"),
    ("Gemini", "gemini/m"),
    ("Bedrock, Claude", "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("Bedrock, others", "bedrock/amazon.nova-pro-v1:0"),
];

/// The parameters that are tried: what is told, and the fields.
fn parameters() -> Vec<(&'static str, Value)> {
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}});
    let with_tool = |mut fields: Value| {
        fields["tools"] = tool.clone();
        fields
    };
    vec![
        ("temperature", json!({"temperature": 0.5})),
        ("top_p", json!({"top_p": 0.5})),
        ("temperature with top_p", json!({"temperature": 0.5, "top_p": 0.5})),
        ("top_k", json!({"top_k": 5})),
        ("max_completion_tokens", json!({"max_completion_tokens": 5000})),
        ("stop", json!({"stop": ["END"]})),
        ("stop, blank", json!({"stop": ["\n", "END"]})),
        ("n", json!({"n": 2})),
        ("seed", json!({"seed": 7})),
        ("presence_penalty", json!({"presence_penalty": 0.5})),
        ("frequency_penalty", json!({"frequency_penalty": 0.5})),
        ("logit_bias", json!({"logit_bias": {"1": 1}})),
        ("logprobs", json!({"logprobs": true})),
        ("top_logprobs", json!({"logprobs": true, "top_logprobs": 2})),
        ("modalities: audio", json!({"modalities": ["text", "audio"], "audio": {"voice": "a", "format": "mp3"}})),
        ("web_search_options", json!({"web_search_options": {}})),
        ("user", json!({"user": "u"})),
        ("service_tier", json!({"service_tier": "flex"})),
        ("metadata with store", json!({"store": true, "metadata": {"a": "b"}})),
        ("prompt_cache_key", json!({"prompt_cache_key": "k"})),
        ("safety_identifier", json!({"safety_identifier": "s"})),
        ("prediction", json!({"prediction": {"type": "content", "content": "x"}})),
        ("verbosity", json!({"verbosity": "low"})),
        ("reasoning_effort", json!({"reasoning_effort": "high", "max_completion_tokens": 8000})),
        ("response_format: json_object", json!({"response_format": {"type": "json_object"}})),
        ("response_format: json_schema", json!({"response_format": schema})),
        ("tools", with_tool(json!({}))),
        ("tool_choice: none", with_tool(json!({"tool_choice": "none"}))),
        ("tool_choice: required", with_tool(json!({"tool_choice": "required"}))),
        ("parallel_tool_calls: false", with_tool(json!({"parallel_tool_calls": false}))),
        (
            "a picture by its address",
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}]}]}),
        ),
        (
            "a picture itself",
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]}),
        ),
        (
            "a PDF itself",
            json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}]}]}),
        ),
        (
            "a recording",
            json!({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"format": "mp3", "data": "AA=="}}]}]}),
        ),
    ]
}

/// What becomes of these fields in a request of OpenAI's API.
fn outcome(model: &str, fields: &Value) -> String {
    let Found::Spoken(row, model) = find(model, None, None) else { panic!("{model} is spoken") };
    let (model, format) = row.asked_by(&model, None);
    let format = format.unwrap_or(row.format);
    let path = "/v1/chat/completions";
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let (api, _) = operation_at(path).expect("an API");
    let request = api.parse(&ClientRequest::post(path.parse().unwrap(), body.to_string())).expect("a request");
    let api_version = crate::config::models::api_version(row.models_of(), model);
    let target = Target { api_version, ..Target::plain(model, row.quirks_of(model), 4096) };
    // What it has no word for and the gateway sees to itself.
    let without = crate::chat::ChatRequest { parallel_tool_calls: None, ..request.clone() };
    let unsaid = request.parallel_tool_calls.is_some()
        && format.encode(&request, &target).ok().map(|sent| sent.body)
            == format.encode(&without, &target).ok().map(|sent| sent.body);
    match format.encode(&request, &target) {
        _ if unsaid => "held to here".to_owned(),
        Ok(encoded) if lost(&request, &encoded).next().is_some() => {
            format!("400, `{}`", lost(&request, &encoded).next().unwrap())
        }
        Err(fault) => format!("400, `{}`", fault.param.expect("a refusal blames a field")),
        Ok(encoded) if encoded.dropped.is_empty() => "sent".to_owned(),
        Ok(encoded) => format!("drops `{}`", encoded.dropped.join("`, `")),
    }
}

fn page() -> String {
    let mut page = String::from(
        "# Providers\n\n\
         Written by a test from `data/providers.json` and the formats themselves; `UPDATE_EXPECTED=1 cargo test --lib providers` writes it anew.\n\n\
         ## What becomes of a request's parameters\n\n\
         A request of OpenAI's API, field by field. *Sent*: in the provider's own words. *Drops*: left out, and named in `x-witgate-dropped`.\n\
         *400*: leaving it out would change the answer, so the request is refused and the field named; where another member of the\n\
         group can take it, that one is asked instead; with `drop_params` it is left out where none can. *Held to here*: the provider cannot be\n\
         told, and the gateway passes no more than one call on.\n\n|  |",
    );
    let _ = writeln!(page, "{}", TRIED.map(|(heading, _)| format!(" {heading} |")).concat());
    let _ = writeln!(page, "|---|{}", "---|".repeat(TRIED.len()));
    for (name, fields) in parameters() {
        let cells = TRIED.map(|(_, model)| format!(" {} |", outcome(model, &fields)));
        let _ = writeln!(page, "| {name} |{}", cells.concat());
    }
    let meant: Vec<String> = meant().map(|name| format!("`{name}`")).collect();
    let _ = write!(
        page,
        "\nRefused so, where a provider has no word for them and they ask for something: sampling, `n`, other providers' tools and contents, and \
         {}. What is dropped beside these says who asks, what may be kept or cached, how fast and how wordy a reply is to be, or is what a \
         model does not take beside what it was told (`top_p` beside `temperature`, sampling beside thinking, a stop of blanks, an effort where \
         it does not think and no client of chats asked for it).\n",
        meant.join(", ")
    );
    page.push_str(
        "\n## Names, addresses and keys\n\n\
         What is written before the slash of `model`; where it is, unless `api_base` or a variable says otherwise; the variables that may hold\n\
         its key. Quirks are what it takes otherwise than the one whose format it speaks (`-` refuses, `a→b` renames). What `openai` refuses is\n\
         sent where `api_base` leads to another host: servers that imitate it take more. So is unsigned thinking that `anthropic`'s own clients\n\
         bring back: those that imitate it sign nothing. Claude at `vertex_ai` takes pictures and documents themselves and none by\n\
         an address. Titan's and Nova's embeddings at Bedrock, and those of other makers at `vertex_ai` (`…-maas`), take one text a\n\
         request (in LangChain `chunk_size=1`, in LlamaIndex `embed_batch_size=1`).\n\n\
         | name | format | address | key | quirks |\n|---|---|---|---|---|\n",
    );
    for row in &TABLE.providers {
        let format =
            row.policy.as_deref().map_or_else(|| row.format.name().to_owned(), |policy| format!("policy `{policy}`"));
        let own = row.own_hosts.iter().map(|end| format!("`*{end}`")).collect::<Vec<_>>().join(", ");
        let own = Some(own).filter(|own| !own.is_empty()).map(|own| {
            let suffix = row.suffix.as_deref().unwrap_or_default();
            format!("`api_base`; `{suffix}` below it at {own}, as it stands elsewhere")
        });
        let address = row.base.as_deref().or(row.regional_base.as_deref()).or(own.as_deref()).unwrap_or("`api_base`");
        let client = row.oauth.iter().flat_map(|oauth| [&oauth.id_env, &oauth.secret_env]);
        let keys = row.key_env.iter().chain(&row.token_env).chain(client).map(|name| format!("`{name}`"));
        let keys = keys.collect::<Vec<_>>().join(" ");
        let only = row.only_models.iter().map(|only| format!("`{only}…`")).collect::<Vec<_>>().join(" ");
        let only = Some(only).filter(|only| !only.is_empty()).map(|only| format!("models {only}"));
        let quirks = only.into_iter().chain(row.quirks_of("").told()).collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "| `{}` | {format} | {address} | {keys} | {quirks} |", row.name);
    }
    let _ = writeln!(
        page,
        "\n## Not spoken yet\n\nA deployment of one of these is left out, loudly: `{}`.",
        TABLE.not_yet.join("`, `")
    );
    page
}

#[test]
fn the_page_says_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
    let page = page();
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), page, "run it with UPDATE_EXPECTED=1");
}
