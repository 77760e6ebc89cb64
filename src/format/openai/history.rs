//! The conversation in OpenAI's words.
//!
//! Each tool result is a message of its own, directly after the call. Pictures and documents in a result have no
//! place there: they follow in a user message once the results are complete.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::attachments::{address, document, is_at_address, is_beside, is_common, is_kept_picture, picture};
use super::details;
use super::encode::{speaks_responses, type_of, unsupported};
use super::instructions;
use super::responses::is_item;
use crate::chat::{ChatRequest, Message, Part, PartKind, Rest, Role};
use crate::fault::AttemptFault;
use crate::format::call_id::{CallIds, signature_beside};
use crate::format::quirks::{Attachments, Thought, Want};
use crate::format::rest::{Report, nested};
use crate::format::sealed;
use crate::format::thinking::is_sealed;
use crate::format::write::{Array, Object};

/// A part and its place in the message, for reports.
type Placed<'m> = (usize, &'m Part);

/// Writes the messages, before which stands what is asked for in words, and what else is to stand there.
///
/// # Errors
/// `Rejected` where a message holds content only another provider understands.
pub(super) fn messages(
    words: Option<&str>,
    request: &ChatRequest,
    ids: &CallIds<'_>,
    object: &mut Object<'_>,
    report: &mut Report,
) -> Result<(), AttemptFault> {
    let messages = request.messages.as_slice();
    // Who speaks this dialect put everything where it is on purpose.
    let own = report.same_dialect && !speaks_responses(request);
    let joined = if own { None } else { joined(messages) };
    let bridge = report.quirks.bridge();
    let last = joined.as_ref().map_or(messages.last(), |joined| joined.last().map(|(_, message)| message));
    let begun = last.filter(|_| report.quirks.wants(Want::Prefix)).filter(|message| is_beginning(message));
    let array = object.array("messages");
    let mut history = History { array, beside: Vec::new(), ids, own, bridge, answered: false, begun };
    let gathered = instructions::gathered(messages, own, report.quirks);
    let first: Vec<&str> = words.into_iter().chain(gathered.as_deref().filter(|all| !all.is_empty())).collect();
    if !first.is_empty() {
        let mut object = history.array.object();
        object.field("role", "system");
        object.field("content", &first.join(instructions::APART));
    }
    let moved = gathered.is_some();
    if let Some(joined) = &joined {
        joined.iter().try_for_each(|(index, message)| history.turn(*index, message, moved, report))?;
    } else {
        let mut all = messages.iter().enumerate();
        all.try_for_each(|(index, message)| history.turn(index, message, moved, report))?;
    }
    history.flush(report)
}

/// The messages with their places where a turn of the assistant's is told in pieces, as other APIs take it: its calls stand in one message here,
/// and nothing between them and their results.
fn joined(messages: &[Message]) -> Option<Vec<(usize, Message)>> {
    let goes_on = |before: &Message, message: &Message| [before, message].iter().all(|one| one.role == Role::Assistant);
    let mut pairs = messages.iter().zip(messages.iter().skip(1));
    pairs.any(|(before, message)| goes_on(before, message)).then(|| {
        let mut turns: Vec<(usize, Message)> = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            match turns.last_mut() {
                Some((_, before)) if goes_on(before, message) => {
                    before.parts.extend(message.parts.iter().cloned());
                    before.rest.extend(message.rest.clone());
                }
                _ => turns.push((index, message.clone())),
            }
        }
        turns
    })
}

/// Whether a last message is the beginning of the reply.
fn is_beginning(message: &Message) -> bool {
    let is_call = |part: &Part| matches!(part.kind, PartKind::ToolCall { .. });
    message.role == Role::Assistant && !message.parts.iter().any(is_call) && !message.rest.contains_key("tool_calls")
}

/// Whether the assistant did in a message what only the newer API is told of, a picture for instance, and said nothing: a turn without words
/// is refused.
fn is_untold(message: &Message) -> bool {
    let is_done = |part: &Part| matches!(&part.kind, PartKind::Other(value) if is_item(value));
    let is_thought = |part: &Part| matches!(part.kind, PartKind::Reasoning { .. }) || part.kind.redacted().is_some();
    let is_silent = message.parts.iter().all(|part| is_done(part) || is_thought(part));
    message.role == Role::Assistant && message.rest.is_empty() && is_silent && message.parts.iter().any(is_done)
}

/// Whether the assistant says nothing in a message, as it is told there, and calls nothing.
fn is_empty(message: &Message, report: &Report) -> bool {
    let is_silent = |part: &Part| match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => text.is_empty(),
        // Of other dialects' thinking nothing goes back.
        PartKind::Reasoning { .. } => !report.same_dialect,
        kind => kind.redacted().is_some(),
    };
    let calls = report.same_dialect && message.rest.get("tool_calls").is_some_and(|calls| !calls.is_null());
    message.role == Role::Assistant && !calls && message.parts.iter().all(is_silent)
}

