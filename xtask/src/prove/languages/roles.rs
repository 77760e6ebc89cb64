//! A gateway with a group for each language, of which prompt builder, response parser and provider are what its projects made: a request
//! and a stream must have gone through all three.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use witgate::kit::{Language, World};

use super::{Live, NAME, Tools};
use crate::bench::upstream::{content_length, find};

/// What the builder puts first, what the provider answers, and what the parser leaves of it.
const FIRST: &str = "Be brief.";
const PIECES: [&str; 3] = ["It is so", ", I think", ", mostly."];
const MOST: usize = 10;
const LEFT: &str = "It is so, ";
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks every group whose three components are there, and says for which languages.
pub(super) fn prove(tools: &Tools, work: &Path) -> Result<Vec<Language>, String> {
    let component = |world: World, language: Language| {
        let folder = work.join(world.as_str()).join(language.as_str()).join(NAME);
        (format!("{}-{}", world.as_str(), language.as_str()), folder.join(NAME).with_extension("wasm"))
    };
    let roles = |language| {
        [World::PromptBuilder, World::ResponseParser, World::Provider].map(|world| component(world, language))
    };
    let whole = |language: &Language| roles(*language).iter().all(|(_, file)| file.is_file());
    let languages: Vec<Language> = Language::ALL.into_iter().filter(whole).collect();
    let components: Vec<(String, PathBuf)> = languages.iter().flat_map(|language| roles(*language)).collect();
    let (provider, prompts) = provider()?;
    let live = Live::with(tools, &config(&languages, provider).to_string(), &components)?;
    for language in &languages {
        let about = |problem: String| format!("{}: {problem}", language.title());
        for stream in [false, true] {
            let asked =
                json!({"model": language.as_str(), "stream": stream, "messages": [{"role": "user", "content": "hi"}]});
            let reply = live.ask(&asked.to_string())?;
            let told = said(&reply, stream).ok_or_else(|| about(format!("no reply: {reply}")))?;
            if told != LEFT {
                return Err(about(format!("its parser should leave `{LEFT}` of what was answered, and left `{told}`")));
            }
            let prompt =
                prompts.recv_timeout(PATIENCE).map_err(|_nothing| about("its provider asked nobody".to_owned()))?;
            if !prompt.contains(FIRST) || !prompt.contains("hi") {
                return Err(about(format!("its builder should put `{FIRST}` before `hi`, and made `{prompt}`")));
            }
        }
    }
    Ok(languages)
}

/// JSON, which is YAML too.
fn config(languages: &[Language], provider: SocketAddr) -> Value {
    let models = languages.iter().map(|language| {
        let name = language.as_str();
        json!({"model_name": name, "litellm_params": {
            "model": "openai/teller-1", "provider_policy": format!("provider-{name}"), "api_base": format!("http://{provider}"), "api_key": "k"
        }})
    });
    let named = |world: &str, settings: &Value| -> Value {
        let policy = |language: &Language| {
            let name = language.as_str();
            (name.to_owned(), json!({"policy": format!("{world}-{name}"), "settings": settings}))
        };
        languages.iter().map(policy).collect::<serde_json::Map<_, _>>().into()
    };
    json!({
        "model_list": models.collect::<Vec<_>>(),
        "witgate": {
            "prompt_builders": named("prompt-builder", &json!({"text": FIRST})),
            "response_parsers": named("response-parser", &json!({"most": MOST})),
        },
    })
}

/// What a client reads of a whole reply, or of a stream.
fn said(reply: &str, stream: bool) -> Option<String> {
    let (head, body) = reply.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200") {
        return None;
    }
    let text = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
    if !stream {
        return text(
            &serde_json::from_str(body.get(body.find('{')?..=body.rfind('}')?)?).ok()?,
            "/choices/0/message/content",
        );
    }
    let events = body.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    Some(events.filter_map(|event| text(&event, "/choices/0/delta/content")).collect())
}

/// The API that the example providers speak, over real sockets; tells the prompts it was asked.
fn provider() -> Result<(SocketAddr, Receiver<String>), String> {
    let failed = |problem: std::io::Error| problem.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (sender, prompts) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming().filter_map(Result::ok) {
            if let Some(prompt) = answer(socket)
                && sender.send(prompt).is_err()
            {
                return;
            }
        }
    });
    Ok((address, prompts))
}

fn answer(mut socket: TcpStream) -> Option<String> {
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    let body = loop {
        let length = socket.read(&mut piece).ok().filter(|length| *length > 0)?;
        read.extend_from_slice(piece.get(..length)?);
        let Some(head) = find(&read, b"\r\n\r\n") else { continue };
        if let Some(body) = read.get(head + 4..head + 4 + content_length(read.get(..head)?)?) {
            break serde_json::from_slice::<Value>(body).ok()?;
        }
    };
    let words = json!({"in": 3, "out": 6});
    let lines = if body["stream"] == true {
        let pieces = PIECES.map(|piece| json!({"id": "t1", "answer": piece}).to_string());
        format!("{}\n{}\n", pieces.join("\n"), json!({"words": words, "cut": false}))
    } else {
        json!({"id": "t1", "answer": PIECES.concat(), "words": words, "cut": false}).to_string()
    };
    write!(
        socket,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{lines}",
        lines.len()
    )
    .ok()?;
    body["prompt"].as_str().map(str::to_owned)
}
