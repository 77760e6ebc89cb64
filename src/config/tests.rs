//! A folder of files, each with what is to come of it: problems, or the report and the settings.
//! `UPDATE_EXPECTED=1 cargo test --lib config` writes what comes of them now.

use std::fmt::Write as _;
use std::path::Path;

use secrecy::ExposeSecret;

use super::*;
use crate::budgets::BudgetSpec;
use crate::catalog::{Deployment, FailureRules, Identity, IdentityToken, Origin, RoleProof, RollOut, WhenNone};
use crate::chat::ServiceTier;
use crate::failover::{ByClass, FailurePolicy, Target};
use crate::limits::LimitSpec;
use crate::money::{Factor, Price, Prices, Rates};
use crate::signal::Grants;

/// The environment of every test.
fn env(name: &str) -> Option<String> {
    let value = match name {
        "OPENAI_API_KEY" => "sk-openai-from-env",
        "ANTHROPIC_API_KEY" => "sk-ant-from-env",
        "MASTER_KEY" => "sk-master-from-env",
        "MISTRAL_API_KEY" => "sk-mistral-from-env",
        "GOOGLE_CLOUD_PROJECT" => "lab-project",
        "LAB_A" | "LAB_B" | "LAB_SET" => "sk-lab-from-env",
        "RPM" => "120",
        "TIER" => "gold",
        "EMPTY" => "  ",
        _ => return None,
    };
    Some(value.to_owned())
}

/// A key file, which is read with the configuration that names it.
const GOOGLE_ACCOUNT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/google/service-account.json");

fn nothing(_: &str) -> Option<String> {
    None
}

/// What came of a file, with every secret hidden but for where it is from.
fn outcome(text: &str, file: &str, env: &dyn Fn(&str) -> Option<String>) -> String {
    match parse(text, file, env) {
        Err(problems) => format!("{problems}\n"),
        Ok(loaded) => {
            let left_out =
                loaded.left_out.iter().fold(String::new(), |all, problem| all + &format!("left out: {problem}\n"));
            format!("{}\n{left_out}{}", report::table(&loaded.report), describe(&loaded.settings))
        }
    }
}

fn describe(settings: &Settings) -> String {
    let mut out = String::new();
    let Settings { catalog, aliases, server, global_limits, queue, policies, breaker, decisions, .. } = settings;
    for group in catalog.groups.values() {
        let router = &group.router;
        let reject = if router.may_reject { ", may reject" } else { "" };
        let roll_out = match router.roll_out {
            RollOut::Replace => String::new(),
            other => format!(", {other:?}"),
        };
        let (policy, settings) = (&router.policy, &router.settings);
        writeln!(
            out,
            "group {} ({policy} {settings}{reject}{roll_out}, {} retries)",
            group.name, group.failures.own.retry.retries
        )
        .unwrap();
        if router.may_read != Grants::default() || router.when_none != WhenNone::Refuse {
            writeln!(out, "  reads {:?}, none fit: {:?}", router.may_read, router.when_none).unwrap();
        }
        if let Some(within) = router.asked_again {
            writeln!(out, "  asked again within {within:?}").unwrap();
        }
        if let Some(judge) = &group.judge {
            writeln!(out, "  {judge:?}").unwrap();
        }
        if let Some(embedding) = &group.embedding {
            writeln!(out, "  {embedding:?}").unwrap();
        }
        let named = group.failures.named.iter().filter(|(name, _)| name.as_str() != group.name.as_str());
        let named = named.map(|(name, policy)| (format!("as `{name}` "), policy));
        for (asked, policy) in std::iter::once((String::new(), &group.failures.own)).chain(named) {
            describe_failures(&mut out, &asked, policy);
        }
        if group.pattern.is_some() || group.tag_filter.is_some() {
            writeln!(out, "  a pattern: {}, tags: {:?}", group.pattern.is_some(), group.tag_filter).unwrap();
        }
        for deployment in &group.deployments {
            writeln!(out, "  {}", describe_deployment(deployment)).unwrap();
        }
    }
    for (name, alias) in aliases {
        writeln!(out, "alias {name} -> {}{}", alias.group, if alias.hidden { " (hidden)" } else { "" }).unwrap();
    }
    let admin = if server.admin_key.is_some() { ", an admin key" } else { "" };
    let key = if server.master_key.is_some() { "a master key" } else { "no master key" }.to_owned() + admin;
    let (host, port, bytes, total) = (server.host, server.port, server.max_request_bytes, server.request_timeout);
    writeln!(out, "server {host}:{port}, {key}, {bytes} bytes, {total:?}").unwrap();
    writeln!(out, "global {global_limits:?}\n{queue:?}\nPolicySettings {{ dir: {:?} }}", policies.dir).unwrap();
    let BreakerSettings { allowed_fails, cooldown, cooldown_grows: _, disabled, allowed_fails_policy } = breaker;
    writeln!(
        out,
        "BreakerSettings {{ allowed_fails: {allowed_fails:?}, cooldown: {cooldown:?}, disabled: {disabled} }}"
    )
    .unwrap();
    if *allowed_fails_policy != ByClass::default() {
        writeln!(out, "allowed fails {allowed_fails_policy:?}").unwrap();
    }
    if settings.max_fallbacks != 5 {
        writeln!(out, "{} fallbacks at most", settings.max_fallbacks).unwrap();
    }
    if !policies.allow_wasi_stubs.is_empty() {
        writeln!(out, "WASI stubs {:?}", policies.allow_wasi_stubs).unwrap();
    }
    writeln!(out, "retry after {:?}", settings.retry_after).unwrap();
    describe_payers(&settings.payers, &mut out);
    if let Some(decisions) = decisions {
        writeln!(out, "{decisions:?}").unwrap();
    }
    out
}

fn describe_payers(payers: &PayerSettings, out: &mut String) {
    for key in &payers.keys {
        writeln!(out, "key {:?} of {:?}: {:?}, {:?}", key.alias, key.team, key.models, key.allowance).unwrap();
    }
    let payer = |name: String, budgets: &[BudgetSpec]| {
        let told = |one: &BudgetSpec| {
            let period = one.period.as_ref().map_or_else(String::new, |period| format!(" for {period}"));
            format!("{:?}, told at {:?}{period}", one.max, one.soft)
        };
        format!("{name} may spend {}", budgets.iter().map(told).collect::<Vec<_>>().join("; "))
    };
    let global = (!payers.global.is_empty()).then(|| payer("all".to_owned(), &payers.global));
    let teams = payers.teams.iter().map(|(name, team)| payer(format!("team {name}"), &team.payer.budgets));
    let tags = payers.tags.iter().map(|(name, one)| payer(format!("tag {name}"), &one.budgets));
    let groups = payers.groups.iter().map(|(name, one)| payer(format!("group {name}"), &one.budgets));
    let providers = payers.providers.iter().map(|(name, budgets)| payer(format!("provider {name}"), budgets));
    let limited = payers.teams.iter().map(|(name, team)| (format!("team {name}"), &team.payer));
    let limited = limited.chain(payers.tags.iter().map(|(name, one)| (format!("tag {name}"), one)));
    for (name, one) in limited.chain(payers.groups.iter().map(|(name, one)| (format!("group {name}"), one))) {
        if let Some(spec) = &one.limits {
            writeln!(out, "{name} may use {:?}, {:?}", spec.limits, spec.others).unwrap();
        }
    }
    for line in global.into_iter().chain(teams).chain(tags).chain(groups).chain(providers) {
        writeln!(out, "{line}").unwrap();
    }
}

