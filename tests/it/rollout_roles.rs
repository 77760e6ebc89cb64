//! New versions of prompt builders and response parsers, tried on virtual time as routers' are: by the same rules, on a share of the
//! requests, gone with what they do wrong.

use std::sync::Arc;

use serde_json::{Value, json};
use witgate::fault::Refusal;
use witgate::format::OpenAi;
use witgate::policy::{Digest, Role};
use witgate::rollout::{Action, Counts, Figures, Mode, Verdict};

use crate::prompts::content;
use crate::rollout::{Scene, Serving, demanding, told};
use crate::support::fixture;
use crate::support::gateway::Gateway;
use crate::support::virtual_time::ask;

/// Every prompt and every reply says 666: the hostile policies do what their settings say.
const SAID: &str = "one 666 two";
const RULES: &str = "{canary: 20%, requests: 50, minimum: 5}";

/// A hostile policy, which does what the settings say, or one of another digest that does not understand them and is harmless.
fn version(name: &str, harmless: bool) -> Vec<u8> {
    let mut bytes = std::fs::read(fixture(&format!("policies/{name}.wasm"))).expect("a component");
    if harmless {
        let key = br#"{"do":""#;
        let at = bytes.windows(key.len()).position(|window| window == key).expect("how it reads its settings");
        bytes[at + 2] = b'g';
    }
    bytes
}

/// The same with an empty section of its own: another version that does alike.
fn as_good(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend([0, 2, 1, b'x']);
    bytes
}

/// A gateway whose builder, or parser, is to do `deed`, and whose version in force is harmless.
struct Trying {
    scene: Scene,
    serving: Serving,
    role: Role,
    policy: &'static str,
}

impl Trying {
    fn new(role: Role, deed: &str, roll_out: &str) -> Self {
        let (section, policy) = match role {
            Role::PromptBuilder => ("prompt_builders", "hostile-prompt"),
            _ => ("response_parsers", "hostile-reply"),
        };
        let scene = Scene::bare();
        let text = format!(
            "model_list:\n  - {{model_name: g, litellm_params: {{model: simulated/m, mock_response: {SAID}, simulated: {{ttft_ms: 5}}}}, model_info: {{id: one}}}}\nrouter_settings: {{num_retries: 0}}\nwitgate:\n  state_dir: {}\n  {section}: {{g: {{policy: {policy}, roll_out: {roll_out}, settings: {{do: {deed}}}}}}}\n",
            scene.path("state").display()
        );
        std::fs::write(scene.path("config.yaml"), text).expect("written");
        let file = scene.path(&format!("policies/{policy}.wasm"));
        std::fs::write(file, version(policy, true)).expect("written");
        let serving = scene.start();
        Self { scene, serving, role, policy }
    }

    /// Another version comes.
    fn put(&mut self, bytes: Vec<u8>) {
        std::fs::write(self.scene.path(&format!("policies/{}.wasm", self.policy)), bytes).expect("written");
        assert!(self.serving.build());
    }

    fn put_hostile(&mut self) -> Arc<Figures> {
        self.put(version(self.policy, false));
        self.figures().expect("it is tried")
    }

    /// Changes the configuration, for the next build.
    fn edit(&self, from: &str, to: &str) {
        let config = self.scene.path("config.yaml");
        let text = std::fs::read_to_string(&config).expect("a configuration");
        assert!(text.contains(from), "{from}");
        std::fs::write(&config, text.replacen(from, to, 1)).expect("written");
    }

    /// The group has a parser too, which is to do `deed`.
    fn parsed_by(&mut self, component: &[u8], deed: &str, roll_out: &str) {
        std::fs::write(self.scene.path("policies/hostile-reply.wasm"), component).expect("written");
        let parser = format!("{{policy: hostile-reply, roll_out: {roll_out}, settings: {{do: {deed}}}}}");
        self.edit("witgate:\n", &format!("witgate:\n  response_parsers: {{g: {parser}}}\n"));
        assert!(self.serving.build());
    }

    fn figures(&self) -> Option<Arc<Figures>> {
        self.figures_of(self.role)
    }

    fn figures_of(&self, role: Role) -> Option<Arc<Figures>> {
        let group = Arc::clone(&self.serving.gateway.live.read().groups["g"]);
        group.trial(role).map(|trial| Arc::clone(trial.figures()))
    }

