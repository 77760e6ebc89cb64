//! The turns of a conversation. Calls have no ids of their own in most clients' histories: results find theirs by name, in order.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};

use super::parse::object;
use super::reply::REDACTED;
use crate::chat::{ImageSource, Message, Part, PartKind, Rest, Role};
use crate::format::call_id::{SIGNATURE, signed};
use crate::format::gemini::calls::ID;
use crate::format::gemini::candidate::SIGNED;
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path};

/// Where files are that nobody else can fetch.
const KEPT_AT_GOOGLE: &str = "https://generativelanguage.googleapis.com/";

/// Messages so far.
#[derive(Default)]
pub(super) struct Contents {
    messages: Vec<Message>,
    calls: Calls,
}

/// The calls so far, found by what a result says of its own.
#[derive(Default)]
struct Calls {
    /// Their ids, in order; none any more where a result is there.
    ids: Vec<Option<String>>,
    by_id: HashMap<String, VecDeque<usize>>,
    by_name: HashMap<String, VecDeque<usize>>,
}

impl Calls {
    /// Adds a call, which has its `own` id beside the one that it goes by here.
    fn add(&mut self, name: &str, own: &str, id: &str) {
        let place = self.ids.len();
        self.ids.push(Some(id.to_owned()));
        self.by_name.entry(name.to_owned()).or_default().push_back(place);
        // A result may name it with a signature in the id, and without.
        let bare = id.split_once(SIGNATURE).map_or(id, |(bare, _)| bare);
        let mut known = vec![bare, own, id];
        known.dedup();
        for known in known {
            self.by_id.entry(known.to_owned()).or_default().push_back(place);
        }
    }

    /// The id of the first call without a result that has this id, or else this name. (Some clients give results ids and calls none.)
    fn answered(&mut self, id: Option<&str>, name: &str) -> Option<String> {
        let by_id = id.and_then(|id| first(self.by_id.get_mut(id)?, &mut self.ids));
        by_id.or_else(|| first(self.by_name.get_mut(name)?, &mut self.ids))
    }
}

/// The id of the first call at these places that has no result yet. Each place is looked at once.
fn first(places: &mut VecDeque<usize>, ids: &mut [Option<String>]) -> Option<String> {
    while let Some(place) = places.pop_front() {
        if let Some(id) = ids.get_mut(place).and_then(Option::take) {
            return Some(id);
        }
    }
    None
}

impl Contents {
    /// Instructions, which stand before all turns.
    pub(super) fn instruct(&mut self, value: Json<'_>, path: &Path<'_>) -> Result<(), Mismatch> {
        let parts = match value {
            Json::Text(text) => vec![Part::text(text)],
            value => self.parts(&value, path)?,
        };
        self.messages.push(Message { role: Role::System, parts, name: None, rest: Rest::new() });
        Ok(())
    }

    /// Turns, or one of them.
    pub(super) fn add(&mut self, value: Json<'_>, path: &Path<'_>) -> Result<(), Mismatch> {
        match value {
            Json::Array(turns) if turns.is_empty() => Err(Mismatch::new(path, "at least one content is required")),
            Json::Array(turns) => {
                turns.iter().enumerate().try_for_each(|(index, turn)| self.turn(turn, &path.index(index)))
            }
            Json::Text(text) => {
                self.push(Role::User, vec![Part::text(text)]);
                Ok(())
            }
            one => self.turn(&one, path),
        }
    }

    /// The messages.
    pub(super) fn into_messages(self) -> Vec<Message> {
        self.messages
    }

    fn turn(&mut self, value: &Json<'_>, path: &Path<'_>) -> Result<(), Mismatch> {
        let role = match value.get("role").and_then(Json::as_str) {
            Some("model") => Role::Assistant,
            None | Some("user" | "function") => Role::User,
            Some("system") => Role::System,
            Some(_) => return Err(Mismatch::new(&path.key("role"), "expected `user` or `model`")),
        };
        let parts = self.parts(value, path)?;
        // Results are turns of their own in the canonical chat.
        let (results, others): (Vec<Part>, Vec<Part>) =
            parts.into_iter().partition(|part| matches!(part.kind, PartKind::ToolResult { .. }));
        for result in results {
            self.push(Role::Tool, vec![result]);
        }
        match self.messages.last_mut() {
            // A streamed reply comes back as one turn for each of its pieces.
            Some(last) if role == Role::Assistant && last.role == Role::Assistant => {
                for part in others {
                    go_on(&mut last.parts, part);
                }
            }
            _ if others.is_empty() => {}
            _ => self.push(role, others),
        }
        Ok(())
    }

