//! What a parser was told and has not answered yet, as far as its answers show it: the host passes it on where the parser fails.

use crate::chat::Delta;

/// How long an end of an answer is looked for in what was told, longest first.
const LENGTHS: [usize; 7] = [usize::MAX, 32, 16, 8, 4, 2, 1];

/// Deltas of one alternative; neighbours of a kind are one.
#[derive(Default)]
pub(super) struct Pending(Vec<Delta>);

impl Pending {
    /// The answer to `delta` came.
    pub(super) fn answered(&mut self, delta: &Delta, answer: &[Delta]) {
        if answer.is_empty() {
            return delta.clone().push_onto(&mut self.0);
        }
        if self.0.is_empty() && matches!(answer, [same] if same == delta) {
            return;
        }
        delta.clone().push_onto(&mut self.0);
        let told = self.0.pop();
        self.0.clear();
        // Whatever came before is answered; of the last, what stands behind the end of the answer is not.
        let (Some(mut told), Some(given)) = (told, answer.iter().rev().find_map(words)) else { return };
        let Some(text) = words_mut(&mut told) else { return };
        let from = after(text, given);
        drop(text.drain(..from));
        if !text.is_empty() {
            self.0.push(told);
        }
    }

    /// Whether all was answered.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it; nothing is pending any more.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Delta> + use<> {
        std::mem::take(&mut self.0).into_iter()
    }
}

fn words(delta: &Delta) -> Option<&str> {
    match delta {
        Delta::Text(text) | Delta::Reasoning(text) | Delta::Refusal(text) => Some(text),
        Delta::ToolArguments { fragment, .. } => Some(fragment),
        _ => None,
    }
}

fn words_mut(delta: &mut Delta) -> Option<&mut String> {
    match delta {
        Delta::Text(text) | Delta::Reasoning(text) | Delta::Refusal(text) => Some(text),
        Delta::ToolArguments { fragment, .. } => Some(fragment),
        _ => None,
    }
}

/// Where in `told` the end of `given` ends; its end where nothing of `given` is in it, for then all was said in other words.
fn after(told: &str, given: &str) -> usize {
    let found = LENGTHS.iter().find_map(|length| {
        let from = given.ceil_char_boundary(given.len().saturating_sub(*length));
        let end = given.get(from..).filter(|end| !end.is_empty())?;
        Some(told.rfind(end)? + end.len())
    });
    found.unwrap_or(told.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Delta {
        Delta::Text(text.to_owned())
    }

    #[test]
    fn what_was_not_answered_is_found_whatever_the_parser_does_with_words() {
        type Steps<'a> = &'a [(&'a str, Option<&'a str>)];
        // told and answered, step by step → what is left
        let cases: [(Steps<'_>, &str); 8] = [
            (&[("Hello", Some("Hello"))], ""),
            (&[("Hello ", None), ("there", Some("Hello "))], "there"),
            (&[("a <EM", Some("a "))], "<EM"),
            (&[("a <EM", Some("a ")), ("AIL_1> it", Some("ada@b.c it"))], ""),
            (&[("a <EM", Some("a ")), ("AIL_1", None)], "<EMAIL_1"),
            (&[("<EMAIL_1>", Some("ada@b.c"))], ""),
            (&[("{'a'", None), (": 1,}", None)], "{'a': 1,}"),
            (&[("grüße, we", Some("grüße")), ("lt", None)], ", welt"),
        ];
        for (steps, left) in cases {
            let mut pending = Pending::default();
            for (told, answer) in steps {
                let answer: Vec<Delta> = answer.iter().map(|answer| text(answer)).collect();
                pending.answered(&text(told), &answer);
            }
            let found: Vec<Delta> = pending.take().collect();
            let expected = if left.is_empty() { Vec::new() } else { vec![text(left)] };
            assert_eq!(found, expected, "{steps:?}");
        }
    }

    #[test]
    fn another_kind_of_answer_and_another_call_are_kept_apart() {
        let arguments = |index, words: &str| Delta::ToolArguments { index, fragment: words.to_owned() };
        let mut pending = Pending::default();
        pending.answered(&text("<think>hm <"), &[Delta::Reasoning("hm ".to_owned())]);
        assert_eq!(pending.take().collect::<Vec<_>>(), [text("<")]);
        for (told, index) in [("{\"a", 0), ("\":", 0), ("{", 1)] {
            pending.answered(&arguments(index, told), &[]);
        }
        assert_eq!(pending.take().collect::<Vec<_>>(), [arguments(0, "{\"a\":"), arguments(1, "{")]);
    }
}
