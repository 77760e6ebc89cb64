//! The thread that writes runs. It is the only one that touches their files while a gateway runs.
//!
//! A run's file stays open a little longer than the run, for what became of its last requests.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use super::folder::{self, ENDING};
use super::line::{EndLine, Line, RequestLine, RouteLine, RunLine, SaveLine};
use super::outcome_line::{FaultLine, OutcomeLine};
use super::reader::state_digest;
use super::withheld::{Withheld, reads_what_was_said};
use crate::id::RequestId;
use crate::policy::{PolicyFault, RecordedCall, RouterFacts, RunId, RunStart};

/// Runs that are over and whose requests are not, at most.
const LINGERING: usize = 64;

/// What the thread is told.
pub(super) enum Message {
    Begin(RunId, Box<RunStart>),
    Call(RunId, RecordedCall),
    End(RunId),
    Request(RequestId, Arc<RequestLine>),
}

pub(super) struct Writer {
    folder: PathBuf,
    keep_bytes: u64,
    /// Keeps what was said out of the files; `None` where the operator wants words.
    withheld: Option<Withheld>,
    broken: Arc<Mutex<Vec<RunId>>>,
    runs: BTreeMap<RunId, RunFile>,
    /// The run in which a request under way was decided.
    requests: HashMap<RequestId, RunId>,
}

struct RunFile {
    facts: Arc<RouterFacts>,
    /// It is written without what its router read and said.
    withheld: Option<Withheld>,
    path: PathBuf,
    out: BufWriter<File>,
    bytes: u64,
    calls: u64,
    /// Requests whose end is not written.
    waiting: usize,
    over: bool,
}

impl Writer {
    pub(super) fn new(
        folder: PathBuf,
        keep_bytes: u64,
        withheld: Option<Withheld>,
        broken: Arc<Mutex<Vec<RunId>>>,
    ) -> Self {
        Self { folder, keep_bytes, withheld, broken, runs: BTreeMap::new(), requests: HashMap::new() }
    }