/// What is done about failures where it is asked for so.
fn describe_failures(out: &mut String, asked: &str, policy: &FailurePolicy) {
    if policy.retry.by_class != ByClass::default() {
        writeln!(out, "  {asked}{:?}", policy.retry.by_class).unwrap();
    }
    let lists = &policy.fallbacks;
    for (name, list) in
        [("falls back to", &lists.generic), ("too long", &lists.context_window), ("moderated", &lists.content_policy)]
    {
        let told = |target: &Target| {
            format!("{}{}", target.group, if target.overrides.is_some() { " (otherwise)" } else { "" })
        };
        if !list.is_empty() {
            writeln!(out, "  {asked}{name}: {}", list.iter().map(told).collect::<Vec<_>>().join(", ")).unwrap();
        }
    }
}

fn describe_deployment(one: &Deployment) -> String {
    let origin = match &one.origin {
        Origin::Http(base) => base.to_string(),
        Origin::Simulated(model) => format!("{model:?}"),
    };
    let key = one.credential.as_ref().map_or("no key", |key| match key.expose_secret() {
        "sk-openai-from-env" => "key of OPENAI_API_KEY",
        "sk-ant-from-env" => "key of ANTHROPIC_API_KEY",
        _ => "a key",
    });
    let headers: Vec<&str> = one.headers.keys().map(http::HeaderName::as_str).collect();
    let mut out = format!("{} {}:{} {} at {origin}, {key}", one.id, one.provider, one.model, one.format.name());
    if let Some(identity) = &one.identity {
        write!(out, "\n    {identity:?}").unwrap();
    }
    let limits = LimitSpec { window: one.limits.window, margin: one.limits.margin, ..LimitSpec::default() };
    if one.limits != limits || one.limits.window != LimitSpec::default().window {
        write!(out, "\n    {:?}", one.limits).unwrap();
    }
    let rest = (&one.api_version, headers, one.weight, one.order, &one.tags);
    if rest != (&None, Vec::new(), None, 0, &Vec::new()) {
        write!(out, "\n    version, headers, weight, order, tags: {rest:?}").unwrap();
    }
    if let Some(wildcard) = &one.wildcard {
        write!(out, "\n    {wildcard:?}").unwrap();
    }
    if let Some(prices) = &one.prices {
        let usd = |price: Price| price.as_usd_per_million();
        let cached = (prices.base.cache_read.map(usd), prices.base.cache_write.map(usd));
        let hour = prices.base.cache_write_1h.map(usd).map(|usd| format!(", for an hour {usd}"));
        write!(
            out,
            "\n    $ per million: {} in, {} out, cached {cached:?}{}",
            usd(prices.base.input),
            usd(prices.base.output),
            hour.unwrap_or_default()
        )
        .unwrap();
        let told = |rates: &Rates| {
            format!(
                "{}/{}/{:?}/{:?}",
                usd(rates.input),
                usd(rates.output),
                rates.cache_read.map(usd),
                rates.cache_write.map(usd)
            )
        };
        for (above, rates) in prices.long.iter() {
            write!(out, "\n      above {above}: {}", told(rates)).unwrap();
        }
        let batches = prices.batch.as_deref().map(|(rates, long)| ("in batches", rates, long));
        let tiers = prices.tiers.iter().flat_map(|tiers| tiers.iter());
        let tiers = tiers.map(|(tier, rates, long)| (tier.as_str(), rates, long));
        for (which, rates, long) in batches.into_iter().chain(tiers) {
            write!(out, "\n      {which}: {}", told(rates)).unwrap();
            for (above, rates) in long.iter() {
                write!(out, ", above {above}: {}", told(rates)).unwrap();
            }
        }
    }
    write!(out, "\n    window {:?}, output {:?}, {:?}", one.context_window, one.max_output_tokens, one.timeouts)
        .unwrap();
    if one.failures != FailureRules::default() {
        write!(out, "\n    {:?}", one.failures).unwrap();
    }
    if one.stream_timeouts != one.timeouts {
        write!(out, "\n    streamed: {:?}", one.stream_timeouts).unwrap();
    }
    out
}

/// Holds what comes of a file against the text that is expected of it.
fn check(path: &Path, expected: &Path, env: &dyn Fn(&str) -> Option<String>) {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy();
    let found = outcome(&text, &name, env);
    assert!(!found.contains("sk-"), "a secret shows in {name}:\n{found}");
    let debugged = format!("{:?}", parse(&text, &name, env));
    assert!(!debugged.contains("sk-"), "a secret shows in the debug output of {name}");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(expected, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(expected).unwrap_or_default(), "{name}");
}

fn files(folder: &str) -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// As the reader has it whose files these are.
#[test]
fn single_letters_are_text_and_words_are_true_or_false() {
    let text = "letters: [y, N, 'y', \"n\"]\nwords: [yes, No, on, true, 'yes']\né: {é: n}\nn: y # n";
    let root = yaml::tree(text, "a.yaml", 0).unwrap();
    let told = format!("{root:?}");
    for one in ["y", "N", "n", "yes"] {
        assert!(told.contains(&format!("Text({one:?})")), "{one}: {told}");
    }
    assert_eq!((told.matches("Text(").count(), told.matches("Bool(").count()), (7, 4), "{told}");
}

#[test]
fn every_file_comes_to_what_stands_beside_it() {
    for path in files("tests/fixtures/config") {
        check(&path, &path.with_extension("txt"), &env);
    }
}

