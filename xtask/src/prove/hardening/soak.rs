//! Everything at once: good and bad requests, clients that leave, providers that misbehave, policies and configurations swapped
//! and broken. What began must end and be recorded once, and nothing may grow.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::Row;
use super::gateway::{Gateway, configuration, post_bytes};
use super::provider::Provider;
use crate::bench::watch::now;

const MODELS: [&str; 6] = ["ok", "closing", "absurd", "stream", "large", "pings"];
const MORE: &str = "router_settings: {num_retries: 0, stream_timeout: 5}\n";
/// How often memory and descriptors are looked at: often enough that a short run sees what is usual.
const LOOK: Duration = Duration::from_millis(100);
/// What one burst may leave, as above: the second half may have had it and the first not.
const BURST: f64 = 64.0;

pub(super) fn run(length: Duration) -> Result<Vec<Row>, String> {
    if length.is_zero() {
        return Ok(Vec::new());
    }
    let provider = Provider::start()?;
    let gateway = Gateway::start(provider.address, &MODELS, MORE)?;
    let (over, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut looks: Vec<(f64, usize)> = Vec::new();
    thread::scope(|scope| {
        for client in 0..6 {
            let (gateway, over, begun) = (&gateway, &over, &begun);
            scope.spawn(move || clients(gateway, client, over, begun));
        }
        scope.spawn(|| change(&gateway, provider.address, &over));
        let start = now();
        while start.elapsed() < length {
            thread::sleep(LOOK.min(length));
            looks.push((gateway.memory("VmRSS"), gateway.descriptors()));
        }
        over.store(true, Ordering::Relaxed);
    });
    let start = now();
    while gateway.metric("witgate_under_way", "") > 0.0 && start.elapsed() < Duration::from_secs(30) {
        thread::sleep(Duration::from_millis(200));
    }
    let begun = begun.load(Ordering::Relaxed);
    let recorded = gateway.metric("witgate_requests_total", "");
    let under_way = gateway.metric("witgate_under_way", "");
    // A fifth of the time to warm up; then the first half beside the second. Peaks are chance: how many large replies meet.
    let steady = &looks[looks.len() / 5..];
    let (first, second) = steady.split_at(steady.len() / 2);
    let (first, second) = (usual(first), usual(second));
    let minutes = length.as_secs_f64() / 60.0;
    let counts = format!("{begun} begun, {recorded} recorded, {under_way} under way after {minutes:.1} min");
    let exact = format!("{recorded}") == begun.to_string() && under_way < 0.5;
    Ok(vec![
        Row::claim("everything at once: what began ended and was recorded", "begun = recorded", counts, exact),
        Row::claim(
            "… and memory, what is usual in the first half beside the second",
            "≤ 1.25 of it + 64 MiB",
            format!("{:.0} → {:.0} MiB", first.0, second.0),
            second.0 <= first.0 * 1.25 + BURST,
        ),
        Row::claim(
            "… and descriptors",
            "≤ 1.25 of it + 32",
            format!("{} → {}", first.1, second.1),
            second.1 * 4 <= first.1 * 5 + 128,
        ),
    ])
}

/// The median of each.
fn usual(looks: &[(f64, usize)]) -> (f64, usize) {
    let (mut memory, mut descriptors): (Vec<f64>, Vec<usize>) = looks.iter().copied().unzip();
    memory.sort_by(f64::total_cmp);
    descriptors.sort_unstable();
    let middle = looks.len() / 2;
    (memory.get(middle).copied().unwrap_or_default(), descriptors.get(middle).copied().unwrap_or_default())
}

/// One client after another; some leave before the reply.
fn clients(gateway: &Gateway, client: usize, over: &AtomicBool, begun: &AtomicUsize) {
    let mut turn = client;
    while !over.load(Ordering::Relaxed) {
        turn += 1;
        let model = MODELS[turn % MODELS.len()];
        begun.fetch_add(1, Ordering::Relaxed);
        match turn % 7 {
            // Leaves: the request is whole, and nobody waits for its reply.
            0 => {
                let body =
                    format!(r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"hi"}}]}}"#);
                let sent = TcpStream::connect(gateway.address)
                    .and_then(|mut socket| socket.write_all(&post_bytes(body.as_bytes())).map(|()| socket));
                thread::sleep(Duration::from_millis(250));
                drop(sent);
            }
            1 => drop(gateway.post(br#"{"model":"ok","messages":[{"role":"user","content":]}"#)),
            2 => drop(gateway.chat("nobody", false)),
            _ => drop(gateway.chat(model, model == "stream" || model == "pings")),
        }
    }
}

/// Good and bad configurations and policies, one after another.
fn change(gateway: &Gateway, provider: std::net::SocketAddr, over: &AtomicBool) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let good = ["counting-a.wasm", "counting-b.wasm"]
        .map(|name| fs::read(root.join("tests/fixtures/policies").join(name)).unwrap_or_default());
    let mut turn = 0;
    while !over.load(Ordering::Relaxed) {
        turn += 1;
        let routers = "witgate: {routers: {ok: {policy: counting}}}\n";
        let text = match turn % 4 {
            0 => "model_list: [".to_owned(),
            _ => format!("{}# {turn}\n", configuration(provider, &MODELS, &format!("{MORE}{routers}"))),
        };
        let policy: &[u8] = if turn % 5 == 0 { b"no component" } else { &good[turn % 2] };
        for (path, bytes) in [(gateway.policies().join("counting.wasm"), policy), (gateway.config(), text.as_bytes())] {
            let aside = path.with_extension("new");
            let _next_turn = fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, &path));
        }
        thread::sleep(Duration::from_millis(700));
    }
}
