//! The older completions API, as a client API over models that chat: the prompt is what the user says.
//!
//! Several prompts are several requests, whose replies are told as one.
//!
//! What only a model that continues texts can do (`suffix`, `echo`, `best_of`) is refused by name.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::{DIALECT, OpenAi, encoder, error, finish_word, parse, paths, usage};
use crate::chat::{ChatRequest, Choice, Chunk, Delta, Message, Part, PartKind, Reply, Rest, Role, TokenLogprob, Usage};
use crate::fault::Refusal;
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path, request_body};
use crate::format::write::{self, Array, Object};
use crate::format::{ClientApi, ClientRequest, Operation, Several, StreamEncoder};
use crate::money::NanoUsd;

mod logprobs;
mod several;

/// The client API. It keeps no state; streams do.
pub(super) struct Completions;

impl ClientApi for Completions {
    fn name(&self) -> &'static str {
        "openai-completions"
    }

    fn operation(&self, path: &str) -> Option<Operation> {
        (paths::asked(path) == "/completions").then_some(Operation::Chat)
    }

    fn speaks_at(&self, path: &str, _headers: &HeaderMap) -> bool {
        self.operation(path).is_some()
    }

    fn id_header(&self) -> HeaderName {
        OpenAi.id_header()
    }

    fn model(&self, name: &str) -> Value {
        OpenAi.model(name)
    }

    fn models(&self, names: &[&str]) -> Value {
        OpenAi.models(names)
    }

    fn parse(&self, request: &ClientRequest) -> Result<ChatRequest, Refusal> {
        let mut fields = Fields::of(request_body(&request.body)?, &Path::Root)?;
        let model = parse::model(&mut fields, request)?;
        let logprobs = fields.whole("logprobs")?;
        refuse_continuations(&mut fields)?;
        let parts = vec![Part::text(prompt(&mut fields)?)];
        let message = Message { role: Role::User, parts, name: None, rest: Rest::new() };
        let mut request = parse::settings(fields, model, vec![message])?;
        // How many of the likeliest tokens are told beside the chosen ones.
        if let Some(count) = logprobs {
            request.rest.insert("logprobs".to_owned(), true.into());
            if count > 0 {
                request.rest.insert("top_logprobs".to_owned(), count.into());
            }
        }
        Ok(request)
    }

    fn several(&self, body: &[u8]) -> Result<Option<Several>, Refusal> {
        several::of(body)
    }

    fn reply(&self, reply: &Reply) -> Bytes {
        let mut out = BytesMut::with_capacity(write::reply_size_hint(reply));
        {
            let mut object = Object::open(&mut out);
            object.field("id", &reply.id);
            object.field("object", "text_completion");
            object.field("created", &reply.created.unwrap_or(0));
            object.field("model", &reply.model);
            {
                let mut choices = object.array("choices");
                for choice in &reply.choices {
                    whole_choice(choice, reply.dialect == DIALECT, &mut choices);
                }
            }
            if let Some(counted) = &reply.usage {
                usage::write(counted, reply.dialect == DIALECT, &mut object.object("usage"));
            }
        }
        out.freeze()
    }

    fn refusal(&self, refusal: &Refusal, _request_id: &str) -> Bytes {
        error::write(refusal).freeze()
    }

    fn stream(&self, request: &ChatRequest) -> Box<dyn StreamEncoder> {
        Box::new(Encoder { wants_usage: request.stream_usage, ..Encoder::default() })
    }
}

fn refuse_continuations(fields: &mut Fields<'_>) -> Result<(), Mismatch> {
    let refused = |name: &str| {
        let problem = "this needs a model that continues texts; those served here chat: leave it out";
        Err(Mismatch::new(&Path::Root.key(name), problem))
    };
    if fields.text("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return refused("suffix");
    }
    if fields.flag("echo")? == Some(true) {
        return refused("echo");
    }
    // As many as are asked for, and no choice among more.
    let choices = fields.peek("n").and_then(Json::as_u64).unwrap_or(1);
    if fields.whole("best_of")?.is_some_and(|best_of| u64::from(best_of) != choices) {
        return refused("best_of");
    }
    Ok(())
}

