//! The claims one by one. Each starts a gateway of its own, so that what one leaves behind is not another's.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Row;
use super::gateway::{Gateway, post_bytes};
use super::provider::Provider;
use crate::bench::watch::now;

type Rows = fn() -> Result<Vec<Row>, String>;

pub(super) const ALL: [Rows; 11] =
    [bodies, replies, unread, probe, heads, silent, usage, closing, slow_policy, groups, scrapes];

const MIB: usize = 1 << 20;
/// Memory a body or a reply may take, as a multiple of its own size.
const FACTOR: f64 = 4.0;

fn millis_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn mib(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) / 1024.0
}

/// A body of that many bytes: a chat, and `filler` over and over where a field is that nobody knows.
fn body(open: &str, filler: &str, close: &str) -> Vec<u8> {
    let count = (31 * MIB) / filler.len();
    format!(r#"{{"model":"ok","max_tokens":5,{open}{}{close}}}"#, filler.repeat(count)).into_bytes()
}

fn bodies() -> Result<Vec<Row>, String> {
    let provider = Provider::start()?;
    let chat = r#""messages":[{"role":"user","content":"hi"}]"#;
    let bodies = [
        ("31 MiB of numbers in a field nobody knows", body(&format!("{chat},\"x\":["), "0,", "0]")),
        (
            "31 MiB of short messages",
            body(r#""messages":["#, r#"{"role":"user","content":"x"},"#, r#"{"role":"user","content":"x"}]"#),
        ),
        ("31 MiB of one text", body(r#""messages":[{"role":"user","content":""#, "words, and ", r#""}]"#)),
    ];
    let mut rows = Vec::new();
    for (tried, body) in bodies {
        let gateway = Gateway::start(provider.address, &["ok"], "")?;
        gateway.chat("ok", false)?;
        let idle = gateway.memory("VmRSS");
        gateway.forget_peak();
        gateway.post(&body)?;
        let grown = gateway.memory("VmHWM") - idle;
        rows.push(Row::at_most(tried, (FACTOR * mib(body.len())).ceil(), grown, "MiB more"));
        for _ in 0..4 {
            gateway.post(&body)?;
        }
        gateway.chat("ok", false)?;
        thread::sleep(Duration::from_secs(1));
        gateway.chat("ok", false)?;
        let left = gateway.memory("VmRSS") - idle;
        rows.push(Row::at_most("… and what stays after five of them", FACTOR * mib(body.len()), left, "MiB more"));
    }
    Ok(rows)
}

fn replies() -> Result<Vec<Row>, String> {
    let provider = Provider::start()?;
    let mut rows = Vec::new();
    for (tried, model, size) in
        [("a reply of 20 MiB of text", "large", 20 * MIB), ("a reply of 30 MiB of short values", "values", 30 * MIB)]
    {
        let gateway = Gateway::start(provider.address, &["ok", model], "router_settings: {num_retries: 0}\n")?;
        gateway.chat("ok", false)?;
        let idle = gateway.memory("VmRSS");
        gateway.forget_peak();
        let mut slowest = 0.0_f64;
        thread::scope(|scope| {
            let large = scope.spawn(|| gateway.chat(model, false));
            while !large.is_finished() {
                let start = now();
                let served = gateway.chat("ok", false).is_ok_and(|reply| reply.status == 200);
                slowest = slowest.max(if served { millis_since(start) } else { f64::INFINITY });
            }
        });
        rows.push(Row::at_most(tried, FACTOR * mib(size), gateway.memory("VmHWM") - idle, "MiB more"));
        rows.push(Row::at_most("… and another group's slowest request meanwhile", 500.0, slowest, "ms"));
    }
    let more = "router_settings: {num_retries: 0, stream_timeout: 20}\n";
    let gateway = Gateway::start(provider.address, &["ok", "pings"], more)?;
    let idle = gateway.memory("VmRSS");
    let start = now();
    let status = gateway.chat("pings", true)?.status;
    let seen = format!(
        "{status} after {:.1} s, {:.1} MiB more",
        start.elapsed().as_secs_f64(),
        gateway.memory("VmHWM") - idle
    );
    let holds = status >= 500 && start.elapsed() < Duration::from_secs(21) && gateway.memory("VmHWM") - idle < 32.0;
    rows.push(Row::claim(
        "a stream of pings and roles without a word",
        "ends within its timeout, ≤ 32 MiB",
        seen,
        holds,
    ));
    Ok(rows)
}

/// Clients that ask for large whole replies and never read them.
fn unread() -> Result<Vec<Row>, String> {
    let provider = Provider::start()?;
    let gateway = Gateway::start(provider.address, &["ok", "large"], "witgate: {server: {max_memory_mb: 512}}\n")?;
    let idle = gateway.memory("VmRSS");
    let request = post_bytes(br#"{"model":"large","messages":[{"role":"user","content":"hi"}]}"#);
    let mut sockets = Vec::new();
    for _ in 0..40 {
        let mut socket = TcpStream::connect(gateway.address).map_err(|problem| problem.to_string())?;
        socket.write_all(&request).map_err(|problem| problem.to_string())?;
        sockets.push(socket);
    }
    thread::sleep(Duration::from_secs(15));
    let grown = gateway.memory("VmHWM") - idle;
    let under_way = gateway.metric("witgate_under_way", "");
    let whole = gateway.metric("witgate_requests_total", "ending=\"whole\"");
    drop(sockets);
    let rows = vec![
        Row::at_most("40 clients that do not read 20 MiB each", 1024.0, grown, "MiB more"),
        Row::claim(
            "… and how they are recorded",
            "none as whole",
            format!("{under_way} under way, {whole} whole"),
            whole < 1.0,
        ),
    ];
    Ok(rows)
}

/// A provider that fails until its breaker opens, and then hangs at every probe.
fn probe() -> Result<Vec<Row>, String> {
    let provider = Provider::start()?;
    provider.failures.store(20, Ordering::Relaxed);
    let more = "router_settings: {num_retries: 0, cooldown_time: 1, allowed_fails: 3}\nwitgate: {queue: {max_wait_seconds: 2}}\n";
    let gateway = Gateway::start(provider.address, &["failing"], more)?;
    for _ in 0..20 {
        gateway.chat("failing", false)?;
    }
    thread::sleep(Duration::from_millis(1100));
    thread::scope(|scope| {
        let hanging = scope.spawn(|| gateway.chat("failing", false).map(drop));
        thread::sleep(Duration::from_millis(300));
        let start = now();
        let reply = gateway.chat("failing", false)?;
        let seen = format!("{} after {:.0} ms", reply.status, millis_since(start));
        let holds = reply.status == 503 && start.elapsed() < Duration::from_secs(3);
        // The probe itself ends with the gateway.
        let row = Row::claim("a second request while a probe hangs", "503 within 3 s", seen, holds);
        drop(hanging);
        gateway.kill();
        Ok(vec![row])
    })
}

/// Heads that never end, and connections that say nothing.
fn heads() -> Result<Vec<Row>, String> {
    let provider = Provider::start()?;
    let gateway = Gateway::start(provider.address, &["ok"], "")?;
    gateway.chat("ok", false)?;
    let idle = gateway.memory("VmRSS");
    let mut sockets = Vec::new();
    let head = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(390 << 10));
    for _ in 0..400 {
        let Ok(mut socket) = TcpStream::connect(gateway.address) else { break };
        let _refused = socket.set_write_timeout(Some(Duration::from_millis(50)));
        let _written = socket.write_all(head.as_bytes());
        sockets.push(socket);
    }
    let opened = sockets.len();
    let grown = gateway.memory("VmHWM") - idle;
    let start = now();
    let served = gateway.chat("ok", false)?.status;
    let rows = vec![
        Row::at_most("400 heads of 390 KiB that do not end", mib(opened * (80 << 10)) + 8.0, grown, "MiB more"),
        Row::claim(
            "… and a request meanwhile",
            "served within 1 s",
            format!("{served} after {:.0} ms", millis_since(start)),
            served == 200 && start.elapsed() < Duration::from_secs(1),
        ),
    ];
    let mut half = TcpStream::connect(gateway.address).map_err(|problem| problem.to_string())?;
    half.write_all(b"GET /health/liveness HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .map_err(|problem| problem.to_string())?;
    let mut first = [0; 2048];
    let _read = half.read(&mut first);
    half.write_all(b"GET / HTTP/1.1\r\nhos").map_err(|problem| problem.to_string())?;
    let start = now();
    let _closed = half.read(&mut first);
    let lasted = start.elapsed().as_secs_f64();
    Ok(rows.into_iter().chain([Row::at_most("half a head after a reply", 31.0, lasted, "s")]).collect())
}

/// As many connections as there may be, none of which says anything.
fn silent() -> Result<Vec<Row>, String> {
    let provider = Provider::start()?;
    let gateway = Gateway::start_with_descriptors(provider.address, &["ok"], "", Some(256))?;
    gateway.chat("ok", false)?;
    let sockets: Vec<_> = (0..300).map_while(|_| TcpStream::connect(gateway.address).ok()).collect();
    thread::sleep(Duration::from_millis(1500));
    let start = now();
    let served = gateway.chat("ok", false).map_or(0, |reply| reply.status);
    let seen = format!("{served} after {:.0} ms beside {}", millis_since(start), sockets.len());
    let holds = served == 200 && start.elapsed() < Duration::from_secs(5);
    Ok(vec![Row::claim(
        "a request where silent connections took all descriptors (256)",
        "served within 5 s",
        seen,
        holds,
    )])
}

/// A policy that takes some milliseconds for each decision.
fn slow_policy() -> Result<Vec<Row>, String> {
    let provider = Provider::start()?;
    let router = "witgate: {routers: {slow: {policy: hostile, settings: {do: slow}}}}\n";
    let gateway = Gateway::start(provider.address, &["ok", "slow"], router)?;
    let body = br#"{"model":"slow","priority":666,"messages":[{"role":"user","content":"hi"}]}"#;
    let over = AtomicBool::new(false);
    let mut times = thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    drop(gateway.post(body));
                }
            });
        }
        thread::sleep(Duration::from_secs(1));
        let times: Vec<f64> = (0..200)
            .map(|_| {
                let start = now();
                drop(gateway.chat("ok", false));
                millis_since(start)
            })
            .collect();
        over.store(true, Ordering::Relaxed);
        times
    });
    times.sort_by(f64::total_cmp);
    let report = gateway.get("/admin/policies")?.body;
    let slow = report.contains(r#""slow":true"#);
    let seen = format!("p50 {:.1} ms, p99 {:.1} ms, known as slow: {slow}", times[100], times[198]);
    let holds = slow && times[100] <= 10.0;
    Ok(vec![Row::claim("another group beside a policy of milliseconds", "p50 ≤ 10 ms, known as slow", seen, holds)])
}

