//! One reply, read by a parser while it comes.
//!
//! A parser that fails loses nothing: what it was told and had not answered yet is passed as it came, and so is all that follows.

use std::sync::Arc;

use wasmtime::component::ResourceAny;

use super::pending::Pending;
use super::{Complaint, ParserNeeds, Parsing, ReplyInfo, ResponseParser, wit};
use crate::chat::{Chunk, Delta, FinishReason, Rest};
use crate::moment::Moment;
use crate::policy::host::{Budget, CallContext, Instance, Lent, PolicyFault, cut};

/// Bytes of a complaint that are kept.
const PROBLEM_BYTES: usize = 1024;
/// Bytes of what the model is to be told that are kept.
const REPAIR_BYTES: usize = 64 << 10;
/// Bytes that the answers of one reply may have beside three times what was told.
const GIVEN_BYTES: usize = 16 << 20;

/// The parser of one reply. Every alternative has a resource of its own in one instance.
pub struct ReplyParser {
    policy: Arc<ResponseParser>,
    /// Taken out when it is first called, on the thread of that call: a slow policy's instances are slow to make.
    lent: Option<Lent<Parsing>>,
    /// Not once it failed or is done: what still comes passes untouched.
    reading: bool,
    about: ReplyInfo,
    alternatives: Vec<Alternative>,
    /// Bytes it was told: as much as that may be held back and come at once.
    told: usize,
    /// Bytes it answered.
    given: usize,
    /// What it had not answered when it failed.
    released: Vec<Chunk>,
    /// The kind of its fault, once it failed.
    fault: Option<&'static str>,
}

/// What a parser has made of a reply so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParserWork {
    /// Bytes it was told.
    pub told: usize,
    /// Bytes it answered.
    pub given: usize,
    /// The kind of its fault, where it failed.
    pub fault: Option<&'static str>,
}

impl ParserWork {
    /// Whether it failed by what it did itself: not for want of an instance, nor because it is quarantined.
    #[must_use]
    pub fn is_the_parsers_fault(&self) -> bool {
        let others = [PolicyFault::Quarantined, PolicyFault::NoInstance].map(|fault| fault.kind());
        self.fault.is_some_and(|kind| !others.contains(&kind))
    }
}

#[derive(Default)]
struct Alternative {
    choice: u32,
    /// Whether a resource was made for it.
    opened: bool,
    /// `None` before that, and once it is complete.
    parser: Option<ResourceAny>,
    pending: Pending,
    /// Whether anything was answered otherwise than it came.
    altered: bool,
    /// The tool calls the client knows of.
    calls: Vec<u32>,
    /// Those the provider spoke of, in whatever order it does.
    spoken_of: Vec<u32>,
}

impl ReplyParser {
    /// Begins a reply. Where there turns out to be no instance for it, the reply passes untouched.
    #[must_use]
    pub fn begin(policy: &Arc<ResponseParser>, about: ReplyInfo) -> Self {
        let (policy, alternatives, released) = (Arc::clone(policy), Vec::new(), Vec::new());
        Self { policy, lent: None, reading: true, about, alternatives, told: 0, given: 0, released, fault: None }
    }

    /// What it has made of the reply so far.
    #[must_use]
    pub const fn work(&self) -> ParserWork {
        ParserWork { told: self.told, given: self.given, fault: self.fault }
    }

    /// Whether it still reads.
    #[must_use]
    pub const fn is_reading(&self) -> bool {
        self.reading
    }

