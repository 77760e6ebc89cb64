//! What makes a run something that can be cited: what it was made of, by digest; and how well its plan foretold it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Experiment, ModelPlan, Plan};
use crate::catalog::{Deployment, Origin};
use crate::moment::Moment;
use crate::pipeline::Gateway;
use crate::policy::Digest;

/// The manifest of a run: `tables` are the digests of what it wrote, `span` when it was begun first and ended last.
pub(super) fn manifest(
    experiment: &Experiment,
    gateway: &Gateway,
    done: &Plan,
    tables: &BTreeMap<String, String>,
    span: [Moment; 2],
) -> Value {
    let snapshot = gateway.live.read();
    let mut models = Map::new();
    for name in experiment.models() {
        let Some(group) = snapshot.groups.get(name) else { continue };
        let builder = group.builder.as_ref().map(|builder| builder.component().label());
        let parser = group.parser.as_ref().map(|parser| parser.component().label());
        let deployments: Vec<Value> =
            group.config.deployments.iter().map(|deployment| about(deployment, span[1])).collect();
        let about = json!({
            "router": &*group.policy,
            "prompt_builder": builder,
            "response_parser": parser,
            "deployments": deployments,
        });
        models.insert(name.to_string(), about);
    }
    let runs: Vec<Value> = experiment
        .runs
        .iter()
        .map(|run| {
            let variables = Value::Object(Map::clone(&run.variables)).to_string();
            json!({
                "run": run.id,
                "model": run.model.as_str(),
                "parameters": run.parameters,
                "texts": run.texts.len(),
                "variables_sha256": Digest::of(variables.as_bytes()).to_string(),
            })
        })
        .collect();
    let prompt = json!([experiment.builder(), experiment.parser()]);
    json!({
        "experiment": experiment.file.name,
        "sha256": experiment.digest,
        "witgate": env!("CARGO_PKG_VERSION"),
        "begun": span[0].iso(),
        "ended": span[1].iso(),
        "seed": experiment.file.seed,
        "files_sha256": experiment.sources,
        "prompt": prompt,
        "prompt_sha256": Digest::of(prompt.to_string().as_bytes()).to_string(),
        "runs": runs,
        "models": models,
        "items": experiment.items.len(),
        "answered": done.models.iter().map(|model| model.items).sum::<usize>(),
        "failed": done.failing,
        "tokens": done.total_estimated_tokens,
        "cost_usd": done.cost_usd.map(|cost| cost.expected),
        "results_sha256": tables,
    })
}

/// A deployment as it is cited: never its credential, nor its address.
fn about(deployment: &Deployment, on: Moment) -> Value {
    let rates = deployment.prices.as_ref().map(|prices| prices.base);
    json!({
        "deployment": deployment.id,
        "provider": deployment.provider,
        "model": &*deployment.model,
        "simulated": matches!(deployment.origin, Origin::Simulated(_)),
        "usd_per_million_input_tokens": rates.map(|rates| rates.input.as_usd_per_million()),
        "usd_per_million_output_tokens": rates.map(|rates| rates.output.as_usd_per_million()),
        "prices_as_of": on.iso().get(..10),
    })
}

/// What was planned beside what was done, model by model.
pub(super) fn calibration(plan: &Value, done: &Plan) -> Value {
    let planned = |model: &str| {
        let models = plan.get("models").and_then(Value::as_array);
        models.into_iter().flatten().find(|one| one.get("model").and_then(Value::as_str) == Some(model))
    };
    let models: Vec<Value> = done
        .models
        .iter()
        .map(|model| {
            let ModelPlan { input_tokens, output_tokens, cost_usd, minutes, .. } = model;
            let plan = planned(&model.model);
            let number = |pointer: &str| plan.and_then(|plan| plan.pointer(pointer)?.as_f64());
            #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
            let input = *input_tokens as f64;
            json!({
                "model": model.model,
                "input_tokens": beside(number("/input_tokens"), Some(input)),
                "output_tokens": beside(number("/output_tokens/expected"), Some(output_tokens.expected)),
                "cost_usd": beside(number("/cost_usd/expected"), cost_usd.map(|cost| cost.expected)),
                "minutes": beside(number("/minutes"), Some(*minutes)),
            })
        })
        .collect();
    json!({ "models": models })
}

fn beside(planned: Option<f64>, done: Option<f64>) -> Value {
    let ratio = planned.zip(done).filter(|(planned, _)| *planned > 0.0).map(|(planned, done)| done / planned);
    json!({ "planned": planned, "done": done, "ratio": ratio })
}