#[test]
fn every_example_loads_and_every_key_of_it_is_known() {
    let variables = |name: &str| {
        if name.ends_with("_CREDENTIALS") {
            return Some(GOOGLE_ACCOUNT.to_owned());
        }
        let kept = !name.ends_with("_BASE") && !name.ends_with("_URL");
        // Names of projects and servers are no secrets.
        let secret = if name.ends_with("_PROJECT") || name.ends_with("_HOST") { "" } else { "sk-" };
        kept.then(|| format!("{secret}value-of-{}", name.replace('_', "-")))
    };
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/examples");
    for path in files("examples") {
        let loaded = load(&path, &variables).unwrap_or_else(|problems| panic!("{problems}"));
        let unknown: Vec<_> = loaded.report.iter().filter(|row| row.note.starts_with("unknown key")).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", path.display());
        let stem = path.file_stem().unwrap();
        check(&path, &expected.join(stem).with_extension("txt"), &variables);
    }
}

#[test]
fn the_keys_that_act_are_the_keys_the_table_says_act() {
    let text = "credential_list: [{ credential_name: c, credential_values: {} }]\n\
                model_list: [{ model_name: a, litellm_params: { model: openai/a, tiered_pricing: [{ range: [0], input_cost_per_token: 1 }] } }]\n\
                router_settings: { routing_groups: [{ group_name: g, models: [a] }], model_group_alias: { b: { model: a } }, provider_budget_config: { p: { budget_limit: 1 } } }\n";
    let root = yaml::tree(text, "a.yaml", 0).unwrap();
    let files = ["a.yaml".to_owned()];
    let reader = Reader::new(&files, &env);
    read(&reader, &root);
    let litellm: std::collections::BTreeSet<_> = report::KNOWN.iter().map(|row| row.section).collect();
    let keys_read: Vec<_> = reader
        .keys_read()
        .into_iter()
        .filter(|((section, _), _)| litellm.contains(section))
        .map(|(key, _)| key)
        .collect();
    let mut acting: Vec<_> = report::KNOWN
        .iter()
        .filter(|row| matches!(row.grade, Grade::Exact | Grade::Approximate))
        .map(|row| (row.section, row.key))
        .collect();
    acting.sort_unstable();
    assert_eq!(keys_read, acting);
}

#[test]
fn what_is_beside_the_text_has_the_prices_of_the_file_or_those_that_are_known() {
    let text = "model_list:
  - { model_name: a, litellm_params: { model: openai/zz, input_cost_per_token: 2e-6, output_cost_per_token: 1e-5, input_cost_per_audio_token: 4e-5, output_cost_per_audio_token_flex: 8e-5, output_cost_per_image_token: 3e-5, output_cost_per_image_token_flex: 2e-5, input_cost_per_token_ultrafast: 1e-5, search_context_cost_per_query: { search_context_size_medium: 0.02 } } }
  - { model_name: a, litellm_params: { model: anthropic/claude-opus-5-5, input_cost_per_token: 1e-6 } }
  - { model_name: a, litellm_params: { model: gemini/gemini-2.5-flash, api_key: k, search_context_cost_per_query: { search_context_size_medium: 0.03 } }, model_info: { input_cost_per_token_priority: 1e-6 } }
";
    let settings = parse(text, "a.yaml", &env).unwrap_or_else(|problems| panic!("{problems}")).settings;
    let group = &settings.catalog.groups["a"];
    let prices: Vec<_> = group.deployments.iter().map(|one| one.prices.as_ref().unwrap()).collect();
    let [own, claude, gemini] = prices.as_slice() else { panic!("{prices:?}") };
    let usd = |price: Option<Price>| price.map(Price::as_usd_per_million);
    let fee = |prices: &Prices| prices.search.map(|fee| (fee.each.as_usd(), fee.once));
    assert_eq!(
        (usd(own.base.audio_input), usd(own.base.audio_output), fee(own)),
        (Some(40.0), None, Some((0.02, false)))
    );
    let flex = own.at_tier(Some(ServiceTier::Flex), 1);
    assert_eq!((usd(flex.audio_input), usd(flex.audio_output)), (Some(40.0), Some(80.0)));
    assert_eq!((usd(own.base.image_output), usd(flex.image_output)), (Some(30.0), Some(20.0)));
    assert_eq!(usd(Some(own.at_tier(Some(ServiceTier::Ultrafast), 1).input)), Some(10.0));
    // Factors and fees are the model's, whatever its tokens cost here.
    assert_eq!((claude.surcharges.fast, claude.surcharges.us), (Some(Factor(2000)), Some(Factor(1100))));
    assert_eq!(fee(claude), Some((0.01, false)));
    assert_eq!((usd(gemini.base.audio_input), fee(gemini)), (Some(1.0), Some((0.03, true))));
    let first = gemini.at_tier(Some(ServiceTier::Priority), 1);
    assert_eq!((usd(Some(first.input)), usd(first.audio_input)), (Some(1.0), Some(1.8)));
}

#[test]
fn prices_that_have_no_price_of_all_tokens_beneath_them_are_told() {
    for (more, grade) in [("", Grade::Unsupported), (", input_cost_per_token: 1e-6", Grade::Exact)] {
        let text = format!(
            "model_list: [{{model_name: a, litellm_params: {{model: openai/zz, input_cost_per_token_flex: 1e-6{more}}}, \
             model_info: {{cache_read_input_token_cost: 1e-7}}}}]"
        );
        let loaded = parse(&text, "a.yaml", &env).unwrap_or_else(|problems| panic!("{problems}"));
        for key in ["litellm_params.input_cost_per_token_flex", "model_info.cache_read_input_token_cost"] {
            let row = loaded.report.iter().find(|row| row.key.ends_with(key)).unwrap();
            assert_eq!(row.grade, grade, "{key}: {}", row.note);
        }
        assert_eq!(loaded.settings.catalog.groups["a"].deployments[0].prices.is_some(), grade == Grade::Exact);
    }
}

#[test]
fn without_a_file_the_simulated_provider_is_served_and_the_providers_whose_keys_are_there() {
    let bare = builtin(&nothing).unwrap().settings;
    assert_eq!(bare.catalog.groups.keys().map(crate::id::GroupName::as_str).collect::<Vec<_>>(), ["simulated"]);
    assert!(bare.server.host.is_loopback() && bare.server.port == 4000 && bare.server.master_key.is_none());
    let full = builtin(&env).unwrap().settings;
    for provider in ["openai", "anthropic"] {
        for model in models::offered(provider) {
            let group = &full.catalog.groups[model.as_str()];
            let one = &group.deployments[0];
            assert_eq!((one.provider.as_str(), &*one.model), (provider, model.as_str()));
            assert!(one.prices.is_some() && one.context_window.is_some() && one.credential.is_some());
        }
    }
}

/// What comes of files that include each other, the first of which is `a.yaml`.
fn included(files: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let text = |name: &Path| files.iter().find(|(one, _)| Path::new(one) == name).map(|(_, text)| (*text).to_owned());
    let open = |path: &Path| text(path).ok_or_else(|| "it is not there".to_owned());
    parse_with(&text(Path::new("conf/a.yaml")).unwrap(), "conf/a.yaml", &env, &open)
}

