//! `cargo xtask release`: the gateway compiled twice, the second time by what the first was seen doing under load.
//!
//! A request passes through some hundred small functions of a program of 50 MB, and a compiler that has not seen which branches are taken
//! lays them out as they were written. Told by a profile it lays what serves requests together: a fifth less CPU time a request. What the load
//! does not pass through is compiled for size, so it asks every client API, whole and streamed, with and without a builder and a parser, and
//! keeps a ledger.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bench::client::{Client, request_of};
use crate::bench::gateway::{DRESSED, Gateway, Place};
use crate::bench::load::{self, Case};
use crate::bench::profile::cargo;
use crate::bench::upstream::Upstream;
use crate::say;

const USAGE: &str = "\
cargo xtask release

Builds target/trained/witgate: as `cargo build --release`, and then again by what that was seen doing. It takes twice as long.
";

/// Each case of the benchmark; enough for every branch of the hot path to be taken some ten thousand times.
const WINDOW: Duration = Duration::from_secs(3);
/// Requests in each of the other client APIs, whole and streamed.
const OTHERS: usize = 500;

/// What comes with rustc and reads its profiles.
struct Tools {
    profdata: PathBuf,
    /// The machine that is built for. Named to cargo, so that what runs while compiling has no part in the profile.
    host: String,
}

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    if !arguments.is_empty() {
        return Err(USAGE.to_owned());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("this crate has no workspace")?;
    let tools = Tools::find(root)?;
    let folder = root.join("target/trained");
    let failed = |problem: std::io::Error| format!("{}: {problem}", folder.display());
    let profiles = folder.join("profiles");
    // What an earlier build was seen doing is of other functions.
    let _none_yet = std::fs::remove_dir_all(&profiles);
    std::fs::create_dir_all(&profiles).map_err(failed)?;
    say("building what is watched");
    // Linked as the other is: what was seen of one that is linked without optimising fits less of it, and half of the gain is lost.
    let watched = build(root, &tools, &folder.join("watched"), &format!("-Cprofile-generate={}", profiles.display()))?;
    say("watching it");
    train(&watched)?;
    let profile = folder.join("profile.profdata");
    merge(&tools, &profiles, &profile)?;
    say("building what was learned");
    let trained = build(root, &tools, &folder.join("built"), &format!("-Cprofile-use={}", profile.display()))?;
    let binary = folder.join("witgate");
    std::fs::copy(trained, &binary).map_err(failed)?;
    say(&format!("{}", binary.display()));
    Ok(())
}

impl Tools {
    fn find(root: &Path) -> Result<Self, String> {
        let told = |arguments: &[&str]| {
            let told = Command::new("rustc").current_dir(root).args(arguments).output();
            let told = told.map_err(|problem| format!("rustc could not be run: {problem}"))?;
            Ok::<_, String>(String::from_utf8_lossy(&told.stdout).into_owned())
        };
        let version = told(&["--version", "--verbose"])?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc tells no host")?;
        let sysroot = told(&["--print", "sysroot"])?;
        let profdata = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/llvm-profdata");
        if !profdata.exists() {
            return Err(format!("{} is missing\nhint: rustup component add llvm-tools", profdata.display()));
        }
        Ok(Self { profdata, host: host.to_owned() })
    }
}

/// Builds the gateway with these flags, beside those of the environment.
fn build(root: &Path, tools: &Tools, target: &Path, flags: &str) -> Result<PathBuf, String> {
    let others = std::env::var("RUSTFLAGS").unwrap_or_default();
    let built = cargo()
        .current_dir(root)
        .args(["build", "--quiet", "--locked", "--release", "--package", "witgate", "--target", &tools.host])
        .arg("--target-dir")
        .arg(target)
        .env("RUSTFLAGS", format!("{others} {flags}"))
        .status()
        .map_err(|problem| format!("cargo could not be run: {problem}"))?;
    if !built.success() {
        return Err(format!("the build with {flags} failed"));
    }
    Ok(target.join(&tools.host).join("release/witgate"))
}

/// Loads it as the benchmark does, and ends it as an operator does: its profile is written at the end.
fn train(binary: &Path) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|problem| problem.to_string())?;
    let upstream = Upstream::start()?;
    let place = Place::new(binary.to_owned(), upstream.address, true)?.with_ledger()?;
    runtime.block_on(async {
        let gateway = place.start("cache").await?;
        for case in Case::ALL {
            load::run(&gateway.path(), case, Duration::ZERO, WINDOW).await?;
        }
        for case in [Case::ManyPlain, Case::ManyStreamed] {
            load::run_model(&gateway.path(), case, DRESSED, Duration::ZERO, WINDOW).await?;
        }
        ask_in_other_words(&gateway).await?;
        gateway.end()
    })
}

/// The other client APIs: a reply is translated into each one's words.
async fn ask_in_other_words(gateway: &Gateway) -> Result<(), String> {
    let mut client = Client::connect(gateway.path().address).await?;
    // Each API has an end of its own; that the reply was whole is for tests to say.
    client.set_ending(b"\n");
    for streamed in [false, true] {
        for (path, body) in other_apis(streamed) {
            let request = request_of(&path, &body);
            for _ in 0..OTHERS {
                client.ask(&request).await?;
            }
        }
    }
    Ok(())
}

/// Paths and bodies of a short question.
fn other_apis(streamed: bool) -> [(String, String); 3] {
    let messages = r#"[{"role":"user","content":"Say hello."}]"#;
    let gemini = if streamed { "streamGenerateContent?alt=sse" } else { "generateContent" };
    [
        (
            "/v1/messages".to_owned(),
            format!(r#"{{"model":"fast","max_tokens":64,"stream":{streamed},"messages":{messages}}}"#),
        ),
        ("/v1/responses".to_owned(), format!(r#"{{"model":"fast","stream":{streamed},"input":{messages}}}"#)),
        (
            format!("/v1beta/models/fast:{gemini}"),
            r#"{"contents":[{"role":"user","parts":[{"text":"Say hello."}]}]}"#.to_owned(),
        ),
    ]
}

/// Puts the files that the processes left together.
fn merge(tools: &Tools, profiles: &Path, into: &Path) -> Result<(), String> {
    let shown = tools.profdata.display();
    let merged = Command::new(&tools.profdata).arg("merge").arg("--output").arg(into).arg(profiles).status();
    match merged {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown}: {status}\nhint: is {} empty?", profiles.display())),
        Err(problem) => Err(format!("{shown} could not be run: {problem}")),
    }
}