    /// Writes until nobody can tell it more.
    pub(super) fn work(mut self, messages: &Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            let mut next = Some(first);
            while let Some(message) = next {
                self.take(message);
                self.give_up_broken();
                next = messages.try_recv().ok();
            }
            self.flush();
        }
        let under_way: Vec<RunId> = self.runs.iter().filter(|(_, run)| !run.over).map(|(id, _)| *id).collect();
        for run in under_way {
            self.end(run, Some("recording stopped"));
        }
        self.runs.clear();
        self.prune();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Begin(id, start) => self.begin(id, &start),
            Message::Call(id, call) => self.call(id, &call),
            Message::End(id) => self.end(id, None),
            Message::Request(id, line) => self.request(id, &line),
        }
    }

    fn begin(&mut self, id: RunId, start: &RunStart) {
        self.prune();
        let group = start.facts.setup.group.as_ref().map_or("", |group| group.as_str());
        let plain: String = group.chars().take(60).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        // The oldest is the first by its name, whatever process wrote it.
        let name = format!("{:013}-{:06}-{plain}", start.now.as_millis(), id.0 % 1_000_000);
        let begun = self.create(&name).and_then(|(path, file)| {
            let facts = Arc::clone(&start.facts);
            let withheld = self.withheld.clone().filter(|_| reads_what_was_said(&facts.needs));
            let line = Line::Run(Box::new(RunLine::of(start, withheld.is_some())));
            let out = BufWriter::new(file);
            let mut run = RunFile { facts, withheld, path, out, bytes: 0, calls: 0, waiting: 0, over: false };
            run.write(&line).map(|()| run)
        });
        match begun {
            Ok(run) => {
                self.runs.insert(id, run);
            }
            Err(fault) => {
                tracing::warn!(folder = %self.folder.display(), %fault, "a run of decisions could not be begun");
            }
        }
    }

    /// A file that was not there before.
    fn create(&self, name: &str) -> io::Result<(PathBuf, File)> {
        let mut attempt = 0;
        loop {
            let more = if attempt == 0 { String::new() } else { format!("-{attempt}") };
            let path = self.folder.join(format!("{name}{more}.{ENDING}"));
            match OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path) {
                Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => attempt += 1,
                opened => return opened.map(|file| (path, file)),
            }
        }
    }

    fn call(&mut self, id: RunId, call: &RecordedCall) {
        let Some(run) = self.runs.get_mut(&id).filter(|run| !run.over) else { return };
        let line = match call {
            RecordedCall::Route(decision) => {
                if let Some(request) = decision.request.id
                    && self.requests.insert(request, id).is_none()
                {
                    run.waiting += 1;
                }
                let kept = run.withheld.as_ref().map(|withheld| withheld.decision(&run.facts.needs, decision));
                Line::Route(Box::new(RouteLine::of(kept.as_deref().unwrap_or(decision))))
            }
            RecordedCall::Observe(outcome, fault) => {
                Line::Observe(OutcomeLine::of(outcome, fault.as_ref().map(|fault| run.fault(fault))))
            }
            RecordedCall::Save(saved) => Line::Save(SaveLine {
                // Whoever knows most of a state would find the rest by trying.
                state: saved
                    .as_ref()
                    .ok()
                    .and_then(Option::as_ref)
                    .filter(|_| run.withheld.is_none())
                    .map(|state| state_digest(state).to_string()),
                fault: saved.as_ref().err().map(|fault| run.fault(fault)),
            }),
        };
        run.calls += 1;
        let written = run.write(&line);
        // Four runs at least, so that there is always a whole one.
        let full = run.bytes > self.keep_bytes / 4;
        self.written(id, written);
        if full {
            self.end(id, Some("it has a quarter of the bytes that are kept"));
        }
    }

    fn request(&mut self, id: RequestId, line: &RequestLine) {
        let Some(of) = self.requests.remove(&id) else { return };
        let Some(run) = self.runs.get_mut(&of) else { return };
        run.waiting = run.waiting.saturating_sub(1);
        let (written, done) = (run.write(&Line::Request(line.clone())), run.over && run.waiting == 0);
        self.written(of, written);
        if done {
            self.close(of);
        }
    }

    fn end(&mut self, id: RunId, early: Option<&str>) {
        let Some(run) = self.runs.get_mut(&id).filter(|run| !run.over) else { return };
        let line = Line::End(EndLine { calls: run.calls, early: early.map(str::to_owned) });
        run.over = true;
        let (written, done) = (run.write(&line), run.waiting == 0);
        self.written(id, written);
        if done {
            self.close(id);
        }
        let over: Vec<RunId> = self.runs.iter().filter(|(_, run)| run.over).map(|(id, _)| *id).collect();
        for oldest in over.iter().take(over.len().saturating_sub(LINGERING)) {
            self.close(*oldest);
        }
    }

    fn give_up_broken(&mut self) {
        let broken = std::mem::take(&mut *self.broken.lock().unwrap_or_else(PoisonError::into_inner));
        for run in broken {
            tracing::warn!("a run of decisions is given up: they came faster than they could be written");
            self.end(run, Some("calls came faster than they could be written"));
        }
    }

    /// A run that cannot be written is over.
    fn written(&mut self, id: RunId, written: io::Result<()>) {
        if let Err(fault) = written {
            tracing::warn!(folder = %self.folder.display(), %fault, "a run of decisions could not be written");
            self.close(id);
        }
    }

    fn close(&mut self, id: RunId) {
        if let Some(run) = self.runs.remove(&id) {
            if run.waiting > 0 {
                self.requests.retain(|_, of| *of != id);
            }
            drop(run);
            self.prune();
        }
    }

    fn flush(&mut self) {
        let failed: Vec<(RunId, io::Error)> =
            self.runs.iter_mut().filter_map(|(id, run)| run.out.flush().err().map(|fault| (*id, fault))).collect();
        for (id, fault) in failed {
            self.written(id, Err(fault));
        }
    }

    fn prune(&self) {
        let open: Vec<&Path> = self.runs.values().map(|run| run.path.as_path()).collect();
        if let Err(fault) = folder::prune(&self.folder, self.keep_bytes, &open) {
            tracing::warn!(folder = %self.folder.display(), %fault, "old runs of decisions could not be removed");
        }
    }
}

impl RunFile {
    fn fault(&self, fault: &PolicyFault) -> FaultLine {
        let kept = self.withheld.as_ref().map(|withheld| withheld.fault(fault));
        FaultLine::of(kept.as_ref().unwrap_or(fault))
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.bytes += text.len() as u64;
        self.out.write_all(&text)
    }
}
