//! `cargo xtask prove languages`: one router in every language, from nothing to deciding a request. In a folder of its own every
//! command of the language's tutorial (docs/policies) is run as it stands there: one writes the project, one puts the component
//! under a running gateway, which has the tutorial's configuration, and the next requests must be decided by it, in four commands and five
//! minutes at most. One that raises is told to the operator in its own words, and fails no request. Then whether all decide alike. A prompt
//! builder, a response parser and a provider in every language likewise, up to their scenarios, which are the same for all, and then
//! together in a group that serves a request and a stream. What a decision of each costs, held to twice its goal, is measured apart, where
//! nothing else runs.

mod compare;
mod goals;
mod live;
mod pace;
mod raising;
mod roles;
mod tools;
mod tutorial;
mod watched;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use witgate::kit::{Language, World};

use crate::bench::watch::now;
use crate::say;
use compare::Contender;
use live::Live;
use tools::Tools;
use tutorial::Tutorial;

/// The name of every project; the gateway meets them one after another in one place.
const NAME: &str = "thrifty";

/// The commands from nothing to a request that it decides, at most.
const COMMANDS: usize = 4;
/// The seconds they may take.
const SECONDS: f64 = 300.0;

/// How long the commands of a tutorial took, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    /// Until it is live.
    commands: usize,
    tests: f64,
    build: f64,
    scenarios: f64,
    /// From when it was put into the folder to the first request it decided.
    live: f64,
    all: f64,
}

/// `quick` leaves out what builds longest of the other worlds: Rust, in which the shipped policies of these worlds are written and checked
/// already, and TypeScript, whose projects differ from JavaScript's in a compiler.
pub(super) fn prove(root: &Path, quick: bool) -> Result<(), String> {
    let tools = Tools::install(root)?;
    let work = root.join("target/languages/work");
    if work.exists() {
        fs::remove_dir_all(&work).map_err(|problem| format!("{}: {problem}", work.display()))?;
    }
    let mut live = Live::start(root, &tools, NAME, &Tutorial::read(root, Language::Rust)?)?;
    let (mut contenders, mut rows) = (Vec::new(), Vec::new());
    for language in Language::ALL {
        let folder = work.join(language.as_str());
        fs::create_dir_all(&folder).map_err(|problem| format!("{}: {problem}", folder.display()))?;
        match one(&tools, &mut live, &folder, &Tutorial::read(root, language)?)? {
            Ok((took, component)) => {
                contenders.push(Contender::load(root, language, &component)?);
                rows.push((language, took));
                // Those whose tools build again within a second or two.
                if !quick || matches!(language, Language::C | Language::Rust) {
                    let took = watched::prove(&tools, &live, &folder, language)?;
                    say(&format!("{}: under watch, live {took:.1} s after a source was saved", language.title()));
                }
            }
            Err(missing) if tools.can_have(language) => {
                return Err(format!("{}: {missing}", language.title()));
            }
            Err(missing) => say(&format!("{}: left out, {missing}", language.title())),
        }
    }
    others(&tools, &work, quick)?;
    let together = roles::prove(&tools, &work)?.into_iter().map(Language::title).collect::<Vec<_>>();
    say(&format!("builder, parser and provider together serve a request and a stream: {}", together.join(", ")));
    let alike = compare::alike(&contenders)?;
    say("\n             commands  tests s  build s  scenarios s  live s  all s");
    for (language, Took { commands, tests, build, scenarios, live, all }) in rows {
        let language = language.title();
        say(&format!(
            "{language:<12} {commands:>8} {tests:>8.1} {build:>8.1} {scenarios:>12.1} {live:>7.1} {all:>6.1}"
        ));
    }
    say(&format!("{} languages rank {alike} random questions alike", contenders.len()));
    Ok(())
}

/// What a decision costs in each language whose router an earlier run has built.
pub(super) fn decisions(root: &Path) -> Result<(), String> {
    let work = root.join("target/languages/work");
    say("             size KiB   µs a decision at 1 / 10 / 100        at the goals' pace");
    let (mut routers, mut missed) = (0, Vec::new());
    for language in Language::ALL {
        let component = work.join(language.as_str()).join(NAME).join(NAME).with_extension("wasm");
        if !component.exists() {
            say(&format!("{}: left out, {} was not built", language.title(), component.display()));
            continue;
        }
        let contender = Contender::load(root, language, &component)?;
        let costs = contender.decisions(NAME)?;
        let told = |each: [f64; 3]| each.map(|micros| format!("{micros:>8.2}")).join(" ");
        let (measured, paced) = (told(costs.map(|cost| cost.measured)), told(costs.map(|cost| cost.paced)));
        let size = contender.bytes.div_ceil(1024);
        say(&format!("{:<12} {size:>8}   {measured}   {paced}", language.title()));
        missed.extend(goals::judged(language, costs));
        routers += 1;
    }
    say(&format!("goals, µs: {}", goals::told()));
    match routers {
        0 => Err("no router was built: `cargo xtask prove languages` builds them".into()),
        _ if missed.is_empty() => Ok(()),
        _ => Err(missed.join("\n")),
    }
}