#[test]
fn included_files_are_merged_and_their_places_told() {
    let model = |name: &str| {
        format!("model_list:\n  - {{ model_name: {name}, litellm_params: {{ model: simulated/{name} }} }}\n")
    };
    let first =
        "include: [models/b.yaml, ./c.yaml]\n".to_owned() + &model("a") + "router_settings: { num_retries: 7 }\n";
    let second = "include: [../c.yaml]\n".to_owned() + &model("b") + "router_settings: { timeout: 3 }\n";
    let third = model("c") + "general_settings: { master_key: os.environ/MASTER_KEY }\n";
    let loaded =
        included(&[("conf/a.yaml", &first), ("conf/models/b.yaml", &second), ("conf/c.yaml", &third)]).unwrap();
    let groups: Vec<_> = loaded
        .settings
        .catalog
        .groups
        .values()
        .map(|group| (group.name.to_string(), group.failures.own.retry.retries))
        .collect();
    // A section takes the other's place whole, as in LiteLLM, and that is told.
    assert_eq!(groups, [("a".to_owned(), 2), ("b".to_owned(), 2), ("c".to_owned(), 2)]);
    assert!(loaded.settings.server.master_key.is_some());
    let told = |key: &str| {
        loaded.report.iter().find(|row| row.key == key).map(|row| (row.file.as_deref(), row.line, row.note.as_str()))
    };
    assert_eq!(
        told("router_settings"),
        Some((None, 4, "replaced by the same section of conf/models/b.yaml:4:1, as in LiteLLM"))
    );
    assert_eq!(told("model_list[1].model_name"), Some((Some("conf/models/b.yaml"), 3, "")));
    assert!(report::table(&loaded.report).contains("conf/c.yaml:3"));
}

#[test]
fn what_is_wrong_with_an_included_file_is_told_where_it_is() {
    let told = |files: &[(&str, &str)]| included(files).unwrap_err().to_string();
    let ours = "include: [b.yaml]\nmodel_list: [{ model_name: a, litellm_params: { model: simulated/a } }]\n";
    assert_eq!(told(&[("conf/a.yaml", ours)]), "conf/a.yaml:1:11: conf/b.yaml: cannot be read: it is not there");
    assert!(
        told(&[("conf/a.yaml", ours), ("conf/b.yaml", "router_settings:\n  num_retries: many\n")])
            .starts_with("conf/b.yaml:2:16: `num_retries` must be")
    );
    assert!(told(&[("conf/a.yaml", ours), ("conf/b.yaml", "x: [\n")]).starts_with("conf/b.yaml:"));
    let circle = told(&[("conf/a.yaml", ours), ("conf/b.yaml", "include: [a.yaml]\n")]);
    assert!(circle.starts_with("conf/b.yaml:1:11: conf/a.yaml includes itself"), "{circle}");
    assert!(told(&[("conf/a.yaml", "include: b.yaml\n")]).contains("`include` must be a list of files"));
    assert!(parse(ours, "a.yaml", &env).is_err(), "text alone reads no files");
}

#[test]
fn keys_that_restrict_access_and_are_not_supported_stop_the_start() {
    let model = "model_list: [{ model_name: a, litellm_params: { model: simulated/a } }]\n";
    for setting in ["custom_auth: my.auth", "allowed_ips: [10.0.0.1]", "enable_jwt_auth: true", "enforce_rbac: True"] {
        let problems =
            parse(&format!("{model}general_settings: {{ {setting} }}\n"), "a.yaml", &env).unwrap_err().to_string();
        assert!(problems.starts_with("a.yaml:2:21: `") && problems.contains("restricts who may do what"), "{problems}");
    }
    let attached = "policy_attachments: [{ policy: p, scope: '*' }]\n";
    assert!(parse(&format!("{model}{attached}"), "a.yaml", &env).unwrap_err().to_string().contains("restricts who"));
    for setting in [
        "max_user_budget: 5",
        "max_internal_user_budget: 5",
        "max_end_user_budget: 0.01",
        "default_max_internal_user_budget: 5",
        "upperbound_key_generate_params: { max_budget: 10 }",
        "key_generation_settings: { team_key_generation: { allowed_team_member_roles: [admin] } }",
        "pre_call_rules: my.rule",
        "post_call_rules: my.rule",
        "blocked_user_list: [bad-user]",
        "banned_keywords_list: [hello]",
        "guardrails: [{ pii: { callbacks: [presidio], default_on: true } }]",
        "callbacks: [prometheus, detect_prompt_injection]",
        "callbacks: hide_secrets",
    ] {
        let problems =
            parse(&format!("{model}litellm_settings: {{ {setting} }}\n"), "a.yaml", &env).unwrap_err().to_string();
        assert!(problems.starts_with("a.yaml:2:21: `") && problems.contains("restricts who may do what"), "{problems}");
    }
    for inner in [
        "model_info: { team_id: lab }",
        "model_info: { access_groups: [beta] }",
        "model_info: { access_windows: [{ start: '08:00', end: '18:00' }] }",
        "model_info: { enforce_supported_endpoints: true }",
        "litellm_params: { model: simulated/a, guardrails: [pii] }",
    ] {
        let params = if inner.starts_with("model_info") { "litellm_params: { model: simulated/a }, " } else { "" };
        let text = format!("model_list: [{{ model_name: a, {params}{inner} }}]\n");
        let problems = parse(&text, "a.yaml", &env).unwrap_err().to_string();
        assert!(problems.contains("restricts who may do what"), "{inner}: {problems}");
    }
    let described = |on: &str| {
        format!(
            "{model}guardrails: [{{ guardrail_name: pii, litellm_params: {{ guardrail: presidio, default_on: {on} }} }}]\n"
        )
    };
    assert!(parse(&described("true"), "a.yaml", &env).unwrap_err().to_string().starts_with("a.yaml:2:1: `guardrails`"));
    assert!(parse(&described("false"), "a.yaml", &env).is_ok(), "it runs for those alone that name it");
    assert!(parse(&format!("{model}litellm_settings: {{ callbacks: [prometheus] }}\n"), "a.yaml", &env).is_ok());
    let off = format!("{model}general_settings: {{ enable_jwt_auth: false, allowed_ips: [], custom_auth: null }}\n");
    assert!(parse(&off, "a.yaml", &env).is_ok());
}

#[test]
fn what_is_no_secret_in_any_file_is_none() {
    for key in ["'${LITELLM_MASTER_KEY}'", "'{{ master_key }}'", "$(cat key)"] {
        let text = format!("model_list: []\ngeneral_settings: {{ master_key: {key} }}\n");
        let problems = parse(&text, "a.yaml", &env).unwrap_err().to_string();
        assert!(problems.starts_with("a.yaml:2:33: `master_key` is a placeholder"), "{problems}");
    }
}

