//! Rolling out on virtual time: a bad new version is gone before anybody notices, a good one takes over, a shadow changes nothing,
//! and what was decided about versions outlives the process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use witgate::clock::Clock;
use witgate::format::OpenAi;
use witgate::http::HttpUpstream;
use witgate::pipeline::{BlockingPool, Gateway as Pipeline};
use witgate::policy::{Digest, Role};
use witgate::reload::{Builder, keep_states};
use witgate::rollout::{Action, Counts, Rollout, Verdict};
use witgate::start::{Assembled, assemble};

use crate::support::gateway::Gateway;
use crate::support::virtual_time::{BEGIN, ask};
use crate::support::{files, fixture, options, until};

/// The share of requests a canary decides here, and how many make it the version in force.
const RULES: &str = "{canary: 20%, requests: 50, minimum: 20}";

fn component(name: &str) -> Vec<u8> {
    std::fs::read(fixture(&format!("policies/counting-{name}.wasm"))).expect("a component")
}

fn decider(name: &str) -> String {
    format!("counting@{}", Digest::of(&component(name)).short())
}

/// Files of a gateway that is built by hand, on virtual time.
pub(crate) struct Scene {
    place: TempDir,
}

/// It serves until it is dropped.
pub(crate) struct Serving {
    pub(crate) gateway: Arc<Pipeline>,
    builder: Builder,
}

impl Scene {
    /// One without any files.
    pub(crate) fn bare() -> Self {
        let scene = Self { place: TempDir::new().expect("a folder") };
        std::fs::create_dir(scene.path("policies")).expect("the policies folder");
        scene
    }

    fn new(roll_out: &str) -> Self {
        let scene = Self::bare();
        scene.configure(roll_out);
        scene.put("a");
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn configure(&self, roll_out: &str) {
        let deployment = |id: &str| {
            format!(
                "  - {{model_name: g, litellm_params: {{model: simulated/m, simulated: {{ttft_ms: 5, output_tokens: 2}}}}, model_info: {{id: {id}}}}}\n"
            )
        };
        let own = format!(
            "witgate:\n  state_dir: {}\n  routers: {{g: {{policy: counting, roll_out: {roll_out}}}}}\n",
            self.path("state").display()
        );
        let text = format!("model_list:\n{}{}{own}", deployment("first"), deployment("last"));
        std::fs::write(self.path("config.yaml"), text).expect("written");
    }

    fn put(&self, name: &str) {
        std::fs::write(self.path("policies/counting.wasm"), component(name)).expect("written");
    }

    pub(crate) fn start(&self) -> Serving {
        let options = options(files(&self.path("config.yaml"), &self.path("policies")), Clock::starting_at(BEGIN));
        let assembled = assemble(options, Arc::new(HttpUpstream::new()), BlockingPool::in_place());
        let Assembled { gateway, builder, .. } = assembled.unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
        Serving { gateway, builder }
    }
}

impl Serving {
    /// Builds what the files say; whether that changed anything.
    pub(crate) fn build(&mut self) -> bool {
        let (changes, problems) = self.build_despite();
        assert!(problems.is_empty(), "{problems:?}");
        changes
    }

    /// The same, with what is wrong and kept nothing from being built.
    pub(crate) fn build_despite(&mut self) -> (bool, Vec<String>) {
        let current = self.gateway.live.read();
        let draft = self.builder.build(Some(&current)).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
        let problems = draft.problems().to_vec();
        let changes = draft.changes(&current);
        if changes {
            let change = self.gateway.budgets.change();
            let snapshot = self.builder.publish(&change, draft, current.generation + 1, self.gateway.clock);
            self.gateway.live.publish(snapshot);
        } else {
            self.builder.settle(draft, current.generation, self.gateway.clock.now());
        }
        (changes, problems)
    }

    /// Serves one request, of the priority at which the faulty version fails: who decided, and which deployment replied.
    async fn ask(&self) -> (String, String) {
        let body = json!({"model": "g", "priority": 666, "messages": [{"role": "user", "content": "Hi"}]});
        let (meta, _) = ask(&self.gateway, &OpenAi, &body).await.expect("no request fails");
        (meta.policy.to_string(), meta.deployment.to_string())
    }

    fn decider(&self) -> String {
        self.decider_of("g")
    }

    fn decider_of(&self, group: &str) -> String {
        self.gateway.live.read().groups[group].policy.to_string()
    }

    fn rollout(&self) -> Option<Arc<Rollout>> {
        self.gateway.live.read().groups["g"].rollout.clone()
    }

    /// Outcomes that the version in force has counted, over all its predecessors.
    fn counted(&self) -> u64 {
        let router = self.gateway.live.read().groups["g"].router.clone().expect("a router");
        let bytes = router.save().expect("a counting policy saves").bytes;
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }

    fn order(&mut self, action: Action, to: Option<String>) -> Result<String, String> {
        let mut answer = self.give(action, to);
        self.build();
        answer.try_recv().expect("an answer")
    }

    /// Gives an order that the next build obeys.
    fn give(&self, action: Action, to: Option<String>) -> oneshot::Receiver<Result<String, String>> {
        let control = Arc::clone(&self.gateway.live.read().rollouts);
        let tried = self.rollout().map(|rollout| rollout.digest());
        control.order(("g".into(), tried), (Role::Router, None), action, to)
    }

    /// Asks until the canary has ended.
    async fn ask_until_judged(&self) -> Verdict {
        let rollout = self.rollout().expect("a canary");
        for _ in 0..1000 {
            if let Some(verdict) = rollout.figures().verdict() {
                return verdict;
            }
            self.ask().await;
        }
        panic!("{:?}", rollout.figures().counts());
    }

    fn history(&self) -> Vec<(String, String)> {
        self.history_of(Role::Router)
    }