/// From nothing to live. `Ok(Err(_))` says which tool is missing.
fn one(
    tools: &Tools,
    live: &mut Live,
    folder: &Path,
    tutorial: &Tutorial,
) -> Result<Result<(Took, PathBuf), String>, String> {
    let begin = now();
    let policies = folder.join("policies");
    std::os::unix::fs::symlink(live.policies(), &policies).map_err(|told| format!("{}: {told}", policies.display()))?;
    let mut took = Took::default();
    for command in &tutorial.commands {
        // The one line that is not the tutorial's: what is built raises on requests of one priority, which are sent once it is live.
        let builds = command.starts_with("witgate policy build ");
        let raising = builds.then(|| raising::put(&folder.join(NAME), tutorial.language)).transpose()?;
        let start = now();
        match tools.run(folder, command) {
            Err(told) if told.contains("install it: ") => return Ok(Err(told)),
            done => done?,
        }
        drop(raising);
        let place = match command.split(' ').take(3).collect::<Vec<_>>()[..] {
            ["witgate", "policy", "build"] => &mut took.build,
            ["witgate", "policy", "test"] => &mut took.scenarios,
            _ => &mut took.tests,
        };
        *place += seconds(start);
        if took.all == 0.0 {
            took.commands += 1;
        }
        if command.contains(" --to ") {
            let start = now();
            live.decided_by(&folder.join(NAME).join(NAME).with_extension("wasm"))?;
            took.live += seconds(start);
            took.all = seconds(begin);
        }
    }
    if took.all == 0.0 || took.commands > COMMANDS || took.all > SECONDS {
        let Took { commands, all, .. } = took;
        let language = tutorial.language.title();
        return Err(format!(
            "{language}: live after {commands} commands and {all:.0} s; at most {COMMANDS} and {SECONDS:.0} s"
        ));
    }
    live.asked_as_shown(tools, tutorial)?;
    live.raised(raising::PRIORITY, raising::WORDS)?;
    let component = folder.join(NAME).join(NAME).with_extension("wasm");
    tools.run(folder, &format!("witgate policy check {NAME}/{NAME}.wasm"))?;
    say(&format!("{}: live after {:.0} s", tutorial.language.title(), took.all));
    Ok(Ok((took, component)))
}

/// How many projects of the other worlds are under way at once: most of their tools use one processor.
const AT_ONCE: usize = 2;

/// Every project of another world, and how long each took.
fn others(tools: &Tools, work: &Path, quick: bool) -> Result<(), String> {
    let worlds = World::ALL.into_iter().filter(|world| *world != World::Router);
    let mut jobs: Vec<_> = worlds.flat_map(|world| Language::ALL.map(|language| (world, language))).collect();
    if quick {
        jobs.retain(|(_, language)| !matches!(language, Language::Rust | Language::TypeScript));
    }
    // What takes longest comes first, so that nothing waits for it at the end.
    jobs.sort_by_key(|(_, language)| *language != Language::Python);
    let (next, told) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || {
        while let Some((world, language)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let took = other(tools, work, *world, *language);
            told.lock().unwrap_or_else(PoisonError::into_inner).push((*world, took));
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(worker))));
    let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    for world in World::ALL.into_iter().filter(|world| *world != World::Router) {
        let all = told.iter().filter(|(of, _)| *of == world).map(|(_, took)| took.clone());
        let all = all.collect::<Result<Vec<_>, String>>()?;
        say(&format!("{}, from nothing to scenarios that pass: {}", world.as_str(), all.join(", ")));
    }
    Ok(())
}

/// A project of another world: every command of its README but the last, which copies. Tells how long that took.
fn other(tools: &Tools, work: &Path, world: World, language: Language) -> Result<String, String> {
    let folder = work.join(world.as_str()).join(language.as_str());
    fs::create_dir_all(&folder).map_err(|problem| format!("{}: {problem}", folder.display()))?;
    let begin = now();
    tools
        .run(&folder, &format!("witgate policy new {NAME} --world {} --lang {}", world.as_str(), language.as_str()))?;
    let project = folder.join(NAME);
    let commands = commands(&project)?;
    for command in commands.iter().filter(|command| !command.starts_with("cp ")) {
        match tools.run(&project, command) {
            Err(told) if told.contains("install it: ") => return Ok(format!("{} left out: {told}", language.title())),
            done => done?,
        }
    }
    Ok(format!("{} {:.0} s", language.title(), seconds(begin)))
}

fn seconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

/// The commands in a README's block of shell, comments cut off.
fn commands(project: &Path) -> Result<Vec<String>, String> {
    let path = project.join("README.md");
    let text = fs::read_to_string(&path).map_err(|problem| format!("{}: {problem}", path.display()))?;
    let block = text.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    let lines = block.ok_or_else(|| format!("{} has no commands", path.display()))?.lines();
    Ok(lines.map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned()).collect())
}

/// A command's end as words.
fn ended(command: &mut Command, shown: &str) -> Result<(), String> {
    let output = command.output().map_err(|problem| format!("{shown}: {problem}"))?;
    if output.status.success() {
        return Ok(());
    }
    let [out, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    Err(format!("`{shown}` failed: {out}{errors}"))
}
