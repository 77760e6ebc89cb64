//! A reply as a parser is told it, cut in other places, and what its client would read.

use std::sync::Arc;

use super::cuts::cuts;
use crate::chat::{Chunk, Delta, FinishReason, Rest};
use crate::moment::Moment;
use crate::policy::{Complaint, ReplyInfo, ReplyParser, ResponseParser};

/// What a client reads of one alternative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) text: String,
    pub(super) reasoning: String,
    pub(super) refusal: String,
    /// Tool calls by index: name and arguments.
    pub(super) calls: Vec<(u32, String, String)>,
    pub(super) complaint: Option<Complaint>,
    /// How it failed.
    pub(super) fault: Option<&'static str>,
}

impl Heard {
    fn add(&mut self, delta: Delta) {
        match delta {
            Delta::Text(more) => self.text += &more,
            Delta::Reasoning(more) => self.reasoning += &more,
            Delta::Refusal(more) => self.refusal += &more,
            Delta::ToolCall { index, name, .. } => self.calls.push((index, name, String::new())),
            Delta::ToolArguments { index, fragment } => {
                let call = self.calls.iter_mut().find(|(known, ..)| *known == index);
                if let Some((_, _, arguments)) = call {
                    *arguments += &fragment;
                }
            }
            _ => {}
        }
    }
}

/// What a reply is told with.
pub(super) struct Telling<'a> {
    pub(super) parser: &'a Arc<ResponseParser>,
    pub(super) about: &'a ReplyInfo,
    pub(super) now: Moment,
    pub(super) finish: &'a FinishReason,
}

impl Telling<'_> {
    /// Has one reply of one alternative read, delta by delta.
    pub(super) fn hear(&self, deltas: &[Delta]) -> Heard {
        let one = |delta: &Delta| (0, delta.clone());
        self.hear_all(&deltas.iter().map(one).collect::<Vec<_>>(), 1).pop().unwrap_or_default()
    }

    /// Has a reply of several alternatives read.
    pub(super) fn hear_all(&self, deltas: &[(u32, Delta)], choices: u32) -> Vec<Heard> {
        let faults = |parser: &ResponseParser| parser.report().faults_by_kind;
        let before = faults(self.parser);
        let mut reader = ReplyParser::begin(self.parser, self.about.clone());
        let mut heard = vec![Heard::default(); choices as usize];
        let ends = (0..choices).map(|choice| (choice, Delta::Finish(self.finish.clone())));
        let mut complaint = None;
        for (choice, delta) in deltas.iter().cloned().chain(ends) {
            let mut chunks = vec![Chunk { choice, delta, rest: Rest::new() }];
            let read = reader.read(self.now, &mut chunks);
            for Chunk { choice, delta, .. } in chunks {
                if let Some(heard) = heard.get_mut(choice as usize) {
                    heard.add(delta);
                }
            }
            if let Err(complained) = read {
                complaint = Some(complained);
                break;
            }
        }
        if complaint.is_none() {
            complaint = reader.end(self.now, &mut Vec::new()).err();
        }
        let after = faults(self.parser);
        let kinds = crate::policy::PolicyFault::KINDS;
        let fault = kinds.into_iter().zip(before.iter().zip(after)).find(|(_, (before, after))| **before != *after);
        for (choice, heard) in (0..).zip(&mut heard) {
            heard.fault = fault.map(|(kind, _)| kind);
            heard.complaint = complaint.clone().filter(|complaint| complaint.choice == choice);
        }
        heard
    }

    /// The first cut at which the same words come to something else; `None` where every one gives what `whole` was.
    pub(super) fn other_cut(&self, deltas: &[Delta], whole: &Heard) -> Option<(String, Heard)> {
        let letters: Vec<Delta> = deltas.iter().flat_map(letters).collect();
        let differs = |cut: String, deltas: &[Delta]| {
            let heard = self.hear(deltas);
            (heard != *whole).then_some((cut, heard))
        };
        if let Some(found) = differs("letter by letter".to_owned(), &letters) {
            return Some(found);
        }
        cuts(letters.len()).find_map(|at| {
            let (one, two) = letters.split_at(at);
            differs(format!("cut after {at} letters"), &[joined(one), joined(two)].concat())
        })
    }
}

/// The same words, a delta for each letter.
fn letters(delta: &Delta) -> Vec<Delta> {
    let each = |text: &str, of: &dyn Fn(String) -> Delta| text.chars().map(|letter| of(letter.to_string())).collect();
    match delta {
        Delta::Text(text) => each(text, &Delta::Text),
        Delta::Reasoning(text) => each(text, &Delta::Reasoning),
        Delta::Refusal(text) => each(text, &Delta::Refusal),
        Delta::ToolArguments { index, fragment } => {
            each(fragment, &|fragment| Delta::ToolArguments { index: *index, fragment })
        }
        other => vec![other.clone()],
    }
}

/// The same words, neighbours of a kind in one delta.
pub(super) fn joined(deltas: &[Delta]) -> Vec<Delta> {
    let mut joined: Vec<Delta> = Vec::new();
    for delta in deltas {
        delta.clone().push_onto(&mut joined);
    }
    joined
}