struct History<'w, 'm> {
    array: Array<'w>,
    /// What the tool results just written hold beside texts, with its place: it follows them.
    beside: Vec<(String, &'m Part)>,
    ids: &'w CallIds<'w>,
    /// Whether its client speaks this dialect.
    own: bool,
    /// What the assistant is to have said before a user speaks after a tool's result.
    bridge: Option<&'static str>,
    /// Whether a tool's result was the last that was written.
    answered: bool,
    /// The beginning of the reply, where it must be marked as such.
    begun: Option<&'m Message>,
}

impl<'m> History<'_, 'm> {
    /// One message, unless it gives instructions and those were `moved` before all others.
    fn turn(
        &mut self,
        index: usize,
        message: &'m Message,
        moved: bool,
        report: &mut Report,
    ) -> Result<(), AttemptFault> {
        let path = format!("messages[{index}]");
        if moved && message.role.instructs() {
            instructions::unsaid(message, &path, report);
            return Ok(());
        }
        self.message(message, &path, report)
    }

    fn message(&mut self, message: &'m Message, path: &str, report: &mut Report) -> Result<(), AttemptFault> {
        let is_result = |part: &Part| matches!(part.kind, PartKind::ToolResult { .. });
        let placed = || message.parts.iter().enumerate();
        for (index, part) in placed().filter(|(_, part)| is_result(part)) {
            self.tool_result(message, part, &format!("{path}.content[{index}]"), report)?;
        }
        let others: Vec<Placed<'_>> = placed().filter(|(_, part)| !is_result(part)).collect();
        if others.is_empty() && !message.parts.is_empty() {
            return Ok(());
        }
        if is_untold(message) || (report.quirks.wants(Want::Words) && is_empty(message, report)) {
            let told = |(_, part): &&Placed<'_>| !matches!(&part.kind, PartKind::Text(text) if text.is_empty());
            report.dropped.extend(others.iter().filter(told).map(|(index, _)| format!("{path}.content[{index}]")));
            return Ok(());
        }
        self.flush(report)?;
        match message.role {
            Role::User => self.bridge(),
            _ => self.answered = false,
        }
        let mut object = self.array.object();
        match message.role {
            Role::Assistant => assistant(message, &others, self.ids, &mut object, path, report)?,
            role => {
                let role = match role {
                    Role::System => "system",
                    Role::Developer => "developer",
                    _ => "user",
                };
                object.field("role", report.quirks.role(role));
                content(&others, &mut object, path, report)?;
            }
        }
        match &message.name {
            Some(_) if report.quirks.refuses_of_messages("name") => report.dropped.push(format!("{path}.name")),
            name => object.optional("name", name.as_ref()),
        }
        let begins = self.begun.is_some_and(|begun| std::ptr::eq(begun, message));
        object.optional("prefix", begins.then_some(true));
        let prefix = if begins { "prefix" } else { "role" };
        report.rest_inside(&mut object, &message.rest, &|| path.to_owned(), &["role", "tool_calls", prefix]);
        Ok(())
    }

    fn tool_result(
        &mut self,
        message: &Message,
        part: &'m Part,
        path: &str,
        report: &mut Report,
    ) -> Result<(), AttemptFault> {
        let PartKind::ToolResult { call_id, content: said, is_error } = &part.kind else { return Ok(()) };
        self.answered = true;
        let mut object = self.array.object();
        let older = report.same_dialect && message.rest.contains_key("role");
        object.field("role", if older { "function" } else { "tool" });
        let sent = if older { call_id } else { self.ids.sent(call_id) };
        object.field(if older { "name" } else { "tool_call_id" }, sent);
        let mut stays = Vec::with_capacity(said.len());
        for (index, part) in said.iter().enumerate() {
            if !self.own && is_beside(part) {
                self.beside.push((format!("{path}.content[{index}]"), part));
            } else {
                stays.push((index, part));
            }
        }
        let (marked, left) = with_marks(&stays, &part.rest, report);
        if let (Some(marked), Some(last)) = (&marked, stays.last_mut()) {
            last.1 = marked;
        }
        if stays.is_empty() {
            object.field("content", "");
        } else {
            content(&stays, &mut object, path, report)?;
        }
        if *is_error {
            report.dropped.push(format!("{path}.is_error"));
        }
        report.rest(&mut object, &left, &|| path.to_owned(), &[]);
        if report.same_dialect {
            report.rest_inside(&mut object, &message.rest, &|| path.to_owned(), &["role"]);
        }
        Ok(())
    }

    /// Has the assistant say something, where a user may not speak before.
    fn bridge(&mut self) {
        if let Some(words) = self.bridge.filter(|_| std::mem::take(&mut self.answered)) {
            let mut object = self.array.object();
            object.field("role", "assistant");
            object.field("content", words);
        }
    }

