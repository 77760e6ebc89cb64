//! A text that comes in pieces, split where tags begin and end. Blank space right after a thought is the tag's, not the
//! answer's; so is that before the first one.

/// A piece of the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// What the client asked for.
    Answer(String),
    /// What the model thought on the way.
    Thought(String),
}

pub(crate) struct Splitter {
    /// `<think>` and `</think>`, for each name.
    tags: Vec<(String, String)>,
    /// The tag that is open, by its place.
    inside: Option<usize>,
    /// What may be the beginning of a tag.
    held: String,
    /// Nothing but blank space came since the reply or the answer began.
    blank: bool,
}

impl Splitter {
    pub(crate) fn new(names: &[String], inside: bool) -> Self {
        let tags = names.iter().map(|name| (format!("<{name}>"), format!("</{name}>"))).collect();
        Self { tags, inside: inside.then_some(0), held: String::new(), blank: true }
    }

    /// Takes in the next piece of text.
    pub(crate) fn push(&mut self, words: String) -> Vec<Piece> {
        // The common case: nothing is held, nothing looks like a tag.
        if self.held.is_empty() && !self.blank && !words.contains('<') {
            return vec![self.piece(words)];
        }
        let mut rest = std::mem::take(&mut self.held) + &words;
        let mut pieces = Vec::new();
        while let Some((at, length, inside)) = self.next_tag(&rest) {
            let before = rest[..at].to_owned();
            self.add(before, &mut pieces);
            rest = rest.split_off(at + length);
            self.inside = inside;
            self.blank = true;
        }
        let keep = rest.len() - self.partial(&rest);
        self.held = rest.split_off(keep);
        self.add(rest, &mut pieces);
        pieces
    }

    /// Nothing more comes: what was held was no tag.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let held = std::mem::take(&mut self.held);
        self.add(held, &mut pieces);
        pieces
    }

    fn add(&mut self, mut words: String, pieces: &mut Vec<Piece>) {
        if self.blank {
            let kept = words.trim_start();
            if kept.is_empty() {
                return;
            }
            words.drain(..words.len() - kept.len());
            self.blank = false;
        }
        if !words.is_empty() {
            pieces.push(self.piece(words));
        }
    }

    fn piece(&self, words: String) -> Piece {
        if self.inside.is_some() { Piece::Thought(words) } else { Piece::Answer(words) }
    }

    /// The tags that may come next: the one that closes, or all that open.
    fn awaited(&self) -> impl Iterator<Item = (&str, Option<usize>)> {
        let inside = self.inside;
        self.tags.iter().enumerate().filter_map(move |(place, (open, close))| match inside {
            None => Some((open.as_str(), Some(place))),
            Some(opened) => (opened == place).then_some((close.as_str(), None)),
        })
    }

    /// Where the next tag is, how long, and what is open behind it.
    fn next_tag(&self, text: &str) -> Option<(usize, usize, Option<usize>)> {
        let found = self.awaited().filter_map(|(tag, inside)| Some((text.find(tag)?, tag.len(), inside)));
        found.min_by_key(|(at, _, _)| *at)
    }

    /// Bytes at the end of `text` that may be the beginning of a tag.
    fn partial(&self, text: &str) -> usize {
        let longest = |tag: &str| {
            (1..tag.len()).rev().find(|length| text.as_bytes().ends_with(&tag.as_bytes()[..*length])).unwrap_or(0)
        };
        self.awaited().map(|(tag, _)| longest(tag)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer and the thought, however the text is cut.
    fn read(names: &[&str], inside: bool, pieces: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut splitter = Splitter::new(&names, inside);
        let mut all: Vec<Piece> = pieces.iter().flat_map(|piece| splitter.push((*piece).to_owned())).collect();
        all.extend(splitter.finish());
        let (mut answer, mut thought) = (String::new(), String::new());
        for piece in all {
            match piece {
                Piece::Answer(words) => answer.push_str(&words),
                Piece::Thought(words) => thought.push_str(&words),
            }
        }
        (answer, thought)
    }

    #[test]
    fn at_every_cut_the_same() {
        for (names, inside, text, answer, thought) in [
            (&["think"][..], false, "<think>\nhm, 2 < 3\n</think>\n\n4 it is", "4 it is", "hm, 2 < 3\n"),
            (&["think", "reasoning"], false, "a <reasoning>x</think></reasoning> b", "a b", "x</think>"),
            (&["think"], true, "so é\n</think>yes", "yes", "so é\n"),
            (&["think"], false, "no tags, a<b and </think> alone", "no tags, a<b and </think> alone", ""),
            (&["think"], false, "ends with <thin", "ends with <thin", ""),
            (&["think"], false, "<think>never closed", "", "never closed"),
        ] {
            let expected = (answer.to_owned(), thought.to_owned());
            assert_eq!(read(names, inside, &[text]), expected, "{text}");
            for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
                let (one, two) = text.split_at(cut);
                assert_eq!(read(names, inside, &[one, two]), expected, "{one:?} {two:?}");
            }
            let letters: Vec<String> = text.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            assert_eq!(read(names, inside, &letters), expected, "{text} letter by letter");
        }
    }

    #[test]
    fn what_cannot_be_a_tag_is_not_held_back() {
        let mut splitter = Splitter::new(&["think".to_owned()], false);
        assert_eq!(splitter.push("Hello".to_owned()), [Piece::Answer("Hello".to_owned())]);
        assert_eq!(splitter.push(" a < b".to_owned()), [Piece::Answer(" a < b".to_owned())]);
        assert_eq!(splitter.push(" <th".to_owned()), [Piece::Answer(" ".to_owned())]);
        assert_eq!(splitter.push("e".to_owned()), [Piece::Answer("<the".to_owned())]);
    }
}
