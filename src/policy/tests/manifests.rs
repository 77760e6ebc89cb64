//! Manifests: what is understood, and what is refused before anything runs. That needs are compared with what the configuration
//! grants is held by `tests/it/docs.rs`.

use super::*;
use crate::policy::host::custom_section::append;

fn refused(text: &str) -> String {
    let mut component = HOSTILE.to_vec();
    append(&mut component, "witgate:manifest", text.as_bytes());
    match inspect(&component, false) {
        Err(PolicyProblem::Manifest(why)) => why,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_manifest_says_what_is_understood_and_nothing_else() {
    let needs = PolicyManifest { may_reject: true, ..PolicyManifest::default() };
    assert_eq!(inspect(&needs.embed(HOSTILE.to_vec()), false).unwrap().manifest, needs);
    assert_eq!(inspect(HOSTILE, false).unwrap().manifest, PolicyManifest::default());
    assert_eq!(PolicyManifest::default().embed(HOSTILE.to_vec()), HOSTILE, "nothing is nothing");
    assert!(refused(r#"{"may_read": ["prompt"]}"#).contains("unknown field `may_read`"));
    assert!(refused("[]").contains("expected"));
    assert_eq!(refused(&" ".repeat(5000)), "it has 5000 bytes, 4096 are allowed");
    assert_eq!(refused(r#"{"hold": true}"#), "`hold` is what a response-parser may need, and it is none");
    let twice = needs.embed(needs.embed(HOSTILE.to_vec()));
    assert_eq!(inspect(&twice, false), Err(PolicyProblem::Manifest("there are two".to_owned())));
}

/// The one table of what a policy may cost is made of what bounds it.
#[test]
fn the_page_on_limits_says_what_bounds_policies() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/policies/README.md")).unwrap();
    let roles = [Role::Router, Role::PromptBuilder, Role::ResponseParser, Role::Provider];
    let options = EngineOptions::default();
    // As `cargo xtask prove languages` prints their sizes.
    let of = |bytes: usize| Bounds::of(&options, &roles, bytes);
    let (plain, go, quickjs, cpython) = (of(62 << 10), of(3_200_000), of(1_700_000), of(19_000_000));
    let Bounds { call_ms, setup_ms, memory_mib, parts, .. } = plain;
    let kept = |bounds: &Bounds, role: Role| {
        bounds.instances.iter().find(|(name, _)| *name == role.as_str()).map(|(_, kept)| *kept).unwrap()
    };
    let others = [Role::PromptBuilder, Role::ResponseParser, Role::Provider].map(|role| kept(&plain, role).to_string());
    let rows = [
        format!("| a call | {call_ms} ms of CPU time | the same, and as much again for each 64 KiB of text |"),
        format!("| setting it up | {setup_ms} ms of CPU time | the same |"),
        format!("| memory of an instance | {memory_mib} MiB | the same |"),
        format!(
            "| instances that say `pure` | one for each processor, at most 16 | {} wait for the next use |",
            others.join(", ")
        ),
        format!("| parts of a component | {parts} | the same |"),
        format!("| size of a component | {} MiB | the same |", options.max_component_bytes >> 20),
        format!("| C, Rust | {} s |", plain.compile_s),
        format!("| Go | {} s |", go.compile_s),
        format!("| JavaScript, TypeScript | {} s |", quickjs.compile_s),
        format!("| Python | {} s |", cpython.compile_s),
    ];
    for row in rows {
        assert!(page.contains(&row), "docs/policies/README.md has no row {row}");
    }
    assert!((1..=16).contains(&kept(&plain, Role::Router)));
}
