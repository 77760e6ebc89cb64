//! No answer is longer than so many characters. What is within them passes as it comes; the rest is left out.
//!
//! Setting `most`: how many; 2000 unless given.

use std::rc::Rc;

use witgate_response_parser::{
    Complaint, Delta, Finish, Kinds, Needs, Reply, ReplyInfo, ResponseParser, Settings, Setup, export_response_parser,
    text,
};

struct Clip {
    most: usize,
}

/// One answer: how many characters are left.
struct Clipped(usize);

impl ResponseParser for Clip {
    type Reply = Clipped;

    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        let mut settings = Settings::parse(&setup.settings)?;
        let most = settings.whole("most", 1..=1_000_000)?.unwrap_or(2000);
        settings.finish()?;
        // Of all that a model gives, the text alone; nothing of one reply is remembered at the next.
        let needs = Needs { deltas: Kinds::TEXT, attributes: Vec::new(), pure: true };
        Ok((Self { most: most as usize }, needs))
    }

    fn open(self: &Rc<Self>, _: ReplyInfo) -> Clipped {
        Clipped(self.most)
    }
}

impl Reply for Clipped {
    fn push(&mut self, delta: Delta) -> Vec<Delta> {
        let Delta::Text(mut words) = delta else { return vec![delta] };
        if let Some((end, _)) = words.char_indices().nth(self.0) {
            words.truncate(end);
        }
        self.0 -= words.chars().count();
        text(words)
    }

    fn finish(&mut self, _: Finish) -> Result<Vec<Delta>, Complaint> {
        Ok(Vec::new())
    }
}

export_response_parser!(Clip);

#[cfg(test)]
mod tests;
