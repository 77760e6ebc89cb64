//! Providers repeat what they were sent. What is configured as a secret leaves their words before anyone
//! reads them.

use std::borrow::Cow;
use std::collections::HashSet;

use secrecy::{ExposeSecret, SecretString};

/// What stands in the place of a secret.
const MASK: &str = "***";

/// Shorter ones are not secrets, and taking them out would make holes in every text.
const SHORTEST: usize = 4;

/// What providers write for the middle of a key that they show in part.
const GAPS: [&str; 3] = ["**", "…", "..."];

/// Letters of a secret's beginning, and of its end, by which one shown in part is known.
const SHOWN: [usize; 2] = [3, 4];

/// So many bytes of a secret in a row are known wherever they stand: a part of it is no secret of half the worth.
const RUN: usize = 12;
/// Longer ones are no keys but files, whose words are in many texts.
const LONGEST_KEY: usize = 512;
/// What keys are made of beside letters and digits: an address or a type of a body is none, and begins as many others do.
const OF_KEYS: &[u8] = b"-_.+=";

/// `text` without `secrets`, whole or shown in part (`sk-…abcd`, or a dozen letters of one). Borrowed where there is nothing to hide. Secrets shorter than four bytes stay.
#[must_use]
pub fn scrub<'a>(text: &'a str, secrets: &[SecretString]) -> Cow<'a, str> {
    let mut found: Vec<&str> = secrets
        .iter()
        .map(SecretString::expose_secret)
        .filter(|secret| secret.len() >= SHORTEST && text.contains(secret))
        .collect();
    // The longest first, so that no rest of a secret stays where one holds another.
    found.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    let whole = found.into_iter().fold(Cow::Borrowed(text), |text, secret| Cow::Owned(text.replace(secret, MASK)));
    match without_parts(&whole, secrets) {
        Some(masked) => Cow::Owned(masked),
        None => whole,
    }
}

/// `text` without the words that show a part of a secret; nothing where there are none.
fn without_parts(text: &str, secrets: &[SecretString]) -> Option<String> {
    let is_key = |key: &&[u8]| {
        key.len() <= LONGEST_KEY && key.iter().all(|byte| byte.is_ascii_alphanumeric() || OF_KEYS.contains(byte))
    };
    let keys = secrets.iter().map(|secret| secret.expose_secret().as_bytes()).filter(is_key);
    let runs: HashSet<&[u8]> = keys.flat_map(|key| key.windows(RUN)).collect();
    let breaks = |sign: char| sign.is_whitespace() || "\"'`()[]{}<>,;:=".contains(sign);
    let (mut out, mut hidden) = (String::with_capacity(text.len()), false);
    for piece in text.split_inclusive(breaks) {
        let word = piece.trim_end_matches(breaks);
        let shows = word.as_bytes().windows(RUN).any(|run| runs.contains(run))
            || secrets.iter().any(|secret| shows(word, secret.expose_secret()));
        hidden |= shows;
        out.push_str(if shows { MASK } else { word });
        out.push_str(&piece[word.len()..]);
    }
    hidden.then_some(out)
}

/// Whether a word with a gap begins or ends as a secret does.
fn shows(word: &str, secret: &str) -> bool {
    let gaps = || GAPS.iter().filter_map(|gap| Some((word.find(gap)?, word.rfind(gap)? + gap.len())));
    let Some(begin) = gaps().map(|(begin, _)| begin).min().filter(|_| secret.len() >= SHORTEST) else { return false };
    let first = &word[..begin];
    // A sentence may end after it, and after a gap too.
    let ends = gaps().map(|(_, end)| &word[end..]).min_by_key(|end| end.len());
    let last = ends.unwrap_or_default().trim_matches(['*', '.', '…', '!', '?']);
    let [of_first, of_last] = SHOWN;
    (first.chars().count() >= of_first && secret.starts_with(first))
        || (last.chars().count() >= of_last && secret.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_every_occurrence_and_leaves_the_rest() {
        let secrets = ["sk-1234".into(), "sk-1234-long".into(), "abc".into(), String::new().into()];
        assert_eq!(scrub("key sk-1234-long or sk-1234, abc", &secrets), "key *** or ***, abc");
        for (said, clean) in [
            ("provided: sk-12**ng. See \"sk-…long\"", "provided: *** See \"***\""),
            ("(sk-1...), ****long!", "(***), ***"),
            ("wait... sk...long4, **ng … bel**w", "wait... sk...long4, **ng … bel**w"),
        ] {
            assert_eq!(scrub(said, &secrets), clean);
        }
        let long = ["sk-proj-0123456789abcdef".into(), "https://platform.a.test".into()];
        for (said, clean) in [
            ("the key 23456789abcd is none; 0123456789a", "the key *** is none; 0123456789a"),
            ("sent: Key-sk-proj-0123456, as sk-proj-", "sent: ***, as sk-proj-"),
            ("see https://platform.b.test", "see https://platform.b.test"),
        ] {
            assert_eq!(scrub(said, &long), clean);
        }
        assert!(matches!(scrub("nothing here", &secrets), Cow::Borrowed(_)));
    }
}