/// As many groups as a large company has, each with a policy's instance of its own, and more aliases.
fn groups() -> Result<Vec<Row>, String> {
    let provider = Provider::start()?;
    let names: Vec<String> = (0..10_000).map(|number| format!("g{number}")).collect();
    let models: Vec<&str> = names.iter().map(String::as_str).collect();
    let aliases =
        (0..50_000).fold(String::new(), |all, number| all + &format!("    a{number}: g{}\n", number % 10_000));
    let more = format!("router_settings:\n  model_group_alias:\n{aliases}");
    let start = now();
    let gateway = Gateway::start(provider.address, &models, &more)?;
    let began = start.elapsed();
    let status = gateway.chat("a49999", false)?.status;
    let seen = format!("{status}, started in {:.1} s, {:.0} MiB", began.as_secs_f64(), gateway.memory("VmRSS"));
    let holds = status == 200 && began < Duration::from_secs(60);
    Ok(vec![Row::claim("10,000 groups and 50,000 aliases", "serve, started within 60 s", seen, holds)])
}

/// Scrapes at once, which must not see each other's work.
fn scrapes() -> Result<Vec<Row>, String> {
    let provider = Provider::start()?;
    let gateway = Gateway::start(provider.address, &["ok"], "")?;
    gateway.chat("ok", false)?;
    let lacking = thread::scope(|scope| {
        let scrape = || {
            let count = |name: &str| gateway.get("/metrics").map_or(0, |reply| reply.body.matches(name).count());
            (0..100).filter(|_| count("witgate_policy_calls_total{") != 1).count()
        };
        let all: Vec<_> = (0..4).map(|_| scope.spawn(scrape)).collect();
        all.into_iter().map(|one| one.join().unwrap_or(usize::MAX)).sum::<usize>()
    });
    let seen = format!("{lacking} of 400 lack a series");
    Ok(vec![Row::claim("four scrapes of the metrics at once", "none lacks a series", seen, lacking == 0)])
}

