//! `cargo xtask bench`: what the gateway costs, beside the bare upstream and nginx, in one run on one machine.
//!
//! All paths take turns in every round, so that whatever else the machine does hits them alike; told are medians
//! over the rounds. Neither proxy writes a line per request. A request that fails ends the benchmark.

pub(crate) mod client;
pub(crate) mod decisions;
pub(crate) mod gateway;
pub(crate) mod load;
mod nginx;
pub(crate) mod profile;
mod report;
mod reserving;
mod roles;
pub(crate) mod stats;
pub(crate) mod upstream;
pub(crate) mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::say;
use gateway::{Gateway, Place};
use load::Case;
use nginx::Nginx;
use profile::{Profile, Programs};
use report::{Measured, Row};
use upstream::Upstream;

pub(crate) use stats::{median, micros, percentile};

const USAGE: &str = "\
cargo xtask bench [decisions] [--quick] [--check] [--profile dev|release] [--gateway BINARY] [--beside BINARY] [--ledger]

  decisions   only what a routing decision and a reservation cost; no nginx needed
  --quick     one short round, to see that everything works
  --check     fail where a floor is missed
  --profile   how gateway and load are built; release unless told otherwise. A dev build checks itself all the time:
              it shows that the benchmark works, not how fast the gateway is
  --gateway   the gateway that is measured, in the place of the one that is built: target/trained/witgate of `cargo xtask release`
  --beside    another gateway binary, such as one of an earlier commit, that takes turns with this one: the ratios of
              the two, round by round, tell what a change costs whatever the machine does meanwhile
  --ledger    the gateway that is measured keeps a ledger; the one beside it keeps none, as older ones do not know how to
";

/// How long everything is measured.
struct Effort {
    rounds: usize,
    warm_up: Duration,
    /// A cell with one client, and one with many.
    windows: [Duration; 2],
    starts: usize,
    decisions: usize,
}

const FULL: Effort = Effort {
    rounds: 5,
    warm_up: Duration::from_millis(300),
    windows: [Duration::from_millis(1500), Duration::from_millis(3000)],
    starts: 5,
    decisions: 100_000,
};

const QUICK: Effort = Effort {
    rounds: 1,
    warm_up: Duration::from_millis(100),
    windows: [Duration::from_millis(400), Duration::from_millis(700)],
    starts: 1,
    decisions: 20_000,
};

#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
struct Wishes {
    only_decisions: bool,
    quick: bool,
    check: bool,
    profile: Profile,
    gateway: Option<PathBuf>,
    beside: Option<PathBuf>,
    ledger: bool,
}

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let wishes = wishes(arguments)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("this crate has no workspace")?;
    let mut programs = wishes.profile.build(root)?;
    if !programs.are_running() {
        return programs.bench(arguments);
    }
    if let Some(gateway) = &wishes.gateway {
        programs.witgate.clone_from(gateway);
    }
    let effort = if wishes.quick { QUICK } else { FULL };
    let mut measured = Measured::default();
    if !wishes.only_decisions {
        serve(&programs, &wishes, &effort, &mut measured)?;
    }
    measured.decisions = decisions::measure(root, effort.decisions)?;
    measured.reserving = Some(reserving::measure(effort.decisions)?);
    measured.deltas = roles::measure(root, effort.decisions)?;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let rounds = effort.rounds;
    say(&format!("{cores} cores, gateway built as {}, medians of {rounds} round(s)\n", wishes.profile.name()));
    say(&measured.tables());
    let missed = measured.missed();
    if wishes.check && !missed.is_empty() {
        return Err(format!("below the floor:\n{}", missed.join("\n")));
    }
    Ok(())
}