    fn flush(&mut self, report: &mut Report) -> Result<(), AttemptFault> {
        if self.beside.is_empty() {
            return Ok(());
        }
        self.bridge();
        let mut object = self.array.object();
        object.field("role", "user");
        let mut content = object.array("content");
        self.beside.drain(..).try_for_each(|(path, part)| one_part(part, &mut content, &path, report))
    }
}

/// The last part of a result with those fields of the result that its provider takes on parts alone, and what is left of the result's.
fn with_marks<'r>(parts: &[Placed<'_>], rest: &'r Rest, report: &Report) -> (Option<Part>, Cow<'r, Rest>) {
    let takes = |(_, part): &&Placed<'_>| matches!(part.kind, PartKind::Text(_)) && report.keeps_of(rest);
    let Some((_, last)) = parts.last().filter(takes) else { return (None, Cow::Borrowed(rest)) };
    let (mut last, mut left) = (Part::clone(last), rest.clone());
    left.retain(|name, value| {
        let kept = report.quirks.keeps(name);
        if kept {
            last.rest.insert(name.clone(), value.take());
        }
        !kept
    });
    (Some(last), Cow::Owned(left))
}

fn assistant(
    message: &Message,
    parts: &[Placed<'_>],
    ids: &CallIds<'_>,
    object: &mut Object<'_>,
    path: &str,
    report: &mut Report,
) -> Result<(), AttemptFault> {
    object.field("role", "assistant");
    let thought = report.quirks.thought();
    let (mut said, mut calls, mut thinking, mut signed) = (Vec::new(), Vec::new(), String::new(), Vec::new());
    let signs = thought == Thought::Details && !(report.same_dialect && details::brought(&message.rest));
    for &(index, part) in parts {
        match &part.kind {
            PartKind::ToolCall { .. } => calls.push((index, part)),
            // What another format sealed is nobody's signature there.
            kind if signs && is_sealed(kind) && sealed::of(kind).is_none() => signed.push(kind),
            // Some want back what was thought, whoever had it told. To others unsigned thinking of this dialect goes back
            // the way it came; signed thinking is another provider's, as is content of its own kind: history this
            // provider can do without.
            PartKind::Reasoning { text, .. } if thought == Thought::Wanted => thinking.push_str(text),
            PartKind::Reasoning { text, signature }
                if report.same_dialect
                    && thought != Thought::Refused
                    && (signature.is_none() || sealed::of(&part.kind).is_some()) =>
            {
                thinking.push_str(text);
            }
            PartKind::Reasoning { .. } => report.dropped.push(format!("{path}.content[{index}]")),
            kind @ PartKind::Other(value) if !report.same_dialect || kind.redacted().is_some() || is_item(value) => {
                report.dropped.push(format!("{path}.content[{index}]"));
            }
            _ => said.push((index, part)),
        }
    }
    let other_calls = message.rest.get("tool_calls").and_then(Value::as_array).filter(|_| report.same_dialect);
    let has_calls = !calls.is_empty() || other_calls.is_some();
    if thought == Thought::Part && !thinking.is_empty() {
        let mut array = object.array("content");
        let text = json!({"type": "text", "text": std::mem::take(&mut thinking)});
        array.item(&json!({"type": "thinking", "thinking": [text]}));
        for &(index, part) in &said {
            one_part(part, &mut array, &format!("{path}.content[{index}]"), report)?;
        }
    } else {
        spoken(&said, has_calls, object, path, report)?;
    }
    details::write(&signed, object);
    if !thinking.is_empty() {
        object.field("reasoning_content", &thinking);
    }
    if has_calls {
        let mut array = object.array("tool_calls");
        for (index, part) in calls {
            tool_call(part, ids, &mut array, &format!("{path}.content[{index}]"), report);
        }
        for call in other_calls.into_iter().flatten() {
            array.item(call);
        }
    }
    if !report.same_dialect
        && let Some(calls) = message.rest.get("tool_calls")
        && !calls.is_null()
    {
        report.dropped.push(format!("{path}.tool_calls"));
    }
    Ok(())
}

/// What an assistant said that is neither a call nor thinking.
fn spoken(
    said: &[Placed<'_>],
    has_calls: bool,
    object: &mut Object<'_>,
    path: &str,
    report: &mut Report,
) -> Result<(), AttemptFault> {
    match said {
        [] if has_calls || report.same_dialect => object.field("content", &()),
        [] => object.field("content", ""),
        [(_, Part { kind: PartKind::Refusal(text), .. })] if report.quirks.refuses_of_messages("refusal") => {
            object.field("content", text);
        }
        [(_, Part { kind: PartKind::Refusal(text), .. })] => {
            object.field("content", &());
            object.field("refusal", text);
        }
        said => content(said, object, path, report)?,
    }
    Ok(())
}

fn tool_call(part: &Part, ids: &CallIds<'_>, array: &mut Array<'_>, path: &str, report: &mut Report) {
    let PartKind::ToolCall { id, name, arguments } = &part.kind else { return };
    let mut object = array.object();
    object.field("id", ids.sent(id));
    object.field("type", "function");
    {
        let mut function = object.object("function");
        function.field("name", name);
        function.field("arguments", if arguments.is_empty() && !report.same_dialect { "{}" } else { arguments });
        if let Some(left) = report.left(&part.rest, "function") {
            function.rest(left, &[]);
        }
    }
    // Google's models want the signature beside a call back, and clients of other dialects hold it in the id alone. Where ids are
    // rewritten it is another provider's conversation that goes on.
    if let Some(signature) =
        signature_beside(id).filter(|_| ids.sent(id) == id && !part.rest.contains_key("extra_content"))
    {
        object.field("extra_content", &json!({"google": {"thought_signature": signature}}));
    }
    report.rest_inside(&mut object, &part.rest, &|| path.to_owned(), &["function"]);
}

/// The `content` of a message: a plain text where it is no more than that, which every imitator understands.
fn content(parts: &[Placed<'_>], object: &mut Object<'_>, path: &str, report: &mut Report) -> Result<(), AttemptFault> {
    if let [(index, Part { kind: PartKind::Text(text), rest })] = parts
        && (rest.is_empty() || !report.same_dialect)
        && !report.keeps_of(rest)
    {
        object.field("content", text);
        report.rest(object, rest, &|| format!("{path}.content[{index}]"), &[]);
        return Ok(());
    }
    let mut array = object.array("content");
    for &(index, part) in parts {
        one_part(part, &mut array, &format!("{path}.content[{index}]"), report)?;
    }
    Ok(())
}

fn one_part(part: &Part, array: &mut Array<'_>, path: &str, report: &mut Report) -> Result<(), AttemptFault> {
    match &part.kind {
        PartKind::Text(text) => {
            let mut object = array.object();
            object.field("type", "text");
            object.field("text", text);
            report.rest_kept(&mut object, &part.rest, &|| path.to_owned(), &[]);
        }
        // Whoever knows no refusals reads what was said.
        PartKind::Refusal(text) if report.quirks.refuses_of_messages("refusal") => {
            let mut object = array.object();
            object.field("type", "text");
            object.field("text", text);
        }
        PartKind::Refusal(text) => {
            let mut object = array.object();
            object.field("type", "refusal");
            object.field("refusal", text);
            report.rest(&mut object, &part.rest, &|| path.to_owned(), &[]);
        }
        PartKind::Image(source) => {
            let mut object = array.object();
            object.field("type", "image_url");
            {
                let mut inner = object.object("image_url");
                picture(source, &mut inner);
                if let Some(left) = nested(&part.rest, "image_url").filter(|_| report.same_dialect) {
                    inner.rest(left, &[]);
                }
            }
            report.rest_kept(&mut object, &part.rest, &|| path.to_owned(), &["image_url"]);
        }
        PartKind::Other(value) if is_kept_picture(value) => return Err(unsupported(path, &type_of(value))),
        PartKind::Other(value) if report.quirks.attachments() == Attachments::Addresses && address(value, array) => {}
        PartKind::Other(value) if is_at_address(value) && report.quirks.no_file_addresses() => {
            return Err(unsupported(path, "a file at an address, instead of its data in `file_data`,"));
        }
        PartKind::Other(Value::Object(fields)) if report.same_dialect => {
            // The newer API alone has a word for how closely a file is to be looked at.
            let is_file = fields.get("type").is_some_and(|kind| kind == "file");
            let of_newer: &[&str] = if is_file { &["detail"] } else { &[] };
            let unsaid = of_newer.iter().filter(|name| fields.contains_key(**name));
            report.dropped.extend(unsaid.map(|name| format!("{path}.{name}")));
            report.rest_inside(&mut array.object(), fields, &|| path.to_owned(), of_newer);
        }
        PartKind::Other(value) if report.same_dialect || is_common(value) => array.item(value),
        PartKind::Other(value) => {
            document(value, array).ok_or_else(|| unsupported(path, &type_of(value)))?;
            let left = ["cache_control", "citations", "context"];
            let left = left.into_iter().filter(|name| value.get(name).is_some_and(|value| !value.is_null()));
            report.dropped.extend(left.map(|name| format!("{path}.{name}")));
        }
        // No client API makes these outside an assistant's turn.
        PartKind::ToolCall { .. } | PartKind::ToolResult { .. } | PartKind::Reasoning { .. } => {
            report.dropped.push(path.to_owned());
        }
    }
    Ok(())
}
