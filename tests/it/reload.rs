//! Swapping while serving: good files decide the next request, bad ones change nothing, nothing is lost.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use witgate::clock::Clock;
use witgate::format::OpenAi;
use witgate::http::HttpUpstream;
use witgate::pipeline::BlockingPool;
use witgate::policy::SavedState;
use witgate::reload::{ConfigSource, PolicySource, Sources};
use witgate::start::{Assembled, assemble};

use crate::chat::openai_reply;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Gate, ScriptedUpstream, Step};
use crate::support::virtual_time::{BEGIN, ask};
use crate::support::{files, fixture, options, until};

const CONFIG: &str = "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, simulated: {ttft_ms: 0, output_tokens: 2}}, model_info: {id: first}}
  - {model_name: g, litellm_params: {model: simulated/m, simulated: {ttft_ms: 0, output_tokens: 2}}, model_info: {id: last}}
witgate: {routers: {g: {policy: counting}}}
";

/// Good files among those swapped in; the first generation is the start's.
const SWAPS: u64 = 6;

fn counted(state: Option<SavedState>) -> u64 {
    let bytes = state.expect("a counting policy saves").bytes;
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counting_policy_swapped_under_load_counts_every_outcome() {
    let read = |name: &str| std::fs::read(fixture(name)).expect("a component");
    let (a, b) = (read("policies/counting-a.wasm"), read("policies/counting-b.wasm"));
    let wrong_version = {
        let text = String::from_utf8_lossy(&a).into_owned();
        assert!(text.contains("routing@0.1.0"));
        let mut bytes = a.clone();
        for at in 0..bytes.len() - 13 {
            if &bytes[at..at + 13] == b"routing@0.1.0" {
                bytes[at + 8] = b'9';
            }
        }
        bytes
    };
    let gateway = Gateway::start_with(CONFIG, &[("counting.wasm", &fixture("policies/counting-a.wasm"))]).await;
    let body = json!({"model": "g", "messages": [{"role": "user", "content": "Hi"}]});
    let swapping = async {
        let mut deciders = std::collections::BTreeSet::new();
        let files: [(&[u8], bool); 4] = [(&b, true), (&a[..a.len() / 2], false), (&a, true), (&wrong_version, false)];
        for (bytes, good) in files.into_iter().cycle().take(12) {
            let before = gateway.app.gateway.live.read();
            gateway.replace("policies/counting.wasm", bytes);
            let told = || !gateway.app.gateway.live.problems().is_empty();
            until("the change is seen", || if good { gateway.generation() > before.generation } else { told() }).await;
            let after = gateway.app.gateway.live.read();
            let (then, now) = (&before.groups["g"].policy, &after.groups["g"].policy);
            assert_eq!(good, then != now, "good files decide, bad ones change nothing");
            deciders.insert(now.to_string());
        }
        deciders
    };
    let asking = async {
        let mut asked = 0_u64;
        loop {
            let answer = gateway.post("/v1/chat/completions", &body).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            asked += 1;
            if gateway.generation() > SWAPS {
                return asked;
            }
        }
    };
    let (deciders, one, two) = tokio::join!(swapping, asking, asking_again(&gateway, &body));
    assert_eq!(deciders.len(), 2, "{deciders:?}");
    let router = gateway.app.gateway.live.read().groups["g"].router.clone().expect("a router");
    assert_eq!(counted(router.save()), one + two, "every outcome, exactly once");
}

async fn asking_again(gateway: &Gateway, body: &serde_json::Value) -> u64 {
    let mut asked = 0;
    while gateway.generation() <= SWAPS {
        assert_eq!(gateway.post("/v1/messages", &with_bound(body)).await.status, 200);
        asked += 1;
    }
    asked
}

fn with_bound(body: &serde_json::Value) -> serde_json::Value {
    let mut body = body.clone();
    body["max_tokens"] = json!(5);
    body
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing_and_a_good_one_applies() {
    let plain = "model_list:\n  - {model_name: g, litellm_params: {model: simulated/m, simulated: {ttft_ms: 0, output_tokens: 2}}}\n";
    let gateway = Gateway::start(plain).await;
    gateway.replace("config.yaml", b"model_list: [{model_name: g, oops\n");
    until("told", || gateway.metric("witgate_reload_ok") == Some(0.0)).await;
    let body = json!({"model": "g", "messages": [{"role": "user", "content": "Hi"}]});
    assert_eq!(gateway.post("/v1/chat/completions", &body).await.status, 200);
    gateway.replace("config.yaml", plain.replace("model_name: g", "model_name: h").as_bytes());
    until("applied", || gateway.metric("witgate_reload_ok") == Some(1.0)).await;
    assert_eq!(gateway.post("/v1/chat/completions", &body).await.status, 404);
    assert!(gateway.config().exists());
}

#[tokio::test]
async fn a_generation_says_what_it_changed() {
    let group = |name: &str, key: &str| {
        format!(
            "  - {{model_name: {name}, litellm_params: {{model: openai/m, api_key: {key}}}, model_info: {{id: {name}1}}}}\n"
        )
    };
    let first = format!("model_list:\n{}{}", group("a", "one"), group("b", "one"));
    let gateway = Gateway::start(&first).await;
    let live = || gateway.app.gateway.live.read();
    let second = format!(
        "model_list:\n{}{}witgate: {{routers: {{a: {{policy: least-busy}}}}}}\n",
        group("a", "two"),
        group("c", "one")
    );
    let policy = live().groups["b"].policy.clone();
    gateway.replace("config.yaml", second.as_bytes());
    until("applied", || live().generation == 2).await;
    let changed = |generation| live().rollouts.generations.changed(generation);
    let busy = live().groups["a"].policy.clone();
    let wanted = [
        format!("group `a`: router {policy} → {busy}, deployment `a1` changed, router's entry"),
        format!("group `c` added, decided by {policy}"),
        "group `b` removed".to_owned(),
    ];
    assert_eq!(changed(2), wanted);
    // That lines move is no change of anything.
    gateway.replace("config.yaml", format!("# moved\n\n{second}").as_bytes());
    until("applied", || live().generation == 3).await;
    assert_eq!(changed(3), ["configuration: no group's deployments, rules or policies"]);
    // Each version tells since which of them it is in force.
    let policies = gateway.get("/admin/policies").await.json();
    let of = |group: &str| policies["policies"].as_array().into_iter().flatten().find(|row| row["group"] == group);
    assert_eq!(["a", "c"].map(|group| of(group).expect("a row")["generation"].as_u64()), [Some(2), Some(2)]);
    let history = gateway.get("/admin/policies/history").await.json();
    assert_eq!(history["generations"][0]["changed"], serde_json::json!(wanted));
    assert!(gateway.get("/admin/policies/history?group=a").await.json().get("generations").is_none());
}

#[tokio::test]
async fn a_file_named_default_decides_groups_that_name_no_strategy() {
    let plain = "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, simulated: {ttft_ms: 0, output_tokens: 2}}, model_info: {id: first}}
  - {model_name: g, litellm_params: {model: simulated/m, simulated: {ttft_ms: 0, output_tokens: 2}}, model_info: {id: last}}
";
    let gateway = Gateway::start(plain).await;
    let body = json!({"model": "g", "messages": [{"role": "user", "content": "Hi"}]});
    let before = gateway.post("/v1/chat/completions", &body).await;
    assert!(before.header("x-witgate-policy").starts_with("simple-shuffle@"), "{:?}", before.headers);
    gateway.replace("policies/default.wasm", &std::fs::read(fixture("policies/counting-b.wasm")).expect("a component"));
    until("swapped", || gateway.app.gateway.live.read().groups["g"].policy.starts_with("default@")).await;
    let after = gateway.post("/v1/chat/completions", &body).await;
    assert!(after.header("x-witgate-policy").starts_with("default@"), "{:?}", after.headers);
}

/// Puts a link in the place of whatever stands there, in one step.
fn link(at: &Path, to: &Path) {
    let aside = at.with_file_name("aside");
    symlink(to, &aside).expect("a link");
    std::fs::rename(aside, at).expect("renamed");
}

fn serving(name: &str) -> String {
    format!("model_list:\n  - {{model_name: {name}, litellm_params: {{model: simulated/m}}}}\n")
}

#[tokio::test]
async fn a_configuration_behind_links_is_read_again_whichever_of_them_changes() {
    let gateway = Gateway::start(&serving("plain")).await;
    let elsewhere = tempfile::TempDir::new().expect("another folder");
    let applied = async |name: &str| {
        until(&format!("`{name}` is served"), || gateway.app.gateway.live.read().groups.contains_key(name)).await;
    };
    let write = |file: &str, name: &str| {
        let file = elsewhere.path().join(file);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, serving(name)).expect("written");
    };
    // A link that leads into another folder, and the file there.
    write("one/real.yaml", "linked");
    link(&gateway.config(), &elsewhere.path().join("one/real.yaml"));
    applied("linked").await;
    write("one/real.yaml", "written-there");
    applied("written-there").await;
    let aside = elsewhere.path().join("one/real.new");
    std::fs::write(&aside, serving("renamed-there")).expect("written");
    std::fs::rename(aside, elsewhere.path().join("one/real.yaml")).expect("renamed");
    applied("renamed-there").await;
    // As Kubernetes mounts a ConfigMap: the file leads through `..data`, which is swapped.
    write("..first/config.yaml", "first");
    write("..second/config.yaml", "second");
    let data = elsewhere.path().join("..data");
    link(&data, Path::new("..first"));
    link(&elsewhere.path().join("config.yaml"), Path::new("..data/config.yaml"));
    link(&gateway.config(), &elsewhere.path().join("config.yaml"));
    applied("first").await;
    link(&data, Path::new("..second"));
    applied("second").await;
    std::fs::remove_dir_all(elsewhere.path().join("..first")).expect("removed");
    // What is behind the swapped link is watched from then on.
    write("..second/config.yaml", "second-again");
    applied("second-again").await;
    write("..third/config.yaml", "third");
    link(&data, Path::new("..third"));
    applied("third").await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_cannot_take_the_key_from_an_address_others_reach() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("config.yaml");
    let write = |rest: &str| std::fs::write(&file, format!("{}{rest}", serving("g"))).expect("written");
    let public = "witgate: {server: {host: 0.0.0.0}}\n";
    write(&format!("general_settings: {{master_key: sk-master}}\n{public}"));
    let options = options(files(&file, &folder.path().join("policies")), Clock::starting_at(BEGIN));
    let http = Arc::new(HttpUpstream::new());
    let Assembled { gateway, mut builder, .. } =
        assemble(options, http, BlockingPool::in_place()).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
    // Also where the same change says that nobody else shall reach it: the socket stays where it is.
    for without in [public, "", "witgate: {server: {host: 127.0.0.1}}\n"] {
        write(without);
        let refused = builder.build(Some(&gateway.live.read())).err().expect("kept");
        assert!(refused.iter().any(|problem| problem.contains("master_key")), "{refused:?}");
    }
    assert!(gateway.live.read().settings.server.master_key.is_some(), "the old state serves on");
    write(&format!("general_settings: {{master_key: sk-other}}\n{public}"));
    assert!(builder.build(Some(&gateway.live.read())).is_ok(), "another key is a key");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_is_assembled_from_values_alone() {
    let component =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/least-busy.wasm")).expect("bytes");
    let sources = Sources {
        config: ConfigSource::Text(serving("g").into()),
        policies: PolicySource::Memory(Arc::new([("default".into(), component)].into())),
        ..Sources::default()
    };
    let http = Arc::new(HttpUpstream::new());
    let assembled = assemble(options(sources, Clock::starting_at(BEGIN)), http, BlockingPool::in_place());
    let Assembled { gateway, builder, .. } = assembled.unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
    assert!(builder.config().next().is_none() && builder.folder().is_none(), "there is nothing to watch");
    let body = json!({"model": "g", "max_tokens": 3, "messages": [{"role": "user", "content": "Hi"}]});
    let (meta, _) = ask(&gateway, &OpenAi, &body).await.expect("served");
    assert!(meta.policy.starts_with("default@"), "{}", meta.policy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_included_file_is_watched_from_when_it_is_named() {
    let model = |name: &str| format!("model_list: [{{model_name: {name}, litellm_params: {{model: simulated/m}}}}]\n");
    let gateway = Gateway::start(&model("first")).await;
    let serves = |name: &str| gateway.app.gateway.live.read().groups.contains_key(name);
    // Named before it is there: the old configuration serves on.
    gateway.replace("config.yaml", ("include: [more.yaml]\n".to_owned() + &model("first")).as_bytes());
    until("the missing file is told", || {
        gateway.app.gateway.live.problems().iter().any(|one| one.contains("more.yaml"))
    })
    .await;
    assert!(serves("first"));
    gateway.replace("more.yaml", model("second").as_bytes());
    until("the new file is read", || serves("second")).await;
    gateway.replace("more.yaml", model("third").as_bytes());
    until("its change is seen", || serves("third") && !serves("second")).await;
    assert!(serves("first"));
}

/// The same bytes under the same name are no change, however often they are written.
#[tokio::test]
async fn the_same_component_written_again_is_no_change() {
    let gateway = Gateway::start_with(CONFIG, &[("counting.wasm", &fixture("policies/counting-a.wasm"))]).await;
    let decides = gateway.app.gateway.live.read().groups["g"].policy.clone();
    let bytes = std::fs::read(fixture("policies/counting-a.wasm")).expect("a component");
    for round in 1..=3 {
        for _ in 0..50 {
            gateway.replace("policies/counting.wasm", &bytes);
        }
        // A change that is one, so that it is known that the writing before it was looked at.
        gateway.replace("config.yaml", CONFIG.replace("id: last", &format!("id: last-{round}")).as_bytes());
        until("applied", || {
            gateway.app.gateway.live.read().groups["g"].deployments[1].config.id.as_str() == format!("last-{round}")
        })
        .await;
        let now = gateway.app.gateway.live.read();
        assert!(now.groups["g"].policy.starts_with("counting@"));
        assert!(gateway.generation() <= 1 + 2 * round, "{} changes after {round}", gateway.generation());
    }
    assert_eq!(gateway.app.gateway.live.read().groups["g"].policy, decides, "the same component decides");
}

/// Only a build that is put in force looks at it otherwise, and what anybody reads of it would be gone with the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_beside_a_build_stands_through_those_that_follow() {
    let decisions = "witgate: {decisions: {share: 1.0, dir: /dev/null}}\n";
    let gateway = Gateway::start(&(serving("g") + decisions)).await;
    let told = |word: &str| gateway.app.gateway.live.problems().iter().any(|one| one.contains(word));
    assert!(told("`witgate.decisions`: /dev/null: "));
    gateway.replace("policies/broken.wasm", b"no component");
    until("the file is told", || told("policy `broken`")).await;
    assert!(told("`witgate.decisions`: /dev/null: "));
}

/// A key is changed because the old one is to be good no more: whatever waits then is sent with the new one.
#[tokio::test]
async fn what_waits_while_a_key_is_changed_is_sent_with_the_new_one() {
    let gate = Gate::closed();
    let reply = || Step::json(200, &openai_reply("Hi"));
    let upstream = ScriptedUpstream::start([reply().head_after(&gate), reply()]).await;
    let config = |key: &str| {
        format!(
            "model_list:\n- {{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: {key}, \
             max_parallel_requests: 1}}}}\n",
            upstream.origin()
        )
    };
    let gateway = Gateway::start(&config("sk-of-before")).await;
    let body = json!({"model": "g", "messages": [{"role": "user", "content": "Hi"}]});
    let ask = || gateway.post("/v1/chat/completions", &body);
    let changing = async {
        upstream.until_asked(1).await;
        let queue = Arc::clone(&gateway.app.gateway.live.read().groups["g"].queue);
        until("one waits", || queue.report(gateway.app.gateway.clock.now()).waiting == 1).await;
        let before = gateway.generation();
        gateway.replace("config.yaml", config("sk-of-today").as_bytes());
        until("applied", || gateway.generation() > before).await;
        gate.open();
    };
    let (first, second, ()) = tokio::join!(ask(), ask(), changing);
    assert_eq!((first.status, second.status), (200, 200), "{} {}", first.text, second.text);
    let keys: Vec<_> = upstream.asked().iter().map(|asked| asked.headers["authorization"].clone()).collect();
    assert_eq!(keys, ["Bearer sk-of-before", "Bearer sk-of-today"]);
}