#[test]
fn each_organization_of_a_list_is_a_deployment() {
    let text = "model_list: [{ model_name: a, litellm_params: { model: openai/a, api_key: sk, organization: ORGS } }]";
    let sent = |organizations: &str| {
        let loaded = parse(&text.replace("ORGS", organizations), "a.yaml", &env).unwrap();
        let deployments = &loaded.settings.catalog.groups["a"].deployments;
        let sent = deployments.iter().map(|one| one.headers["openai-organization"].to_str().unwrap().to_owned());
        let ids: std::collections::BTreeSet<_> = deployments.iter().map(|one| one.id.clone()).collect();
        assert_eq!(ids.len(), deployments.len());
        sent.collect::<Vec<_>>()
    };
    assert_eq!(sent("[org-1, org-2]"), ["org-1", "org-2"]);
    assert_eq!(sent("[org-1]"), sent("org-1"));
}

#[test]
fn a_key_that_changes_leaves_the_id_as_it_was() {
    let text = "model_list: [{ model_name: a, litellm_params: { model: openai/a, api_key: os.environ/KEY } }]";
    let id = |key: &'static str| {
        let env = move |name: &str| (name == "KEY").then(|| key.to_owned());
        let loaded = parse(text, "a.yaml", &env).unwrap();
        loaded.settings.catalog.groups["a"].deployments[0].id.clone()
    };
    assert_eq!(id("sk-old"), id("sk-new"));
}

