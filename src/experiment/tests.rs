//! What is wrong with an experiment is named at its place before anything is sent; what is planned and carried out adds up.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::*;

const CONFIG: &str = "\
model_list:
- {model_name: a, litellm_params: {model: simulated/a, tpm: 3000, simulated: {tpm: 3000, output_tokens: 20}}}
- {model_name: b, litellm_params: {model: openai/gpt-4o, api_key: sk-of-a-test, tpm: 4000}}
";

/// An experiment over `a`, with this in its file.
fn written(folder: &Path, file: &str) -> std::path::PathBuf {
    std::fs::write(folder.join("gateway.yaml"), CONFIG).expect("written");
    std::fs::write(folder.join("texts.csv"), "name,text\none,\"a, b\"\ntwo,c d\nthree,e f g\n").expect("written");
    std::fs::write(folder.join("twice.jsonl"), "{\"name\": \"x\"}\n\n{\"name\": \"x\"}\n").expect("written");
    let path = folder.join("e.yaml");
    std::fs::write(&path, file).expect("written");
    path
}

fn loaded(file: &str) -> Result<Experiment, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(folder.path(), file);
    load(&path, None, &|_| None)
        .map_err(|problems| problems.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

#[test]
fn what_is_wrong_is_named_at_its_place_and_all_together() {
    let whole = "config: gateway.yaml\ninputs: {csv: texts.csv, id: name}\nprompt: {user: \"{{text}}\"}\nmatrix: {models: [a]}\n";
    assert!(loaded(whole).is_ok(), "{:?}", loaded(whole).map(|found| found.digest));
    for (file, wanted) in [
        (whole.replace("texts.csv", "none.csv"), &["e.yaml:2:15: none.csv: cannot be read"][..]),
        (whole.replace("id: name", "id: nme"), &["e.yaml:2:30: text 1 has no column `nme`", "its columns: name, text"]),
        (whole.replace("[a]", "[gpt]"), &["e.yaml:4:19: no model is named `gpt`", "known: a, b"]),
        (
            whole.replace("{{text}}", "{{txt}} {{framework}}"),
            &["e.yaml:3:16: `{{framework}}` is neither", "`{{txt}}` is neither", "known: id, name, text"],
        ),
        (whole.replace("csv: texts.csv", "jsonl: twice.jsonl"), &["two texts are named `x`"]),
        (whole.replace("csv: texts.csv", "folder: nowhere"), &["nowhere: cannot be read"]),
        (
            whole.replace("matrix: {models: [a]}", "matrx: {models: [a]}"),
            &["has no key `matrx`", "did you mean `matrix`?"],
        ),
        (format!("{whole}parser: {{schema: [1]}}\n"), &["`schema` is no JSON schema"]),
        (format!("{whole}batch: {{}}\nparser: {{schema: {{pattern: x}}}}\n"), &["`pattern` at # is not understood"]),
        (
            format!("{whole}parser: {{schema: {{file: texts.csv}}}}\n"),
            &["e.yaml:5:18: texts.csv: it is no JSON schema"],
        ),
        (format!("{whole}repetitions: 0\n"), &["`repetitions` must be 1 or more"]),
        (
            whole.replace("{models: [a]}", "[{model: a}, {model: a}, {run_id: c, model: b, corpus_subset: [four]}]"),
            &["two runs are named `a`"],
        ),
        (
            whole.replace("{models: [a]}", "[{run_id: c, model: b, corpus_subset: [four]}, {run_id: d, model: x}]"),
            &["no text is named `four`", "no model is named `x`"],
        ),
    ] {
        let told = loaded(&file).err().unwrap_or_default();
        for wanted in wanted {
            assert!(told.contains(wanted), "{file}\nwanted: {wanted}\ntold: {told}");
        }
    }
}

#[test]
fn the_form_that_studies_have_is_read_and_items_follow_from_what_they_ask() {
    let file = |repetitions: u32| {
        format!(
            "config: gateway.yaml\ninputs: {{csv: texts.csv, id: name}}\nprompt: {{system: \"{{{{framework}}}}\", user: \"{{{{text}}}}\"}}\n\
             repetitions: {repetitions}\nexecution:\n  matrix:\n  - {{run_id: first, model: a, corpus_subset: 2, framework: texts.csv}}\n  \
             - {{run_id: second, model: b, corpus_subset: \"t*\", framework: gateway.yaml, parameters: {{temperature: 0}}}}\n"
        )
    };
    let found = loaded(&file(2)).expect("an experiment");
    let asked: Vec<_> = found
        .items
        .iter()
        .map(|item| (found.runs[item.run].id.as_str(), found.texts[item.text].id.as_str(), item.repetition))
        .collect();
    assert_eq!(
        asked,
        [
            ("first", "one", 1),
            ("first", "one", 2),
            ("first", "two", 1),
            ("first", "two", 2),
            ("second", "two", 1),
            ("second", "two", 2),
            ("second", "three", 1),
            ("second", "three", 2)
        ]
    );
    let ids = |found: &Experiment| found.items.iter().map(|item| item.id.clone()).collect::<Vec<_>>();
    let again = loaded(&file(2)).expect("an experiment");
    assert_eq!((ids(&found), &found.digest), (ids(&again), &again.digest), "in every process the same");
    let other = loaded(&file(1)).expect("an experiment");
    assert!(ids(&other).iter().all(|id| ids(&found).contains(id)), "what is asked again has the same name");
    assert_ne!(other.digest, found.digest);
}

#[test]
fn a_batch_takes_as_many_texts_as_its_tokens_and_none_twice() {
    let file = "config: gateway.yaml\ninputs: {csv: texts.csv, id: name}\nprompt: {user: \"{{text}}\"}\nmatrix: {models: [a]}\n\
                repetitions: 2\nbatch: {max_tokens: 90, instruction_tokens: 20}\n";
    let found = loaded(file).expect("an experiment");
    let calls = found.calls(0..found.items.len());
    let of_a: Vec<usize> = calls.values().flatten().map(|call| call.items.len()).collect();
    assert_eq!(of_a, [2, 1, 2, 1]);
    let settings = found.builder().expect("its own").1;
    assert!(settings["item"].as_str().is_some_and(|item| item.contains("{{item.text}}")), "{settings}");
}

/// A provider that answers batches as models do: in another order, in a fence, with elements too many and one missing; a text alone, well.
struct Careless {
    calls: std::sync::Mutex<Vec<usize>>,
    /// So many of the first calls fail.
    failing: usize,
    /// With this status.
    status: u16,
}

impl Careless {
    fn new(failing: usize) -> Arc<Self> {
        Arc::new(Self { calls: std::sync::Mutex::default(), failing, status: 500 })
    }

    fn calls(&self) -> Vec<usize> {
        self.calls.lock().expect("nobody panicked").clone()
    }
}

impl Upstream for Careless {
    fn send(
        &self,
        call: crate::upstream::UpstreamRequest,
    ) -> futures_util::future::BoxFuture<'_, Result<crate::upstream::UpstreamResponse, crate::fault::AttemptFault>>
    {
        let body: Value = serde_json::from_slice(&call.body).expect("JSON");
        let prompt = body["messages"].as_array().and_then(|all| all.last()).expect("a message")["content"].to_string();
        let texts = prompt.matches("<text number=").count() - usize::from(prompt.contains("between `<text number="));
        let mut calls = self.calls.lock().expect("nobody panicked");
        calls.push(texts);
        let (number, failing, refused) = (calls.len(), self.failing, self.status);
        Box::pin(async move {
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            let mut elements: Vec<Value> = (1..=texts)
                .map(|number| serde_json::json!({ "number": number, "result": { "score": number } }))
                .collect();
            if texts > 1 {
                elements.remove(0);
                elements.push(serde_json::json!({ "number": 99, "result": { "score": 99 } }));
                elements.reverse();
            }
            let answer = if texts == 0 { serde_json::json!({ "score": 1 }) } else { elements.into() };
            let words = format!("Here:\n```json\n{answer}\n```");
            let reply = serde_json::json!({
                "id": "r", "object": "chat.completion", "model": "gpt-4o",
                "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": words } }],
                "usage": { "prompt_tokens": 100, "completion_tokens": 10 },
            });
            let status = if number <= failing { refused } else { 200 };
            let body = bytes::Bytes::from(reply.to_string());
            Ok(crate::upstream::UpstreamResponse {
                status: http::StatusCode::from_u16(status).expect("a status"),
                headers: http::HeaderMap::new(),
                body: Box::pin(futures_util::stream::once(async move { Ok(body) })),
            })
        })
    }
}

