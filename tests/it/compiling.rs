//! Components that take long to compile: nothing else waits for them, and what is in force decides until they are ready.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use witgate::clock::Clock;
use witgate::policy::{Compiler, Digest, EngineOptions, Role};
use witgate::rollout::Action;
use witgate::snapshot::Snapshot;
use witgate::start::{self, Options, Running};

use crate::support::{files, fixture, options, until};

const CONFIG: &str = "model_list:
  - {model_name: g, litellm_params: {model: simulated/m}, model_info: {id: first}}
witgate: {routers: {g: {policy: counting}}}
";

/// A gateway whose compiler begins when a gate is open, and keeps nothing of what it compiled.
struct Gated {
    running: Running,
    folder: TempDir,
}

impl Gated {
    /// Starts with these components, the gate closed behind them.
    fn start(policies: &[(&str, &[u8])]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("policies")).expect("the policies folder");
        fs::write(path("config.yaml"), CONFIG).expect("the configuration");
        for (name, bytes) in policies {
            fs::write(path("policies").join(name), bytes).expect("a policy");
        }
        fs::write(path("gate"), "").expect("open");
        let options = options(files(&path("config.yaml"), &path("policies")), Clock::system());
        let engine = EngineOptions { compiler: Compiler::Child(compiler(folder.path())), ..EngineOptions::default() };
        let running = start::start(Options { engine, ..options }).unwrap_or_else(|told| panic!("{}", told.join("\n")));
        fs::remove_file(path("gate")).expect("closed");
        Self { running, folder }
    }

    fn open(&self) {
        fs::write(self.folder.path().join("gate"), "").expect("open");
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let target = self.folder.path().join(name);
        let aside = target.with_extension("new");
        fs::write(&aside, bytes).expect("a new file");
        fs::rename(aside, target).expect("renamed");
    }

    fn live(&self) -> Arc<Snapshot> {
        self.running.gateway.live.read()
    }

    /// Who decides.
    fn decider(&self) -> String {
        self.live().groups["g"].policy.to_string()
    }

    /// What is being compiled, and whether somebody decides in its place.
    fn compiling(&self) -> Vec<(String, bool)> {
        let all = self.live().rollouts.compiling();
        all.into_iter().map(|one| (format!("{}@{}", one.policy, one.digest.short()), one.goes_on)).collect()
    }

    /// Whether the deployment has this name, which every configuration here gives it anew.
    fn serves(&self, deployment: &str) -> bool {
        self.live().groups["g"].deployments.iter().any(|one| one.config.id.as_str() == deployment)
    }
}

/// A program that compiles as this gateway's own does, once there is a file `gate` beside it; it gives up when it is there no more itself.
fn compiler(folder: &Path) -> PathBuf {
    let program = folder.join("compiler.sh");
    let (here, witgate) = (folder.display(), env!("CARGO_BIN_EXE_witgate"));
    let script = format!(
        "#!/bin/sh\nwhile [ ! -e '{here}/gate' ]; do\n  [ -e '{here}' ] || exit 1\n  sleep 0.02\ndone\nexec '{witgate}' \"$@\"\n"
    );
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("a program");
    program
}

fn counting(version: &str) -> Vec<u8> {
    fs::read(fixture(&format!("policies/counting-{version}.wasm"))).expect("a component")
}

fn label(name: &str, bytes: &[u8]) -> String {
    format!("{name}@{}", Digest::of(bytes).short())
}