    /// Whether its calls take so long that they must not be made on a thread that serves.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.reading && self.policy.is_slow()
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
            chunks.append(&mut self.released);
            chunks.extend(held.into_iter().map(|delta| Chunk { choice, delta, rest: Rest::new() }));
        }
        self.done();
        Ok(())
    }

    fn step(&mut self, now: Moment, chunk: Chunk, out: &mut Vec<Chunk>) -> Result<(), Complaint> {
        if let Delta::Finish(reason) = &chunk.delta {
            let choice = chunk.choice;
            let held = self.finish(now, choice, reason)?;
            out.append(&mut self.released);
            out.extend(held.into_iter().map(|delta| Chunk { choice, delta, rest: Rest::new() }));
            out.push(chunk);
            return Ok(());
        }
        // They spell out what the provider said: with words that were altered or are held back they would tell what the parser does not.
        if matches!(chunk.delta, Delta::Logprobs(_)) {
            let known = self.alternatives.iter().find(|one| one.choice == chunk.choice);
            if known.is_none_or(|one| !one.altered && one.pending.is_empty()) {
                out.push(chunk);
            }
            return Ok(());
        }
        let answer = self.push(now, chunk.choice, &chunk.delta);
        out.append(&mut self.released);
        let Some(deltas) = answer else {
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
        // A delta without words says nothing that could be another: it may carry what only the provider understands.
        if !self.needs()?.wants(delta) || is_silent(delta) {
            if let Delta::ToolCall { index, .. } = delta {
                self.alternative(choice).calls.push(*index);
            }
            return None;
        }
        if let Delta::ToolCall { index, .. } | Delta::ToolArguments { index, .. } = delta {
            let known = &mut self.alternative(choice).spoken_of;
            if !known.contains(index) {
                known.push(*index);
            }
        }
        self.told += spoken(delta);
        let told = self.told;
        let parser = self.parser(now, choice)?;
        let answer = self.call(now, |instance, budget| instance.push(budget.over(told), parser, delta))?;
        self.accept(choice, &answer)?;
        let alternative = self.alternative(choice);
        alternative.altered |= !matches!(&answer[..], [same] if same == delta) && !answer.is_empty();
        alternative.pending.answered(delta, &answer);
        Some(answer)
    }

    /// Takes an answer; `None` where it breaks the contract and the parser is done.
    fn accept(&mut self, choice: u32, answer: &[Delta]) -> Option<()> {
        self.given += answer.iter().map(spoken).sum::<usize>();
        let too_much = self.given > GIVEN_BYTES.saturating_add(self.told.saturating_mul(3));
        let Alternative { calls, spoken_of, .. } = self.alternative(choice);
        let broken = answer.iter().find_map(|delta| match delta {
            _ if too_much => Some("answers of more than 16 MiB and three times what it was told".to_owned()),
            // What the provider spoke of may be passed as it came.
            Delta::ToolArguments { index, .. } if spoken_of.contains(index) => None,
            Delta::ToolCall { index, .. } if calls.contains(index) && !spoken_of.contains(index) => {
                Some(format!("tool call {index} begins twice"))
            }
            Delta::ToolCall { index, .. } => {
                calls.push(*index);
                None
            }
            Delta::ToolArguments { index, .. } if !calls.contains(index) => {
                Some(format!("arguments of tool call {index}, which has not begun"))
            }
            _ => None,
        });
        let Some(why) = broken else { return Some(()) };
        let fault = PolicyFault::Contract(why);
        self.fault = Some(fault.kind());
        self.policy.failed_for(fault, self.about.id);
        self.fail();
        None
    }

    /// It reads no more. What it had not answered passes as it came.
    fn fail(&mut self) {
        (self.lent, self.reading) = (None, false);
        for Alternative { choice, parser, pending, .. } in &mut self.alternatives {
            *parser = None;
            let choice = *choice;
            self.released.extend(pending.take().map(|delta| Chunk { choice, delta, rest: Rest::new() }));
        }
    }

    /// What was held back of an alternative that is complete.
    ///
    /// # Errors
    /// It is no reply.
    pub(super) fn finish(&mut self, now: Moment, choice: u32, reason: &FinishReason) -> Result<Vec<Delta>, Complaint> {
        let told = self.told;
        let Some(parser) = self.parser(now, choice) else { return Ok(Vec::new()) };
        let answer = self.call(now, |instance, budget| {
            instance.finish(budget.over(told).with_imports(REPAIR_BYTES), parser, reason)
        });
        self.alternative(choice).parser = None;
        match answer {
            None => Ok(Vec::new()),
            Some(Ok(held)) if self.accept(choice, &held).is_none() => Ok(Vec::new()),
            Some(Ok(held)) => {
                drop(self.alternative(choice).pending.take());
                Ok(held)
            }
            Some(Err(complaint)) => {
                self.policy.refused();
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
        self.done();
    }

    fn done(&mut self) {
        self.reading = false;
        if let Some(lent) = self.lent.take() {
            lent.give_back();
        }
    }

    /// The resource that reads an alternative, made when it begins. `None` where it is complete or the parser failed.
    fn parser(&mut self, now: Moment, choice: u32) -> Option<ResourceAny> {
        let known = self.alternative(choice);
        if known.opened {
            return known.parser;
        }
        let about = self.about.clone();
        // What it is told of the reply is more than a call's answer is long.
        let told =
            about.note.as_ref().map_or(0, |note| note.len()) + about.schema.as_ref().map_or(0, |text| text.len());
        let parser = self.call(now, |instance, budget| instance.open(budget.over(told), choice, &about))?;
        let known = self.alternative(choice);
        (known.opened, known.parser) = (true, Some(parser));
        Some(parser)
    }

    fn alternative(&mut self, choice: u32) -> &mut Alternative {
        let known = self.alternatives.iter().position(|one| one.choice == choice);
        let at = known.unwrap_or_else(|| {
            self.alternatives.push(Alternative { choice, ..Alternative::default() });
            self.alternatives.len() - 1
        });
        &mut self.alternatives[at]
    }

    fn call<R>(
        &mut self,
        now: Moment,
        call: impl FnOnce(&mut Instance<Parsing>, Budget) -> Result<R, PolicyFault>,
    ) -> Option<R> {
        if !self.reading {
            return None;
        }
        // What keeps one from being had is counted and logged, as what goes wrong in a call is.
        let answer = match &mut self.lent {
            Some(lent) => lent.call(now, call),
            none => Lent::of(&self.policy, CallContext::new(now, self.about.id))
                .and_then(|lent| none.insert(lent).call(now, call)),
        };
        match answer {
            Ok(answer) => Some(answer),
            Err(fault) => {
                self.fault = Some(fault.kind());
                self.fail();
                None
            }
        }
    }

    fn needs(&self) -> Option<&ParserNeeds> {
        self.reading.then(|| self.policy.needs())
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

fn is_silent(delta: &Delta) -> bool {
    !matches!(delta, Delta::ToolCall { .. }) && spoken(delta) == 0
}

fn spoken(delta: &Delta) -> usize {
    match delta {
        Delta::Text(text) | Delta::Reasoning(text) | Delta::Refusal(text) => text.len(),
        Delta::ToolCall { id, name, .. } => id.len() + name.len(),
        Delta::ToolArguments { fragment, .. } => fragment.len(),
        _ => 0,
    }
}
