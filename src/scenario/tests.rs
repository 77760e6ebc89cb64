use std::path::{Path, PathBuf};

use super::*;
use crate::policy::{Role, inspect};

mod formulas;
mod roles;
mod runner;

/// A path in the repository.
fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn options() -> Options {
    Options { policies: at("policies"), ..Options::default() }
}

/// A file of this text in a folder of its own.
fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("suite.yaml");
    fs::write(&file, text).unwrap();
    (folder, file)
}

fn problems(report: &Report) -> String {
    report.suites[0].cases.iter().flat_map(|case| case.problems.clone()).collect::<Vec<_>>().join("\n")
}

/// The shipped policies that are routers.
fn routers() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    let is_router =
        |bytes: &[u8]| crate::policy::inspect(bytes, false).is_ok_and(|found| found.roles.contains(&Role::Router));
    SHIPPED.into_iter().filter(move |(_, bytes)| is_router(bytes))
}

/// What no case is about is told by name.
#[test]
fn a_scenario_says_what_its_cases_reach() {
    let text = "policy: cost-based
deployments: {a: {signals: {cost-usd: 1}}, b: {signals: {cost-usd: 2}}}
cases:
  - {name: the cheaper, expect: {choose: a}}
  - {name: a setting nobody knows, settings: {x: 1}, expect: {config_error: unknown}}
";
    let (_folder, file) = written(text);
    let report = run(&file, &options());
    let coverage = report.suites[0].coverage.clone().unwrap();
    assert_eq!(coverage.ends, [("ranked", 1), ("settings refused", 1)].into());
    assert_eq!(coverage.first_places, Some((1, 2)));
    assert!(!coverage.untouched.contains(&"signal `cost-usd`".to_owned()) && !coverage.untouched.is_empty());
    let told = report.to_string();
    assert!(told.contains("covers ranked 1, settings refused 1; 1 of 2 deployments in the first place"), "{told}");
    let all = run(&at("scenarios/cost-based.yaml"), &options());
    assert_eq!(all.suites[0].coverage.as_ref().unwrap().untouched, [""; 0], "{all}");
}

/// A name that was misread is likelier than a case about what is not looked at, and neither fails.
#[test]
fn what_is_set_and_not_asked_for_is_told_by_name() {
    let text = "policy: cost-based
deployments: {a: {signals: {in-flight: 3}}, b: {signals: {wait-ms: 1}}}
cases:
  - {name: one, request: {attributes: {team: lab}, features: {code: 1}}, expect: {one_of: [a, b]}}
";
    let (_folder, file) = written(text);
    let report = run(&file, &options());
    assert_eq!(report.exit_code(), 0, "{report}");
    let told = report.to_string();
    let line = "note: the policy is told nothing of attribute `team`, feature `code`, signal `in-flight`: it asks for ";
    assert!(told.contains(&format!("{line}signals wait-ms")), "{told}");
    let (_folder, file) = written(&text.replace("in-flight", "wait-ms").replace("attributes: {team: lab}, ", ""));
    let report = run(&file, &options());
    assert_eq!(report.suites[0].coverage.as_ref().unwrap().unasked, ["feature `code`"], "{report}");
}

#[test]
fn the_shipped_policies_pass_their_scenarios() {
    let report = run(&at("scenarios"), &options());
    assert_eq!(report.exit_code(), 0, "{report}");
    for (name, bytes) in SHIPPED {
        let own = report.suites.iter().find(|suite| suite.file.ends_with(&format!("/{name}.yaml"))).unwrap();
        let (cases, checks) = match inspect(bytes, false).unwrap().roles[..] {
            [Role::Router] => (12, 7),
            [Role::PromptBuilder] => (10, 8),
            [Role::Provider] => (11, 6),
            _ => (9, 10),
        };
        assert!(own.cases.len() >= cases, "{name} has {} cases", own.cases.len());
        assert_eq!(own.general.len(), checks, "{name}");
    }
    assert_eq!(report.warnings(), 0, "{report}");
}

#[test]
fn the_shipped_policies_are_fit_for_service() {
    for (name, bytes) in SHIPPED {
        let file = at(&format!("policies/{name}.wasm"));
        assert_eq!(fs::read(&file).unwrap(), bytes, "{name}");
        let mut options = options();
        if name == "template" {
            let report = check(&file, &options);
            assert_eq!(report.exit_code(), 1, "{report}");
            assert!(report.to_string().contains("at least one of the settings `system` and `user`"), "{report}");
            options.settings =
                Some(r#"{"system":"Be {{tone}}.","user":"{{items}}","defaults":{"tone":"brief"}}"#.to_owned());
        }
        let report = check(&file, &options);
        assert_eq!((report.exit_code(), report.warnings()), (0, 0), "{report}");
        let suite = &report.suites[0];
        assert!(
            suite.imports.iter().all(|import| import.starts_with("witgate:policy/")),
            "{name}: {:?}",
            suite.imports
        );
        assert!(suite.memory_bytes.is_some_and(|bytes| bytes < 2 << 20), "{name}: {:?}", suite.memory_bytes);
    }
}

#[test]
fn every_signal_and_feature_is_documented_and_named_in_the_sdk() {
    let readme = fs::read_to_string(at("wit/README.md")).unwrap();
    let sdk = fs::read_to_string(at("plugins/sdk/src/signals.rs")).unwrap();
    for signal in crate::signal::Signal::ALL.map(crate::signal::Signal::as_str) {
        assert!(readme.contains(&format!("| `{signal}` |")), "{signal} is not in wit/README.md");
        assert!(sdk.contains(&format!("\"{signal}\";")), "{signal} is not in the SDK");
    }
    for attribute in crate::signal::Attribute::KNOWN.split(", ") {
        assert!(readme.contains(&format!("| `{attribute}` |")), "{attribute} is not in wit/README.md");
    }
    for feature in crate::signal::Feature::SINGLE.map(crate::signal::Feature::name) {
        assert!(crate::signal::Feature::KNOWN.contains(&*feature), "{feature} is not told");
        assert!(readme.contains(&format!("| `{feature}` |")), "{feature} is not in wit/README.md");
    }
}

#[test]
fn the_policy_of_the_readme_is_the_one_that_is_built() {
    let readme = fs::read_to_string(at("wit/README.md")).unwrap();
    let source = fs::read_to_string(at("examples/policies/calm/src/lib.rs")).unwrap();
    let (about, code) = source.split_once("\n\n").unwrap();
    assert!(about.starts_with("//! "));
    assert!(readme.contains(&format!("```rust\n{code}```\n")), "wit/README.md shows something else");
}