/// A provider that claims 2^64-1 tokens.
fn usage() -> Result<Vec<Row>, String> {
    let provider = Provider::start()?;
    let gateway = Gateway::start(provider.address, &["ok", "absurd"], "witgate: {global: {tpm: 100000}}\n")?;
    gateway.chat("absurd", false)?;
    let tokens = gateway.metric("witgate_tokens_total", "kind=\"output\"");
    let refused = gateway.metric("witgate_usage_refused_total", "");
    let start = now();
    let next = gateway.chat("ok", false)?.status;
    let seen =
        format!("{tokens} tokens counted, {refused} disbelieved, the next served after {:.0} ms", millis_since(start));
    let holds = tokens < 1000.0 && refused >= 1.0 && next == 200 && start.elapsed() < Duration::from_secs(1);
    Ok(vec![Row::claim("a reply that claims 2^64-1 tokens", "counted as what was seen", seen, holds)])
}

/// A provider that closes its connections unannounced.
fn closing() -> Result<Vec<Row>, String> {
    let provider = Provider::start()?;
    let gateway = Gateway::start(provider.address, &["closing"], "router_settings: {num_retries: 0}\n")?;
    let mut failed = 0;
    for _ in 0..2000 {
        if gateway.chat("closing", false)?.status != 200 {
            failed += 1;
        }
    }
    let seen = format!("{failed} failed");
    Ok(vec![Row::claim(
        "2,000 requests over connections that close unannounced, no retries",
        "0 fail",
        seen,
        failed == 0,
    )])
}
