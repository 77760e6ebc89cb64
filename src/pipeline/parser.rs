//! What a group's response parser does with a reply, streamed or whole, and asking again after a complaint.
//!
//! Where a new version is tried, it reads a share of the replies. A whole reply that it fails on is read by the version in force; a stream
//! that it has begun to read passes as it comes, as after any parser's fault. Where the version in force fails on what a new version of the
//! builder made, that one is blamed: it has left a note, or had a model say something, that nobody else can read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::chat::{ChatRequest, Choice, Chunk, Message, OutputFormat, Part, PartKind, Reply, Rest, Role};
use crate::clock::Clock;
use crate::fault::{AttemptFault, FaultKind, Refusal};
use crate::id::RequestId;
use crate::moment::Moment;
use crate::policy::{Building, Complaint, ParserWork, Parsing, ReplyInfo, ReplyParser, ResponseParser};
use crate::record::ComplaintMade;
use crate::rollout::{Decider, Rollout};

use super::attributes::attributes;
use super::{BlockingPool, RequestContext, RequestGuard};

/// Why a call gave no reply.
#[derive(Debug)]
pub(super) enum CallFailure {
    /// The call itself failed.
    Fault(AttemptFault),
    /// The parser complains about the reply, of which the client has nothing yet.
    Complaint(Unparsed),
}

impl From<AttemptFault> for CallFailure {
    fn from(fault: AttemptFault) -> Self {
        Self::Fault(fault)
    }
}

/// A reply the parser complains about.
#[derive(Debug)]
pub(super) struct Unparsed {
    pub(super) complaint: Complaint,
    /// The text the model gave.
    pub(super) text: String,
}

impl From<&Complaint> for AttemptFault {
    fn from(complaint: &Complaint) -> Self {
        let message = format!("the reply is not what the group's response parser takes: {}", complaint.problem);
        Self::new(FaultKind::Unparsed, message)
    }
}

impl From<Unparsed> for Refusal {
    fn from(unparsed: Unparsed) -> Self {
        AttemptFault::from(&unparsed.complaint).into()
    }
}

impl Unparsed {
    /// The same without the deployment's secrets: parsers quote what models say.
    pub(super) fn scrubbed(mut self, scrub: impl FnOnce(AttemptFault) -> AttemptFault) -> Self {
        self.complaint.problem = scrub(AttemptFault::new(FaultKind::Unparsed, self.complaint.problem)).message;
        self
    }

    /// The conversation in which the model is told what was wrong; `None` where the parser does not say what to tell it.
    pub(super) fn asked_again(&self, messages: &[Message]) -> Option<Vec<Message>> {
        let repair = self.complaint.repair.as_deref()?;
        let turn = |role, text: &str| Message { role, parts: vec![Part::text(text)], name: None, rest: Rest::new() };
        let mut messages = messages.to_vec();
        // No provider takes an empty turn.
        if !self.text.trim().is_empty() {
            messages.push(turn(Role::Assistant, &self.text));
        }
        messages.push(turn(Role::User, repair));
        Some(messages)
    }
}

/// What the group's parser is told of the reply to come.
fn info(context: &RequestContext<'_>, parser: &ResponseParser, streamed: bool) -> ReplyInfo {
    let schema = match &context.request.output {
        Some(OutputFormat::JsonSchema { schema, .. }) => Some(schema.to_string().into()),
        Some(OutputFormat::JsonObject) => Some("{}".into()),
        Some(OutputFormat::Text) | None => None,
    };
    ReplyInfo {
        id: context.id,
        streamed,
        asked_again: context.asked_again,
        schema,
        note: context.note.clone(),
        attributes: attributes(&parser.needs().attributes, context.facts()),
    }
}

/// Reads a whole reply.
///
/// # Errors
/// The parser complains.
pub(super) async fn whole(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    reply: &mut Reply,
) -> Result<(), Unparsed> {
    let Some(version) = Version::of(context) else { return Ok(()) };
    // Most replies have no parser, and none of them needs the room.
    Box::pin(whole_by(version, context, guard, reply)).await
}

async fn whole_by(
    Version { mut parser, tried }: Version<'_>,
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    reply: &mut Reply,
) -> Result<(), Unparsed> {
    let (mut read, mut work) = read_whole(context, parser, reply).await;
    // One that fails after a new version did may know as little of the notes that go with that.
    let mut second = false;
    if let Some((rollout, mut by_candidate)) = tried {
        if let Some(live) = context.group.parser.as_ref().filter(|_| by_candidate && work.fault.is_some()) {
            rollout.failed();
            (parser, by_candidate, second) = (live, false, true);
            (read, work) = read_whole(context, parser, reply).await;
        }
        guard.worked_for(Arc::<Rollout<Parsing>>::clone(rollout), by_candidate);
    }
    if !second
        && work.is_the_parsers_fault()
        && let Some(builder) = builder_tried(context)
    {
        builder.blamed();
    }
    tell(guard, parser, &work, read.as_ref().err());
    match read {
        Ok(None) => Ok(()),
        Ok(Some(choices)) => {
            reply.choices = choices;
            Ok(())
        }
        Err(complaint) => {
            let spoken = reply.choices.iter().find(|choice| choice.index == complaint.choice);
            let text = spoken.map(|choice| text(&choice.parts)).unwrap_or_default();
            Err(Unparsed { complaint, text })
        }
    }
}

