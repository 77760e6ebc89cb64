//! `witgate check FILE`: what a configuration means here, and with `--policies` whether its policies can serve it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::catalog::{Deployment, Group};
use crate::clock::Clock;
use crate::config::{self, Settings};
use crate::http::HttpUpstream;
use crate::judge::VERDICT_TOKENS;
use crate::limits::Scope;
use crate::money::Asked;
use crate::policy::{Engine, EngineOptions};
use crate::provider::simulated::Simulated;
use crate::reload::{Builder, ConfigSource, PolicySource, Providers, Sources, kept_out};

use super::ask::event_loop;
use super::{environment, fail, say};

/// Which policies a configuration is checked with.
pub(super) struct Policies<'a> {
    /// The folder they are in.
    pub(super) folder: &'a Path,
    /// Whether they must be in its lock, as where `witgate serve` is told so.
    pub(super) locked: bool,
}

/// Prints what every key of `file` means here, and what is left out; fails where the file cannot be served, and with `strict`
/// where anything is left out.
pub(super) fn check(file: &Path, policies: Option<Policies<'_>>, json: bool, strict: bool) -> ExitCode {
    match config::load(file, &environment) {
        Ok(loaded) => {
            if json {
                let mut report = config::report::json(&loaded.report);
                report["left_out"] = serde_json::to_value(&loaded.left_out).unwrap_or_default();
                say(report);
            } else {
                say(config::report::table(&loaded.report));
                for problem in &loaded.left_out {
                    say(format_args!("left out: {problem}"));
                }
                shared_quotas(&loaded.settings).iter().for_each(say);
                dear_judges(&loaded.settings).iter().for_each(say);
                half_priced(&loaded.settings).iter().for_each(say);
            }
            match loaded.left_out.len() {
                count if strict && count > 0 => {
                    let s = if count == 1 { "" } else { "s" };
                    fail(format!("{}: {count} reason{s} to leave a deployment out", file.display()))
                }
                _ => policies.map_or(ExitCode::SUCCESS, |policies| {
                    // Where other machines are served the lock holds without a word.
                    let locked = policies.locked || !loaded.settings.server.host.is_loopback();
                    resolved(file, &Policies { locked, ..policies }, strict)
                }),
            }
        }
        Err(problems) => {
            let count = problems.iter().count();
            for problem in problems.iter() {
                say(problem);
            }
            fail(format!("{}: {count} problem{}", file.display(), if count == 1 { "" } else { "s" }))
        }
    }
}

/// Which deployments share one quota, one line each.
fn shared_quotas(settings: &Settings) -> Vec<String> {
    let deployments = settings.catalog.groups.values().flat_map(|group| &group.deployments);
    let mut quotas: BTreeMap<&str, Vec<&Deployment>> = BTreeMap::new();
    for deployment in deployments {
        let Scope::Quota(quota) = &deployment.scope else { continue };
        let sharing = quotas.entry(quota).or_default();
        if !sharing.iter().any(|known| known.id == deployment.id) {
            sharing.push(deployment);
        }
    }
    let shared = quotas.into_iter().filter(|(_, sharing)| sharing.len() > 1);
    shared
        .map(|(quota, sharing)| {
            let differ = sharing.windows(2).any(|two| two[0].limits != two[1].limits);
            let ids: Vec<&str> = sharing.iter().map(|deployment| deployment.id.as_str()).collect();
            let lowest = if differ { "; their limits differ: the lowest hold" } else { "" };
            format!("shared quota {quota}: {}{lowest}", ids.join(", "))
        })
        .collect()
}

/// Judges whose every call would hold more than they may spend in a day, one line each: they would never judge anything.
fn dear_judges(settings: &Settings) -> Vec<String> {
    let line = |group: &Arc<Group>| {
        let judge = group.judge.as_ref()?;
        let named = settings.aliases.get(&judge.group).map_or(&judge.group, |alias| &alias.group);
        let judges = settings.catalog.groups.get(&judge.group).or_else(|| settings.catalog.groups.get(named))?;
        // Of a verdict alone: how long a prompt will be nobody knows yet.
        let held = |one: &Arc<Deployment>| {
            let bound = one.defaults.as_deref().and_then(|defaults| defaults.max_tokens).unwrap_or(VERDICT_TOKENS);
            Some(one.charged_prices()?.most(&Asked::default(), 0, bound.into()))
        };
        let least = judges.deployments.iter().map(|one| held(one).unwrap_or_default()).min()?;
        (least > judge.max_per_day).then(|| {
            format!(
                "judge of `{}`: one verdict holds {least} USD and more, and max_usd_per_day is {}: nothing will be judged; raise it, or \
                 give the models of `{}` a smaller `max_tokens`",
                group.name, judge.max_per_day, judge.group
            )
        })
    };
    settings.catalog.groups.values().filter_map(line).collect()
}

/// Models that chat of which one side alone has a price, one line each: the other costs nothing, as in LiteLLM.
fn half_priced(settings: &Settings) -> Vec<String> {
    let line = |one: &Arc<Deployment>| {
        let base = one.prices.as_ref().filter(|_| !one.makes_vectors)?.base;
        let (paid, free) = match (base.input.0, base.output.0) {
            (1.., 0) => ("input", "output"),
            (0, 1..) => ("output", "input"),
            _ => return None,
        };
        Some(format!(
            "prices of `{}`: only its {paid} has one, and its {free} costs nothing; give `{free}_cost_per_token`, or say \
             by `model_info: {{mode: embedding}}` that it makes vectors",
            one.id.as_str()
        ))
    };
    settings.catalog.groups.values().flat_map(|group| &group.deployments).filter_map(line).collect()
}

