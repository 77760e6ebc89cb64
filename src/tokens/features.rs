//! Facts about a prompt that routers may ask for.

use crate::chat::{ChatRequest, Part, PartKind};
use crate::signal::Feature;

/// The value of a feature. Text is what the messages say, what tools answered included; not the tools' schemas.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "features are f32, and advice")]
pub fn feature(feature: Feature, request: &ChatRequest) -> f32 {
    match feature {
        Feature::Messages => request.messages.len() as f32,
        Feature::Length => {
            let mut length = 0;
            each_text(request, &mut |text| length += text.len());
            length as f32
        }
        Feature::CodeShare => {
            let (mut length, mut code) = (0, 0);
            each_text(request, &mut |text| {
                length += text.len();
                code += fenced(text);
            });
            if length == 0 { 0.0 } else { code as f32 / length as f32 }
        }
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
