//! Looking at time and at processes: the wall clock, and what `/proc` tells of CPU time and memory.

use std::fs;
use std::time::{Duration, Instant};

/// What a tick of `/proc/PID/stat` is worth: 100 in a second on every Linux that Rust's standard library runs on.
const TICK: Duration = Duration::from_millis(10);

/// The time.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// CPU time that this thread has used so far: what others do on the machine is not in it.
pub(crate) fn own_cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// Processes that together are one path: a gateway, or nginx with its workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes(Vec<u32>);

impl Processes {
    /// A process and its children as they are now.
    pub(crate) fn family(pid: u32) -> Self {
        let everybody = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = everybody.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let children = pids.filter(|child| stat(*child).and_then(|fields| fields.get(1)?.parse().ok()) == Some(pid));
        Self(std::iter::once(pid).chain(children).collect())
    }

    /// CPU time used so far, all threads, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        let ticks = self.0.iter().filter_map(|pid| {
            let fields = stat(*pid)?;
            // Fields 14 and 15 of proc(5); the list begins at field 3.
            Some(fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?)
        });
        TICK * ticks.sum::<u32>()
    }

    /// Resident memory, bytes. Pages that processes share count for each.
    pub(crate) fn resident(&self) -> u64 {
        let kilobytes = self.0.iter().filter_map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        });
        kilobytes.sum::<u64>() * 1024
    }
}

/// The fields of `/proc/PID/stat` after the command's name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_ascii_whitespace().map(str::to_owned).collect())
}
