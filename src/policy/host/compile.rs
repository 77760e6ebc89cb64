//! Turning a component into machine code where it can be stopped. Cranelift has no stop of its own, and a
//! hostile component can keep it busy for minutes: the sure way is a child process with limits on CPU time
//! and memory, which is killed when its time is up. In process, a compilation that takes too long is left
//! behind on its low-priority thread and its result thrown away.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::engine::code_config;
use super::problem::PolicyProblem;

/// The hidden subcommand [`Compiler::Child`] runs; `main` hands it to [`compile_child_main`].
pub const CHILD_COMMAND: &str = "compile-policy";

/// Address space of the child: an 18 MB component (Python inside) needs less than half of it.
const CHILD_MEMORY: u64 = 4 << 30;
/// The largest artefact taken from a child.
const LARGEST_ARTEFACT: u64 = 1 << 30;
/// Bytes of the child's complaint that are kept.
const COMPLAINT: u64 = 4096;
/// The lowest priority there is.
const LOWEST: i32 = 19;
/// What is bounded is the compiler's own time. By the clock it may take so many times as long: with the lowest priority it gets little of
/// a busy machine.
const BY_THE_CLOCK: u32 = 4;

/// Where components are compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// On a low-priority thread of this process: for tests, and for tools that end with the job.
    InProcess,
    /// In a child process of this program (an absolute path), which must hand [`CHILD_COMMAND`] to
    /// [`compile_child_main`].
    Child(PathBuf),
}

impl Compiler {
    /// Compiles, for at most `limit` of a child's CPU time, and [`BY_THE_CLOCK`] times as long. Blocks the calling thread.
    pub(in crate::policy) fn compile(
        &self,
        engine: &wasmtime::Engine,
        fuel: bool,
        bytes: &[u8],
        limit: Duration,
    ) -> Result<Vec<u8>, PolicyProblem> {
        match self {
            Self::InProcess => in_process(engine, bytes, limit),
            Self::Child(program) => in_child(program, fuel, bytes, limit),
        }
    }
}

fn in_process(engine: &wasmtime::Engine, bytes: &[u8], limit: Duration) -> Result<Vec<u8>, PolicyProblem> {
    let (engine, bytes) = (engine.clone(), bytes.to_vec());
    let (done, result) = mpsc::channel();
    thread::Builder::new()
        .name("policy-compiler".to_owned())
        .spawn(move || {
            yield_to_others();
            // Nobody listens any more when the time was up.
            drop(done.send(engine.precompile_component(&bytes)));
        })
        .map_err(|error| PolicyProblem::Compile(format!("no thread to compile on: {error}")))?;
    match result.recv_timeout(limit.saturating_mul(BY_THE_CLOCK)) {
        Ok(compiled) => compiled.map_err(|error| PolicyProblem::Compile(format!("{error:#}"))),
        Err(RecvTimeoutError::Timeout) => Err(PolicyProblem::CompileTimeout(limit)),
        Err(RecvTimeoutError::Disconnected) => Err(PolicyProblem::Compile("the compiler failed".to_owned())),
    }
}

/// On Linux a priority belongs to a thread; elsewhere this would slow the whole process.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), LOWEST) {
        tracing::debug!(%error, "the compiler runs at ordinary priority");
    }
}

fn in_child(program: &Path, fuel: bool, bytes: &[u8], limit: Duration) -> Result<Vec<u8>, PolicyProblem> {
    let failed = |error: io::Error| PolicyProblem::Compile(format!("the compiler cannot be run: {error}"));
    let mut child = Command::new(program)
        .arg(CHILD_COMMAND)
        .arg(if fuel { "fuel" } else { "epochs" })
        .arg((limit.as_secs() + 1).to_string())
        // It needs nothing of ours, and our environment holds the providers' keys.
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (Some(mut input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed(io::ErrorKind::BrokenPipe.into()));
    };
    let (done, result) = mpsc::channel();
    thread::scope(|scope| {
        // A child that dies early breaks these pipes; its status says more than they do.
        scope.spawn(move || drop(input.write_all(bytes)));
        let complaint = scope.spawn(move || read(errors, COMPLAINT));
        scope.spawn(move || drop(done.send(read(output, LARGEST_ARTEFACT))));
        let artefact = result.recv_timeout(limit.saturating_mul(BY_THE_CLOCK));
        if artefact.is_err() {
            drop(child.kill());
        }
        let status = child.wait().map_err(failed)?;
        let complaint = complaint.join().unwrap_or_default();
        match artefact {
            Ok(artefact) if status.success() && !artefact.is_empty() => Ok(artefact),
            Ok(_) => Err(complain(status, &complaint, limit)),
            Err(_) => Err(PolicyProblem::CompileTimeout(limit)),
        }
    })
}

fn read(from: impl Read, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What came before the pipe broke is still worth reporting.
    drop(from.take(limit).read_to_end(&mut bytes));
    bytes
}

fn complain(status: ExitStatus, complaint: &[u8], limit: Duration) -> PolicyProblem {
    use std::os::unix::process::ExitStatusExt;
    if status.signal() == Some(rustix::process::Signal::XCPU.as_raw()) {
        return PolicyProblem::CompileTimeout(limit);
    }
    let words = String::from_utf8_lossy(complaint);
    let words = words.trim();
    PolicyProblem::Compile(match status.code() {
        Some(1) if !words.is_empty() => words.to_owned(),
        _ => format!("the compiler ended with {status}, most likely out of memory; {words}"),
    })
}

/// What [`CHILD_COMMAND`] runs: reads a component from standard input and writes the artefact to standard
/// output, under limits it sets on itself first. `args` are the words after the subcommand.
#[must_use]
pub fn compile_child_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match child_main(args, io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            // With no one left to read it there is no one to tell.
            drop(writeln!(io::stderr(), "{complaint}"));
            ExitCode::FAILURE
        }
    }
}

pub(in crate::policy) fn child_main(
    args: impl IntoIterator<Item = OsString>,
    mut input: impl Read,
    output: &mut impl Write,
) -> Result<(), String> {
    let args: Vec<OsString> = args.into_iter().collect();
    let (fuel, seconds) = match args.iter().map(|arg| arg.to_str()).collect::<Vec<_>>().as_slice() {
        [Some(kind @ ("fuel" | "epochs")), Some(seconds)] => {
            (*kind == "fuel", seconds.parse::<u64>().map_err(|error| error.to_string())?)
        }
        _ => return Err(format!("`{CHILD_COMMAND}` is for the gateway's own use")),
    };
    confine(seconds).map_err(|error| format!("limits cannot be set: {error}"))?;
    let engine = wasmtime::Engine::new(&code_config(fuel)).map_err(|error| format!("{error:#}"))?;
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let artefact = engine.precompile_component(&bytes).map_err(|error| format!("{error:#}"))?;
    output.write_all(&artefact).map_err(|error| error.to_string())
}

fn confine(seconds: u64) -> rustix::io::Result<()> {
    lower(Resource::Core, 0)?;
    lower(Resource::As, CHILD_MEMORY)?;
    // Reaching it sends SIGXCPU, whose meaning the parent knows.
    lower(Resource::Cpu, seconds)?;
    rustix::process::nice(LOWEST)?;
    Ok(())
}

/// Lowers the current limit and leaves the highest as it is: a stricter one set from outside stays.
fn lower(resource: Resource, limit: u64) -> rustix::io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(resource);
    let current = current.map_or(limit, |current| current.min(limit));
    setrlimit(resource, Rlimit { current: Some(current), maximum })
}
