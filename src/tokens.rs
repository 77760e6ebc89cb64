//! How many input tokens a request has: a bound that costs nothing, and a count that costs time.
//!
//! [`upper_bound`] is what the text's bytes allow: no encoding makes more tokens than bytes. [`count`] asks the
//! model's encoding, or for an unknown model the fallback: words × 1.3, rounded up, where a word longer than 12 bytes
//! counts as one word per four bytes (Chinese has no spaces), and never more than the bytes. Both walk the request
//! the same way, so the bound is never below the count.
//!
//! What is added to the text, by OpenAI's cookbook ("How to count tokens with tiktoken"): 3 tokens per message and its
//! role, 1 per participant's name, 3 for the reply's beginning; nothing where vectors are asked for. What providers do not document is
//! approximated, and the count is then not `exact`:
//! - a picture is 1600 tokens, or 85 with `detail: low` (OpenAI's tiles come to 1445 at most, Anthropic's pixels to
//!   about 1600);
//! - a tool is its JSON text and 8 tokens, a tool call or result its text and 8 tokens, an output schema its JSON text;
//! - content only its own dialect knows is the JSON text of its values and a token per bracket, name and value, but a string of 1 KiB or more without a blank in it is
//!   a file: a PDF is 3000 a page, of 100 pages at most (one that does not tell its pages has one per 50 KB), sound 32 a second, a picture 1600,
//!   anything else one token per 16 bytes;
//! - fields of `rest` and signatures under a model's thinking are not counted.
//!
//! An encoding takes about 0.2 s and 45 MB to load, once: call [`load`] from a blocking thread for the models of a
//! configuration that need exact counts. Counting takes about 50 µs per KB, up to ten times that for long runs without
//! a seam; always linear, since no piece is longer than 32 KiB. Count large requests on a blocking thread.

mod encoding;
mod features;
mod file;
mod question;
#[cfg(test)]
mod tests;
mod walk;

pub use encoding::{Encoding, Remembering, remember};
pub use features::{Embedded, embed, embedded_text, features};

use crate::chat::ChatRequest;
use walk::{Tally, walk};

/// Input tokens of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub tokens: u64,
    /// The model's own encoding said so, and nothing had to be approximated.
    pub exact: bool,
}

/// What a number of input tokens is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Counted by the model's own encoding.
    Exact,
    /// Counted by an encoding that is not known to be the model's, or with parts that had to be approximated.
    Estimate,
    /// What the request's bytes allow: nothing was counted.
    UpperBound,
}

impl Precision {
    /// All of them, in documentation order.
    pub const ALL: [Self; 3] = [Self::Exact, Self::Estimate, Self::UpperBound];

    /// The name that answers and scenarios use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Estimate => "estimate",
            Self::UpperBound => "upper-bound",
        }
    }
}

/// At most this many input tokens, whatever the model. Reads every byte's length, not the bytes.
#[must_use]
pub fn upper_bound(request: &ChatRequest) -> u64 {
    if let Some(told) = request.input_tokens {
        return told;
    }
    let mut bound = Bound(0);
    walk(request, &mut bound);
    bound.0
}

/// Input tokens under the encoding of `model`, named as its provider names it. Loads the encoding if need be.
#[must_use]
pub fn count(request: &ChatRequest, model: &str) -> Count {
    if let Some(tokens) = request.input_tokens {
        return Count { tokens, exact: true };
    }
    #[cfg(test)]
    COUNTED.set(COUNTED.get() + 1);
    let mut counter = Counter { encoding: Encoding::of(model), tokens: 0, exact: true };
    walk(request, &mut counter);
    Count { tokens: counter.tokens, exact: counter.exact && counter.encoding.is_some() }
}

#[cfg(test)]
std::thread_local! {
    /// How many requests were counted on this thread.
    pub(crate) static COUNTED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Tokens of one text under the encoding of `model`. Loads the encoding if need be.
#[must_use]
pub fn count_text(text: &str, model: &str) -> Count {
    let mut counter = Counter { encoding: Encoding::of(model), tokens: 0, exact: true };
    counter.text(text);
    Count { tokens: counter.tokens, exact: counter.exact && counter.encoding.is_some() }
}

/// Loads the encoding of `model`, if it has one and it is not loaded. Blocks for about 0.2 s.
pub fn load(model: &str) {
    if let Some(encoding) = Encoding::of(model) {
        encoding.load();
    }
}

/// Whether counting for `model` would not have to load an encoding first.
#[must_use]
pub fn is_loaded(model: &str) -> bool {
    Encoding::of(model).is_none_or(Encoding::is_loaded)
}

struct Bound(u64);

impl Tally for Bound {
    fn text(&mut self, text: &str) {
        self.fixed(text.len() as u64);
    }

    fn json(&mut self, value: &serde_json::Value) {
        self.fixed(walk::json_length(value));
    }

    fn file(&mut self, text: &str) {
        self.fixed(file::most(text));
    }

    fn fixed(&mut self, tokens: u64) {
        self.0 = self.0.saturating_add(tokens);
    }

    fn approximate(&mut self) {}
}

struct Counter {
    encoding: Option<Encoding>,
    tokens: u64,
    exact: bool,
}

impl Tally for Counter {
    fn text(&mut self, text: &str) {
        let Some(encoding) = self.encoding else { return self.fixed(encoding::by_words(text)) };
        let (tokens, exact) = encoding.count(text);
        self.exact &= exact;
        self.fixed(tokens);
    }

    fn json(&mut self, value: &serde_json::Value) {
        self.text(&value.to_string());
    }

    fn file(&mut self, text: &str) {
        self.fixed(file::count(text));
    }

    fn fixed(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens);
    }

    fn approximate(&mut self) {
        self.exact = false;
    }
}