fn config(deployment: &str, policy: &str) -> Vec<u8> {
    let config = CONFIG.replace("id: first", &format!("id: {deployment}"));
    config.replace("policy: counting", &format!("policy: {policy}")).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_compiles_holds_up_nothing_and_the_newest_decides() {
    let [old, between, new] = ["a", "b", "faulty"].map(counting);
    let gated = Gated::start(&[("counting.wasm", &old)]);
    let compiling = |bytes: &[u8]| vec![(label("counting", bytes), true)];
    gated.put("policies/counting.wasm", &between);
    until("it is being compiled", || gated.compiling() == compiling(&between)).await;
    gated.put("config.yaml", &config("second", "counting"));
    until("the configuration is applied", || gated.serves("second")).await;
    assert_eq!((gated.decider(), gated.live().generation), (label("counting", &old), 2));
    assert_eq!(*gated.running.gateway.live.problems(), [""; 0], "nothing is wrong");
    // Another version comes meanwhile.
    gated.put("policies/counting.wasm", &new);
    until("it is compiled instead", || gated.compiling() == compiling(&new)).await;
    gated.open();
    until("the newest decides", || gated.decider() == label("counting", &new)).await;
    until("nothing is compiled any more", || gated.compiling().is_empty()).await;
    let live = gated.live();
    assert_eq!(live.generation, 3, "one for the configuration, and one for the version");
    let versions: Vec<_> = live.rollouts.history.of(None).into_iter().map(|change| change.digest).collect();
    assert_eq!(versions, [Digest::of(&old), Digest::of(&new)], "the one between never decided");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_waits_for_what_it_names_first_and_another_does_not() {
    let [old, new] = ["a", "b"].map(counting);
    let gated = Gated::start(&[("counting.wasm", &old)]);
    gated.put("policies/other.wasm", &new);
    gated.put("config.yaml", &config("second", "other"));
    until("it is being compiled", || gated.compiling() == [(label("other", &new), false)]).await;
    assert!(gated.serves("first") && gated.running.gateway.live.problems().is_empty());
    let order = gated.live().rollouts.order(("g".into(), None), (Role::Router, None), Action::Rollback, None);
    let refused = order.await.expect("an answer").expect_err("refused");
    assert!(refused.contains("policy `other`") && refused.contains("still being compiled"), "{refused}");
    // Who changes his mind waits for nothing.
    gated.put("config.yaml", &config("third", "counting"));
    until("another configuration is applied", || gated.serves("third")).await;
    assert_eq!((gated.decider(), gated.live().generation), (label("counting", &old), 2));
    gated.put("config.yaml", &config("fourth", "other"));
    until("it is needed again", || !gated.compiling().is_empty()).await;
    assert!(gated.serves("third"));
    gated.open();
    until("it decides", || gated.decider() == label("other", &new)).await;
    assert!(gated.serves("fourth") && gated.live().generation == 3);
}

/// What was compiled for one name is there for all files with the same bytes, and each decides under its own name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_under_another_name_is_not_compiled() {
    let component = counting("a");
    let gated = Gated::start(&[("counting.wasm", &component), ("twin.wasm", &component)]);
    for policy in ["twin", "counting", "twin"] {
        gated.put("policies/twin.wasm", &component);
        gated.put("config.yaml", &config("first", policy));
        until("it decides", || gated.decider() == label(policy, &component)).await;
        assert!(gated.compiling().is_empty());
    }
    gated.put("policies/third.wasm", &component);
    gated.put("config.yaml", &config("first", "third"));
    until("it decides", || gated.decider() == label("third", &component)).await;
    assert_eq!(*gated.running.gateway.live.problems(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_of_another_role_is_refused_before_it_is_compiled() {
    let old = counting("a");
    let gated = Gated::start(&[("counting.wasm", &old)]);
    let parser = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/json.wasm")).expect("a component");
    gated.put("policies/counting.wasm", &parser);
    let problems = || gated.running.gateway.live.problems().join("\n");
    until("it is refused", || !problems().is_empty()).await;
    let who = format!("config.yaml:3:21: group `g`, policy `counting` ({})", Digest::of(&parser).short());
    assert!(problems().contains(&format!("{who}: is a response-parser, and no router")), "{}", problems());
    // As any file that cannot be used, it holds up nothing else.
    gated.put("config.yaml", &config("second", "counting"));
    until("the configuration is applied", || gated.serves("second")).await;
    assert_eq!(gated.decider(), label("counting", &old));
    assert!(problems().contains("and no router") && gated.compiling().is_empty(), "{}", problems());
}