/// Carries an experiment on in a folder, over `upstream`.
async fn carried(
    experiment: &Experiment,
    folder: &Path,
    upstream: &Arc<Careless>,
    stop: CancellationToken,
) -> (Finish, Vec<execute::Kept>) {
    let (finish, kept) = tried(experiment, folder, upstream, stop).await;
    (finish.expect("it is carried on"), kept)
}

async fn tried(
    experiment: &Experiment,
    folder: &Path,
    upstream: &Arc<Careless>,
    stop: CancellationToken,
) -> (Result<Finish, String>, Vec<execute::Kept>) {
    use crate::reload::{ConfigSource, PolicySource, Sources};
    let clock = Clock::starting_at(crate::moment::Moment::from_millis(1_800_000_000_000));
    let options = crate::start::Options {
        sources: Sources {
            config: ConfigSource::Text(PRICED.into()),
            policies: PolicySource::Memory(Arc::default()),
            adjust: Some(for_run(experiment, None)),
            ..Sources::default()
        },
        engine: crate::policy::EngineOptions::default(),
        environment: Arc::new(|_| None),
        clock,
        seed: 1,
        dropped_lines: crate::telemetry::DroppedLines::default(),
    };
    let upstream = Arc::clone(upstream) as Arc<dyn Upstream>;
    let pool = crate::pipeline::BlockingPool::in_place();
    let assembled = crate::start::assemble(options, upstream, pool).unwrap_or_else(|all| panic!("{}", all.join("\n")));
    let gateway = Arc::into_inner(assembled.gateway).expect("nobody else has it");
    let run = RunFolder::open(experiment, folder, false, clock.now()).expect("a folder");
    let finish = run.carry_on(experiment, gateway, Arc::default(), stop).await;
    let mut kept = Vec::new();
    let mut keep = |one| {
        kept.push(one);
        Ok(())
    };
    run.each(experiment, &mut keep).expect("items");
    (finish, kept)
}

