//! Patterns, and what stands in the place of what they find.

use std::collections::{BTreeMap, BTreeSet};

use regex_lite::Regex;
use serde_json::{Map, Value};

/// What is looked for, and what its masks are called.
#[derive(Debug)]
struct Pattern {
    name: String,
    regex: Regex,
    /// What the pattern alone cannot tell.
    fits: fn(&str) -> bool,
    /// Where alone it can match; anywhere unless it is known.
    runs: Option<Letters>,
}

/// Runs of letters outside of which a pattern matches nothing. They are found at a hundredth of what the pattern costs, and
/// prose has few: a long prompt must not use up the time of a call.
#[derive(Clone, Copy, Debug)]
struct Runs {
    /// All that a match can be made of.
    of: fn(u8) -> bool,
    /// So many of these are in every match.
    having: (fn(u8) -> bool, usize),
}

/// Runs, to be looked for: what a letter is, is read and not asked.
#[derive(Debug)]
struct Letters {
    of: [bool; 256],
    counts: [bool; 256],
    least: usize,
}

impl From<Runs> for Letters {
    fn from(runs: Runs) -> Self {
        let (counts, least) = runs.having;
        Self { of: letters().map(runs.of), counts: letters().map(counts), least }
    }
}

impl Letters {
    /// The runs of a text, with the letters around them: patterns look at those.
    fn runs<'t>(&self, text: &'t str) -> Vec<(usize, &'t str)> {
        let (bytes, mut at, mut runs) = (text.as_bytes(), 0, Vec::new());
        while at < bytes.len() {
            let run = bytes[at..].iter().take_while(|byte| self.of[usize::from(**byte)]);
            let (mut end, mut counted) = (at, 0);
            for byte in run {
                end += 1;
                counted += usize::from(self.counts[usize::from(*byte)]);
            }
            if counted >= self.least {
                let from = text.floor_char_boundary(at.saturating_sub(1));
                runs.push((from, &text[from..text.ceil_char_boundary(end + 1)]));
            }
            at = end + 1;
        }
        runs
    }
}

fn letters() -> [u8; 256] {
    let mut next = 0_u8;
    [(); 256].map(|()| {
        let letter = next;
        next = next.wrapping_add(1);
        letter
    })
}

/// All that is looked for.
#[derive(Debug)]
pub(crate) struct Patterns {
    all: Vec<Pattern>,
    /// For each letter, a bit for every one of the first patterns that cannot match without such letters.
    needed_by: [u32; 256],
}

impl Patterns {
    /// # Errors
    /// One of them is none.
    pub(crate) fn read(written: &[Value]) -> Result<Self, String> {
        let all: Vec<Pattern> = written.iter().map(Pattern::read).collect::<Result<_, _>>()?;
        let needed_by = letters().map(|letter| {
            let needs = |pattern: &Pattern| pattern.runs.as_ref().is_some_and(|runs| runs.counts[usize::from(letter)]);
            (0..u32::BITS).zip(&all).fold(0, |bits, (at, pattern)| bits | u32::from(needs(pattern)) << at)
        });
        Ok(Self { all, needed_by })
    }

    /// Those that can match in a text, found in one look at each of its letters: most texts have nothing for most patterns.
    fn possible(&self, text: &str) -> impl Iterator<Item = &Pattern> {
        let has = text.bytes().fold(0, |has, byte| has | self.needed_by[usize::from(byte)]);
        (0..).zip(&self.all).filter_map(move |(at, pattern)| {
            let bit = 1_u32.checked_shl(at).unwrap_or_default();
            (pattern.runs.is_none() || bit == 0 || has & bit != 0).then_some(pattern)
        })
    }
}

/// A name, a pattern, what the pattern alone cannot tell, and where it can match.
type BuiltIn = (&'static str, &'static str, fn(&str) -> bool, Runs);

const fn runs(of: fn(u8) -> bool, having: fn(u8) -> bool, least: usize) -> Runs {
    Runs { of, having: (having, least) }
}

