//! A text that comes in pieces, its masks replaced.

/// What is held of it.
#[derive(Debug, Default)]
pub(crate) struct Unmask {
    /// May be the beginning of a mask.
    held: String,
}

impl Unmask {
    /// What of the text is certain now. `masks` begin with `<` and end with `>`.
    pub(crate) fn push(&mut self, masks: &[(String, String)], words: String, write: fn(&str) -> String) -> String {
        if masks.is_empty() || (self.held.is_empty() && !words.contains('<')) {
            return words;
        }
        let all = std::mem::take(&mut self.held) + &words;
        let (mut out, mut rest) = (String::with_capacity(all.len()), all.as_str());
        while let Some(at) = rest.find('<') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some((mask, text)) = masks.iter().find(|(mask, _)| rest.starts_with(mask.as_str())) {
                out.push_str(&write(text));
                rest = &rest[mask.len()..];
            } else if masks.iter().any(|(mask, _)| mask.starts_with(rest)) {
                rest.clone_into(&mut self.held);
                return out;
            } else {
                out.push('<');
                rest = &rest[1..];
            }
        }
        out.push_str(rest);
        out
    }

    /// Nothing more comes: what was held was no mask.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_every_cut_the_same() {
        let masks = [("<EMAIL_1>", "a@b.c"), ("<EMAIL_11>", "x@y.z"), ("<N_1>", "Ä")]
            .map(|(mask, text)| (mask.to_owned(), text.to_owned()));
        for (text, expected) in [
            ("to <EMAIL_1>, cc <EMAIL_11>!", "to a@b.c, cc x@y.z!"),
            ("<N_1><N_1> <EMAIL_2> <<N_1> 1<2 <EMA", "ÄÄ <EMAIL_2> <Ä 1<2 <EMA"),
        ] {
            for cut in 0..=text.len() {
                let mut unmask = Unmask::default();
                let (one, two) = text.split_at(cut);
                let mut out = unmask.push(&masks, one.to_owned(), str::to_owned);
                out += &unmask.push(&masks, two.to_owned(), str::to_owned);
                out += &unmask.finish();
                assert_eq!(out, expected, "{one:?} {two:?}");
            }
        }
    }
}