/// The builder's new version, where that built the prompt: it is to blame where the parser in force fails.
fn builder_tried<'c>(context: &'c RequestContext<'_>) -> Option<&'c Arc<Rollout<Building>>> {
    context.built_by.as_ref().filter(|(_, by_candidate)| *by_candidate).map(|(rollout, _)| rollout)
}

/// The version of the group's parser that reads a reply.
struct Version<'c> {
    parser: &'c Arc<ResponseParser>,
    /// Where a new one is tried: whether it is that.
    tried: Option<(&'c Arc<Rollout<Parsing>>, bool)>,
}

impl<'c> Version<'c> {
    fn of(context: &RequestContext<'c>) -> Option<Self> {
        let live = context.group.parser.as_ref()?;
        let Some(rollout) = &context.group.parser_rollout else { return Some(Self { parser: live, tried: None }) };
        let by_candidate = rollout.decider(context.seed) == Decider::Candidate;
        let parser = if by_candidate { rollout.candidate() } else { live };
        Some(Self { parser, tried: Some((rollout, by_candidate)) })
    }
}

/// What a parser makes of a whole reply; `None` where it fails.
async fn read_whole(
    context: &RequestContext<'_>,
    parser: &Arc<ResponseParser>,
    reply: &Reply,
) -> (Result<Option<Vec<Choice>>, Complaint>, ParserWork) {
    let now = context.gateway.clock.now();
    let mut reader = ReplyParser::begin(parser, info(context, parser, false));
    if reader.is_slow() || length(reply) > super::LARGE {
        let pool = context.gateway.pool_for(reader.is_slow());
        let given = reply.clone();
        let read = pool.run(move || (reader.read_whole(now, &given), reader.work())).await;
        // The reply stays as it is.
        read.unwrap_or_else(|| (Ok(None), thread_ended(parser, context.id, ParserWork::default())))
    } else {
        (reader.read_whole(now, reply), reader.work())
    }
}

/// What a parser whose thread ended has made of a reply.
fn thread_ended(parser: &ResponseParser, request: Option<RequestId>, work: ParserWork) -> ParserWork {
    ParserWork { fault: Some(parser.thread_ended(request).kind()), ..work }
}

/// Tells what a parser has made of the reply to the attempt under way, for whoever asks later.
fn tell(guard: &mut RequestGuard, parser: &ResponseParser, work: &ParserWork, complaint: Option<&Complaint>) {
    let Some(told) = guard.reply_told(|| parser.component().label()) else { return };
    (told.bytes_in, told.bytes_out) = (work.told, work.given);
    told.fault = work.fault.map(str::to_owned);
    told.complaint = complaint.map(|complaint| ComplaintMade {
        choice: complaint.choice,
        repair: complaint.repair.is_some(),
        words: None,
    });
}

/// Bytes of all words of a reply.
pub(super) fn length(reply: &Reply) -> usize {
    reply.choices.iter().flat_map(|choice| &choice.parts).map(|part| part.kind.length()).sum()
}

fn text(parts: &[Part]) -> String {
    let texts =
        parts.iter().filter_map(|part| if let PartKind::Text(text) = &part.kind { Some(&**text) } else { None });
    texts.collect()
}

/// The parser of a stream.
pub(super) struct StreamParser {
    /// `None` while it is called on another thread, and once it is done.
    reader: Option<ReplyParser>,
    policy: Arc<ResponseParser>,
    /// Where it is a new version that is tried, and has not failed.
    tried: Option<Arc<Rollout<Parsing>>>,
    /// Where this is the version in force and has not failed: the builder's new version that is to blame if it does.
    blamed: Option<Arc<Rollout<Building>>>,
    request: Option<RequestId>,
    /// What it has made of the reply so far.
    work: ParserWork,
    clock: Clock,
    slow: BlockingPool,
    busy: Arc<AtomicBool>,
}

impl StreamParser {
    /// The group's parser for a reply that begins; `streamed` says whether the client gets it piece by piece. `busy` is so while it works
    /// elsewhere: then nobody may give up waiting for it but for good.
    pub(super) fn begin(
        context: &RequestContext<'_>,
        guard: &mut RequestGuard,
        streamed: bool,
        busy: Arc<AtomicBool>,
    ) -> Option<Self> {
        let Version { parser, tried } = Version::of(context)?;
        if let Some((rollout, by_candidate)) = tried {
            guard.worked_for(Arc::<Rollout<Parsing>>::clone(rollout), by_candidate);
        }
        let reader = ReplyParser::begin(parser, info(context, parser, streamed));
        let (clock, slow) = (context.gateway.clock, context.gateway.slow_policies.clone());
        let (reading, work, policy) = (reader.is_reading(), reader.work(), Arc::clone(parser));
        tell(guard, parser, &work, None);
        let tried = tried.and_then(|(rollout, by_candidate)| by_candidate.then(|| Arc::clone(rollout)));
        let (blamed, request) = (builder_tried(context).filter(|_| tried.is_none()).cloned(), context.id);
        reading.then_some(Self { reader: Some(reader), policy, tried, blamed, request, work, clock, slow, busy })
    }