fn digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// Those that have a name of their own. Phone numbers have a plus or a leading zero and at least seven digits, so that years and
/// amounts are none.
const BUILT_IN: [BuiltIn; 5] = [
    (
        "email",
        r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}",
        |_| true,
        runs(|byte| byte.is_ascii_alphanumeric() || b"._%+-@".contains(&byte), |byte| byte == b'@', 1),
    ),
    (
        "iban",
        r"\b[A-Z]{2}[0-9]{2}( ?[A-Z0-9]{4}){2,7}( ?[A-Z0-9]{1,4})?\b",
        |_| true,
        runs(|byte| byte.is_ascii_uppercase() || digit(byte) || byte == b' ', digit, 2),
    ),
    ("card", r"\b[0-9]([ -]?[0-9]){12,18}\b", luhn, runs(|byte| digit(byte) || b" -".contains(&byte), digit, 13)),
    (
        "phone",
        r"(\+|\b00?)[1-9][0-9]{0,3}([ /.-]?\(?[0-9]{1,4}\)?){2,6}\b",
        |found| digits(found).count() >= 7,
        runs(|byte| digit(byte) || b"+ /.-()".contains(&byte), digit, 7),
    ),
    (
        "ip",
        r"\b((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\b",
        |_| true,
        runs(|byte| digit(byte) || byte == b'.', |byte| byte == b'.', 3),
    ),
];

impl Pattern {
    /// # Errors
    /// There is no such pattern, or it is none.
    fn read(written: &Value) -> Result<Self, String> {
        if let Value::String(name) = written {
            let known = || BUILT_IN.map(|(name, ..)| name).join(", ");
            let found = BUILT_IN.into_iter().find(|(built_in, ..)| built_in == name);
            let (_, pattern, fits, runs) =
                found.ok_or_else(|| format!("no pattern is named `{name}`; there are {}", known()))?;
            return Self::new(name, pattern, fits, Some(runs));
        }
        let text = |key: &str| written.get(key).and_then(Value::as_str);
        match (text("name"), text("pattern")) {
            (Some(name), Some(pattern)) => Self::new(name, pattern, |_| true, None),
            _ => Err("a pattern is a name, or an object of a `name` and a `pattern`".to_owned()),
        }
    }

    fn new(name: &str, pattern: &str, fits: fn(&str) -> bool, runs: Option<Runs>) -> Result<Self, String> {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("the name `{name}` of a pattern may have letters, digits and `_` alone"));
        }
        let regex = Regex::new(pattern).map_err(|fault| format!("pattern `{name}`: {fault}"))?;
        if regex.is_match("") {
            return Err(format!("pattern `{name}` matches an empty text"));
        }
        Ok(Self { name: name.to_ascii_uppercase(), regex, fits, runs: runs.map(Letters::from) })
    }
}

/// The masks of one request.
#[derive(Debug, Default)]
pub(crate) struct Masks {
    /// Each, and what it stands for.
    all: Vec<(String, String)>,
    /// Which of them stands for a text.
    by_text: BTreeMap<String, usize>,
    /// The last number of each pattern's masks.
    numbers: BTreeMap<String, usize>,
    /// What the client wrote that looks like a mask: it stands for itself, in the reply too.
    written: BTreeSet<String>,
}

impl Masks {
    /// None yet, in a request of these texts.
    pub(crate) fn beside<'t>(texts: impl Iterator<Item = &'t str>) -> Self {
        let written = texts.flat_map(looking_like_masks).map(str::to_owned).collect();
        Self { written, ..Self::default() }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The text with masks; `None` where there is nothing to mask. What an earlier pattern found is no later one's.
    pub(crate) fn apply(&mut self, patterns: &Patterns, text: &str) -> Option<String> {
        let mut found: Vec<(usize, usize, &str)> = Vec::new();
        for pattern in patterns.possible(text) {
            let runs = pattern.runs.as_ref().map_or_else(|| vec![(0, text)], |letters| letters.runs(text));
            for (from, place) in
                runs.iter().flat_map(|(from, run)| pattern.regex.find_iter(run).map(move |at| (*from, at)))
            {
                let (start, end) = (from + place.start(), from + place.end());
                let free = found.iter().all(|(from, to, _)| end <= *from || start >= *to);
                if free && (pattern.fits)(place.as_str()) {
                    found.push((start, end, &pattern.name));
                }
            }
        }
        if found.is_empty() {
            return None;
        }
        found.sort_unstable();
        let (mut masked, mut at) = (String::with_capacity(text.len()), 0);
        for (start, end, name) in found {
            masked.push_str(&text[at..start]);
            masked.push_str(self.of(name, &text[start..end]));
            at = end;
        }
        masked.push_str(&text[at..]);
        Some(masked)
    }

    /// The mask of a text: the same one every time.
    fn of(&mut self, name: &str, text: &str) -> &str {
        let place = self.by_text.get(text).copied().unwrap_or_else(|| {
            // Each number is looked at once, however many a client wrote.
            let number = self.numbers.entry(name.to_owned()).or_default();
            let mask = loop {
                *number += 1;
                let mask = format!("<{name}_{number}>");
                if !self.written.contains(&mask) {
                    break mask;
                }
            };
            self.by_text.insert(text.to_owned(), self.all.len());
            self.all.push((mask, text.to_owned()));
            self.all.len() - 1
        });
        &self.all[place].0
    }

    /// What `restore` reads: masks and their texts.
    pub(crate) fn to_json(&self) -> String {
        let object: Map<String, Value> =
            self.all.iter().map(|(mask, text)| (mask.clone(), text.as_str().into())).collect();
        Value::Object(object).to_string()
    }
}

