//! Inputs that are kept between runs (`tests/fixtures/fuzz`): each made some reader say what none of the fixtures makes it say.
//!
//! What a reader says is told in words without what the input chose itself: numbers and what stands in quotes. What is quoted may have
//! quotes of its own, so all from the first to the last is left out. An input that brings a new word is worth changing further; kept are
//! the shortest ones that together bring all of them.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use witgate::fault::{AttemptFault, FaultKind};

/// Longer inputs are not kept.
const LONGEST: usize = 2 << 10;
/// Bytes that are kept for one reader.
const MOST: usize = 48 << 10;
/// How often an input is tried without a piece of it: a slow one stays longer.
const TRIES: usize = 200;
/// Inputs that are shortened for one reader, the shortest first: each takes as many tries.
const SHORTENED: usize = 200;
/// What stands around words of the input.
const QUOTES: [char; 2] = ['`', '"'];
/// Letters of a word that count.
const LETTERS: usize = 80;

/// What was said of an input.
#[derive(Default)]
pub(super) struct Said(pub(super) BTreeSet<u64>);

impl Said {
    /// `who` said this.
    pub(super) fn by(&mut self, who: &str, text: &str) {
        let mut hash = DefaultHasher::new();
        who.hash(&mut hash);
        let before = text.split(QUOTES).next().unwrap_or_default();
        let after = text.rsplit(QUOTES).next().filter(|after| after.len() < text.len()).unwrap_or_default();
        let words = before.split_whitespace().chain(after.split_whitespace());
        let words = words.filter(|word| !word.contains(|letter: char| letter.is_ascii_digit()));
        let own = words.flat_map(str::chars).filter(char::is_ascii_alphabetic);
        own.take(LETTERS).collect::<String>().hash(&mut hash);
        self.0.insert(hash.finish());
    }

    /// `who` made this fault of it. Only of a broken reply the words are ours.
    pub(super) fn fault(&mut self, who: &str, fault: &AttemptFault) {
        let ours = if fault.kind == FaultKind::BrokenStream { &*fault.message } else { "" };
        self.by(who, &format!("{:?} {:?} {ours}", fault.kind, fault.cause));
    }
}

/// The shortest of the inputs with the same words, each as short as it can be, in place of what is in `folder`; how many there are now.
pub(super) fn keep(
    folder: &Path,
    known: &BTreeSet<u64>,
    found: &[Vec<u8>],
    said: &dyn Fn(&[u8]) -> Option<BTreeSet<u64>>,
) -> Result<usize, String> {
    let mut shortest: Vec<Vec<u8>> = Vec::new();
    let mut heard = known.clone();
    let mut found: Vec<&Vec<u8>> = found.iter().collect();
    found.sort_by_key(|input| input.len());
    for input in found {
        if shortest.len() >= SHORTENED {
            break;
        }
        let Some(words) = said(input) else { continue };
        let new: BTreeSet<u64> = words.difference(&heard).copied().collect();
        if new.is_empty() {
            continue;
        }
        let input = shortened(input.clone(), |input| said(input).is_some_and(|words| words.is_superset(&new)));
        if input.len() <= LONGEST {
            heard.extend(new);
            shortest.push(input);
        }
    }
    shortest.sort_by_key(|input| (input.len(), input.clone()));
    let failed = |problem: std::io::Error| format!("{}: {problem}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(failed)?;
    }
    fs::create_dir_all(folder).map_err(failed)?;
    let (mut heard, mut bytes, mut kept) = (known.clone(), 0, 0);
    for input in shortest {
        let words = said(&input).unwrap_or_default();
        if words.is_subset(&heard) || bytes + input.len() > MOST {
            continue;
        }
        heard.extend(words);
        bytes += input.len();
        kept += 1;
        let mut hash = DefaultHasher::new();
        input.hash(&mut hash);
        fs::write(folder.join(format!("{:016x}", hash.finish())), &input).map_err(failed)?;
    }
    Ok(kept)
}

/// The input without whatever can be taken out of it while `holds`.
fn shortened(mut input: Vec<u8>, holds: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (mut piece, mut tries) = (input.len() / 2, 0);
    while piece > 0 && tries < TRIES {
        let mut at = 0;
        while at < input.len() && tries < TRIES {
            tries += 1;
            let end = (at + piece).min(input.len());
            let without = [&input[..at], &input[end..]].concat();
            if holds(&without) {
                input = without;
            } else {
                at = end;
            }
        }
        piece /= 2;
    }
    input
}