    pub(crate) fn history_of(&self, role: Role) -> Vec<(String, String)> {
        let changes = self.gateway.live.read().rollouts.history.of(Some("g"));
        changes
            .into_iter()
            .filter(|change| change.role == role.as_str())
            .map(|change| (change.how, change.by))
            .collect()
    }
}

pub(crate) fn told(words: &[(&str, &str)]) -> Vec<(String, String)> {
    words.iter().map(|(how, by)| ((*how).to_owned(), (*by).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_fails_is_gone_with_its_first_fault_and_fails_no_request() {
    let scene = Scene::new(RULES);
    let mut serving = scene.start();
    let old = decider("a");
    for _ in 0..10 {
        assert_eq!(serving.ask().await.0, old);
    }
    scene.put("faulty");
    assert!(serving.build());
    assert_eq!(serving.decider(), old, "it is tried and not in force");
    let rollout = serving.rollout().expect("a canary");
    // Half of its requests fail: it is gone with the first of them.
    let mut by_canary = 0;
    for _ in 0..100 {
        let before = rollout.figures().verdict();
        let (policy, _) = serving.ask().await;
        assert!(before.is_none() || policy == old, "nobody asks it again");
        by_canary += usize::from(policy == decider("faulty"));
    }
    let counts = rollout.figures().counts();
    assert_eq!((rollout.figures().verdict(), counts.faults, counts.fallbacks), (Some(Verdict::RolledBack), 1, 1));
    assert!(by_canary < 20, "{by_canary}");
    assert!(serving.build());
    assert!(serving.rollout().is_none() && serving.decider() == old);
    assert!(!serving.build(), "the same file is not tried again");
    let expected = [("start", "file"), ("canary", "file"), ("rollback", "rule")];
    assert_eq!(serving.history(), told(&expected));
    assert_eq!(serving.counted(), 110, "every outcome");
    // Neither is it after a restart.
    keep_states(&serving.gateway.live.read(), true);
    drop((serving, rollout));
    let mut serving = scene.start();
    assert!(serving.rollout().is_none());
    assert_eq!((serving.decider(), serving.counted()), (old, 110));
    assert_eq!(serving.history(), told(&expected));
    // What follows it is.
    scene.put("b");
    assert!(serving.build() && serving.rollout().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_good_canary_takes_over_with_all_that_was_learned() {
    let scene = Scene::new(RULES);
    let mut serving = scene.start();
    for _ in 0..10 {
        serving.ask().await;
    }
    scene.put("b");
    assert!(serving.build());
    let rollout = serving.rollout().expect("a canary");
    let mut by = [0_u64; 2];
    while rollout.figures().verdict().is_none() {
        let (policy, deployment) = serving.ask().await;
        let new = policy == decider("b");
        assert_eq!(deployment, if new { "last" } else { "first" });
        by[usize::from(new)] += 1;
        // Another configuration of the same versions changes nothing of what was counted.
        if by[0] + by[1] == 100 {
            scene.configure("{canary: 20%, requests: 50, minimum: 21}");
            assert!(serving.build());
        }
        assert!(by[0] < 1000, "{:?}", rollout.figures().counts());
    }
    assert_eq!((rollout.figures().verdict(), by[1]), (Some(Verdict::Promoted), 50));
    assert!((100..400).contains(&by[0]), "about four in five: {by:?}");
    assert_eq!(serving.ask().await.0, decider("b"), "from the next request on");
    assert!(serving.build());
    assert!(serving.rollout().is_none() && serving.decider() == decider("b"));
    assert_eq!(serving.counted(), 10 + by[0] + by[1] + 1, "both versions learn from every attempt");
    assert!(!serving.build());
    assert_eq!(serving.history(), told(&[("start", "file"), ("canary", "file"), ("promote", "rule")]));
}

#[tokio::test(start_paused = true)]
async fn a_shadow_changes_no_decision_whatever_it_does() {
    let scene = Scene::new("shadow");
    let mut serving = scene.start();
    for (name, same_first) in [("b", 0), ("faulty", 100)] {
        scene.put(name);
        assert!(serving.build());
        let rollout = serving.rollout().expect("a shadow");
        for _ in 0..100 {
            assert_eq!(serving.ask().await, (decider("a"), "first".to_owned()));
        }
        let counts = rollout.figures().counts();
        assert_eq!(counts.compared + counts.silent, 100, "{counts:?}");
        if name == "b" {
            assert_eq!((counts.compared, counts.same_first, counts.faults), (100, same_first, 0));
        } else {
            assert!(counts.faults > 0 && counts.silent > 0, "{counts:?}");
            assert_eq!(counts.same_first, counts.compared, "where it answers it prefers the same");
        }
        assert_eq!(rollout.figures().verdict(), None, "a shadow is never judged");
    }
    scene.put("b");
    serving.build();
    let words = serving.order(Action::Promote, None).expect("promoted");
    assert!(words.contains("is in force"), "{words}");
    assert_eq!(serving.ask().await, (decider("b"), "last".to_owned()));
}

/// What it would cost more or less is told where a version asked for prices, though nothing of it is obeyed.
#[tokio::test(start_paused = true)]
async fn a_shadow_tells_what_it_would_have_cost() {
    let scene = Scene::new("shadow");
    let config = scene.path("config.yaml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let priced = |text: &str, id: &str, price: &str| {
        let of = format!("model_info: {{id: {id}}}");
        text.replace(
            &of,
            &format!("model_info: {{id: {id}, input_cost_per_token: {price}, output_cost_per_token: {price}}}"),
        )
    };
    std::fs::write(&config, priced(&priced(&text, "first", "0.001"), "last", "0.0001")).expect("written");
    let mut serving = scene.start();
    let asks_for_costs =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/bandit.wasm")).expect("a component");
    std::fs::write(scene.path("policies/counting.wasm"), asks_for_costs).expect("written");
    assert!(serving.build());
    let rollout = serving.rollout().expect("a shadow");
    for _ in 0..20 {
        assert_eq!(serving.ask().await.1, "first", "the version in force decides");
    }
    let counts = rollout.figures().counts();
    assert!(counts.compared == 20 && counts.same_first < 20, "{counts:?}");
    assert!(counts.cost_difference_usd().is_some_and(|more| more < 0.0), "{counts:?}");
}

/// What a rollback is answered that has nowhere to go.
const NO_OLDER: &str = "no older version is known; name one with `to` (--to)";

#[tokio::test(start_paused = true)]
async fn yesterdays_version_is_one_order_away_also_after_a_restart() {
    let scene = Scene::new("replace");
    let mut serving = scene.start();
    assert_eq!(serving.order(Action::Rollback, None), Err(NO_OLDER.to_owned()));
    scene.put("b");
    assert!(serving.build());
    assert_eq!((serving.decider(), serving.rollout().is_none()), (decider("b"), true));
    serving.ask().await;
    drop(serving);
    let mut serving = scene.start();
    let words = serving.order(Action::Rollback, None).expect("rolled back");
    assert!(words.ends_with("until the file changes or another is promoted"), "{words}");
    assert_eq!(serving.ask().await, (decider("a"), "first".to_owned()));
    assert_eq!(serving.order(Action::Rollback, None), Err(NO_OLDER.to_owned()), "what was left does not come back");
    assert_eq!(serving.decider(), decider("a"));
    scene.put("b");
    assert!(!serving.build(), "the same bytes are the same version");
    drop(serving);
    // What an operator decided holds after a restart.
    let mut serving = scene.start();
    assert_eq!(serving.decider(), decider("a"));
    // A version that was in force, tried again by its digest.
    let digest = Digest::of(&component("b")).to_string();
    let words = serving.order(Action::Canary, Some(digest[..8].to_owned())).expect("tried");
    assert!(words.contains("tried as a canary"), "{words}");
    assert!(serving.rollout().is_some());
    serving.order(Action::Rollback, None).expect("given up");
    assert!(serving.rollout().is_none() && serving.decider() == decider("a"));
    let [first, second] = ["a", "b"].map(|name| Digest::of(&component(name)).short());
    let told = serving.order(Action::Shadow, Some("000000".to_owned())).expect_err("there is none");
    assert!(told.contains("no version of") && told.contains(&first) && told.contains(&second), "{told}");
    assert!(serving.order(Action::Promote, None).is_ok());
    assert_eq!(serving.decider(), decider("b"));
    assert!(serving.order(Action::Promote, None).is_err());
    scene.put("a");
    assert!(serving.build() && serving.decider() == decider("a"));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_was_in_force_and_is_lost_is_told_and_replaced() {
    let scene = Scene::new(RULES);
    drop(scene.start());
    scene.put("b");
    let kept = scene.path("state/policies").join(format!("{}.wasm", Digest::of(&component("a"))));
    std::fs::write(kept, "damaged").expect("written");
    let mut serving = scene.start();
    assert_eq!(serving.decider(), decider("b"), "nothing else is there");
    assert!(serving.gateway.live.problems().iter().any(|problem| problem.contains("is damaged")));
    assert!(!serving.build());
}

/// A gateway in which a canary that does what the version in force does, which is `deed`, decides nearly all requests.
fn misbehaving(deed: &str, when_none: &str) -> (Scene, Serving) {
    let scene = Scene::new("{canary: 99%, minimum: 5}");
    let config = scene.path("config.yaml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let entry = format!("policy: counting, settings: {{do: {deed}}}, when_none: {when_none},");
    std::fs::write(&config, text.replace("policy: counting,", &entry)).expect("written");
    let mut bytes = std::fs::read(fixture("policies/hostile.wasm")).expect("a component");
    let file = scene.path("policies/counting.wasm");
    std::fs::write(&file, &bytes).expect("written");
    let mut serving = scene.start();
    // An empty section makes another version that decides alike.
    bytes.extend([0, 2, 1, b'x']);
    std::fs::write(&file, bytes).expect("written");
    assert!(serving.build() && serving.rollout().is_some());
    (scene, serving)
}

/// However often the versions are asked about it meanwhile.
#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_somebody_fit_is_refused_once() {
    let (_scene, serving) = misbehaving("empty", "wait");
    let rollout = serving.rollout().expect("a canary");
    let body = json!({"model": "g", "priority": 666, "messages": [{"role": "user", "content": "Hi"}]});
    for requests in 1..=3 {
        ask(&serving.gateway, &OpenAi, &body).await.expect_err("nobody is ever fit");
        let counts = rollout.figures().counts();
        assert_eq!((counts.candidate.refused, counts.live.refused), (requests, requests), "{counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_wants_to_wait_again_is_judged_by_what_came_of_it() {
    let (_scene, serving) = misbehaving("wait", "refuse");
    let rollout = serving.rollout().expect("a canary");
    for requests in 1..=3 {
        assert_eq!(serving.ask().await.0, "built-in");
        let Counts { candidate, live, .. } = rollout.figures().counts();
        assert_eq!((candidate.requests, candidate.refused), (requests, requests), "{live:?}");
    }
}

/// What the version in force does not rank the shadow is asked too, once a request: that both wait or refuse is agreement.
#[tokio::test(start_paused = true)]
async fn a_shadow_is_asked_where_the_version_in_force_waits_or_refuses() {
    for (deed, when_none) in [("empty", "refuse"), ("empty", "wait"), ("wait", "refuse"), ("reject", "refuse")] {
        let (scene, mut serving) = misbehaving(deed, when_none);
        let config = scene.path("config.yaml");
        let text = std::fs::read_to_string(&config).expect("a configuration");
        std::fs::write(&config, text.replace("{canary: 99%, minimum: 5}", "shadow")).expect("written");
        assert!(serving.build());
        let body = json!({"model": "g", "priority": 666, "messages": [{"role": "user", "content": "Hi"}]});
        let rollout = serving.rollout().expect("a shadow");
        for requests in 1..=2 {
            let _refused_or_served = ask(&serving.gateway, &OpenAi, &body).await;
            let counts = rollout.figures().counts();
            assert_eq!((counts.compared, counts.silent), (0, 0), "{deed}: {counts:?}");
            assert_eq!((counts.unserved, counts.same_unserved), (requests, requests), "{deed}: {counts:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_leaves_each_group_the_version_it_has() {
    let scene = Scene::new("replace");
    let config = scene.path("config.yaml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let second = "  - {model_name: h, litellm_params: {model: simulated/m}}\nwitgate:\n";
    let text = text.replace("witgate:\n", second).replace("routers: {g: ", "routers: {h: {policy: counting}, g: ");
    std::fs::write(&config, text).expect("written");
    let mut serving = scene.start();
    scene.put("b");
    assert!(serving.build());
    serving.order(Action::Rollback, None).expect("rolled back");
    let stand = |serving: &Serving| ["g", "h"].map(|group| serving.decider_of(group));
    let expected = [decider("a"), decider("b")];
    assert_eq!(stand(&serving), expected);
    std::fs::write(scene.path("policies/counting.wasm"), "no component").expect("written");
    let (changed, problems) = serving.build_despite();
    assert!(!changed && problems.len() == 1, "{problems:?}");
    assert_eq!(stand(&serving), expected);
    // What was rolled back in one of them still is.
    scene.put("b");
    assert!(!serving.build());
    assert_eq!(stand(&serving), expected);
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_ends_no_canary() {
    let scene = Scene::new(RULES);
    let mut serving = scene.start();
    scene.put("b");
    assert!(serving.build());
    serving.ask().await;
    std::fs::write(scene.path("policies/counting.wasm"), "no component").expect("written");
    assert!(!serving.build_despite().0);
    assert_eq!(serving.ask_until_judged().await, Verdict::Promoted);
    assert!(serving.build_despite().0);
    assert_eq!((serving.decider(), serving.rollout().is_none()), (decider("b"), true));
}

/// The same component with a schema that wants a setting which nobody gives here: it compiles, and cannot be set up.
pub(crate) fn demanding(mut bytes: Vec<u8>) -> Vec<u8> {
    let (name, schema) = ("witgate:settings-schema", r#"{"type":"object","required":["level"]}"#);
    let lengths = [1 + name.len() + schema.len(), name.len()].map(|length| u8::try_from(length).expect("one byte"));
    bytes.push(0);
    bytes.extend(lengths);
    bytes.extend([name, schema].concat().into_bytes());
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_set_up_keeps_its_group_and_holds_up_nobody_else() {
    let scene = Scene::new("replace");
    let path = |name: &str| scene.path(&format!("policies/{name}.wasm"));
    std::fs::write(path("other"), component("a")).expect("written");
    let group = "  - {model_name: h, litellm_params: {model: simulated/m}}\nwitgate:\n";
    scene.edit(&[("witgate:\n", group), ("routers: {g: ", "routers: {h: {policy: other}, g: ")]);
    let mut serving = scene.start();
    std::fs::write(path("counting"), demanding(component("b"))).expect("written");
    std::fs::write(path("other"), component("b")).expect("written");
    let says = |problems: &[String]| match problems {
        [problem] => problem.contains("setting `level` is missing") && problem.contains("decides on"),
        _ => false,
    };
    let (changed, problems) = serving.build_despite();
    assert!(changed && says(&problems), "{problems:?}");
    assert_eq!(serving.decider(), decider("a"));
    assert_eq!(serving.decider_of("h"), decider("b").replace("counting", "other"));
    assert_eq!(serving.history(), told(&[("start", "file")]), "it has never been in force");
    // Neither does it hold up the configuration.
    scene.edit(&[("id: last", "id: other")]);
    let (changed, problems) = serving.build_despite();
    assert!(changed && says(&problems), "{problems:?}");
    assert!(!serving.build_despite().0);
    scene.put("b");
    assert!(serving.build());
    assert_eq!(serving.decider(), decider("b"));
    assert_eq!(serving.history(), told(&[("start", "file"), ("replace", "file")]));
    serving.order(Action::Rollback, None).expect("rolled back");
    assert_eq!(serving.decider(), decider("a"), "that was the version before");
    // Where the version in force does not take the settings either, the configuration is what is wrong.
    std::fs::write(path("counting"), demanding(component("a"))).expect("written");
    scene.edit(&[("policy: counting,", "policy: counting, settings: {nobody: 1},")]);
    let current = serving.gateway.live.read();
    let problems = serving.builder.build(Some(&current)).map(drop).expect_err("refused");
    assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.contains("decides on")), "{problems:?}");
}

/// It stands in the folder, and nothing that decides or is tried is another for it.
#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_tried_is_told_and_makes_no_generation() {
    for roll_out in [RULES, "shadow"] {
        let scene = Scene::new(roll_out);
        let mut serving = scene.start();
        let put = || std::fs::write(scene.path("policies/counting.wasm"), demanding(component("b"))).expect("written");
        put();
        for _ in 0..2 {
            let (changed, problems) = serving.build_despite();
            assert!(!changed && problems.len() == 1 && problems[0].contains("cannot be tried"), "{problems:?}");
        }
        // That another is tried no more is a change.
        scene.put("b");
        assert!(serving.build() && serving.rollout().is_some());
        put();
        assert!(serving.build_despite().0 && serving.rollout().is_none());
        // It was seen all the same: what was given up before it is tried when it comes back.
        scene.put("faulty");
        assert!(serving.build());
        serving.order(Action::Rollback, None).expect("given up");
        assert!(!serving.build() && serving.rollout().is_none());
        put();
        assert!(!serving.build_despite().0);
        scene.put("faulty");
        assert!(serving.build() && serving.rollout().is_some(), "{roll_out}");
    }
}

/// Whoever gives it is told so, and neither does it keep the folder's version from anything.
#[tokio::test(start_paused = true)]
async fn an_order_that_comes_to_nothing_ends_nothing_that_is_tried() {
    let scene = Scene::new("shadow");
    let mut serving = scene.start();
    scene.put("b");
    assert!(serving.build());
    serving.order(Action::Rollback, None).expect("given up");
    let untriable = demanding(component("b"));
    std::fs::write(scene.path("policies/counting.wasm"), &untriable).expect("written");
    assert!(!serving.build_despite().0);
    let [b, other] = [component("b"), untriable].map(|bytes| Digest::of(&bytes));
    serving.order(Action::Shadow, Some(b.to_string())).expect("tried");
    let rollout = serving.rollout().expect("a shadow");
    serving.ask().await;
    let history = serving.history();
    let mut answer = serving.give(Action::Canary, Some(other.to_string()));
    let (changed, problems) = serving.build_despite();
    assert!(!changed && problems.len() == 1 && problems[0].contains("cannot be tried"), "{problems:?}");
    let told = answer.try_recv().expect("an answer").expect_err("refused");
    assert!(told.contains("cannot be tried"), "{told}");
    assert!(!serving.build(), "as if nobody had ordered it");
    assert_eq!((rollout.digest(), rollout.figures().counts().compared), (b, 1));
    assert!(Arc::ptr_eq(&serving.rollout().expect("a shadow"), &rollout));
    assert_eq!(serving.history(), history);
}

/// A disk may be full for a while.
#[tokio::test(start_paused = true)]
async fn where_versions_stand_is_kept_as_soon_as_it_can_be_written() {
    let scene = Scene::new("replace");
    let mut serving = scene.start();
    // A folder in its place: nothing can be renamed there.
    let kept = scene.path("state/standing.json");
    std::fs::remove_file(&kept).expect("it was written");
    std::fs::create_dir(&kept).expect("a folder");
    scene.put("b");
    assert!(serving.build());
    serving.order(Action::Rollback, None).expect("rolled back");
    std::fs::remove_dir(&kept).expect("removed");
    assert!(!serving.build(), "nothing is to be put in force");
    drop(serving);
    let serving = scene.start();
    assert_eq!(serving.decider(), decider("a"), "what was rolled back stays so");
    assert_eq!(serving.history(), told(&[("start", "file"), ("replace", "file"), ("rollback", "operator")]));
}

/// A component may compile for minutes, in which a canary goes on.
#[tokio::test(start_paused = true)]
async fn a_verdict_that_falls_while_a_build_runs_holds_and_the_next_settles_it() {
    let scene = Scene::new(RULES);
    let mut serving = scene.start();
    scene.put("faulty");
    assert!(serving.build());
    scene.configure("{canary: 20%, requests: 50, minimum: 21}");
    let current = serving.gateway.live.read();
    let draft = serving.builder.build(Some(&current)).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
    assert!(draft.changes(&current));
    assert_eq!(serving.ask_until_judged().await, Verdict::RolledBack);
    let change = serving.gateway.budgets.change();
    let snapshot = serving.builder.publish(&change, draft, current.generation + 1, serving.gateway.clock);
    serving.gateway.live.publish(snapshot);
    drop(change);
    assert_eq!(serving.rollout().and_then(|rollout| rollout.figures().verdict()), Some(Verdict::RolledBack));
    assert!(serving.build() && serving.rollout().is_none());
    assert_eq!(serving.history(), told(&[("start", "file"), ("canary", "file"), ("rollback", "rule")]));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_arrives_while_a_canary_ends_is_tried_next() {
    let scene = Scene::new(RULES);
    let mut serving = scene.start();
    scene.put("b");
    assert!(serving.build());
    assert_eq!(serving.ask_until_judged().await, Verdict::Promoted);
    scene.put("faulty");
    assert!(serving.build());
    assert_eq!(serving.decider(), decider("b"));
    assert_eq!(serving.rollout().map(|rollout| rollout.digest()), Some(Digest::of(&component("faulty"))));
    let expected = [("start", "file"), ("canary", "file"), ("promote", "rule"), ("canary", "file")];
    assert_eq!(serving.history(), told(&expected));
}

/// A component may compile for minutes, in which an order waits.
#[tokio::test(start_paused = true)]
async fn an_order_is_about_the_version_that_was_tried_when_it_was_given() {
    for (action, in_force) in [(Action::Promote, "b"), (Action::Rollback, "a")] {
        let scene = Scene::new(RULES);
        let mut serving = scene.start();
        scene.put("b");
        assert!(serving.build());
        let mut answer = serving.give(action, None);
        scene.put("faulty");
        assert!(serving.build());
        let words = answer.try_recv().expect("an answer").expect("obeyed");
        assert!(words.contains(&decider("b").replace('@', " ")), "{words}");
        assert_eq!(serving.decider(), decider(in_force));
        let tried = serving.rollout().map(|rollout| rollout.digest());
        assert_eq!(tried, Some(Digest::of(&component("faulty"))), "the newcomer is tried");
    }
}

/// A canary whose file is gone back to what is in force is none any more.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_put_back_ends_its_canary() {
    let scene = Scene::new(RULES);
    let mut serving = scene.start();
    scene.put("b");
    assert!(serving.build() && serving.rollout().is_some());
    scene.put("a");
    assert!(serving.build() && serving.rollout().is_none());
    assert_eq!(serving.decider(), decider("a"));
}

impl Scene {
    /// Writes the configuration anew, with other words in the place of these.
    fn edit(&self, changes: &[(&str, &str)]) {
        let config = self.path("config.yaml");
        let text = std::fs::read_to_string(&config).expect("a configuration");
        let edited = changes.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        std::fs::write(config, edited).expect("written");
    }
}

/// The group, or the policy's name in it, may be out of the configuration for a moment, or while the gateway is started again.
#[tokio::test(start_paused = true)]
async fn what_was_rolled_back_stays_so_while_its_group_or_name_is_away() {
    let of_group = [
        ("model_name: g,", "model_name: h,"),
        ("routers: {g: {policy: counting,", "routers: {h: {policy: least-busy,"),
    ];
    let of_name = [("policy: counting,", "policy: least-busy,")];
    for (away, restarted) in
        [(&of_group[..], false), (&of_group[..], true), (&of_name[..], false), (&of_name[..], true)]
    {
        let scene = Scene::new(RULES);
        let mut serving = scene.start();
        scene.put("faulty");
        assert!(serving.build());
        assert_eq!(serving.ask_until_judged().await, Verdict::RolledBack);
        assert!(serving.build());
        let waits = |serving: &Serving| {
            let changes = serving.gateway.live.read().rollouts.history.of(Some("g"));
            changes.iter().filter(|change| change.waits).map(|change| change.how.clone()).collect::<Vec<_>>()
        };
        assert_eq!(waits(&serving), ["rollback"]);
        scene.edit(away);
        let again: Vec<_> = away.iter().map(|(from, to)| (*to, *from)).collect();
        if restarted {
            drop(serving);
            drop(scene.start());
            scene.edit(&again);
            serving = scene.start();
        } else {
            assert!(serving.build());
            assert_eq!(waits(&serving), [""; 0]);
            scene.edit(&again);
            assert!(serving.build());
        }
        assert_eq!((serving.decider(), serving.rollout().is_none()), (decider("a"), true), "{away:?}, {restarted}");
        assert_eq!(waits(&serving), ["rollback"]);
        // What comes after it is looked at as ever.
        scene.put("b");
        assert!(serving.build() && serving.rollout().is_some());
    }
}

/// The rules may have spoken a moment before the configuration takes the group, or the policy's name in it, away.
#[tokio::test(start_paused = true)]
async fn a_verdict_that_is_not_settled_when_its_group_or_name_leaves_holds_when_it_comes_back() {
    let of_group = [
        ("model_name: g,", "model_name: h,"),
        ("routers: {g: {policy: counting,", "routers: {h: {policy: least-busy,"),
    ];
    let of_name = [("policy: counting,", "policy: least-busy,")];
    let ends = [("faulty", Verdict::RolledBack, "rollback", "a"), ("b", Verdict::Promoted, "promote", "b")];
    for (away, (name, verdict, how, in_force)) in
        [&of_group[..], &of_name[..]].into_iter().flat_map(|away| ends.map(|end| (away, end)))
    {
        let scene = Scene::new(RULES);
        let mut serving = scene.start();
        scene.put(name);
        assert!(serving.build());
        assert_eq!(serving.ask_until_judged().await, verdict);
        scene.edit(away);
        assert!(serving.build());
        let history: Vec<_> = serving.history().into_iter().take(3).collect();
        assert_eq!(history, told(&[("start", "file"), ("canary", "file"), (how, "rule")]), "{away:?}");
        let again: Vec<_> = away.iter().map(|(from, to)| (*to, *from)).collect();
        scene.edit(&again);
        assert!(serving.build());
        assert_eq!((serving.decider(), serving.rollout().is_none()), (decider(in_force), true), "{away:?}, {name}");
    }
}

/// Neither is it in force where no folder keeps the version that was.
#[tokio::test(start_paused = true)]
async fn what_was_rolled_back_stays_so_where_nothing_is_kept() {
    let scene = Scene::new(RULES);
    let folder = format!("  state_dir: {}\n", scene.path("state").display());
    scene.edit(&[(folder.as_str(), "")]);
    let mut serving = scene.start();
    scene.put("faulty");
    assert!(serving.build());
    assert_eq!(serving.ask_until_judged().await, Verdict::RolledBack);
    assert!(serving.build());
    for name in [("policy: counting,", "policy: least-busy,"), ("policy: least-busy,", "policy: counting,")] {
        scene.edit(&[name]);
        assert!(serving.build());
    }
    assert_eq!((serving.decider(), serving.rollout().is_none()), (decider("a"), true));
}

/// A new version that was given up is tried again when it comes back after another one.
#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_tried_again_after_its_file_changed() {
    let scene = Scene::new(RULES);
    let mut serving = scene.start();
    for between in ["faulty", "a"] {
        scene.put("b");
        assert!(serving.build() && serving.rollout().is_some(), "{between}");
        serving.order(Action::Rollback, None).expect("given up");
        assert!(serving.rollout().is_none() && !serving.build());
        scene.put(between);
        // The one in force is tried in no generation of its own.
        assert_eq!((serving.build(), serving.rollout().is_some()), (between != "a", between != "a"));
    }
    scene.put("b");
    assert!(serving.build() && serving.rollout().is_some(), "after the one in force, too");
}

/// What was in force under another name has no part in what this one goes back to.
#[tokio::test(start_paused = true)]
async fn a_rollback_never_goes_to_another_policy() {
    let scene = Scene::new("replace");
    let mut serving = scene.start();
    std::fs::write(scene.path("policies/other.wasm"), component("b")).expect("written");
    for (from, to) in [("counting", "other"), ("other", "counting")] {
        let [from, to] = [from, to].map(|name| format!("policy: {name},"));
        scene.edit(&[(from.as_str(), to.as_str())]);
        assert!(serving.build());
    }
    scene.put("faulty");
    assert!(serving.build());
    serving.order(Action::Rollback, None).expect("rolled back");
    assert_eq!(serving.decider(), decider("a"));
    assert_eq!(serving.order(Action::Rollback, None), Err(NO_OLDER.to_owned()));
    assert_eq!(serving.decider(), decider("a"));
}

#[tokio::test(start_paused = true)]
async fn a_component_that_is_gone_keeps_its_groups_and_holds_up_nobody_else() {
    let scene = Scene::new("replace");
    std::fs::write(scene.path("policies/other.wasm"), component("b")).expect("written");
    let group = "  - {model_name: h, litellm_params: {model: simulated/m}}\nwitgate:\n";
    scene.edit(&[("witgate:\n", group), ("routers: {g: ", "routers: {h: {policy: other}, g: ")]);
    let mut serving = scene.start();
    let other = serving.decider_of("h");
    std::fs::remove_file(scene.path("policies/other.wasm")).expect("removed");
    scene.put("b");
    let (changed, problems) = serving.build_despite();
    assert!(changed && problems.len() == 1 && problems[0].contains("other.wasm is no longer in"), "{problems:?}");
    assert_eq!((serving.decider(), serving.decider_of("h")), (decider("b"), other.clone()));
    let mut answer = serving.give(Action::Rollback, None);
    assert!(serving.build_despite().0);
    answer.try_recv().expect("an answer").expect("rolled back");
    assert_eq!((serving.decider(), serving.decider_of("h")), (decider("a"), other.clone()));
    // Who names it anew, and who starts, needs the file.
    let current = serving.gateway.live.read();
    let missing = |built: Result<_, Vec<String>>| {
        let problems = built.expect_err("refused");
        assert!(problems.iter().any(|problem| problem.contains("no policy is named `other`")), "{problems:?}");
    };
    missing(serving.builder.build(None).map(drop));
    scene.edit(&[("policy: counting,", "policy: other,")]);
    missing(serving.builder.build(Some(&current)).map(drop));
    scene.edit(&[("policy: other,", "policy: counting,")]);
    std::fs::write(scene.path("policies/other.wasm"), component("b")).expect("written");
    assert!(!serving.build());
    assert_eq!(serving.decider_of("h"), other);
}

/// Neither is it another one at once where something is built in under its name, or decides in the place of `default`.
#[tokio::test(start_paused = true)]
async fn a_component_that_is_gone_keeps_its_groups_though_one_is_built_in() {
    for (name, built_in) in [("default", "simple-shuffle@"), ("least-busy", "least-busy@")] {
        let scene = Scene::new("replace");
        let file = scene.path(&format!("policies/{name}.wasm"));
        std::fs::write(&file, component("b")).expect("written");
        let named = format!("policy: {name},");
        scene.edit(&[("policy: counting,", named.as_str())]);
        let mut serving = scene.start();
        let own = decider("b").replace("counting", name);
        assert_eq!(serving.decider(), own);
        std::fs::remove_file(&file).expect("removed");
        let (changed, problems) = serving.build_despite();
        assert!(!changed && problems.len() == 1 && problems[0].contains(".wasm is no longer in"), "{problems:?}");
        assert_eq!(serving.decider(), own);
        // Who names it anew has what is built in, and keeps it.
        let group = "  - {model_name: h, litellm_params: {model: simulated/m}}\nwitgate:\n";
        let routers = format!("routers: {{h: {{policy: {name}}}, g: ");
        scene.edit(&[("witgate:\n", group), ("routers: {g: ", routers.as_str())]);
        assert!(serving.build_despite().0);
        assert!(!serving.build_despite().0);
        let other = serving.decider_of("h");
        assert!(serving.decider() == own && other != own && other.starts_with(built_in), "{other}");
        std::fs::write(&file, component("b")).expect("written");
        assert!(serving.build());
        assert_eq!((serving.decider(), serving.decider_of("h")), (own.clone(), own));
        std::fs::remove_file(&file).expect("removed");
        drop(serving);
        let serving = scene.start();
        assert!([serving.decider(), serving.decider_of("h")].iter().all(|decider| decider.starts_with(built_in)));
    }
}

#[tokio::test(start_paused = true)]
async fn another_way_of_rolling_out_is_the_configurations_doing() {
    let scene = Scene::new("shadow");
    let mut serving = scene.start();
    scene.put("b");
    assert!(serving.build());
    for roll_out in [RULES, "replace"] {
        scene.configure(roll_out);
        assert!(serving.build());
    }
    assert_eq!(serving.decider(), decider("b"));
    let expected = [("start", "file"), ("shadow", "file"), ("canary", "configuration"), ("replace", "configuration")];
    assert_eq!(serving.history(), told(&expected));
}

/// What a policy has learned waits for it while another decides.
#[tokio::test(start_paused = true)]
async fn a_policy_that_comes_back_knows_what_it_knew() {
    let scene = Scene::new("replace");
    let mut serving = scene.start();
    std::fs::write(scene.path("policies/other.wasm"), component("b")).expect("written");
    let config = scene.path("config.yaml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let choose = |policy: &str| {
        let text = text.replace("policy: counting,", &format!("policy: {policy},"));
        std::fs::write(&config, text).expect("written");
    };
    let mut counted = Vec::new();
    for (policy, requests) in [("counting", 3), ("other", 2), ("counting", 1), ("other", 0)] {
        choose(policy);
        serving.build();
        for _ in 0..requests {
            serving.ask().await;
        }
        counted.push(serving.counted());
    }
    // One that has nothing of its own begins with what the other knew, in case it can read it.
    assert_eq!(counted, [3, 5, 4, 5]);
}

/// It refuses what `counting` has saved, and saves in a schema of its own.
fn in_another_schema() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/latency-based.wasm")).expect("a component")
}

/// Whether it was put in while the gateway ran or while it did not, and whether that was started again before the rollback.
#[tokio::test(start_paused = true)]
async fn what_a_new_version_does_not_take_is_there_for_the_version_that_does() {
    for (put_while_away, restarted) in [(false, false), (false, true), (true, false)] {
        let scene = Scene::new("replace");
        let mut serving = scene.start();
        for _ in 0..8 {
            serving.ask().await;
        }
        let put = || std::fs::write(scene.path("policies/counting.wasm"), in_another_schema()).expect("written");
        if put_while_away {
            keep_states(&serving.gateway.live.read(), true);
            drop(serving);
            put();
            serving = scene.start();
        } else {
            put();
            assert!(serving.build());
        }
        let begins = |serving: &Serving| {
            let router = serving.gateway.live.read().groups["g"].router.clone().expect("a router");
            let untaken = router.untaken().map(|untaken| untaken.schema.clone());
            (untaken, router.last_saved().map(|state| state.schema))
        };
        assert_eq!(begins(&serving), (Some("count".to_owned()), None));
        for _ in 0..3 {
            serving.ask().await;
        }
        keep_states(&serving.gateway.live.read(), true);
        if restarted {
            drop(serving);
            serving = scene.start();
        }
        serving.order(Action::Rollback, None).expect("rolled back");
        assert_eq!((serving.decider(), serving.counted()), (decider("a"), 8), "{put_while_away}, {restarted}");
        serving.ask().await;
        // The newer version has what it saved itself, since it takes nothing else.
        serving.order(Action::Promote, None).expect("promoted");
        let (untaken, own) = begins(&serving);
        assert!(untaken.is_some_and(|schema| schema == "count") && own.is_some_and(|schema| schema != "count"));
        serving.order(Action::Rollback, None).expect("rolled back");
        assert_eq!(serving.counted(), 9);
    }
}

/// A canary that takes over began empty beside the version in force, which goes on learning.
#[tokio::test(start_paused = true)]
async fn what_a_canary_does_not_take_is_there_for_the_version_before_it() {
    let scene = Scene::new("{canary: 20%, requests: 5, minimum: 0}");
    let mut serving = scene.start();
    for _ in 0..8 {
        serving.ask().await;
    }
    std::fs::write(scene.path("policies/counting.wasm"), in_another_schema()).expect("written");
    assert!(serving.build());
    assert_eq!(serving.ask_until_judged().await, Verdict::Promoted);
    let router = serving.gateway.live.read().groups["g"].router.clone().expect("a router");
    let bytes = router.save().expect("a counting policy saves").bytes;
    assert!(serving.build() && serving.rollout().is_none());
    serving.order(Action::Rollback, None).expect("rolled back");
    assert_eq!((serving.decider(), serving.counted().to_le_bytes().to_vec()), (decider("a"), bytes));
}

/// What is tried when an operator puts a version in force that is named has never been in force itself.
#[tokio::test(start_paused = true)]
async fn what_waits_because_another_version_was_named_is_told() {
    let scene = Scene::new("replace");
    let mut serving = scene.start();
    scene.put("b");
    assert!(serving.build());
    scene.configure(RULES);
    scene.put("faulty");
    assert!(serving.build() && serving.rollout().is_some());
    let waiting = |serving: &Serving| {
        let waiting = serving.gateway.live.read().rollouts.history.waiting(Some("g"));
        waiting.into_iter().map(|waiting| waiting.digest).collect::<Vec<_>>()
    };
    assert!(waiting(&serving).is_empty());
    let first = Digest::of(&component("a")).to_string();
    serving.order(Action::Rollback, Some(first)).expect("rolled back");
    assert_eq!((serving.decider(), serving.rollout().is_none()), (decider("a"), true));
    assert_eq!(waiting(&serving), [Digest::of(&component("faulty"))]);
    // Until the folder holds another.
    scene.put("b");
    assert!(serving.build());
    assert!(waiting(&serving).is_empty());
}

fn run(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_witgate"))
        .args(arguments)
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// In the order in which they stand there, with digests of the versions there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_about_versions_run_as_the_page_shows_them() {
    let state = TempDir::new().expect("a folder");
    let config = format!(
        "model_list: [{{model_name: chat, litellm_params: {{model: simulated/m}}}}]
witgate: {{state_dir: {}, routers: {{chat: {{policy: counting, roll_out: shadow}}}}}}
",
        state.path().join("state").display()
    );
    let gateway = Gateway::start_with(&config, &[("counting.wasm", &fixture("policies/counting-a.wasm"))]).await;
    let group = || Arc::clone(&gateway.app.gateway.live.read().groups["chat"]);
    gateway.replace("policies/counting.wasm", &component("b"));
    until("tried", || group().rollout.is_some()).await;
    let pages = [include_str!("../../wit/README.md"), include_str!("../../docs/policies/README.md")];
    let blocks = pages.iter().flat_map(|page| page.split("```sh\n").skip(1));
    let lines = blocks.filter_map(|block| block.split("```").next()).flat_map(str::lines);
    let commands: Vec<&str> = lines.filter_map(|line| line.strip_prefix("witgate ")).collect();
    let [a, b] = ["a", "b"].map(|name| Digest::of(&component(name)).short());
    let mut done = Vec::new();
    for command in commands.into_iter().filter(|command| command.split(' ').next() == Some("policies")) {
        let command = command.split(" #").next().unwrap_or_default().trim();
        // What is rolled back to is the version that was left, what is tried the other one.
        let command = command.replace("0a1b2c3d", if command.starts_with("policies rollback") { &b } else { &a });
        let words: Vec<&str> = command.split(' ').chain(["--url", &gateway.url]).collect();
        let (good, text) = tokio::task::block_in_place(|| run(&words));
        assert!(good, "{command}: {text}");
        done.push(command.split(' ').nth(1).unwrap_or("list").to_owned());
        let wanted = match done.last().map(String::as_str) {
            Some("promote") => (decider("b"), false),
            Some("rollback") if command.contains("--to") => (decider("b"), false),
            Some("rollback") => (decider("a"), false),
            Some("shadow" | "canary") => (decider("b"), true),
            _ => continue,
        };
        assert_eq!((group().policy.to_string(), group().rollout.is_some()), wanted, "{command}: {text}");
    }
    let expected = ["list", "promote", "rollback", "rollback", "shadow", "canary", "history", "list", "history"];
    assert_eq!(done, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_change_versions_of_a_running_gateway() {
    let state = TempDir::new().expect("a folder");
    let config = format!(
        "model_list:
  - {{model_name: a/g, litellm_params: {{model: simulated/m, simulated: {{ttft_ms: 0, output_tokens: 2}}}}}}
general_settings: {{master_key: sk-m}}
witgate: {{admin_key: sk-a, state_dir: {}, routers: {{a/g: {{policy: counting}}}}}}
",
        state.path().join("state").display()
    );
    let gateway = Gateway::start_with(&config, &[("counting.wasm", &fixture("policies/counting-a.wasm"))]).await;
    let decides = || gateway.app.gateway.live.read().groups["a/g"].policy.to_string();
    gateway.replace("policies/counting.wasm", &component("b"));
    until("replaced", || decides() == decider("b")).await;
    let witgate = |words: &[&str]| {
        let arguments: Vec<&str> = words.iter().copied().chain(["--url", &gateway.url, "--key", "sk-a"]).collect();
        tokio::task::block_in_place(|| run(&arguments))
    };
    let (done, text) = witgate(&["policies", "rollback", "a/g"]);
    assert!(done && text.contains("until the file changes"), "{text}");
    assert_eq!(decides(), decider("a"));
    let (done, text) = witgate(&["policies", "canary", "a/g"]);
    assert!(done && text.contains("tried as a canary"), "{text}");
    // Nothing is wrong, and nothing is changed.
    let (done, text) = witgate(&["policies", "canary", "a/g"]);
    let told = format!("counting {} is tried as a canary already", Digest::of(&component("b")).short());
    assert!(!done && text.contains(&told) && !text.contains("lists the problems"), "{text}");
    let (done, text) = witgate(&["policies"]);
    assert!(done && text.contains("canary") && text.contains("in force"), "{text}");
    let (done, text) = witgate(&["policies", "shadow", "a/g"]);
    assert!(done && text.contains("tried as a shadow"), "{text}");
    let (done, text) = witgate(&["policies", "promote", "a/g"]);
    assert!(done && text.contains("is in force"), "{text}");
    assert_eq!(decides(), decider("b"));
    let (done, text) = witgate(&["policies", "rollback", "a/g", "--to", "beef"]);
    assert!(!done && text.contains("too short"), "{text}");
    let (done, text) = witgate(&["policies", "promote", "nobody"]);
    assert!(!done && text.contains("no group `nobody`"), "{text}");
    let (done, text) = witgate(&["policies", "history", "a/g"]);
    let hows = ["start by", "replace by", "rollback by", "canary by", "shadow by", "promote by"];
    assert!(done && hows.iter().all(|how| text.contains(how)), "{text}");
    let words = ["policies", "--url", &gateway.url, "--key", "sk-a", "history"];
    let (done, text) = tokio::task::block_in_place(|| run(&words));
    let swapped = format!("generation 2  group `a/g`: router {} → {}", decider("a"), decider("b"));
    assert!(done && text.contains(&swapped), "{text}");
    // The clients' key opens none of it.
    let url = format!("{}/admin/policies/a%2Fg/rollback", gateway.url);
    let request = gateway.client.post(url).bearer_auth("sk-m").header("content-type", "application/json").body("{}");
    assert_eq!(request.send().await.expect("an answer").status().as_u16(), 401);
    let wrong: Value = json!({"too": "much"});
    let url = format!("{}/admin/policies/a%2Fg/rollback", gateway.url);
    let request = gateway.client.post(url).bearer_auth("sk-a").header("content-type", "application/json");
    assert_eq!(request.body(wrong.to_string()).send().await.expect("an answer").status().as_u16(), 400);
}

#[test]
fn a_locked_gateway_loads_what_the_lock_names_and_nothing_else() {
    let scene = Scene::new("replace");
    let start = |path: &Path| {
        let mut sources = files(&path.join("config.yaml"), &path.join("policies"));
        sources.locked = true;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let options = options(sources, Clock::starting_at(BEGIN));
            assemble(options, Arc::new(HttpUpstream::new()), BlockingPool::in_place()).map(drop)
        })
    };
    let problems = start(scene.place.path()).expect_err("its digest is in no lock");
    assert!(problems.iter().any(|problem| problem.contains("--locked")), "{problems:?}");
    let line = format!("counting router witgate:policy/routing@0.1.0 {} here\n", Digest::of(&component("a")));
    std::fs::write(scene.path("policies/policies.lock"), line).expect("written");
    start(scene.place.path()).expect("it may be loaded");
    // The word on the command line says the same.
    std::fs::remove_file(scene.path("policies/policies.lock")).expect("removed");
    let shown = |name: &str| scene.path(name).display().to_string();
    let (config, policies) = (shown("config.yaml"), shown("policies"));
    let arguments = ["serve", "--locked", "--port", "0", "--config", &config, "--policies", &policies];
    std::fs::write(scene.path("policies/another.wasm"), component("b")).expect("written");
    let (started, text) = run(&arguments);
    assert!(!started && text.matches("policies.lock: there is no such file").count() == 1, "{text}");
    let hint = format!("`witgate policy lock {policies}` writes it");
    assert!(text.contains(&hint) && !text.contains(".wasm: "), "{text}");
    std::fs::remove_file(scene.path("policies/another.wasm")).expect("removed");
    // Its user writes it, and reads what is new in it.
    assert!(run(&["policy", "lock", &policies]).1.contains("counting: new, "));
    start(scene.place.path()).expect("it may be loaded");
    scene.put("b");
    assert!(start(scene.place.path()).is_err(), "another component under its name");
    // Whoever checks the configuration learns of it before.
    let check = ["check", config.as_str(), "--policies", policies.as_str()];
    let (sound, text) = run(&check);
    let warned = text.contains("served all the same: ") && text.contains("policies.lock allows ");
    assert!(sound && warned, "{text}");
    assert!(!run(&[&check[..], &["--strict"]].concat()).0);
    let (sound, text) = run(&[&check[..], &["--locked"]].concat());
    assert!(!sound && text.contains("policies.lock allows ") && text.contains(": 1 problem with "), "{text}");
    assert!(run(&["policy", "lock", &policies]).1.contains("counting: another component, "));
    start(scene.place.path()).expect("it may be loaded");
    assert!(run(&["policy", "lock", &policies]).1.contains("nothing has changed"));
    let text = std::fs::read_to_string(scene.path("policies/policies.lock")).expect("a lock");
    assert!(text.starts_with("counting router witgate:policy/routing@0.1.0 ") && text.ends_with(" local\n"), "{text}");
    std::fs::remove_file(scene.path("policies/policies.lock")).expect("removed");
    // Where other machines are served it is the rule, said or not.
    let written = std::fs::read_to_string(&config).expect("a configuration");
    let open =
        written.replace("witgate:\n", "general_settings: {master_key: sk-m}\nwitgate:\n  server: {host: 0.0.0.0}\n");
    std::fs::write(&config, open).expect("written");
    let (started, text) = run(&["serve", "--port", "0", "--config", &config, "--policies", &policies]);
    assert!(!started && text.contains("policies.lock"), "{text}");
}

const GUIDE: &str = include_str!("../../wit/README.md");

/// The blocks of a language in the part about how a policy lives.
fn shown(language: &str) -> Vec<&'static str> {
    let part = GUIDE.split("## How a policy lives").nth(1).expect("the part").split("\n## ").next().expect("its end");
    let start = format!("```{language}\n");
    let blocks = part.split(start.as_str()).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.collect()
}

#[test]
fn the_guides_configuration_is_one() {
    let [own] = shown("yaml")[..] else { panic!("one configuration is shown") };
    let models = ["chat", "code", "bulk"]
        .map(|name| format!("  - {{model_name: {name}, litellm_params: {{model: simulated/m}}}}\n"));
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, format!("model_list:\n{}{own}", models.concat())).expect("written");
    let (sound, text) = run(&["check", "--strict", file.to_str().expect("a path")]);
    assert!(sound && text.contains("witgate.routers.bulk.roll_out.latency_ratio"), "{text}");
}

/// Each is run by `operators_change_versions_of_a_running_gateway`, whose versions have other digests.
#[test]
fn the_guides_commands_are_understood() {
    let [commands] = shown("sh")[..] else { panic!("one block of commands is shown") };
    let commands = commands.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
    let mut count = 0;
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        // Nobody listens there: the words are understood, and nobody answers.
        let (done, text) = run(&[&words[..], &["--url", "http://127.0.0.1:1"]].concat());
        assert!(!done && text.contains("is `witgate serve` running there?"), "{command}: {text}");
        count += 1;
    }
    assert_eq!(count, 7);
}