    async fn ask(&self, stream: bool) -> Result<String, Refusal> {
        let body = json!({"model": "g", "stream": stream, "messages": [{"role": "user", "content": SAID}]});
        let (_, body) = ask(&self.serving.gateway, &OpenAi, &body).await?;
        let text = String::from_utf8(body.to_vec()).expect("text");
        if !stream {
            return Ok(content(&serde_json::from_str(&text).expect("JSON")).to_owned());
        }
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
        Ok(events.filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect())
    }

    /// Asks until the canary has ended; how many requests failed, and how many were served.
    async fn ask_until_judged(&self, figures: &Figures) -> (Verdict, usize, usize) {
        let (mut failed, mut served) = (0, 0);
        for _ in 0..1000 {
            if let Some(verdict) = figures.verdict() {
                return (verdict, failed, served);
            }
            match self.ask(false).await {
                Ok(said) => {
                    assert_eq!(said, SAID);
                    served += 1;
                }
                Err(_) => failed += 1,
            }
        }
        panic!("{:?}", figures.counts());
    }

    /// The build after a verdict: nothing is tried any more, and the history tells of `last`.
    fn settled(&mut self, last: &str) {
        assert!(self.serving.build());
        assert!(self.figures().is_none());
        let by = if last == "start" { "file" } else { "rule" };
        assert_eq!(self.serving.history_of(self.role), told(&[("start", "file"), ("canary", "file"), (last, by)]));
        assert!(!self.serving.build(), "the same file is not tried again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_fails_is_gone_with_its_first_fault_and_fails_no_request() {
    // To refuse without the grant is a fault too.
    for (role, deed) in
        [(Role::PromptBuilder, "trap"), (Role::PromptBuilder, "refuse"), (Role::ResponseParser, "push-trap")]
    {
        let mut trying = Trying::new(role, deed, RULES);
        let figures = trying.put_hostile();
        let (verdict, failed, _) = trying.ask_until_judged(&figures).await;
        let Counts { faults, fallbacks, .. } = figures.counts();
        assert_eq!((verdict, failed, faults, fallbacks), (Verdict::RolledBack, 0, 1, 1), "{role:?}");
        for _ in 0..50 {
            assert_eq!(trying.ask(false).await.expect("served"), SAID);
        }
        assert_eq!(figures.counts().faults, 1, "{role:?}: nobody asks it again");
        trying.settled("rollback");
        // Neither is it after a restart.
        let Trying { scene, serving, role, policy } = trying;
        drop(serving);
        let trying = Trying { serving: scene.start(), scene, role, policy };
        assert!(trying.figures().is_none(), "{role:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_canary_takes_over() {
    for role in [Role::PromptBuilder, Role::ResponseParser] {
        let mut trying = Trying::new(role, "nothing", RULES);
        let new = as_good(version(trying.policy, false));
        let digest = witgate::policy::Digest::of(&new);
        trying.put(new);
        let figures = trying.figures().expect("it is tried");
        let (verdict, failed, served) = trying.ask_until_judged(&figures).await;
        let Counts { live, candidate, .. } = figures.counts();
        assert_eq!((verdict, failed, candidate.requests), (Verdict::Promoted, 0, 50), "{role:?}");
        assert!(
            (150..400).contains(&served) && live.attempts + 50 == served as u64,
            "{role:?}: one in five of {served}"
        );
        assert!(live.latency_ms().zip(candidate.latency_ms()).is_some_and(|(live, own)| (live - own).abs() < 1.0));
        trying.settled("promote");
        let in_force = trying.serving.gateway.live.read().groups["g"].in_force().any(|one| one.digest() == digest);
        assert!(in_force, "{role:?}");
    }
}

/// Who is asked again, or refused, had a worse answer than the version in force gives: that is a failure of the new one.
#[tokio::test(start_paused = true)]
async fn a_canary_that_refuses_or_complains_more_is_rolled_back() {
    for (role, deed, granted) in
        [(Role::PromptBuilder, "refuse", ", may_reject: true"), (Role::ResponseParser, "complain", "")]
    {
        let mut trying = Trying::new(role, deed, &format!("{RULES}{granted}"));
        let figures = trying.put_hostile();
        let (verdict, failed, served) = trying.ask_until_judged(&figures).await;
        assert_eq!((verdict, failed), (Verdict::RolledBack, 5), "{role:?}, {served} served");
        let Counts { candidate, live, faults, .. } = figures.counts();
        let expected = if role == Role::PromptBuilder { (5, 0) } else { (0, 5) };
        assert_eq!((candidate.refused, candidate.complained), expected, "{role:?}");
        assert_eq!((live.refused, live.complained, faults), (0, 0, 0), "{role:?}");
        assert!(figures.told().is_some_and(|told| told.why.starts_with("share of failures")), "{role:?}");
        trying.settled("rollback");
    }
}

/// What is refused for its length never came to an attempt.
#[tokio::test(start_paused = true)]
async fn a_builder_whose_prompts_fit_nowhere_is_rolled_back() {
    let mut trying =
        Trying::new(Role::PromptBuilder, "attribute prompt", "{canary: 50%, minimum: 5}, may_read: [prompt]");
    // A model whose tokens are counted exactly: nothing else is refused for its length.
    trying.edit("simulated/m", "simulated/gpt-4o");
    trying.edit("model_info: {id: one}", "model_info: {id: one, max_input_tokens: 450}");
    let figures = trying.put_hostile();
    let body = json!({"model": "g", "messages": [{"role": "user", "content": "word ".repeat(300)}]});
    let mut failed = 0;
    while figures.verdict().is_none() {
        failed += u64::from(ask(&trying.serving.gateway, &OpenAi, &body).await.is_err());
        assert!(failed < 10, "{:?}", figures.counts());
    }
    let Counts { live, candidate, .. } = figures.counts();
    assert_eq!((figures.verdict(), candidate.failed, live.failed), (Some(Verdict::RolledBack), failed, 0), "{live:?}");
    trying.settled("rollback");
}

/// The version in force fails on what the new one made: it is not to blame, and nobody else is to do without it.
#[tokio::test(start_paused = true)]
async fn a_builder_that_brings_the_parser_down_is_rolled_back() {
    for stream in [false, true] {
        let mut trying = Trying::new(Role::PromptBuilder, "nothing", "{canary: 99%, minimum: 5}");
        trying.parsed_by(&version("hostile-reply", false), "push-trap", "replace");
        let figures = trying.put_hostile();
        assert_eq!(trying.ask(stream).await.expect("served"), SAID);
        assert_eq!((figures.verdict(), figures.counts().faults), (Some(Verdict::RolledBack), 1), "{stream}");
        trying.settled("rollback");
    }
}

/// They may read each other's notes.
#[tokio::test(start_paused = true)]
async fn new_versions_of_a_builder_and_its_parser_work_for_the_same_requests() {
    const EQUAL: &str = "{canary: 40%, requests: 30, minimum: 5}";
    let mut trying = Trying::new(Role::PromptBuilder, "nothing", EQUAL);
    trying.parsed_by(&version("hostile-reply", true), "nothing", EQUAL);
    std::fs::write(trying.scene.path("policies/hostile-reply.wasm"), version("hostile-reply", false)).expect("written");
    let built = trying.put_hostile();
    let read = trying.figures_of(Role::ResponseParser).expect("it is tried");
    while built.verdict().is_none() {
        assert_eq!(trying.ask(false).await.expect("served"), SAID);
        let shares = |figures: &Figures| (figures.counts().live.requests, figures.counts().candidate.requests);
        assert_eq!(shares(&built), shares(&read));
    }
    assert_eq!((built.verdict(), read.verdict()), (Some(Verdict::Promoted), Some(Verdict::Promoted)));
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_mends_a_builder_which_always_fails_takes_over() {
    for deed in ["trap", "refuse"] {
        let mut trying = Trying::new(Role::PromptBuilder, deed, "replace");
        trying.put(version(trying.policy, false));
        trying.edit("roll_out: replace", &format!("roll_out: {RULES}"));
        trying.put(version(trying.policy, true));
        let figures = trying.figures().expect("it is tried");
        let (verdict, failed, served) = trying.ask_until_judged(&figures).await;
        let Counts { live, candidate, .. } = figures.counts();
        assert_eq!((verdict, candidate.requests, served), (Verdict::Promoted, 50, 50), "{deed}");
        assert_eq!((live.failed, live.requests), (failed as u64, failed as u64), "{deed}");
        assert_eq!(trying.ask(false).await.expect("served"), SAID);
    }
}

/// The first attempt brings no reply for a parser to read.
#[tokio::test(start_paused = true)]
async fn a_request_counts_for_its_parser_whichever_attempt_brings_the_reply() {
    let mut trying = Trying::new(Role::ResponseParser, "nothing", RULES);
    trying.edit("num_retries: 0", "num_retries: 2");
    let bad = "{model_name: g, litellm_params: {model: simulated/m, order: 1, simulated: {error_rate: 1}}, model_info: {id: bad}}";
    trying.edit("model_list:\n", &format!("model_list:\n  - {bad}\n"));
    trying.edit("mock_response", "order: 2, mock_response");
    let figures = trying.put_hostile();
    assert_eq!(trying.ask(false).await.expect("served"), SAID);
    let Counts { live, candidate, .. } = figures.counts();
    assert_eq!((live.requests + candidate.requests, live.attempts + candidate.attempts), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_a_canary_fails_on_passes_as_it_comes() {
    let mut trying = Trying::new(Role::ResponseParser, "push-trap", "{canary: 99%, minimum: 5}");
    let figures = trying.put_hostile();
    while figures.verdict().is_none() {
        assert_eq!(trying.ask(true).await.expect("served"), SAID);
    }
    assert_eq!((figures.verdict(), figures.counts().fallbacks), (Some(Verdict::RolledBack), 1));
}

#[tokio::test(start_paused = true)]
async fn a_shadow_of_a_builder_is_compared_and_never_obeyed() {
    for (deed, same, silent, faults) in [
        ("nothing", 20, 0, false),
        ("refuse", 0, 20, false),
        ("no-such-part", 0, 20, true),
        ("attribute caller", 0, 0, false),
    ] {
        let mut trying = Trying::new(Role::PromptBuilder, deed, "shadow");
        let figures = trying.put_hostile();
        for _ in 0..20 {
            assert_eq!(trying.ask(false).await.expect("served"), SAID, "{deed}");
        }
        let counts = figures.counts();
        assert_eq!((counts.same_first, counts.same_ranking, counts.silent), (same, same, silent), "{deed}: {counts:?}");
        assert_eq!((counts.compared, counts.faults > 0), (20 - silent, faults), "{deed}: {counts:?}");
        assert_eq!(figures.verdict(), None, "a shadow is never judged");
    }
}

#[tokio::test(start_paused = true)]
async fn that_both_versions_of_a_builder_refuse_is_agreement() {
    let mut trying = Trying::new(Role::PromptBuilder, "refuse", "replace");
    trying.put(version(trying.policy, false));
    let config = trying.scene.path("config.yaml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, text.replace("roll_out: replace", "roll_out: shadow")).expect("written");
    trying.put(as_good(version(trying.policy, false)));
    let figures = trying.figures().expect("a shadow");
    trying.ask(false).await.expect_err("it refuses");
    let counts = figures.counts();
    // Without the grant to refuse, that is a failure.
    assert_eq!((counts.unserved, counts.same_unserved, counts.live.failed), (1, 1, 1), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_try_builders_and_parsers_of_a_running_gateway() {
    let state = tempfile::TempDir::new().expect("a folder");
    let config = format!(
        "model_list:
  - {{model_name: g, litellm_params: {{model: simulated/m, simulated: {{ttft_ms: 0}}}}}}
witgate:
  state_dir: {}
  prompt_builders: {{g: {{policy: hostile-prompt}}}}
  response_parsers: {{g: {{policy: hostile-reply}}}}
",
        state.path().join("state").display()
    );
    let policies = [fixture("policies/hostile-prompt.wasm"), fixture("policies/hostile-reply.wasm")];
    let named = [("hostile-prompt.wasm", policies[0].as_path()), ("hostile-reply.wasm", policies[1].as_path())];
    let gateway = Gateway::start_with(&config, &named).await;
    for (role, policy) in [("prompt-builder", "hostile-prompt"), ("response-parser", "hostile-reply")] {
        let group = || Arc::clone(&gateway.app.gateway.live.read().groups["g"]);
        let act = async |action: &str| {
            let done = gateway.post(&format!("/admin/policies/g/{action}"), &json!({"role": role})).await;
            (done.status, done.text)
        };
        let before = group().components().count();
        gateway.replace(&format!("policies/{policy}.wasm"), &as_good(version(policy, false)));
        crate::support::until("replaced", || {
            let changed = as_good(version(policy, false));
            group().in_force().any(|one| one.digest() == witgate::policy::Digest::of(&changed))
        })
        .await;
        let rolled_back = act("rollback").await;
        assert_eq!(rolled_back.0, 200, "{}", rolled_back.1);
        let (status, text) = act("canary").await;
        assert!(status == 200 && text.contains("tried as a canary"), "{text}");
        assert_eq!(group().components().count(), before + 1, "{role}");
        // The router is not what is meant.
        let unnamed = gateway.post("/admin/policies/g/rollback", &json!({})).await;
        assert!(unnamed.status == 400 && unnamed.text.contains(&format!("--role {role}")), "{}", unnamed.text);
        let report = gateway.get("/admin/policies").await.json();
        let shown = report["rollouts"].as_array().into_iter().flatten().find(|one| one["role"] == role);
        assert_eq!(shown.expect("a roll-out")["mode"], "canary", "{report}");
        let rows = report["policies"].as_array().into_iter().flatten().filter(|row| row["role"] == role);
        assert_eq!(rows.map(|row| row["mode"].clone()).collect::<Vec<_>>(), ["canary", "in force"], "{report}");
        let (status, text) = act("shadow").await;
        if role == "prompt-builder" {
            assert!(status == 200 && text.contains("tried as a shadow"), "{text}");
            assert!(group().trials().any(|trial| *trial.mode() == Mode::Shadow));
        } else {
            assert!(status == 400 && text.contains("has no shadow"), "{text}");
        }
        let (status, text) = act(Action::Promote.as_str()).await;
        assert!(status == 200 && text.contains("is in force"), "{text}");
        assert_eq!(group().components().count(), before, "{role}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_cannot_be_set_up_leaves_the_one_in_force() {
    for role in [Role::PromptBuilder, Role::ResponseParser] {
        let mut trying = Trying::new(role, "nothing", "replace");
        let file = trying.scene.path(&format!("policies/{}.wasm", trying.policy));
        std::fs::write(file, demanding(version(trying.policy, true))).expect("written");
        trying.edit("num_retries: 0", "num_retries: 1");
        let (changed, problems) = trying.serving.build_despite();
        assert!(changed && problems.len() == 1 && problems[0].contains("setting `level` is missing"), "{problems:?}");
        assert_eq!(trying.serving.history_of(role), told(&[("start", "file")]));
    }
    let scene = Scene::bare();
    let deployment = |id: &str| {
        format!(
            "  - {{model_name: g, litellm_params: {{model: openai/m, api_base: \"http://127.0.0.1:9/v1\", api_key: k, provider_policy: spoken, provider_settings: {{do: {id}}}}}, model_info: {{id: {id}}}}}\n"
        )
    };
    let configure = |ids: [&str; 2]| {
        let state = scene.path("state");
        let deployments = ids.map(deployment).concat();
        let text = format!("model_list:\n{deployments}witgate: {{state_dir: {}}}\n", state.display());
        std::fs::write(scene.path("config.yaml"), text).expect("written");
    };
    let put = |bytes: &[u8]| std::fs::write(scene.path("policies/spoken.wasm"), bytes).expect("written");
    let good = version("hostile-provider", false);
    configure(["one", "two"]);
    put(&good);
    let mut serving = scene.start();
    put(&demanding(good.clone()));
    configure(["one", "three"]);
    let (changed, problems) = serving.build_despite();
    assert!(changed && problems.len() == 1 && problems[0].contains("setting `level` is missing"), "{problems:?}");
    let current = serving.gateway.live.read();
    let speaks = current.groups["g"].provider_policies().map(|policy| policy.component().digest());
    assert_eq!(speaks.collect::<Vec<_>>(), [Digest::of(&good); 2]);
}