    /// Bytes the parser answered so far.
    pub(super) const fn given(&self) -> usize {
        self.work.given
    }

    /// Tells what it has made of the reply so far, for whoever asks later.
    pub(super) fn tell(&self, guard: &mut RequestGuard, complaint: Option<&Complaint>) {
        tell(guard, &self.policy, &self.work, complaint);
    }

    /// Puts what the client gets in the place of what came; `complete` says that nothing more comes.
    ///
    /// # Errors
    /// The parser complains.
    pub(super) async fn read(&mut self, chunks: &mut Vec<Chunk>, complete: bool) -> Result<(), Complaint> {
        let Some(mut reader) = self.reader.take() else { return Ok(()) };
        let now = self.clock.now();
        if !reader.is_slow() {
            let read = read(&mut reader, now, chunks, complete);
            self.has_read(reader);
            return read;
        }
        let mut given = chunks.clone();
        let done = self.slow.run(move || {
            let read = read(&mut reader, now, &mut given, complete);
            (reader, given, read)
        });
        self.busy.store(true, Ordering::Relaxed);
        let done = done.await;
        self.busy.store(false, Ordering::Relaxed);
        let Some((reader, given, read)) = done else {
            // What came passes as it is.
            self.worked(thread_ended(&self.policy, self.request, self.work));
            return Ok(());
        };
        self.has_read(reader);
        *chunks = given;
        read
    }

    fn has_read(&mut self, reader: ReplyParser) {
        let work = reader.work();
        self.reader = Some(reader);
        self.worked(work);
    }

    fn worked(&mut self, work: ParserWork) {
        self.work = work;
        if work.fault.is_none() {
            return;
        }
        if let Some(tried) = self.tried.take() {
            tried.failed();
        }
        if let Some(builder) = self.blamed.take().filter(|_| work.is_the_parsers_fault()) {
            builder.blamed();
        }
    }
}

fn read(reader: &mut ReplyParser, now: Moment, chunks: &mut Vec<Chunk>, complete: bool) -> Result<(), Complaint> {
    reader.read(now, chunks)?;
    if complete { reader.end(now, chunks) } else { Ok(()) }
}

/// The same conversation, asked again.
pub(super) fn ask_again(context: &mut RequestContext<'_>, messages: Vec<Message>) {
    let request = ChatRequest { messages: Arc::new(messages), ..(*context.request).clone() };
    context.request = Arc::new(request);
    context.asked_again += 1;
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::catalog::CanaryRules;
    use crate::chat::Delta;
    use crate::id::PolicyName;
    use crate::policy::{Engine, EngineOptions, PolicySetup};
    use crate::rollout::{Mode, Verdict};
    use crate::signal::Grants;

    const HOSTILE_REPLY: &[u8] = include_bytes!("../../tests/fixtures/policies/hostile-reply.wasm");

    fn chunks() -> Vec<Chunk> {
        vec![Chunk { choice: 0, delta: Delta::Text("Hello".to_owned()), rest: Rest::new() }]
    }

    #[test]
    fn a_slow_canary_whose_thread_ends_has_failed() {
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let component = engine.load(&PolicyName::from("hostile-reply"), HOSTILE_REPLY).unwrap();
        // So long settings take milliseconds to be copied into an instance, each of which is left here by its client.
        let (settings, model) = (" ".repeat(16 << 20).into(), "m".into());
        let setup = PolicySetup { group: None, settings, model, seed: 1, may_read: Grants::All };
        let policy = ResponseParser::start(component, setup, None).unwrap();
        let now = Moment::from_millis(1);
        while !policy.is_slow() {
            ReplyParser::begin(&policy, ReplyInfo::default()).read(now, &mut chunks()).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ended = runtime.handle().clone();
        let _on_it = ended.enter();
        let clock = Clock::starting_at(now);
        drop(runtime);
        let digest = policy.component().digest();
        let canary = Mode::Canary(CanaryRules::default());
        let tried = Rollout::new(Arc::clone(&policy), digest, canary, Arc::default(), Arc::default());
        let mut reading = StreamParser {
            reader: Some(ReplyParser::begin(&policy, ReplyInfo::default())),
            policy,
            tried: Some(Arc::clone(&tried)),
            blamed: None,
            request: None,
            work: ParserWork::default(),
            clock,
            slow: BlockingPool::on_threads(std::num::NonZeroUsize::MIN),
            busy: Arc::default(),
        };
        let mut given = chunks();
        assert_eq!(reading.read(&mut given, false).now_or_never(), Some(Ok(())));
        assert_eq!(given, chunks(), "it passes as it came");
        let counts = tried.figures().counts();
        assert_eq!((counts.faults, counts.fallbacks, reading.work.fault), (1, 1, Some("trap")));
        assert_eq!(tried.figures().verdict(), Some(Verdict::RolledBack));
    }
}
