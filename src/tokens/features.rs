//! Facts about a prompt that routers may ask for.

use std::borrow::Cow;

use crate::chat::{ChatRequest, Part, PartKind, Role};
use crate::signal::Feature;

use super::question;

/// Where the numbers of vectors come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Embedded<'v> {
    /// From the words of the question, hashed.
    Hashed,
    /// From this vector of it: its beginning, at length 1.
    Given(&'v [f32]),
    /// From nowhere: all are 0.
    Unknown,
}

/// The values of features, in their order. Text is what the messages say, what tools answered included, not the tools' schemas; the
/// question is what the user said last.
#[must_use]
pub fn features(wanted: &[Feature], request: &ChatRequest, embedded: Embedded<'_>) -> Vec<f32> {
    let (mut traits, mut vector) = (None, Vec::new());
    let mut value = |feature: &Feature| match feature {
        Feature::Embedding { place, of } => {
            if vector.len() != usize::from(*of) {
                vector.resize(usize::from(*of), 0.0);
                fill(request, embedded, &mut vector);
            }
            vector.get(usize::from(*place)).copied().unwrap_or_default()
        }
        Feature::Length | Feature::CodeShare | Feature::Messages => size(*feature, request),
        other => {
            let traits = traits.get_or_insert_with(|| question::traits(&question(request)));
            match other {
                Feature::Code => traits.code,
                Feature::Analysis => traits.analysis,
                Feature::Creative => traits.creative,
                Feature::SimpleQuestion => traits.simple,
                Feature::English => traits.english,
                _ => traits.complexity,
            }
        }
    };
    wanted.iter().map(&mut value).collect()
}

/// Puts a vector that came later in the place of the one that was not known.
pub fn embed(wanted: &[Feature], values: &mut [f32], vector: &[f32]) {
    let mut cut = Vec::new();
    for (feature, value) in wanted.iter().zip(values) {
        if let Feature::Embedding { place, of } = feature {
            if cut.len() != usize::from(*of) {
                cut.resize(usize::from(*of), 0.0);
                beginning(vector, &mut cut);
            }
            *value = cut.get(usize::from(*place)).copied().unwrap_or_default();
        }
    }
}

/// The text that vectors are made of: the beginning of what the user said last.
#[must_use]
pub fn embedded_text(request: &ChatRequest) -> String {
    question::beginning(&question(request)).to_owned()
}

fn fill(request: &ChatRequest, embedded: Embedded<'_>, out: &mut [f32]) {
    match embedded {
        Embedded::Hashed => question::hashed(&question(request), out),
        Embedded::Given(vector) => beginning(vector, out),
        Embedded::Unknown => out.fill(0.0),
    }
}

/// As much of `vector` as `out` takes, at length 1.
fn beginning(vector: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for (number, given) in out.iter_mut().zip(vector) {
        *number = *given;
    }
    question::normalize(out);
}

/// What the user said last.
fn question(request: &ChatRequest) -> Cow<'_, str> {
    let Some(last) = request.messages.iter().rfind(|message| message.role == Role::User) else {
        return Cow::Borrowed("");
    };
    let mut texts = last.parts.iter().filter_map(|part| match &part.kind {
        PartKind::Text(text) => Some(text.as_str()),
        _ => None,
    });
    match (texts.next(), texts.next()) {
        (None, _) => Cow::Borrowed(""),
        (Some(only), None) => Cow::Borrowed(only),
        (Some(first), Some(second)) => {
            Cow::Owned([first, second].into_iter().chain(texts).collect::<Vec<_>>().join("\n"))
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "features are f32, and advice")]
fn size(feature: Feature, request: &ChatRequest) -> f32 {
    if feature == Feature::Messages {
        return request.messages.len() as f32;
    }
    let (mut length, mut code) = (0, 0);
    each_text(request, &mut |text| {
        length += text.len();
        if feature == Feature::CodeShare {
            code += fenced(text);
        }
    });
    match feature {
        Feature::CodeShare if length > 0 => code as f32 / length as f32,
        Feature::CodeShare => 0.0,
        _ => length as f32,
    }
}

fn each_text(request: &ChatRequest, act: &mut impl FnMut(&str)) {
    for message in request.messages.iter() {
        texts(&message.parts, act);
    }
}

fn texts(parts: &[Part], act: &mut impl FnMut(&str)) {
    for part in parts {
        match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) | PartKind::Reasoning { text, .. } => act(text),
            PartKind::ToolCall { arguments, .. } => act(arguments),
            PartKind::ToolResult { content, .. } => texts(content, act),
            PartKind::Image(_) | PartKind::Other(_) => {}
        }
    }
}

/// Bytes in code fences, the fences themselves included. As in `CommonMark`, a fence is a line that begins with three
/// backticks or tildes, is closed by at least as many of the same, and else runs to the end of the text.
fn fenced(text: &str) -> usize {
    let mut open: Option<(u8, usize)> = None;
    let mut code = 0;
    for line in text.split_inclusive('\n') {
        let found = fence(line);
        match (open, found) {
            (None, Some((mark, length, _))) => {
                open = Some((mark, length));
                code += line.len();
            }
            (None, None) => {}
            (Some((mark, length)), found) => {
                code += line.len();
                if found.is_some_and(|(other, run, bare)| other == mark && run >= length && bare) {
                    open = None;
                }
            }
        }
    }
    code
}

/// The mark, how often it stands there, and whether nothing follows it.
fn fence(line: &str) -> Option<(u8, usize, bool)> {
    let body = line.trim_start_matches(' ');
    let mark = *body.as_bytes().first().filter(|mark| matches!(mark, b'`' | b'~'))?;
    let run = body.bytes().take_while(|byte| *byte == mark).count();
    (run >= 3 && line.len() - body.len() <= 3).then(|| (mark, run, body[run..].trim().is_empty()))
}
