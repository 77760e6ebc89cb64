//! A small API that is nobody's: it takes one prompt and a bound in words, and counts words where others count tokens.
//!
//! ```text
//! POST /v1/tell  {"model": "m", "prompt": "hi", "max_words": 75, "stream": false}
//! a reply        {"id": "t1", "answer": "Hello.", "words": {"in": 1, "out": 1}, "cut": false}
//! streamed       lines of the same: each has a piece of the answer, the last one has the words
//! a refusal      {"error": {"name": "too-long", "says": "the prompt is too long"}}
//! ```
//!
//! Setting `words_per_100_tokens`: how many words its tokens make; 75 unless given.

use std::rc::Rc;

use serde_json::{Map, Value, json};
use witgate_provider::{
    Beginning, Decoder, Encoded, Event, Fault, Finish, Framing, Needs, Provider, Settings, Setup, Target, Usage,
    export_provider,
};

/// What the API has no words for, and whose loss would change what was asked.
const REFUSED: [&str; 5] = ["tools", "functions", "stop", "response_format", "logprobs"];

#[derive(Clone, Copy)]
struct Teller {
    words_per_100_tokens: u64,
}

/// A reply under way.
struct Told {
    teller: Teller,
    begun: bool,
}

impl Provider for Teller {
    type Decoder = Told;

    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        let mut settings = Settings::parse(&setup.settings)?;
        let words = settings.whole("words_per_100_tokens", 1..=1000)?.unwrap_or(75);
        settings.finish()?;
        // Nothing of one request is remembered at the next.
        Ok((Self { words_per_100_tokens: words.into() }, Needs { framing: Framing::Lines, pure: true }))
    }

    fn encode(&self, request: &[u8], target: &Target) -> Result<Encoded, Fault> {
        let mut given = object(request)?;
        given.remove("model");
        let prompt = prompt(&given.remove("messages").unwrap_or_default())?;
        let stream = given.remove("stream") == Some(Value::Bool(true));
        // The bound has had two names; the API wants one, so where a client gave none it is what was reserved.
        let bounds = ["max_completion_tokens", "max_tokens"].map(|name| given.remove(name));
        let tokens = bounds.iter().flatten().find_map(Value::as_u64).unwrap_or(target.max_output_tokens.into());
        // The API always tells what was used.
        given.remove("stream_options");
        given.retain(|name, value| asks(name, value));
        if given.get("n").is_some_and(|n| n.as_u64() != Some(1)) {
            return Err(Fault::new("the provider gives one reply at a time").at("n"));
        }
        if let Some(name) = REFUSED.into_iter().find(|name| given.contains_key(*name)) {
            return Err(Fault::new(format!("the provider has no word for `{name}`")).at(name));
        }
        given.remove("n");
        let body = json!({"model": target.model, "prompt": prompt, "max_words": self.words(tokens), "stream": stream});
        Ok(Encoded {
            path: "/v1/tell".to_owned(),
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
            dropped: given.into_iter().map(|(name, _)| name).collect(),
        })
    }

    /// A whole reply is a stream of one line.
    fn decode(&self, body: &[u8]) -> Result<Vec<Event>, Fault> {
        let events = Told { teller: *self, begun: false }.push("", body)?;
        if events.contains(&Event::End) { Ok(events) } else { Err(Fault::new("the reply has no words counted")) }
    }

    fn decode_error(&self, status: u16, body: &[u8]) -> Fault {
        // What stands before the API, a proxy perhaps, refuses in words of its own.
        let told = object(body).ok().and_then(|mut body| body.remove("error"));
        told.map_or_else(|| Fault::new(format!("the provider refused with status {status}")), |error| refused(&error))
    }

    fn open(self: &Rc<Self>) -> Told {
        Told { teller: **self, begun: false }
    }
}

impl Decoder for Told {
    fn push(&mut self, _: &str, line: &[u8]) -> Result<Vec<Event>, Fault> {
        let line = Value::Object(object(line)?);
        if let Some(error) = line.get("error") {
            return Err(refused(error));
        }
        let mut events = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            // The API does not say which model answers.
            events.push(Event::Beginning(Beginning { id: text(&line["id"]), model: String::new() }));
        }
        let piece = text(&line["answer"]);
        if !piece.is_empty() {
            events.push(Event::Text(piece));
        }
        if let (Some(input), Some(output)) = (line["words"]["in"].as_u64(), line["words"]["out"].as_u64()) {
            let cut = line["cut"] == Value::Bool(true);
            events.push(Event::Finish(if cut { Finish::Length } else { Finish::Stop }));
            events.push(Event::Usage(Usage {
                input_tokens: self.teller.tokens(input),
                cache_read_tokens: 0,
                cache_write_tokens: 0,
                output_tokens: self.teller.tokens(output),
                reasoning_tokens: 0,
            }));
            events.push(Event::End);
        }
        Ok(events)
    }
}

impl Teller {
    /// So many words fit into these tokens; one at least, for the API takes no bound of none.
    fn words(self, tokens: u64) -> u64 {
        (tokens.saturating_mul(self.words_per_100_tokens) / 100).max(1)
    }

    /// So many tokens these words are. Rounded up: limits would rather count one too many.
    fn tokens(self, words: u64) -> u64 {
        words.saturating_mul(100).div_ceil(self.words_per_100_tokens)
    }
}

/// One message is the prompt as it stands; of several, each says whose it is.
fn prompt(messages: &Value) -> Result<String, Fault> {
    let messages = messages.as_array().map_or(&[] as &[Value], Vec::as_slice);
    let mut said = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let at = |fault: Fault| fault.at(format!("messages[{index}]"));
        let role = message["role"].as_str().unwrap_or("user");
        let calls = ["tool_calls", "function_call"].iter().any(|name| asks(name, &message[*name]));
        if calls || matches!(role, "tool" | "function") {
            return Err(at(Fault::new("the provider calls no tools")));
        }
        let words = content(&message["content"]).map_err(at)?;
        said.push(if messages.len() == 1 { words } else { format!("{role}: {words}") });
    }
    Ok(said.join("\n\n"))
}

fn content(content: &Value) -> Result<String, Fault> {
    let Value::Array(parts) = content else { return Ok(text(content)) };
    let part = |part: &Value| match part["type"].as_str() {
        Some("text") => Ok(text(&part["text"])),
        Some("refusal") => Ok(text(&part["refusal"])),
        other => Err(Fault::new(format!("the provider takes no content of type `{}`", other.unwrap_or("?")))),
    };
    parts.iter().map(part).collect()
}

/// Whether a field asks for anything: clients send many that say what would be so without them.
fn asks(name: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(format) if name == "response_format" => format.get("type").is_none_or(|kind| kind != "text"),
        _ => true,
    }
}

/// The API's own word for it is the code.
fn refused(error: &Value) -> Fault {
    let code = error["name"].as_str().map(str::to_owned);
    Fault { code, ..Fault::new(text(&error["says"])) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn object(json: &[u8]) -> Result<Map<String, Value>, Fault> {
    serde_json::from_slice(json).map_err(|fault| Fault::new(format!("this is no JSON object: {fault}")))
}

export_provider!(Teller);

#[cfg(test)]
mod tests;
