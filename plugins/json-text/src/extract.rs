//! Where the JSON is in what a model wrote.

use serde_json::Value;

use crate::repair;

/// Tags around thinking.
const THINKING: [(&str, &str); 3] =
    [("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<reasoning>", "</reasoning>")];

/// The JSON of a whole reply: as text, and as a value. Text that is JSON already stays as it is.
///
/// # Errors
/// There is none, or it cannot be read: why.
pub fn whole(reply: &str) -> Result<(String, Value), String> {
    let answer = without_thinking(reply);
    let places = candidates(&answer);
    let strict = |text: &&str| serde_json::from_str::<Value>(text).ok().map(|value| ((*text).to_owned(), value));
    if let Some(found) = places.iter().find_map(strict) {
        return Ok(found);
    }
    let mut why = "there is no JSON in it".to_owned();
    for place in places.iter().filter(|place| place.starts_with(['{', '['])) {
        match repair::read(place) {
            Ok(value) => return Ok((value.to_string(), value)),
            Err(problem) => why = problem,
        }
    }
    Err(why)
}

/// The first value in a reply that `fits`, the likeliest place first, each read as it is or, if need be, repaired.
pub fn fitting(reply: &str, fits: impl Fn(&Value) -> bool) -> Option<Value> {
    let answer = without_thinking(reply);
    let read = |place: &str| {
        let repaired = || place.starts_with(['{', '[']).then(|| repair::read(place).ok()).flatten();
        serde_json::from_str(place).ok().or_else(repaired)
    };
    candidates(&answer).into_iter().filter_map(read).find(fits)
}

/// Where JSON may be, the likeliest first: all of it, what stands in code fences, what begins with a bracket.
fn candidates(answer: &str) -> Vec<&str> {
    let mut places = vec![answer.trim()];
    let mut rest = answer;
    while let Some(at) = rest.find("```") {
        let inside = &rest[at + 3..];
        // The language is the rest of the line.
        let body = inside.find('\n').map_or("", |end| &inside[end + 1..]);
        let end = body.find("```").unwrap_or(body.len());
        places.push(body[..end].trim());
        rest = body.get(end + 3..).unwrap_or("");
    }
    let mut from = 0;
    // A handful of brackets in prose is looked at, not a book of them.
    for _ in 0..32 {
        let Some(at) = answer[from..].find(['{', '[']).map(|at| at + from) else { break };
        let end = balanced(&answer[at..]).map_or(answer.len(), |length| at + length);
        places.push(&answer[at..end]);
        from = if end < answer.len() { end } else { at + 1 };
    }
    places.retain(|place| !place.is_empty());
    places
}

/// The length of the value that begins with a bracket; `None` where it does not end.
fn balanced(text: &str) -> Option<usize> {
    let mut state = Brackets::default();
    text.char_indices().find_map(|(at, c)| (state.step(c) && state.depth == 0).then_some(at + c.len_utf8()))
}

fn without_thinking(reply: &str) -> String {
    let mut answer = reply.to_owned();
    for (open, close) in THINKING {
        while let Some(at) = answer.find(open) {
            let end = answer[at..].find(close).map_or(answer.len(), |end| at + end + close.len());
            answer.replace_range(at..end, "");
        }
    }
    answer
}

/// Brackets and texts of a value.
#[derive(Debug, Default)]
struct Brackets {
    depth: u32,
    in_text: bool,
    escaped: bool,
}

impl Brackets {
    /// Whether `c` is a bracket that counts.
    fn step(&mut self, c: char) -> bool {
        if self.in_text {
            let was_escaped = std::mem::replace(&mut self.escaped, false);
            match c {
                '\\' if !was_escaped => self.escaped = true,
                '"' if !was_escaped => self.in_text = false,
                _ => {}
            }
            return false;
        }
        match c {
            '"' => self.in_text = true,
            '{' | '[' => self.depth += 1,
            '}' | ']' => self.depth = self.depth.saturating_sub(1),
            _ => return false,
        }
        true
    }
}

/// JSON taken out of a reply as it comes: from the first bracket that is no prose to the one that closes it.
#[derive(Debug, Default)]
pub struct Extract {
    brackets: Brackets,
    state: State,
    /// Not decided yet: the beginning of a tag, or a bracket whose next character tells whether it is JSON.
    held: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    /// Inside of this pair of tags.
    Thinking(usize),
    Inside,
    After,
}