/// What is written in a text as a mask is.
fn looking_like_masks(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('<').filter_map(|(at, _)| {
        let rest = &text[at..];
        let end = rest[1..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))? + 1;
        let numbered = rest[1..end].rsplit_once('_').is_some_and(|(_, number)| number.parse::<u64>().is_ok());
        (rest[end..].starts_with('>') && numbered).then(|| &rest[..=end])
    })
}

fn digits(text: &str) -> impl DoubleEndedIterator<Item = u32> {
    text.chars().filter_map(|c| c.to_digit(10))
}

/// The check digit of payment cards (ISO/IEC 7812-1).
fn luhn(text: &str) -> bool {
    let sum: u32 = digits(text)
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn masked(patterns: &Value, texts: &[&str]) -> (Vec<Option<String>>, String) {
        let patterns = Patterns::read(patterns.as_array().unwrap()).unwrap();
        let mut masks = Masks::default();
        (texts.iter().map(|text| masks.apply(&patterns, text)).collect(), masks.to_json())
    }

    #[test]
    fn each_kind_is_found_and_numbered() {
        let all = json!(["email", "iban", "card", "phone", "ip"]);
        let texts = [
            "write to ada@example.org or bob.b@mail.example.co.uk, ada@example.org first",
            "DE89 3702 0440 0532 0130 00 and 4111 1111 1111 1111, not 4111 1111 1111 1112",
            "call +49 30 901820 from 10.0.0.254 by 2026-11-25 for 1500000 dollars",
            "nothing here, a@b, 1.2.3",
        ];
        let (masked, note) = masked(&all, &texts);
        assert_eq!(masked[0].as_deref(), Some("write to <EMAIL_1> or <EMAIL_2>, <EMAIL_1> first"));
        assert_eq!(masked[1].as_deref(), Some("<IBAN_1> and <CARD_1>, not 4111 1111 1111 1112"));
        assert_eq!(masked[2].as_deref(), Some("call <PHONE_1> from <IP_1> by 2026-11-25 for 1500000 dollars"));
        assert_eq!(masked[3], None);
        let note: Value = serde_json::from_str(&note).unwrap();
        assert_eq!(
            (note["<EMAIL_2>"].as_str(), note.as_object().unwrap().len()),
            (Some("bob.b@mail.example.co.uk"), 6)
        );
    }

    #[test]
    fn what_a_client_wrote_like_a_mask_is_no_mask() {
        let patterns = Patterns::read(json!(["email"]).as_array().unwrap()).unwrap();
        let texts = ["explain `<EMAIL_1>` and <EMAIL_3>, < EMAIL_2>, <a_b>", "mail ada@example.org, bob@example.org"];
        let mut masks = Masks::beside(texts.into_iter());
        let masked = texts.map(|text| masks.apply(&patterns, text));
        assert_eq!(masked, [None, Some("mail <EMAIL_2>, <EMAIL_4>".to_owned())]);
    }

    #[test]
    fn patterns_of_the_operators_own() {
        let (found, _) = masked(&json!([{"name": "customer", "pattern": "C-[0-9]{4}"}]), &["C-1234, C-12345"]);
        assert_eq!(found[0].as_deref(), Some("<CUSTOMER_1>, <CUSTOMER_1>5"));
        for (wrong, why) in [
            (json!("fax"), "no pattern is named `fax`"),
            (json!({"name": "a"}), "an object of a `name` and a `pattern`"),
            (json!({"name": "a b", "pattern": "x"}), "letters, digits"),
            (json!({"name": "a", "pattern": "("}), "pattern `a`:"),
            (json!({"name": "a", "pattern": "x*"}), "matches an empty text"),
        ] {
            assert!(Pattern::read(&wrong).unwrap_err().contains(why), "{wrong}");
        }
    }
}