const PRICED: &str = "\
model_list:
- {model_name: b, litellm_params: {model: openai/gpt-4o, api_key: sk-of-a-test, tpm: 4000, input_cost_per_token: 0.001, output_cost_per_token: 0.001}}
";

/// An experiment over `b`, its files in the folder.
fn over_b(folder: &Path, more: &str) -> Experiment {
    std::fs::write(folder.join("gateway.yaml"), PRICED).expect("written");
    std::fs::write(folder.join("texts.csv"), "name,text\none,a b\ntwo,c d\nthree,e f g\n").expect("written");
    let file = format!(
        "config: gateway.yaml\ninputs: {{csv: texts.csv, id: name}}\nprompt: {{user: \"{{{{text}}}}\"}}\nmatrix: {{models: [b]}}\n\
         parser: {{schema: {{type: object, required: [score], properties: {{score: {{type: integer, maximum: 50}}}}}}}}\n{more}"
    );
    let path = folder.join("e.yaml");
    std::fs::write(&path, file).expect("written");
    load(&path, None, &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
}

fn answered(kept: &[execute::Kept]) -> usize {
    kept.iter().filter(|kept| matches!(kept.end, Some(End::Answered(_)))).count()
}

#[tokio::test(start_paused = true)]
async fn what_a_batch_lacks_is_asked_for_alone_and_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let found = over_b(folder.path(), "batch: {}\nretries: 3\n");
    let provider = Careless::new(0);
    let (finish, kept) = carried(&found, &folder.path().join("out"), &provider, CancellationToken::new()).await;
    assert_eq!((finish, answered(&kept)), (Finish::Done, 3));
    assert_eq!(provider.calls(), [3, 1], "the first of the three was missing");
    let scores: Vec<_> = kept
        .iter()
        .map(|kept| match &kept.end {
            Some(End::Answered(answer)) => (answer.result["score"].as_u64(), answer.together, answer.input_tokens),
            _ => (None, 0, 0),
        })
        .collect();
    assert_eq!(
        scores,
        [(Some(1), 1, 100), (Some(2), 2, 50), (Some(3), 2, 50)],
        "each text has its own result and its share"
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_a_provider_fails_is_asked_again_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let found = over_b(folder.path(), "batch: {}\nretries: 1\n");
    let never = Careless::new(usize::MAX);
    let (finish, kept) = carried(&found, &folder.path().join("out"), &never, CancellationToken::new()).await;
    assert_eq!((finish, answered(&kept)), (Finish::Done, 0));
    let calls = never.calls();
    assert!(calls.len() > 1 && calls.iter().all(|texts| *texts == 3), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_a_hard_stop_and_a_stopped_run_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    // A request costs 0.11; what is held for it is three times that and a little, since its reply may be asked for again twice.
    let mut found = over_b(folder.path(), "budget_usd: 0.50\nconcurrency: 1\noutput: out\n");
    found.runs.iter_mut().for_each(|run| drop(run.parameters.insert("max_tokens".to_owned(), 20.into())));
    let provider = Careless::new(0);
    let out = folder.path().join("out");
    let (finish, kept) = carried(&found, &out, &provider, CancellationToken::new()).await;
    assert_eq!((finish, answered(&kept), provider.calls().len()), (Finish::OutOfBudget, 2, 2));
    let rows = std::fs::read_to_string(out.join("results.jsonl")).expect("results of a stopped run");
    assert_eq!(rows.lines().count(), 2);
    found.file.budget = None;
    let stop = CancellationToken::new();
    stop.cancel();
    let (finish, kept) = carried(&found, &out, &provider, stop).await;
    assert_eq!(
        (finish, answered(&kept), provider.calls().len()),
        (Finish::Stopped, 2, 2),
        "nothing is sent after a stop"
    );
    let (finish, kept) = carried(&found, &out, &provider, CancellationToken::new()).await;
    assert_eq!(
        (finish, answered(&kept), provider.calls().len()),
        (Finish::Done, 3, 3),
        "what was answered is not asked again"
    );
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_a_way_that_may_pass_is_asked_again_and_then_rests_with_its_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let found = over_b(folder.path(), "retries: 2\nconcurrency: 1\n");
    let provider = Careless::new(2);
    let (finish, kept) = carried(&found, &folder.path().join("out"), &provider, CancellationToken::new()).await;
    assert_eq!((finish, answered(&kept)), (Finish::Done, 3), "the first two calls failed");
    let never = Careless::new(usize::MAX);
    let out = folder.path().join("never");
    let (finish, kept) = carried(&found, &out, &never, CancellationToken::new()).await;
    assert_eq!((finish, answered(&kept)), (Finish::Done, 0));
    let dead = std::fs::read_to_string(out.join("dead-letter.jsonl")).expect("dead letters");
    assert_eq!(dead.lines().filter(|line| line.contains("\"tries\":3")).count(), 3, "{dead}");
    let again = RunFolder::open(&found, &out, true, crate::moment::Moment::from_millis(0)).expect("the folder");
    assert_eq!(again.progress(&found), Ok([3, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_stops_the_run_with_its_reason_and_the_items_wait_for_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let found = over_b(folder.path(), "concurrency: 1\n");
    let refusing = Arc::new(Careless { calls: std::sync::Mutex::default(), failing: usize::MAX, status: 401 });
    let out = folder.path().join("out");
    let (finish, _) = tried(&found, &out, &refusing, CancellationToken::new()).await;
    let why = finish.expect_err("it stops");
    assert!(why.contains("a key or an account is refused"), "{why}");
    assert_eq!(refusing.calls().len(), 1, "nothing more is sent");
    let (finish, kept) = carried(&found, &out, &Careless::new(0), CancellationToken::new()).await;
    assert_eq!((finish, answered(&kept)), (Finish::Done, 3));
}

#[tokio::test(start_paused = true)]
async fn money_for_nothing_is_money_spent_also_in_the_next_process() {
    let folder = tempfile::tempdir().expect("a folder");
    // A reply costs 0.11 and follows no schema: the second request of the first item would pass the budget.
    drop(over_b(folder.path(), "budget_usd: 0.50\nconcurrency: 1\n"));
    let out = folder.path().join("out");
    let unreadable = Careless::new(0);
    let never =
        std::fs::read_to_string(folder.path().join("e.yaml")).expect("the file").replace("score: {", "points: {");
    std::fs::write(folder.path().join("e.yaml"), never.replace("[score]", "[points]")).expect("written");
    let mut strict = load(&folder.path().join("e.yaml"), None, &|_| None).unwrap_or_else(|all| panic!("{all}"));
    strict.runs.iter_mut().for_each(|run| drop(run.parameters.insert("max_tokens".to_owned(), 20.into())));
    let (finish, kept) = carried(&strict, &out, &unreadable, CancellationToken::new()).await;
    assert_eq!((finish, answered(&kept)), (Finish::OutOfBudget, 0));
    let calls = unreadable.calls().len();
    assert!(calls <= 4, "{calls} replies at 0.11 are more than the budget");
    let (finish, _) = carried(&strict, &out, &unreadable, CancellationToken::new()).await;
    assert_eq!((finish, unreadable.calls().len()), (Finish::OutOfBudget, calls), "what is spent is not forgotten");
}

#[test]
fn a_folder_of_which_nothing_was_sent_may_become_another_experiment_s() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let at = crate::moment::Moment::from_millis;
    let first = over_b(folder.path(), "");
    drop(RunFolder::open(&first, &out, false, at(1_000)).expect("a folder"));
    let other = over_b(folder.path(), "repetitions: 2\n");
    let run = RunFolder::open(&other, &out, false, at(5_000)).expect("the same folder");
    assert_eq!((run.begun(), run.progress(&other)), (Ok(at(5_000)), Ok([6, 0, 0])));
}

#[test]
fn what_a_budget_could_not_hold_and_what_a_manifest_would_show_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(over_b(folder.path(), ""));
    let unpriced = "model_list:\n- {model_name: b, litellm_params: {model: openai/nobody-knows, api_key: sk-of-a-test}}\nwitgate: {unknown_price: allow}\n";
    std::fs::write(folder.path().join("gateway.yaml"), unpriced).expect("written");
    let file = "config: gateway.yaml\ninputs: {csv: texts.csv, id: name}\nprompt: {user: \"{{text}}\"}\nbudget_usd: 5\n\
                matrix: [{model: b, corpus_subset: [one, one], parameters: {n: 2, num_retries: 9, user: os.environ/SECRET}}]\n";
    let path = folder.path().join("e.yaml");
    std::fs::write(&path, file).expect("written");
    let told = |file: &str| {
        std::fs::write(&path, file).expect("written");
        load(&path, None, &|name| (name == "SECRET").then(|| "the-secret".to_owned()))
            .err()
            .map(|all| all.to_string())
            .unwrap_or_default()
    };
    let said = told(file);
    for wanted in ["`n` is not a run's", "`num_retries` is not a run's", "`user` names a variable"] {
        assert!(said.contains(wanted), "{said}");
    }
    assert!(!said.contains("the-secret"), "{said}");
    let plain = file.replace("{n: 2, num_retries: 9, user: os.environ/SECRET}", "{n: 1}");
    let said = told(&plain);
    assert!(said.contains("e.yaml:5:36: `one` is named twice"), "{said}");
    let said = told(&plain.replace("[one, one]", "[one]"));
    assert!(said.contains("e.yaml:4:") && said.contains("nobody knows what a request costs"), "{said}");
}