impl Extract {
    /// What of the JSON is certain now.
    #[must_use]
    pub fn push(&mut self, words: &str) -> String {
        let mut out = String::new();
        for c in words.chars() {
            match self.state {
                State::After => break,
                State::Inside => self.inside(c, &mut out),
                State::Thinking(pair) => {
                    self.held.push(c);
                    let close = THINKING[pair].1;
                    if self.held.ends_with(close) {
                        self.held.clear();
                        self.state = State::Before;
                    } else if self.held.len() > 4 * close.len() {
                        let keep = self.held.ceil_char_boundary(self.held.len() - close.len());
                        self.held.drain(..keep);
                    }
                }
                State::Before => self.before(c, &mut out),
            }
        }
        out
    }

    fn inside(&mut self, c: char, out: &mut String) {
        out.push(c);
        if self.brackets.step(c) && self.brackets.depth == 0 {
            self.state = State::After;
        }
    }

    fn before(&mut self, c: char, out: &mut String) {
        match self.held.chars().next() {
            Some('<') => {
                self.held.push(c);
                if let Some(pair) = THINKING.iter().position(|(open, _)| self.held == *open) {
                    self.held.clear();
                    self.state = State::Thinking(pair);
                } else if !THINKING.iter().any(|(open, _)| open.starts_with(&self.held)) {
                    self.held.clear();
                    self.before_plain(c);
                }
            }
            Some(bracket @ ('{' | '[')) => {
                self.held.push(c);
                if c.is_whitespace() {
                    return;
                }
                let held = std::mem::take(&mut self.held);
                let begins = if bracket == '{' {
                    matches!(c, '"' | '}')
                } else {
                    matches!(c, '"' | '{' | '[' | ']' | '-' | '0'..='9' | 't' | 'f' | 'n')
                };
                if begins {
                    self.state = State::Inside;
                    held.chars().for_each(|c| {
                        if self.state == State::Inside {
                            self.inside(c, out);
                        }
                    });
                } else {
                    self.before_plain(c);
                }
            }
            _ => self.before_plain(c),
        }
    }

    fn before_plain(&mut self, c: char) {
        if matches!(c, '<' | '{' | '[') {
            self.held.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_found_whatever_is_around_it() {
        for (reply, json) in [
            (r#"{"a": 1}"#, r#"{"a": 1}"#),
            ("Sure! Here it is:\n```json\n{\"a\": [1, 2]}\n```\nAnything else?", r#"{"a": [1, 2]}"#),
            ("<think>maybe {\"a\": 0}?</think>\n{\"a\": 1}", r#"{"a": 1}"#),
            (r#"The [first] answer is {"a": "}{"} I think"#, r#"{"a": "}{"}"#),
            ("42", "42"),
            ("{'a': True, b: None, // yes\n 'c': [1, 2,],}", r#"{"a":true,"b":null,"c":[1,2]}"#),
            ("Answer: {\"a\": {\"b\": [1, 2", r#"{"a":{"b":[1,2]}}"#),
        ] {
            assert_eq!(whole(reply).map(|(text, _)| text), Ok(json.to_owned()), "{reply}");
        }
        assert_eq!(whole("I cannot do that").map(|(text, _)| text), Err("there is no JSON in it".to_owned()));
    }

    #[test]
    fn a_stream_has_the_json_alone_at_every_cut() {
        for (reply, json) in [
            (
                "Sure [of course]: {x}\n```json\n{\"a\": \"<think> }\", \"b\": [1]}\n``` {\"c\": 2}",
                "{\"a\": \"<think> }\", \"b\": [1]}",
            ),
            ("<think>{\"no\": 1} é</think> [ {\"yes\": \"\\\"]\"} ] more", "[ {\"yes\": \"\\\"]\"} ]"),
            ("a < b <thing> {} x", "{}"),
            ("nothing", ""),
        ] {
            for cut in (0..=reply.len()).filter(|cut| reply.is_char_boundary(*cut)) {
                let mut extract = Extract::default();
                let out = extract.push(&reply[..cut]) + &extract.push(&reply[cut..]);
                assert_eq!(out, json, "{reply} at {cut}");
            }
        }
    }
}
