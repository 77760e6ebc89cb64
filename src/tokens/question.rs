//! What can be told cheaply of the question a client asks: whether it is about code, how hard it looks, and a vector that is alike for
//! questions with words in common. No model is asked, and nothing here takes longer than reading a few kilobytes.

/// Letters of a question that are looked at: its beginning says what it is about.
const LOOKED_AT: usize = 8 << 10;
/// Different words of it that are.
const WORDS: usize = 512;

/// Words by which code is told from prose.
const CODE: [&str; 25] = [
    "algorithm",
    "api",
    "array",
    "bash",
    "bug",
    "class",
    "code",
    "compile",
    "css",
    "debug",
    "def",
    "function",
    "html",
    "java",
    "javascript",
    "json",
    "python",
    "query",
    "regex",
    "rust",
    "script",
    "sql",
    "string",
    "struct",
    "typescript",
];
/// Words that ask for thought.
const ANALYSIS: [&str; 24] = [
    "analyse",
    "analyze",
    "assess",
    "cause",
    "compare",
    "contrast",
    "critique",
    "derive",
    "determine",
    "discuss",
    "evaluate",
    "evidence",
    "examine",
    "explain",
    "hypothesis",
    "implications",
    "interpret",
    "justify",
    "prove",
    "reason",
    "summarise",
    "summarize",
    "theorem",
    "why",
];
/// Words that ask for invention.
const CREATIVE: [&str; 16] = [
    "compose", "creative", "dialogue", "fiction", "haiku", "imagine", "invent", "lyrics", "novel", "poem", "poetry",
    "rhyme", "roleplay", "slogan", "song", "story",
];
/// Words that a short question of fact begins with.
const FACT: [&str; 11] = ["are", "can", "did", "do", "does", "how", "is", "what", "when", "where", "who"];
/// The commonest words of English.
const ENGLISH: [&str; 24] = [
    "a", "and", "are", "as", "at", "be", "by", "for", "from", "how", "in", "is", "it", "of", "on", "or", "that", "the",
    "this", "to", "was", "what", "with", "you",
];

/// What is told of a question; each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Traits {
    /// How much work it looks like: long, with long words, numbers and several demands.
    pub(super) complexity: f32,
    /// About code.
    pub(super) code: f32,
    /// Asks for thought.
    pub(super) analysis: f32,
    /// Asks for invention.
    pub(super) creative: f32,
    /// One short question of fact.
    pub(super) simple: f32,
    /// In English.
    pub(super) english: f32,
}

/// What can be told of `text`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a few thousand letters")]
pub(super) fn traits(text: &str) -> Traits {
    let text = beginning(text);
    let (mut words, mut letters, mut numbers, mut code, mut analysis, mut creative, mut english) =
        (0, 0, 0, 0, 0, 0, 0);
    let mut first = [0_u8; 16];
    each_word(text, |word| {
        if words == 0 {
            let length = word.len().min(first.len());
            first[..length].copy_from_slice(&word[..length]);
        }
        words += 1;
        letters += word.len();
        numbers += usize::from(word[0].is_ascii_digit());
        let among = |list: &[&str]| usize::from(list.binary_search_by(|known| known.as_bytes().cmp(word)).is_ok());
        code += among(&CODE);
        analysis += among(&ANALYSIS);
        creative += among(&CREATIVE);
        english += among(&ENGLISH);
    });
    if words == 0 {
        return Traits::default();
    }
    let share = |count: usize, most: f32| (count as f32 / words as f32 / most).min(1.0);
    let marks = text.bytes().filter(|byte| matches!(byte, b'{' | b'}' | b';' | b'=' | b'_' | b'<' | b'>')).count();
    let sentences = text.bytes().filter(|byte| matches!(byte, b'.' | b'?' | b'!' | b'\n')).count();
    let fenced = text.contains("```");
    let start = &first[..first.iter().position(|byte| *byte == 0).unwrap_or(first.len())];
    let fact = FACT.binary_search_by(|known| known.as_bytes().cmp(start)).is_ok() || text.trim_end().ends_with('?');
    let long = (words as f32).ln_1p() / 2_000.0_f32.ln();
    Traits {
        complexity: (0.5 * long.min(1.0)
            + 0.2 * ((letters as f32 / words as f32 - 3.0) / 4.0).clamp(0.0, 1.0)
            + 0.15 * share(numbers, 0.2)
            + 0.15 * (sentences as f32 / 12.0).min(1.0))
        .min(1.0),
        code: if fenced { 1.0 } else { (0.7 * share(code, 0.08) + 0.3 * share(marks, 0.3)).min(1.0) },
        analysis: share(analysis, 0.06),
        creative: share(creative, 0.05),
        simple: if fact && words <= 25 && sentences <= 2 { 1.0 } else { 0.0 },
        english: share(english, 0.25),
    }
}

/// A vector of `text`, of the length of `out` and of length 1: words, and pairs of neighbours, hashed to four places each with a
/// sign (feature hashing, Weinberger et al., 2009). Each different word counts once, a short one less. All zeros without any word.
pub(super) fn hashed(text: &str, out: &mut [f32]) {
    out.fill(0.0);
    let mut seen = [0_u64; WORDS * 2];
    let mut different = 0;
    let mut before = 0;
    each_word(beginning(text), |word| {
        let own = hash(word);
        let pair = (before ^ own).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for (hash, weight) in [(own, if word.len() < 4 { 0.3 } else { 1.0 }), (pair, 0.5)] {
            if different < WORDS && is_new(&mut seen, hash) {
                different += 1;
                place(hash, weight, out);
            }
        }
        before = own.rotate_left(7);
    });
    normalize(out);
}

/// Makes the length 1; what has none stays as it is.
pub(super) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length > 0.0 {
        for number in vector {
            *number /= length;
        }
    }
}

/// Adds one hash at four places.
fn place(hash: u64, weight: f32, out: &mut [f32]) {
    let mut bits = hash;
    for _ in 0..4 {
        bits = bits.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(0x2545_F491_4F6C_DD1D);
        let place = usize::try_from((bits >> 33) % out.len().max(1) as u64).unwrap_or(0);
        let sign = if bits >> 32 & 1 == 0 { weight } else { -weight };
        if let Some(number) = out.get_mut(place) {
            *number += sign;
        }
    }
}

/// Whether a hash was not met yet; a table with open addresses, never more than half full.
fn is_new(seen: &mut [u64], hash: u64) -> bool {
    let hash = hash | 1;
    let mut place = usize::try_from(hash >> 16).unwrap_or(0) % seen.len();
    while seen[place] != 0 {
        if seen[place] == hash {
            return false;
        }
        place = (place + 1) % seen.len();
    }
    seen[place] = hash;
    true
}

/// FNV-1a, stirred.
fn hash(word: &[u8]) -> u64 {
    let hash = word
        .iter()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3));
    hash ^ (hash >> 29)
}

/// The words in lower case: runs of letters and digits, what is not ASCII counted to the letters. The longest are cut.
fn each_word(text: &str, mut act: impl FnMut(&[u8])) {
    let mut word = [0_u8; 48];
    let mut length = 0;
    for byte in text.bytes().chain(std::iter::once(b' ')) {
        if byte.is_ascii_alphanumeric() || !byte.is_ascii() {
            if length < word.len() {
                word[length] = byte.to_ascii_lowercase();
                length += 1;
            }
        } else if length > 0 {
            act(&word[..length]);
            length = 0;
        }
    }
}

/// As much of a question as is looked at.
pub(super) fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(LOOKED_AT)]
}