    fn push(&mut self, role: Role, parts: Vec<Part>) {
        self.messages.push(Message { role, parts, name: None, rest: Rest::new() });
    }

    fn parts(&mut self, value: &Json<'_>, path: &Path<'_>) -> Result<Vec<Part>, Mismatch> {
        let path = path.key("parts");
        let parts = match value.get("parts") {
            Some(Json::Array(parts)) => parts.clone(),
            Some(one @ Json::Object(_)) => vec![one.clone()],
            _ => return Err(Mismatch::missing(&path)),
        };
        parts.into_iter().enumerate().map(|(index, part)| self.part(part, &path.index(index))).collect()
    }

    fn part(&mut self, value: Json<'_>, path: &Path<'_>) -> Result<Part, Mismatch> {
        let whole = value.clone();
        let mut fields = object(value, path)?;
        let mut signature = fields.text(SIGNED)?;
        let thought = fields.flag("thought")?.unwrap_or(false);
        let take = |fields: &mut Fields<'_>, name: &str| fields.take(name).map(Value::from);
        let mut given = false;
        let kind = if let Some(call) = take(&mut fields, "functionCall") {
            fields.keep("functionCall", left(&call, &["id", "name", "args"]));
            given = id(&call).is_some();
            self.call(&call, signature.take().as_deref())
        } else if let Some(response) = take(&mut fields, "functionResponse") {
            fields.keep("functionResponse", left(&response, &["id", "name", "response", "parts"]));
            given = id(&response).is_some();
            self.result(&response, path)?
        } else if let Some(kind) = data(&mut fields, path)? {
            kind
        } else {
            match fields.text("text")? {
                Some(text) if thought => thinking(text, signature.take()),
                Some(text) => PartKind::Text(text),
                None => return Ok(PartKind::Other(whole.into()).into()),
            }
        };
        if let Some(signature) = signature {
            fields.put(SIGNED, signature.into());
        }
        let mut rest = fields.telling_rest();
        if given {
            rest.insert(ID.to_owned(), Value::Null);
        }
        Ok(Part { kind, rest })
    }

    fn call(&mut self, call: &Value, signature: Option<&str>) -> PartKind {
        let name = text(call, "name").unwrap_or_default();
        let own = id(call).unwrap_or_else(|| format!("call_{}", self.calls.ids.len() + 1));
        let id = signature.map_or_else(|| own.clone(), |signature| signed(&own, signature));
        self.calls.add(&name, &own, &id);
        let arguments = call.get("args").map_or_else(|| "{}".to_owned(), Value::to_string);
        PartKind::ToolCall { id, name, arguments }
    }

    fn result(&mut self, response: &Value, path: &Path<'_>) -> Result<PartKind, Mismatch> {
        let name = text(response, "name").unwrap_or_default();
        let own = id(response);
        let call_id = self.calls.answered(own.as_deref(), &name).unwrap_or_else(|| own.unwrap_or(name));
        let said = response.get("response").cloned().unwrap_or_default();
        let alone = said.as_object().filter(|fields| fields.len() == 1);
        let is_error = alone.is_some_and(|fields| fields.contains_key("error"));
        let word = alone.and_then(|fields| fields.values().next()?.as_str());
        let mut content = vec![Part::text(word.map_or_else(|| said.to_string(), str::to_owned))];
        let path = path.key("functionResponse");
        let path = path.key("parts");
        for (index, item) in response.get("parts").and_then(Value::as_array).into_iter().flatten().enumerate() {
            content.push(held(item, &path.index(index))?);
        }
        Ok(PartKind::ToolResult { call_id, content, is_error })
    }
}