fn wishes(arguments: &[String]) -> Result<Wishes, String> {
    let mut wishes = Wishes {
        only_decisions: false,
        quick: false,
        check: false,
        profile: Profile::Release,
        gateway: None,
        beside: None,
        ledger: false,
    };
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "decisions" => wishes.only_decisions = true,
            "--quick" => wishes.quick = true,
            "--ledger" => wishes.ledger = true,
            "--check" => wishes.check = true,
            "--gateway" => wishes.gateway = Some(words.next().ok_or(USAGE)?.into()),
            "--beside" => wishes.beside = Some(words.next().ok_or(USAGE)?.into()),
            "--profile" => {
                wishes.profile = match words.next() {
                    Some("dev") => Profile::Dev,
                    Some("release") => Profile::Release,
                    _ => return Err(USAGE.to_owned()),
                }
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(wishes)
}

fn serve(programs: &Programs, wishes: &Wishes, effort: &Effort, measured: &mut Measured) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|problem| problem.to_string())?;
    let upstream = Upstream::start()?;
    let place = Place::new(programs.witgate.clone(), upstream.address, true)?;
    let place = if wishes.ledger { place.with_ledger()? } else { place };
    let other = wishes.beside.clone().map(|binary| Place::new(binary, upstream.address, false)).transpose()?;
    runtime.block_on(async {
        let told = |kind| signal(kind).map_err(|problem| problem.to_string());
        let (mut interrupt, mut terminate) = (told(SignalKind::interrupt())?, told(SignalKind::terminate())?);
        // Whoever stops it must not leave servers behind: their owners are dropped with the losing branch.
        tokio::select! {
            biased;
            _ = interrupt.recv() => Err("interrupted".to_owned()),
            _ = terminate.recv() => Err("terminated".to_owned()),
            done = rounds(&place, other.as_ref(), upstream.address, effort, measured) => done,
        }
    })
}

/// All paths take turns at all cases.
async fn rounds(
    place: &Place,
    other: Option<&Place>,
    upstream: SocketAddr,
    effort: &Effort,
    measured: &mut Measured,
) -> Result<(), String> {
    let gateway = starts(place, effort, measured).await?;
    let other = match other {
        Some(place) => Some(place.start("cache-0").await?),
        None => None,
    };
    let idle = gateway.path().processes.resident();
    let nginx = Nginx::start(upstream).await?;
    let direct = load::Path { name: "direct", address: upstream, processes: watch::Processes::default() };
    let mut most = idle;
    for round in 0..effort.rounds {
        for case in Case::ALL {
            let window = effort.windows[usize::from(!case.alone())];
            let cell = async |path: &load::Path| load::run(path, case, effort.warm_up, window).await;
            let direct = cell(&direct).await?;
            let nginx = cell(&nginx.path()).await?;
            let beside = async || match &other {
                Some(other) => cell(&other.path()).await.map(Some),
                None => Ok(None),
            };
            let dressed = async || match case {
                Case::ManyPlain | Case::ManyStreamed => {
                    load::run_model(&gateway.path(), case, gateway::DRESSED, effort.warm_up, window).await.map(Some)
                }
                _ => Ok(None),
            };
            // Who comes second finds the machine as the first left it: they change places every round.
            let (witgate, other, dressed) = if round % 2 == 0 {
                (cell(&gateway.path()).await?, beside().await?, dressed().await?)
            } else {
                let (dressed, other) = (dressed().await?, beside().await?);
                (cell(&gateway.path()).await?, other, dressed)
            };
            most = most.max(gateway.path().processes.resident());
            measured.rounds.push((case, Row { direct, nginx, witgate, other, dressed }));
        }
    }
    measured.memory = Some((stats::mebibytes(idle), stats::mebibytes(most)));
    measured.nginx_memory = stats::mebibytes(nginx.path().processes.resident());
    Ok(())
}

/// Starts gateways, half of them with nothing compiled; the last one stays.
async fn starts(place: &Place, effort: &Effort, measured: &mut Measured) -> Result<Gateway, String> {
    let (mut kept, mut cold) = (Vec::new(), Vec::new());
    for start in 0..effort.starts {
        let cache = format!("cache-{start}");
        cold.push(micros(place.start(&cache).await?.to_first_reply) / 1e3);
        kept.push(micros(place.start(&cache).await?.to_first_reply) / 1e3);
    }
    measured.starts = Some((median(kept), median(cold)));
    place.start("cache-0").await
}
