//! Which encoding a model has, as data, and counting with it in bounded pieces.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};

use tiktoken_rs::CoreBPE;

/// The encodings that are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `o200k_base`: gpt-4o and later, the reasoning models. `o200k_harmony` is the same but for special tokens.
    O200k,
    /// `cl100k_base`: gpt-4, gpt-3.5.
    Cl100k,
}

use Encoding::{Cl100k, O200k};

/// Beginnings of model names; the longest that fits decides. A name fits where it ends, goes on with one of `-:@`, or
/// anyhow where the beginning ends with a dot.
/// Source: tiktoken's own table (`model.py`, 0.14), names of discontinued models left out.
pub(super) const MODELS: &[(&str, Encoding)] = &[
    ("chatgpt-4o", O200k),
    ("codex-mini", O200k),
    ("gpt-3.5", Cl100k),
    ("gpt-3.5-turbo", Cl100k),
    ("gpt-35-turbo", Cl100k),
    ("gpt-4", Cl100k),
    ("gpt-4.1", O200k),
    ("gpt-4.5", O200k),
    ("gpt-4o", O200k),
    ("gpt-5", O200k),
    ("gpt-5.", O200k),
    ("gpt-oss", O200k),
    ("o1", O200k),
    ("o3", O200k),
    ("o4-mini", O200k),
    ("text-embedding-3-large", Cl100k),
    ("text-embedding-3-small", Cl100k),
    ("text-embedding-ada-002", Cl100k),
];

/// Whether each encoding is loaded: they belong to the process, and their own crate does not tell.
static LOADED: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];

/// From this length on a text is cut where that changes no token.
const PIECE: usize = 16 * 1024;
/// At this length it is cut wherever a character ends: the regular expressions behind an encoding give up (and panic)
/// on very long matches.
const LONGEST_PIECE: usize = 32 * 1024;

/// Texts of fewer bytes are counted as fast as they are looked for.
const WORTH: usize = 512;
/// Counts that are remembered at once.
const MOST_KNOWN: usize = 1 << 18;

/// By encoding, length and hash: two texts of one length share all 64 bits about once in 10^19 pairs.
type Known = HashMap<(u8, usize, u64), (u64, bool)>;

thread_local! {
    /// What was counted on this thread while somebody wants that remembered.
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// While it lives, what is counted on this thread is remembered: a plan counts the same texts again for each model, provider and change.
#[derive(Debug)]
pub struct Remembering(bool);

/// Remembers counts until what is returned is dropped.
#[must_use]
pub fn remember() -> Remembering {
    KNOWN.with_borrow_mut(|known| {
        let first = known.is_none();
        known.get_or_insert_default();
        Remembering(first)
    })
}

impl Drop for Remembering {
    fn drop(&mut self) {
        if self.0 {
            KNOWN.with_borrow_mut(Option::take);
        }
    }
}

impl Encoding {
    /// The encoding of a model, as its provider names it: behind a provider's `name/`, and also fine-tuned (`ft:`).
    #[must_use]
    pub fn of(model: &str) -> Option<Self> {
        let model = model.rsplit('/').next().unwrap_or(model);
        let model = model.strip_prefix("ft:").unwrap_or(model);
        let fits = |beginning: &str| {
            model
                .strip_prefix(beginning)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', ':', '@']) || beginning.ends_with('.'))
        };
        let fitting = MODELS.iter().filter(|(beginning, _)| fits(beginning));
        fitting.max_by_key(|(beginning, _)| beginning.len()).map(|(_, encoding)| *encoding)
    }

    /// Tokens of a text, and whether it could be counted without cutting it at random. Special tokens in it are text.
    pub(super) fn count(self, text: &str) -> (u64, bool) {
        if text.len() < WORTH {
            return self.count_anew(text);
        }
        let key = || {
            let mut hash = DefaultHasher::new();
            text.hash(&mut hash);
            (self as u8, text.len(), hash.finish())
        };
        let key = KNOWN.with_borrow(|known| known.as_ref().map(|known| (key(), known.len())));
        let Some((key, size)) = key else { return self.count_anew(text) };
        if let Some(counted) = KNOWN.with_borrow(|known| known.as_ref()?.get(&key).copied()) {
            return counted;
        }
        let counted = self.count_anew(text);
        KNOWN.with_borrow_mut(|known| {
            if let Some(known) = known {
                if size >= MOST_KNOWN {
                    known.clear();
                }
                known.insert(key, counted);
            }
        });
        counted
    }

    fn count_anew(self, text: &str) -> (u64, bool) {
        let table = self.table();
        let (mut tokens, mut exact, mut rest) = (0, true, text);
        while !rest.is_empty() {
            let (end, clean) = piece(rest);
            let (this, next) = rest.split_at(end);
            tokens += table.encode_ordinary(this).len() as u64;
            exact &= clean;
            rest = next;
        }
        (tokens, exact)
    }

    /// Loads the encoding, if it is not loaded. Blocks for about 0.2 s.
    pub fn load(self) {
        self.table();
    }

    pub(super) fn is_loaded(self) -> bool {
        LOADED[self as usize].load(Ordering::Relaxed)
    }

    fn table(self) -> &'static CoreBPE {
        let table = match self {
            O200k => tiktoken_rs::o200k_base_singleton(),
            Cl100k => tiktoken_rs::cl100k_base_singleton(),
        };
        LOADED[self as usize].store(true, Ordering::Relaxed);
        table
    }
}

/// Where the first piece of a text ends, and whether the encoding would cut there too: it does before a single space
/// between a letter and a letter.
fn piece(text: &str) -> (usize, bool) {
    if text.len() <= PIECE {
        return (text.len(), true);
    }
    let bytes = text.as_bytes();
    let last = text.len().min(LONGEST_PIECE);
    let seam = (PIECE..last - 1)
        .find(|at| bytes[*at] == b' ' && bytes[at - 1].is_ascii_alphabetic() && bytes[at + 1].is_ascii_alphabetic());
    match seam {
        Some(at) => (at, true),
        None if text.len() <= LONGEST_PIECE => (text.len(), true),
        None => (text.floor_char_boundary(LONGEST_PIECE), false),
    }
}

/// The fallback for models without a known encoding.
pub(super) fn by_words(text: &str) -> u64 {
    const LONG: usize = 12;
    let words: u64 = text
        .split_whitespace()
        .map(|word| if word.len() <= LONG { 1 } else { (word.len() as u64).div_ceil(4) })
        .fold(0, u64::saturating_add);
    (words.saturating_mul(13)).div_ceil(10).min(text.len() as u64)
}
