//! One reply, read by a parser while it comes.

use std::sync::Arc;

use wasmtime::component::ResourceAny;

use super::{Complaint, ParserNeeds, Parsing, ReplyInfo, ResponseParser, wit};
use crate::chat::{Chunk, Delta, FinishReason, Rest};
use crate::moment::Moment;
use crate::policy::host::{Budget, Instance, Lent, PolicyFault, cut};

/// Bytes of a complaint that are kept.
const PROBLEM_BYTES: usize = 1024;
/// Bytes of what the model is to be told that are kept.
const REPAIR_BYTES: usize = 64 << 10;

/// The parser of one reply. Every alternative has a resource of its own in one instance.
pub struct ReplyParser {
    /// `None` once it failed: what still comes passes untouched.
    lent: Option<Lent<Parsing>>,
    about: ReplyInfo,
    alternatives: Vec<Alternative>,
    /// Bytes it was told: as much as that may be held back and come at once.
    told: usize,
}

struct Alternative {
    choice: u32,
    /// `None` once it is complete.
    parser: Option<ResourceAny>,
}

impl ReplyParser {
    /// Begins a reply. Where there is no instance for it, the reply passes untouched.
    #[must_use]
    pub fn begin(policy: &Arc<ResponseParser>, about: ReplyInfo) -> Self {
        // What keeps it from being had is counted and logged.
        Self { lent: Lent::of(policy, about.id).ok(), about, alternatives: Vec::new(), told: 0 }
    }

    /// Whether it still reads.
    #[must_use]
    pub const fn is_reading(&self) -> bool {
        self.lent.is_some()
    }

    /// Whether its calls take so long that they must not be made on a thread that serves.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.lent.as_ref().is_some_and(|lent| lent.policy().is_slow())
    }

    /// Puts what the client gets in the place of what came.
    ///
    /// # Errors
    /// The reply is none. What was read before the complaint is in `chunks`.
    pub fn read(&mut self, now: Moment, chunks: &mut Vec<Chunk>) -> Result<(), Complaint> {
        if !self.is_reading() || chunks.is_empty() {
            return Ok(());
        }
        let came = std::mem::take(chunks);
        for chunk in came {
            self.step(now, chunk, chunks)?;
        }
        Ok(())
    }

    /// The reply is complete, whether or not every alternative said so.
    ///
    /// # Errors
    /// As [`ReplyParser::read`].
    pub fn end(&mut self, now: Moment, chunks: &mut Vec<Chunk>) -> Result<(), Complaint> {
        let open: Vec<u32> =
            self.alternatives.iter().filter(|one| one.parser.is_some()).map(|one| one.choice).collect();
        for choice in open {
            let held = self.finish(now, choice, &FinishReason::Other(String::new()))?;
            chunks.extend(held.into_iter().map(|delta| Chunk { choice, delta, rest: Rest::new() }));
        }
        if let Some(lent) = self.lent.take() {
            lent.give_back();
        }
        Ok(())
    }

    fn step(&mut self, now: Moment, chunk: Chunk, out: &mut Vec<Chunk>) -> Result<(), Complaint> {
        if let Delta::Finish(reason) = &chunk.delta {
            let choice = chunk.choice;
            let held = self.finish(now, choice, reason)?;
            out.extend(held.into_iter().map(|delta| Chunk { choice, delta, rest: Rest::new() }));
            out.push(chunk);
            return Ok(());
        }
        let Some(deltas) = self.push(now, chunk.choice, &chunk.delta) else {
            out.push(chunk);
            return Ok(());
        };
        // Fields beside a delta (log probabilities …) are true of it alone.
        if let [same] = &deltas[..]
            && *same == chunk.delta
        {
            out.push(chunk);
            return Ok(());
        }
        out.extend(deltas.into_iter().map(|delta| Chunk { choice: chunk.choice, delta, rest: Rest::new() }));
        Ok(())
    }

    /// What the client gets in the place of `delta`; `None` where the parser has no say in it.
    pub(super) fn push(&mut self, now: Moment, choice: u32, delta: &Delta) -> Option<Vec<Delta>> {
        if !self.needs()?.wants(delta) {
            return None;
        }
        self.told += spoken(delta);
        let told = self.told;
        let parser = self.parser(now, choice)?;
        self.call(now, |instance, budget| instance.push(budget.over(told), parser, delta))
    }

    /// What was held back of an alternative that is complete.
    ///
    /// # Errors
    /// It is no reply.
    pub(super) fn finish(&mut self, now: Moment, choice: u32, reason: &FinishReason) -> Result<Vec<Delta>, Complaint> {
        let told = self.told;
        let Some(parser) = self.parser(now, choice) else { return Ok(Vec::new()) };
        let answer = self.call(now, |instance, budget| instance.finish(budget.over(told), parser, reason));
        if let Some(one) = self.alternatives.iter_mut().find(|one| one.choice == choice) {
            one.parser = None;
        }
        match answer {
            None => Ok(Vec::new()),
            Some(Ok(held)) => Ok(held),
            Some(Err(complaint)) => {
                self.close(now);
                Err(bounded(choice, complaint))
            }
        }
    }

    /// The reply goes no further: what is open is closed, and another may be read.
    fn close(&mut self, now: Moment) {
        let open: Vec<ResourceAny> = self.alternatives.iter_mut().filter_map(|one| one.parser.take()).collect();
        for parser in open {
            self.call(now, |instance, budget| instance.close(budget, parser));
        }
        if let Some(lent) = self.lent.take() {
            lent.give_back();
        }
    }

    /// The resource that reads an alternative, made when it begins. `None` where it is complete or the parser failed.
    fn parser(&mut self, now: Moment, choice: u32) -> Option<ResourceAny> {
        if let Some(known) = self.alternatives.iter().find(|one| one.choice == choice) {
            return known.parser;
        }
        let lent = self.lent.as_mut()?;
        let about = &self.about;
        let parser = lent.call(now, |instance, budget| instance.open(budget, choice, about)).ok();
        if parser.is_none() {
            self.lent = None;
        }
        self.alternatives.push(Alternative { choice, parser });
        parser
    }

    fn call<R>(
        &mut self,
        now: Moment,
        call: impl FnOnce(&mut Instance<Parsing>, Budget) -> Result<R, PolicyFault>,
    ) -> Option<R> {
        let answer = self.lent.as_mut()?.call(now, call).ok();
        if answer.is_none() {
            self.lent = None;
        }
        answer
    }

    fn needs(&self) -> Option<&ParserNeeds> {
        Some(self.lent.as_ref()?.policy().needs())
    }
}

fn bounded(choice: u32, complaint: wit::Complaint) -> Complaint {
    let wit::Complaint { mut problem, mut repair } = complaint;
    cut(&mut problem, PROBLEM_BYTES);
    if let Some(repair) = &mut repair {
        cut(repair, REPAIR_BYTES);
    }
    Complaint { choice, problem, repair }
}

fn spoken(delta: &Delta) -> usize {
    match delta {
        Delta::Text(text) | Delta::Reasoning(text) | Delta::Refusal(text) => text.len(),
        Delta::ToolCall { id, name, .. } => id.len() + name.len(),
        Delta::ToolArguments { fragment, .. } => fragment.len(),
        _ => 0,
    }
}