/// Builds what `witgate serve` would build of the file and these policies, and tells what is in the way.
fn resolved(file: &Path, policies: &Policies<'_>, strict: bool) -> ExitCode {
    let folder = policies.folder;
    if !folder.is_dir() {
        return fail(format!("{}: is no folder of policies", folder.display()));
    }
    let (fatal, mut warnings) = match built(file, policies) {
        Ok(found) => found,
        Err(problem) => return fail(problem),
    };
    if !policies.locked {
        warnings.extend(locked_out(folder));
    }
    for problem in &warnings {
        say(format_args!("served all the same: {problem}"));
    }
    for problem in &fatal {
        say(problem);
    }
    match fatal.len() + if strict { warnings.len() } else { 0 } {
        0 => {
            say("every group's policy starts with its settings and deployments");
            ExitCode::SUCCESS
        }
        count => {
            let s = if count == 1 { "" } else { "s" };
            fail(format!("{}: {count} problem{s} with {}", file.display(), folder.display()))
        }
    }
}

/// What would not be served any more with `--locked`, or to other machines: serving them may be asked for on the command line alone.
fn locked_out(folder: &Path) -> Vec<String> {
    match kept_out(folder) {
        Ok(components) => components.into_values().collect(),
        Err(problem) => vec![problem],
    }
}

/// What keeps it from being served, and what does not.
fn built(file: &Path, policies: &Policies<'_>) -> Result<(Vec<String>, Vec<String>), String> {
    // The provider's connections want one around them, though none is made.
    let runtime = event_loop()?;
    let _entered = runtime.enter();
    let options = EngineOptions {
        // What a gateway compiled is not compiled again here, nor what is compiled here there.
        cache_dir: super::cache_folder(),
        cache_optional: true,
        instances: super::serve::instances(Some(file)),
        ..EngineOptions::default()
    };
    let engine = Engine::new(options).map_err(|problem| problem.to_string())?;
    let sources = Sources {
        config: ConfigSource::File(file.to_owned()),
        policies: PolicySource::Folder(policies.folder.to_owned()),
        locked: policies.locked,
        ..Sources::default()
    };
    let simulated = Simulated::new(Clock::system(), BTreeMap::new());
    let providers = Providers { http: Arc::new(HttpUpstream::new()), simulated };
    let mut builder = Builder::new(engine, sources, Arc::new(environment), Arc::default(), providers, 0);
    let built = builder.build(None);
    let unnamed = builder.check_unnamed();
    // What is left out of the configuration is told already.
    let told = |problem: &String| !problem.starts_with("left out: ");
    Ok(match built {
        Ok(draft) => (Vec::new(), draft.problems().iter().filter(|one| told(one)).cloned().chain(unnamed).collect()),
        Err(problems) => (problems.into_iter().filter(told).collect(), unnamed),
    })
}

/// What a configuration file may say, for editors.
pub(super) fn schema() -> ExitCode {
    say(format_args!("{:#}", config::schema()));
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_that_could_never_pay_for_a_verdict_is_told() {
        let told = |max_usd_per_day: &str, more: &str| {
            let text = format!(
                "model_list:
  - {{model_name: g, litellm_params: {{model: simulated/m}}}}
  - model_name: grader
    litellm_params: {{model: simulated/j, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002{more}}}
witgate:
  ledger: {{file: ledger.db}}
  judges: {{g: {{group: grader, max_usd_per_day: {max_usd_per_day}}}}}
"
            );
            dear_judges(&config::parse(&text, "a.yaml", &|_| None).unwrap().settings)
        };
        assert_eq!(told("0.004", ""), [""; 0]);
        let line = told("0.0039", "").remove(0);
        assert!(line.starts_with("judge of `g`: one verdict holds 0.004 USD and more"), "{line}");
        assert_eq!(told("0.0039", ", max_tokens: 100"), [""; 0]);
    }

    #[test]
    fn a_model_that_chats_with_one_price_is_told() {
        let told = |params: &str, info: &str| {
            let text = format!(
                "model_list:
  - {{model_name: g, litellm_params: {{model: openai/own, api_base: \"http://h/v1\", api_key: k{params}}}, model_info: {{id: one{info}}}}}
"
            );
            half_priced(&config::parse(&text, "a.yaml", &|_| None).unwrap().settings)
        };
        assert_eq!(told("", ""), [""; 0]);
        assert_eq!(told(", input_cost_per_token: 1e-6, output_cost_per_token: 1e-6", ""), [""; 0]);
        assert_eq!(told(", input_cost_per_token: 1e-6", ", mode: embedding"), [""; 0]);
        for (params, info) in [(", input_cost_per_token: 1e-6", ""), ("", ", input_cost_per_token: 1e-6")] {
            let line = told(params, info).remove(0);
            assert!(line.starts_with("prices of `one`: only its input has one, and its output costs"), "{line}");
        }
        let line = told(", output_cost_per_token: 1e-6", "").remove(0);
        assert!(line.contains("give `input_cost_per_token`"), "{line}");
    }
}