/// One text.
fn prompt(fields: &mut Fields<'_>) -> Result<String, Mismatch> {
    let path = Path::Root.key("prompt");
    match fields.take("prompt").ok_or_else(|| Mismatch::missing(&path))? {
        Json::Text(text) => Ok(text.into_owned()),
        Json::Array(items) => {
            let several = items.len() > 1;
            match items.into_iter().next() {
                Some(Json::Text(_)) if several => {
                    Err(Mismatch::new(&path, "one prompt a request; send the others apart"))
                }
                Some(Json::Text(text)) => Ok(text.into_owned()),
                Some(Json::Number(_) | Json::Array(_)) => {
                    Err(Mismatch::new(&path, "token numbers cannot be sent to a model that chats; send the text"))
                }
                Some(other) => Err(Mismatch::expected(&path.index(0), "a text", &other)),
                None => Err(Mismatch::new(&path, "a prompt is required")),
            }
        }
        other => Err(Mismatch::expected(&path, "a text", &other)),
    }
}

fn whole_choice(choice: &Choice, same_dialect: bool, choices: &mut Array<'_>) {
    let said = |part: &Part| match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => Some(text.clone()),
        _ => None,
    };
    let text: String = choice.parts.iter().filter_map(said).collect();
    let finish = choice.finish.as_ref().map(|reason| finish_word(reason, true, false, same_dialect));
    one_choice(choice.index, &text, finish, (&choice.logprobs, &mut 0), choices);
}

fn one_choice(
    index: u32,
    text: &str,
    finish: Option<&str>,
    (tokens, offset): (&[TokenLogprob], &mut usize),
    choices: &mut Array<'_>,
) {
    let mut object = choices.object();
    object.field("text", text);
    object.field("index", &index);
    if tokens.is_empty() {
        object.field("logprobs", &());
    } else {
        logprobs::write(tokens, offset, &mut object.object("logprobs"));
    }
    object.field("finish_reason", &finish);
}

#[derive(Default)]
struct Encoder {
    wants_usage: bool,
    id: String,
    model: String,
    created: u64,
    same_dialect: bool,
    usage: Option<Usage>,
    cost: Option<NanoUsd>,
    /// Characters so far of the tokens of each alternative, where it is told how likely they were.
    offsets: BTreeMap<u32, usize>,
}

impl Encoder {
    fn event(&self, out: &mut BytesMut, fill: impl FnOnce(&mut Object<'_>)) {
        out.put_slice(b"data: ");
        {
            let mut object = Object::open(out);
            object.field("id", &self.id);
            object.field("object", "text_completion");
            object.field("created", &self.created);
            object.field("model", &self.model);
            fill(&mut object);
        }
        out.put_slice(b"\n\n");
    }
}

impl StreamEncoder for Encoder {
    fn chunk(&mut self, chunk: &Chunk, out: &mut BytesMut) {
        let mut offset = 0;
        let (text, finish, tokens) = match &chunk.delta {
            Delta::Start { id, model, created, dialect } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
                self.created = created.unwrap_or(0);
                self.same_dialect = *dialect == DIALECT;
                return;
            }
            Delta::Usage(usage) => {
                self.usage = Some((**usage).clone());
                return;
            }
            Delta::Text(text) | Delta::Refusal(text) => (text.as_str(), None, &[][..]),
            Delta::Logprobs(tokens) => {
                offset = self.offsets.get(&chunk.choice).copied().unwrap_or(0);
                ("", None, tokens.as_slice())
            }
            Delta::Finish(reason) => ("", Some(finish_word(reason, true, false, self.same_dialect)), &[][..]),
            _ => return,
        };
        self.event(out, |object| {
            one_choice(chunk.choice, text, finish, (tokens, &mut offset), &mut object.array("choices"));
        });
        if !tokens.is_empty() {
            self.offsets.insert(chunk.choice, offset);
        }
    }

    fn cost(&mut self, cost: NanoUsd) {
        self.cost = Some(cost);
    }

    fn end(&mut self, out: &mut BytesMut) {
        if let Some(mut counted) = self.usage.take().filter(|_| self.wants_usage) {
            counted.cost = self.cost;
            self.event(out, |object| {
                drop(object.array("choices"));
                usage::write(&counted, self.same_dialect, &mut object.object("usage"));
            });
        }
        encoder::done(self.cost, out);
    }

    fn error(&mut self, refusal: &Refusal, _request_id: &str, out: &mut BytesMut) {
        refused(refusal, out);
    }
}

/// The event after which nothing follows.
fn refused(refusal: &Refusal, out: &mut BytesMut) {
    out.put_slice(b"data: ");
    out.put_slice(&error::write(refusal));
    out.put_slice(b"\n\n");
}