/// Goes on with a part: in the one before, where that is a piece of the same text or thought.
fn go_on(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), &part) {
        (Some(Part { kind: PartKind::Text(text), rest }), Part { kind: PartKind::Text(more), rest: beside })
            if rest.is_empty() && beside.is_empty() =>
        {
            text.push_str(more);
        }
        (
            Some(Part { kind: PartKind::Reasoning { text, signature: signature @ None }, rest }),
            Part { kind: PartKind::Reasoning { text: more, signature: later }, rest: beside },
        ) if rest.is_empty() && beside.is_empty() => {
            text.push_str(more);
            signature.clone_from(later);
        }
        _ => parts.push(part),
    }
}

/// What a result holds beside its words.
fn held(item: &Value, path: &Path<'_>) -> Result<Part, Mismatch> {
    let mut fields = object(item.into(), path)?;
    match data(&mut fields, path)? {
        Some(kind) => Ok(Part { kind, rest: fields.telling_rest() }),
        None => Ok(PartKind::Other(item.clone()).into()),
    }
}

/// What a part holds that is no text, where others than Google can say it too.
fn data(fields: &mut Fields<'_>, path: &Path<'_>) -> Result<Option<PartKind>, Mismatch> {
    if let Some(data) = fields.take("inlineData").map(Value::from) {
        fields.keep("inlineData", left(&data, &["mimeType", "mime_type", "data"]));
        return inline(&data, path).map(Some);
    }
    let Some(file) = fields.peek("fileData").cloned().map(Value::from) else { return Ok(None) };
    let kind = at_address(&file);
    if kind.is_some() {
        fields.take("fileData");
        fields.keep("fileData", left(&file, &["fileUri", "file_uri", "mimeType", "mime_type"]));
    }
    Ok(kind)
}

/// A thought, with what its provider wants back of it: clients write base64 in either alphabet, and other providers know one.
fn thinking(text: String, signature: Option<String>) -> PartKind {
    let signature = signature.map(|signature| signature.replace('-', "+").replace('_', "/"));
    match signature.as_deref().and_then(|signature| signature.strip_prefix(REDACTED)) {
        Some(data) => PartKind::redacted_reasoning(data),
        None => PartKind::Reasoning { text, signature },
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// The id that a client wrote.
fn id(value: &Value) -> Option<String> {
    text(value, "id").filter(|id| !id.is_empty())
}

/// What was not read of an object.
fn left(value: &Value, known: &[&str]) -> Rest {
    let fields = value.as_object().into_iter().flatten();
    let fields = fields.filter(|(name, value)| !known.contains(&name.as_str()) && !value.is_null());
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn media_type(value: &Value) -> Option<String> {
    text(value, "mimeType").or_else(|| text(value, "mime_type"))
}

/// Pictures are everybody's; documents and sounds are written as OpenAI's clients do, which every provider's side knows.
fn inline(value: &Value, path: &Path<'_>) -> Result<PartKind, Mismatch> {
    let path = path.key("inlineData");
    let media_type = media_type(value).ok_or_else(|| Mismatch::missing(&path.key("mimeType")))?;
    // Clients write base64 in either alphabet.
    let data = text(value, "data").ok_or_else(|| Mismatch::missing(&path.key("data")))?;
    let data = data.replace('-', "+").replace('_', "/");
    Ok(match media_type.split_once('/') {
        Some(("image", _)) => PartKind::Image(ImageSource::Base64 { media_type, data, detail: None }),
        Some(("audio", format)) => {
            PartKind::Other(json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}))
        }
        _ => {
            let data = format!("data:{media_type};base64,{data}");
            let ending = media_type.rsplit('/').next().unwrap_or("bin");
            PartKind::Other(
                json!({"type": "file", "file": {"file_data": data, "filename": format!("document.{ending}")}}),
            )
        }
    })
}

/// A picture or a PDF at an address of the web; anything else at an address, and what is kept at Google, is Google's own.
fn at_address(file: &Value) -> Option<PartKind> {
    let url = text(file, "fileUri").or_else(|| text(file, "file_uri"));
    let url = url.filter(|url| url.starts_with("http") && !url.starts_with(KEPT_AT_GOOGLE))?;
    let kind = media_type(file)?;
    if kind == "application/pdf" {
        return Some(PartKind::Other(json!({"type": "file", "file": {"file_id": url, "format": kind}})));
    }
    kind.starts_with("image/").then(|| PartKind::Image(ImageSource::Url { url, detail: None }))
}
