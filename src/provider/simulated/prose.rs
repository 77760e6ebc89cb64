//! Words to fill a reply with.

use std::fmt::Write as _;

const SUBJECTS: [&str; 12] = [
    "the harbour",
    "a river",
    "the morning",
    "our road",
    "the old clock",
    "a small bird",
    "the market",
    "the north wind",
    "a paper boat",
    "the lighthouse",
    "the garden",
    "a slow train",
];
const VERBS: [&str; 12] = [
    "remembers",
    "carries",
    "follows",
    "answers",
    "crosses",
    "keeps",
    "finds",
    "opens",
    "hears",
    "passes",
    "leaves",
    "meets",
];
const OBJECTS: [&str; 12] = [
    "the last light",
    "every letter",
    "a quiet song",
    "the far hills",
    "an open door",
    "the first snow",
    "two bridges",
    "a long story",
    "the summer rain",
    "some good news",
    "the empty square",
    "a bright window",
];
const ENDINGS: [&str; 8] =
    ["before noon", "without a word", "once again", "after the rain", "in time", "by the sea", "all year", "at dusk"];

/// How a sentence begins that is not sound.
const UNSOUND: &str = "Perhaps ";

/// At least `tokens` tokens of prose, in whole sentences; of a skilled writer so many of them, as a share, are sound.
pub(super) fn write(tokens: u64, sound: Option<f64>, chance: &mut fastrand::Rng) -> String {
    let mut text = String::new();
    let mut written = 0;
    while written < tokens {
        let start = text.len();
        let mut pick = |words: &[&'static str]| chance.choice(words).copied().unwrap_or_default();
        let mut subject = pick(&SUBJECTS).to_owned();
        let (verb, object, ending) = (pick(&VERBS), pick(&OBJECTS), pick(&ENDINGS));
        if sound.is_some_and(|sound| chance.f64() >= sound) {
            subject.insert_str(0, UNSOUND);
        } else if let Some(first) = subject.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let space = if start == 0 { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{space}{subject} {verb} {object} {ending}.");
        written += super::tokens::count(&text[start..]);
    }
    text
}

/// The share of a text's sentences that are sound; nothing said is not.
pub(super) fn soundness(text: &str) -> f64 {
    let sentences = || text.split('.').map(str::trim).filter(|sentence| !sentence.is_empty());
    let sound = sentences().filter(|sentence| !sentence.starts_with(UNSOUND)).count();
    let share = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    share(sound) / share(sentences().count()).max(1.0)
}

/// Two or three words, for a value in a document.
pub(super) fn phrase(chance: &mut fastrand::Rng) -> &'static str {
    chance.choice(OBJECTS).unwrap_or_default()
}