/// Variables of AWS's and Azure's own clients say who requests are from where no entry and no key does.
#[test]
fn variables_of_the_clouds_own_clients_say_who_requests_are_from() {
    let aws = "model_list: [{model_name: a, litellm_params: {model: bedrock/amazon.nova-lite-v1:0}}]\n";
    let azure = "model_list: [{model_name: a, litellm_params: {model: azure/m, api_base: \"https://x.test\"KEY}}]\n";
    let variables = |name: &str| {
        let value = match name {
            "AWS_ROLE_ARN" => "arn:aws:iam::1:role/pod",
            "AWS_WEB_IDENTITY_TOKEN_FILE" => "/run/token",
            "AWS_ROLE_SESSION_NAME" => "pod-1",
            "AZURE_TENANT_ID" => "dir",
            "AZURE_CLIENT_ID" => "app",
            "AZURE_CLIENT_SECRET" => "very-secret",
            "AZURE_AUTHORITY_HOST" => "login.test/",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let identity = |text: &str| {
        let settings = parse(text, "a.yaml", &variables).unwrap().settings;
        settings.catalog.groups["a"].deployments[0].identity.clone()
    };
    let Some(Identity::AwsRole(role)) = identity(aws) else { panic!("a role") };
    assert_eq!((role.arn.as_str(), role.session.as_str()), ("arn:aws:iam::1:role/pod", "pod-1"));
    assert!(matches!(&role.proof, RoleProof::Token(IdentityToken::File(path)) if path.ends_with("run/token")));
    let other = aws.replace("v1:0}", "v1:0, aws_role_name: \"arn:aws:iam::2:role/models\", aws_external_id: e, aws_sts_endpoint: \"https://sts.amazonaws.com\"}");
    let Some(Identity::AwsRole(role)) = identity(&other) else { panic!("a role") };
    assert_eq!((role.service_region.as_str(), role.external_id.as_deref()), ("us-east-1", Some("e")));
    let RoleProof::Role(first) = &role.proof else { panic!("another role is reached by way of the pod's: {role:?}") };
    assert_eq!((first.arn.as_str(), first.external_id.as_deref()), ("arn:aws:iam::1:role/pod", None));
    assert!(role.token_file().is_some_and(|path| path.ends_with("run/token")) && first.service == role.service);
    let Some(Identity::Azure(app)) = identity(&azure.replace("KEY", "")) else { panic!("an application") };
    assert_eq!((app.authority.as_str(), app.client.as_str()), ("https://login.test", "app"));
    assert!(identity(&azure.replace("KEY", ", api_key: k")).is_none(), "the entry's own key wins");
}

/// Databricks exchanges a client's id and secret for tokens, at the host of its address; the entry's own key wins over variables.
#[test]
fn a_client_of_databricks_is_the_entry_s_or_the_variables() {
    let entry = |more: &str| {
        format!(
            "model_list: [{{model_name: a, litellm_params: {{model: databricks/m, api_base: \"https://adb-1.test:8443/serving-endpoints\"{more}}}}}]\n"
        )
    };
    let variables = |name: &str| match name {
        "DATABRICKS_CLIENT_ID" => Some("app-1".to_owned()),
        "DATABRICKS_CLIENT_SECRET" => Some("very-secret\n".to_owned()),
        "DATABRICKS_API_KEY" => Some("a-key".to_owned()),
        _ => None,
    };
    let deployment = |more: &str, environment: &dyn Fn(&str) -> Option<String>| {
        let loaded = parse(&entry(more), "a.yaml", environment).unwrap();
        loaded.settings.catalog.groups["a"].deployments[0].clone()
    };
    for (more, id) in [("", "app-1"), (", client_id: app-2, client_secret: s3cret-of-entry", "app-2")] {
        let found = deployment(more, &variables);
        let Some(Identity::Client(client)) = &found.identity else { panic!("a client") };
        assert_eq!((client.url.as_str(), client.id.as_str()), ("https://adb-1.test:8443/oidc/v1/token", id));
        assert_eq!((client.scope.as_str(), found.credential.is_none()), ("all-apis", true));
        let secret = if more.is_empty() { "very-secret" } else { "s3cret-of-entry" };
        assert_eq!(found.identity.as_ref().unwrap().secrets(), [secret]);
        assert!(!format!("{found:?}").contains(secret));
    }
    let own = deployment(", api_key: k", &variables);
    assert!(own.identity.is_none() && own.credential.is_some(), "the entry's own key wins");
    let half = parse(&entry(", client_id: app-1"), "a.yaml", &nothing).unwrap_err().to_string();
    assert!(half.contains("`client_secret`") && half.contains("DATABRICKS_CLIENT_SECRET"), "{half}");
}

/// What the vendor refuses holds at its own addresses; what a default cannot do is told; a path that leads nowhere is a problem.
#[test]
fn what_a_model_cannot_take_is_known_when_a_file_is_read() {
    let parsed = |params: &str| {
        let text = format!("model_list: [{{model_name: a, litellm_params: {{api_key: k, {params}}}}}]\n");
        parse(&text, "a.yaml", &env)
    };
    for (base, refused) in [
        ("", true),
        (", api_base: \"https://eu.api.openai.com/v1\"", true),
        (", api_base: \"https://notapi.openai.com.test/v1\"", false),
        (", api_base: \"http://localhost:8000/v1\"", false),
    ] {
        for model in ["m", "gpt-5"] {
            let settings = parsed(&format!("model: openai/{model}{base}")).unwrap().settings;
            let told = settings.catalog.groups["a"].deployments[0].quirks.told();
            assert_eq!(told.contains(&"-`top_k`".to_owned()), refused, "{base}: {told:?}");
            assert_eq!(told.iter().any(|told| told.starts_with("`max_tokens`")), model == "gpt-5", "{told:?}");
        }
    }
    let report =
        parsed("model: anthropic/claude-newest, temperature: 0, max_tokens: 5, extra_body: {seed: 1}").unwrap().report;
    let told = |key: &str| {
        let key = format!("model_list[0].litellm_params.{key}");
        report.iter().any(|row| row.key == key && row.grade == Grade::Approximate && row.note.contains("cannot take"))
    };
    assert!(told("temperature") && told("extra_body") && !told("max_tokens"), "{report:?}");
    // What Ollama knows in its own API alone, and what is no more than a hint.
    let report = parsed("model: ollama/llama3, top_k: 40, repeat_penalty: 1.1, temperature: 0").unwrap().report;
    let told = |key: &str| {
        let key = format!("model_list[0].litellm_params.{key}");
        report.iter().any(|row| row.key == key && row.grade == Grade::Approximate && row.note.contains("cannot take"))
    };
    assert!(told("top_k") && told("repeat_penalty") && !told("temperature"), "{report:?}");
    let problems = parsed("model: openai/m, additional_drop_params: [\"messages[*].name\"]").unwrap_err();
    assert!(problems.to_string().contains("left out whole"), "{problems}");
}

#[test]
fn entries_of_one_key_and_model_have_one_limit() {
    let entry = |name: &str, key: &str, more: &str| {
        format!("  - {{ model_name: {name}, litellm_params: {{ model: openai/gpt-4o, api_key: {key}{more} }} }}\n")
    };
    let text = "model_list:\n".to_owned()
        + &entry("a", "one", ", tpm: 5000")
        + &entry("b", "one", ", tpm: 3000")
        + &entry("c", "two", "")
        + &entry("d", "three", ", quota: own")
        + &entry("e", "four", ", quota: own");
    let settings = parse(&text, "a.yaml", &env).unwrap().settings;
    let scope = |name: &str| settings.catalog.groups[name].deployments[0].scope.clone();
    assert_eq!(scope("a"), scope("b"), "one account of one provider");
    assert_eq!(scope("d"), scope("e"), "said so");
    assert!(scope("a") != scope("c") && scope("c") != scope("d"));
    let signed = |name: &str, key: &str| {
        format!(
            "  - {{ model_name: {name}, litellm_params: {{ model: bedrock/m, aws_access_key_id: {key}, aws_secret_access_key: s, aws_region_name: eu-west-1 }} }}\n"
        )
    };
    let text = "model_list:\n".to_owned() + &signed("a", "one") + &signed("b", "one") + &signed("c", "two");
    let settings = parse(&text, "a.yaml", &env).unwrap().settings;
    let scope = |name: &str| settings.catalog.groups[name].deployments[0].scope.clone();
    assert!(scope("a") == scope("b") && scope("b") != scope("c"), "accounts that sign are told apart too");
}

#[test]
fn the_url_of_a_database_loses_what_its_client_does_not_know_and_is_never_told() {
    let model = "model_list: [{ model_name: a, litellm_params: { model: openai/a, api_key: k } }]";
    let read = |url: &str| parse(&format!("{model}\ngeneral_settings: {{ database_url: \"{url}\" }}"), "a.yaml", &env);
    for (options, kept) in [
        ("", ""),
        ("?schema=public&connection_limit=9", ""),
        ("?sslmode=prefer&pool_timeout=1&connect_timeout=3", "?sslmode=prefer&connect_timeout=3"),
        ("?sslmode=allow&sslcert=", "?sslmode=prefer"),
        ("?sslmode=require&sslaccept=strict", "?sslmode=require"),
        ("?sslmode=verify-full&sslrootcert=a.pem", "?sslmode=verify-full&sslrootcert=a.pem"),
    ] {
        let server = "postgres://u:pass?sslmode=require@h/db";
        let loaded = read(&format!("{server}{options}")).unwrap_or_else(|problems| panic!("{problems}"));
        let url = loaded.settings.ledger.unwrap().server.unwrap();
        assert_eq!(url.expose_secret(), format!("{server}{kept}"));
        assert!(!report::table(&loaded.report).contains("pass?"));
    }
    for wrong in [
        "mysql://u:hidden@h/db",
        "postgres://u:hidden@h/db?a=b&sslmode=require&sslaccept=accept_invalid_certs",
        "postgres://u:hidden@h/db?sslmode=require&sslkey=a.pem",
        "postgres://u:hidden@h/db?pgbouncer=true",
    ] {
        let problems = read(wrong).unwrap_err().to_string();
        assert!(problems.starts_with("a.yaml:2:35: `database_url` ") && !problems.contains("hidden"), "{problems}");
    }
}

#[test]
fn a_file_that_is_not_there_is_one_problem_without_a_line() {
    let problems = load(Path::new("/nowhere/at/all.yaml"), &nothing).unwrap_err();
    let text = problems.to_string();
    assert!(text.starts_with("/nowhere/at/all.yaml: cannot be read:"), "{text}");
}

#[test]
fn other_files_are_read_into_types_with_the_place_of_what_is_wrong() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Scenario {
        seed: u64,
    }
    assert_eq!(yaml::read::<Scenario>("seed: 7", "s.yaml").unwrap().seed, 7);
    let problems = yaml::read::<Scenario>("seed: 7\nsede: 8\n", "s.yaml").unwrap_err();
    assert!(problems.to_string().starts_with("s.yaml:2:1: "), "{problems}");
    assert!(
        yaml::read::<Scenario>("seed: 7\nseed: 8\n", "s.yaml").unwrap_err().to_string().starts_with("s.yaml:2:1: ")
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]

    #[test]
    fn no_file_makes_the_reader_panic(which in 0_usize..100, at in 0_usize..10_000, cut in 0_usize..40, put in ".{0,12}") {
        let files = files("examples");
        let mut text: Vec<char> = std::fs::read_to_string(&files[which % files.len()]).unwrap().chars().collect();
        let start = at % text.len();
        let end = (start + cut).min(text.len());
        text.splice(start..end, put.chars());
        let text: String = text.into_iter().collect();
        match parse(&text, "a.yaml", &env) {
            Ok(loaded) => proptest::prop_assert!(!loaded.settings.catalog.groups.is_empty()),
            Err(problems) => proptest::prop_assert!(!problems.to_string().is_empty()),
        }
    }
}

#[test]
fn a_deployment_s_budget_alone_turns_the_ledger_on() {
    for (budget, needed) in [("", false), (", max_budget: 5", true)] {
        let text = format!("model_list: [{{model_name: g, litellm_params: {{model: simulated/m{budget}}}}}]\n");
        let settings = parse(&text, "c", &nothing).unwrap().settings;
        assert_eq!(settings.need_a_ledger(), needed, "{budget}");
    }
}

/// Addresses as people paste them, and those of clouds' regions, come to where each provider's models are asked.
#[test]
fn clouds_with_models_of_several_formats_are_asked_where_each_is() {
    let deployment = |params: &str| {
        let text = format!("model_list: [{{model_name: a, litellm_params: {{{params}}}}}]");
        let loaded = parse(&text, "a.yaml", &nothing).unwrap_or_else(|problems| panic!("{params}: {problems}"));
        loaded.settings.catalog.groups["a"].deployments[0].clone()
    };
    let foundry = "https://x.services.ai.azure.com";
    for (model, base, address, header) in [
        (
            "azure_ai/DeepSeek-R1",
            &*format!("{foundry}/models/chat/completions?api-version=2024-05-01-preview"),
            "/openai/v1",
            "api-key",
        ),
        ("azure_ai/gpt-5-mini", foundry, "/openai/v1", "api-key"),
        ("azure_ai/gpt-5-mini", "https://x.openai.azure.com/", "/openai/v1", "api-key"),
        ("azure_ai/grok-4", &*format!("{foundry}/openai/v1/"), "/openai/v1", "api-key"),
        ("azure_ai/claude-haiku-4-5", foundry, "/anthropic", "x-api-key"),
        ("azure_ai/claude-haiku-4-5", &*format!("{foundry}/anthropic/v1/messages"), "/anthropic", "x-api-key"),
    ] {
        let found = deployment(&format!("model: {model}, api_base: \"{base}\", api_key: very-secret"));
        let Origin::Http(told) = &found.origin else { panic!("{model}") };
        let host = if base.contains("openai.azure.com") { "https://x.openai.azure.com" } else { foundry };
        assert_eq!(**told, *format!("{host}{address}"), "{model} at {base}");
        assert!(found.headers[header].is_sensitive() && found.credential.is_none(), "{model}");
    }
    // A token of Azure's directory, or an application of it, stands in the place of a key.
    for model in ["DeepSeek-R1", "claude-haiku-4-5"] {
        let by = |more: &str| deployment(&format!("model: azure_ai/{model}, api_base: \"{foundry}\", {more}"));
        let found = by("azure_ad_token: entra-token");
        assert_eq!((&found.headers["authorization"], found.headers.len()), (&"Bearer entra-token".parse().unwrap(), 1));
        assert!(found.credential.is_none() && found.identity.is_none());
        let found = by("tenant_id: dir, client_id: app, client_secret: very-secret");
        let Some(Identity::Azure(app)) = &found.identity else { panic!("an application") };
        assert_eq!((app.client.as_str(), found.headers.len()), ("app", 0));
    }
    // Serverless models have hosts of their own, as have proxies before them: addresses stand as they are, and keys are a bearer's.
    for (base, address) in [
        ("https://m-serverless.eastus2.models.ai.azure.com", ""),
        ("https://m-serverless.eastus2.models.ai.azure.com/v1/chat/completions", "/v1"),
        ("https://proxy.test/models", "/models"),
    ] {
        let found = deployment(&format!("model: azure_ai/mistral-large, api_base: \"{base}\", api_key: very-secret"));
        let Origin::Http(told) = &found.origin else { panic!("{base}") };
        let host: String = base.split_inclusive('/').take(3).collect();
        assert_eq!(**told, *format!("{}{address}", host.trim_end_matches('/')), "{base}");
        assert!(found.headers.is_empty() && found.credential.is_some(), "{base}");
    }
    let vectors = deployment("model: cohere/embed-v4.0, api_base: \"https://api.cohere.com/v2/embed\", api_key: k");
    assert!(matches!(&vectors.origin, Origin::Http(told) if **told == *"https://api.cohere.com/compatibility/v1"));
    let dated = "model_list: [{model_name: a, litellm_params: {model: databricks/m, api_base: \"https://x.test/serving-endpoints?a=b\", api_key: k}}]";
    assert!(parse(dated, "a.yaml", &nothing).is_err(), "a query is an address of nobody else's");
    for (model, location, address) in [
        (
            "claude-sonnet-5",
            "us-east5",
            "us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/anthropic",
        ),
        ("claude-sonnet-5", "global", "aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/anthropic"),
        ("gemini-3.8-flash", "eu", "aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu/publishers/google"),
        (
            "meta/llama-4-maas",
            "us-central1",
            "us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/endpoints/openapi",
        ),
    ] {
        let found = deployment(&format!(
            "model: vertex_ai/{model}, vertex_project: p, vertex_location: {location}, vertex_credentials: \"{GOOGLE_ACCOUNT}\""
        ));
        assert!(
            matches!(&found.origin, Origin::Http(told) if **told == *format!("https://{address}")),
            "{:?}",
            found.origin
        );
        assert!(matches!(found.identity, Some(Identity::Google(_))), "{model}");
    }
}

#[test]
fn an_old_version_of_azure_s_chats_says_nothing_of_its_newer_api() {
    let quirks = |model: &str, version: &str| {
        let text = format!(
            "model_list: [{{model_name: a, litellm_params: {{model: {model}, api_base: \"https://x.openai.azure.com\", api_key: k, \
             api_version: {version}}}, model_info: {{base_model: azure/gpt-5}}}}]\n"
        );
        let loaded = parse(&text, "a.yaml", &nothing).unwrap_or_else(|problems| panic!("{problems}"));
        loaded.settings.catalog.groups["a"].deployments[0].quirks
    };
    assert_eq!(quirks("azure/responses/mine", "2024-06-01"), quirks("azure/responses/mine", "preview"));
    assert_ne!(quirks("azure/responses/mine", "2024-06-01"), quirks("azure/mine", "2024-06-01"));
}

/// What LiteLLM's users ask the newer API of OpenAI for is asked by it, beside others that are not.
#[test]
fn a_model_that_wants_the_newer_api_is_asked_by_it() {
    let azure = "api_base: \"https://x.openai.azure.com/openai/v1/responses\", api_key: k";
    for (entry, model, format, address, version) in [
        ("{model: openai/responses/gpt-5-pro, api_key: k}".to_owned(), "gpt-5-pro", "openai_responses", "https://api.openai.com/v1", None),
        (
            "{model: openai/gpt-5-pro, api_key: k}, model_info: {mode: responses}".to_owned(),
            "gpt-5-pro",
            "openai_responses",
            "https://api.openai.com/v1",
            None,
        ),
        (
            "{model: responses/gpt-oss, custom_llm_provider: openai, api_key: k, api_base: \"https://a.test/v1/responses\"}".to_owned(),
            "gpt-oss",
            "openai_responses",
            "https://a.test/v1",
            None,
        ),
        (format!("{{model: azure/responses/mine, {azure}}}"), "mine", "azure_responses", "https://x.openai.azure.com", Some("v1")),
        (
            format!("{{model: azure/mine, {azure}}}, model_info: {{mode: responses, base_model: azure/gpt-5-pro}}"),
            "mine",
            "azure_responses",
            "https://x.openai.azure.com",
            Some("v1"),
        ),
        (
            "{model: azure/responses/mine, api_base: \"https://x.openai.azure.com\", api_key: k, api_version: 2024-10-21, responses_api_version: preview}".to_owned(),
            "mine",
            "azure_responses",
            "https://x.openai.azure.com",
            Some("preview"),
        ),
        // Nothing is said, and the table of models knows it.
        ("{model: openai/gpt-5-pro, api_key: k}".to_owned(), "gpt-5-pro", "openai_responses", "https://api.openai.com/v1", None),
        (
            format!("{{model: azure/mine, {azure}}}, model_info: {{base_model: azure/gpt-5-pro}}"),
            "mine",
            "azure_responses",
            "https://x.openai.azure.com",
            Some("v1"),
        ),
        (
            "{model: openai/gpt-5-pro, api_key: k}, model_info: {mode: chat}".to_owned(),
            "gpt-5-pro",
            "openai",
            "https://api.openai.com/v1",
            None,
        ),
        (
            "{model: openai/gpt-5-pro, api_key: k, api_base: \"https://a.test/v1\"}".to_owned(),
            "gpt-5-pro",
            "openai",
            "https://a.test/v1",
            None,
        ),
        ("{model: openai/gpt-5, api_key: k}".to_owned(), "gpt-5", "openai", "https://api.openai.com/v1", None),
    ] {
        let other = "{model_name: a, litellm_params: {model: openai/gpt-5, api_key: k, weight: 2}}";
        let text = format!("model_list: [{{model_name: a, litellm_params: {entry}}}, {other}]\n");
        let loaded = parse(&text, "a.yaml", &nothing).unwrap_or_else(|problems| panic!("{entry}: {problems}"));
        let found = &loaded.settings.catalog.groups["a"].deployments;
        assert_eq!(found.len(), 2, "{entry}");
        assert_eq!((&*found[0].model, found[0].format.name()), (model, format), "{entry}");
        assert!(matches!(&found[0].origin, Origin::Http(told) if **told == *address), "{entry}: {:?}", found[0].origin);
        assert_eq!(found[1].format.name(), "openai");
        assert_eq!(found[0].api_version.as_deref(), version, "{entry}");
        assert!(loaded.left_out.is_empty(), "{entry}");
        let graded = |row: &&KeyReport| row.key == "model_list[0].litellm_params.model";
        assert!(loaded.report.iter().filter(graded).all(|row| row.grade == Grade::Exact), "{:?}", loaded.report);
    }
}

#[test]
fn of_the_models_that_a_star_stands_for_each_is_asked_by_its_api() {
    for (entry, model, format) in [
        ("{model: \"openai/*\", api_key: k}", "gpt-5-pro", "openai_responses"),
        ("{model: \"openai/*\", api_key: k}", "gpt-5", "openai"),
        ("{model: \"openai/*\", api_key: k}, model_info: {mode: chat}", "gpt-5-pro", "openai"),
        ("{model: \"openai/*\", api_key: k, api_base: \"https://a.test/v1\"}", "gpt-5-pro", "openai"),
        ("{model: \"openai/responses/*\", api_key: k}", "gpt-5", "openai_responses"),
        ("{model: \"groq/*\", api_key: k}", "gpt-5-pro", "openai"),
    ] {
        let text = format!("model_list: [{{model_name: \"*\", litellm_params: {entry}}}]\n");
        let settings =
            parse(&text, "a.yaml", &nothing).unwrap_or_else(|problems| panic!("{entry}: {problems}")).settings;
        let one = &settings.catalog.groups["*"].deployments[0];
        let found = filled(one, one.wildcard.as_ref().unwrap(), model).unwrap();
        assert_eq!(found.format.name(), format, "{entry}: {model}");
    }
}

#[test]
fn what_an_inference_profile_stands_for_is_told_by_its_base_model() {
    for (info, never) in [("", false), (", model_info: {base_model: anthropic.claude-3-5-haiku-20241022-v1:0}", true)] {
        let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";
        let params = format!("model: \"bedrock/{arn}\", aws_access_key_id: a, aws_secret_access_key: b");
        let text = format!("model_list: [{{model_name: a, litellm_params: {{{params}}}{info}}}]\n");
        let settings = parse(&text, "a.yaml", &nothing).unwrap_or_else(|problems| panic!("{problems}")).settings;
        let told = settings.catalog.groups["a"].deployments[0].quirks.told();
        assert_eq!(told.contains(&"takes no effort".to_owned()), never, "{told:?}");
    }
}

/// Marks of LiteLLM's say of which kind the model is, where a deployment's own name does not.
#[test]
fn a_mark_before_a_deployment_s_name_says_what_its_model_takes() {
    let deployment = |model: &str, more: &str| {
        let text = format!(
            "model_list: [{{model_name: a, litellm_params: {{model: {model}, api_base: \"https://x.openai.azure.com\", api_key: k}}{more}}}]"
        );
        let loaded = parse(&text, "a.yaml", &nothing).unwrap_or_else(|problems| panic!("{model}: {problems}"));
        loaded.settings.catalog.groups["a"].deployments[0].clone()
    };
    let plain = deployment("azure/mine", "");
    for (model, like) in [("azure/o_series/mine", "azure/o3"), ("azure/gpt5_series/mine", "azure/gpt-5")] {
        let found = deployment(model, "");
        assert_eq!((&*found.model, found.quirks), ("mine", deployment(like, "").quirks), "{model}");
        assert_ne!(found.quirks, plain.quirks, "{model}");
        let based = deployment(model, ", model_info: {base_model: gpt-4o}");
        assert_eq!(based.quirks, deployment("azure/gpt-4o", "").quirks, "a name of the model says more");
    }
}
