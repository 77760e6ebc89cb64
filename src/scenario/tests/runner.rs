//! The runner itself: what it lets pass, what it does not, and how it says so.

use super::*;

const HOSTILE: &str = "tests/fixtures/policies/hostile.wasm";
const COUNTING: &str = "tests/fixtures/policies/counting-a.wasm";

fn tried(policy: &str, text: &str) -> Report {
    let (_folder, file) = written(text);
    run(&file, &Options { policy: Some(at(policy)), ..options() })
}

/// A suite of one case over the hostile policy, told to do `what`.
fn hostile(what: &str, expect: &str) -> Report {
    tried(
        HOSTILE,
        &format!(
            "policy: hostile\nsettings: {what}\ndeployments: {{a: , b: }}\ncases:\n  - name: one\n    \
             request: {{priority: 666}}\n    expect: {expect}\n"
        ),
    )
}

#[test]
fn every_end_of_a_question_can_be_expected() {
    let ends = [
        ("route-trap", "{fault: trap}"),
        ("route-loop", "{fault: cpu-budget}"),
        ("stack-overflow", "{fault: stack-overflow}"),
        ("out-of-range", "{fault: contract}"),
        ("duplicate", "{fault: contract}"),
        ("propensity-nan", "{fault: contract}"),
        ("wait", "{wait: 1500}"),
        ("reject", "{reject: nono}"),
        ("log-flood", "{choose: a, log: line 19}"),
        ("empty", "none"),
        ("empty", "{none: true}"),
        ("nothing", "{ranked: [a, b]}"),
    ];
    for (what, expect) in ends {
        let report = hostile(what, expect);
        assert_eq!(problems(&report), "", "{what}");
    }
}

#[test]
fn another_end_than_expected_fails_and_is_told() {
    let wrong = [
        ("route-trap", "{choose: a}", "expected `a` first, got a fault: it trapped"),
        ("nothing", "{fault: trap}", "expected the fault `trap`, got the ranking a b"),
        ("nothing", "{choose: b}", "expected `b` first, got the ranking a b"),
        ("nothing", "{one_of: [b]}", "expected one of b first, got the ranking a b"),
        ("nothing", "{ranked: [b, a]}", "expected the ranking b a, got the ranking a b"),
        ("nothing", "{wait: 5}", "expected a wait of 5 ms"),
        ("nothing", "{reject: x}", "expected a rejection with `x`"),
        ("nothing", "{choose: a, log: hello}", "expected a log line with `hello`, got 0"),
        ("nothing", "{choose: a, propensity: 0.5}", "expected the first with propensity 0.5 (it says 1)"),
        ("nothing", "{choose: a, max_fuel: 1}", "expected at most 1 fuel, a call used "),
        ("nothing", "none", "expected none of them, got the ranking a b"),
        ("empty", "{choose: a}", "expected `a` first, got none of them"),
        ("empty", "{wait: 1}", "expected a wait of 1 ms, got none of them"),
        ("wait", "none", "expected none of them, got a wait of 1500 ms"),
        ("wait", "{wait: 1}", "expected a wait of 1 ms, got a wait of 1500 ms"),
        ("reject", "{reject: yes}", "expected a rejection with `yes`, got a rejection: nono"),
        ("route-trap", "{fault: contract}", "expected the fault `contract`, got a fault: it trapped"),
    ];
    for (what, expect, told) in wrong {
        let report = hostile(what, expect);
        assert_eq!(report.exit_code(), 1, "{what} {expect}");
        assert!(problems(&report).contains(told), "{what} {expect}: {}", problems(&report));
        assert!(report.to_string().contains("FAIL  one"), "{report}");
    }
}

/// A rule that looks at the number alone takes an upper bound for a long prompt.
#[test]
fn a_rule_with_a_threshold_is_shown_what_its_number_is() {
    let suite = |settings: &str, request: &str, expect: &str| {
        tried(
            HOSTILE,
            &format!(
                "policy: hostile\nsettings: {settings}\ndeployments: {{a: , b: }}\ncases:\n  - name: one\n    \
                 request: {{priority: 666, input_tokens: 17010{request}}}\n    expect: {expect}\n"
            ),
        )
    };
    for (settings, request, expect) in [
        ("threshold", "", "{choose: a}"),
        ("threshold", ", input_tokens_are: upper-bound", "{choose: a}"),
        ("threshold", ", input_tokens_are: exact", "{choose: b}"),
        ("threshold", ", input_tokens_are: estimate", "{choose: b}"),
    ] {
        let report = suite(settings, request, expect);
        assert_eq!(problems(&report), "", "{request}");
    }
    let wrong = suite("threshold", ", input_tokens_are: guess", "{choose: a}");
    assert!(wrong.to_string().contains("`input_tokens_are` is no `guess`; it is one of exact"), "{wrong}");
    let wrong = suite("threshold", ", attributes: {face: x}", "{choose: a}");
    assert!(wrong.to_string().contains("there is no attribute `face`; there are caller"), "{wrong}");
}

#[test]
fn a_distribution_that_is_off_fails() {
    let suite = |shares: &str| {
        let text = format!(
            "policy: simple-shuffle\ndeployments: {{a: {{weight: 3}}, b: {{weight: 1}}}}\ncases:\n  - name: one\n    repeat: \
             4000\n    expect: {{distribution: {shares}}}\n"
        );
        let (_folder, file) = written(&text);
        run(&file, &options())
    };
    assert_eq!(suite("{a: 0.75, b: 0.25}").exit_code(), 0);
    assert!(problems(&suite("{a: 0.65, b: 0.35}")).contains("expected `a` first in 0.65 of 4000, within 0.05"));
    assert!(problems(&suite("{a: 0.75}")).contains("expected `b` first in 0 of 4000"));
}

#[test]
fn state_goes_on_from_case_to_case() {
    let text = "
policy: counting
deployments: {a: , b: }
cases:
  - {name: told, outcomes: [{deployment: a, repeat: 3}], expect: {choose: a}}
  - {name: started again, restart: true, expect: {choose: a}}
  - {name: refused, settings: {x: 1}, expect: {config_error: unknown setting}}
  - {name: and on, expect: {choose: a}}
";
    let report = tried(COUNTING, text);
    assert_eq!(report.exit_code(), 0, "{report}");
    let other = tried("tests/fixtures/policies/counting-b.wasm", text);
    assert_eq!(other.suites[0].cases.iter().filter(|case| !case.problems.is_empty()).count(), 3, "{other}");
}

/// A gateway quarantines what fails three times in a minute; here each case is about its own question.
#[test]
fn cases_that_fail_keep_no_later_case_from_being_asked() {
    let fails = |name: &str, fault: &str| {
        format!("  - {{name: {name}, request: {{priority: 666}}, expect: {{fault: {fault}}}}}\n")
    };
    let three = ["one", "two", "three"].map(|name| fails(name, "trap")).concat();
    let head = "policy: hostile\nsettings: route-trap\ndeployments: {a: , b: }\ncases:\n";
    let text = format!("{head}{three}  - {{name: answers, expect: {{choose: a}}}}\n{}", fails("four", "trap"));
    let report = tried(HOSTILE, &text);
    assert_eq!((report.exit_code(), problems(&report)), (0, String::new()), "{report}");
    // That it is kept out can be what a case is about.
    let head = head.replace("cases:", "forgets: true\ncases:");
    let report = tried(HOSTILE, &format!("{head}{three}{}", fails("kept out", "quarantined")));
    assert_eq!((report.exit_code(), problems(&report)), (0, String::new()), "{report}");
}

/// One that cannot be started for one case leaves the others to be tried.
#[test]
fn a_case_whose_router_fails_when_it_is_started_fails_alone() {
    let text = "
policy: hostile
settings: nothing
deployments: {a: , b: }
cases:
  - {name: before, expect: {choose: a}}
  - {name: fails, settings: trial-outcome-trap, expect: {choose: a}}
  - {name: after, expect: {choose: a}}
";
    let report = tried(HOSTILE, text);
    assert_eq!(report.exit_code(), 1, "{report}");
    let failed = |case: &Check| !case.problems.is_empty();
    assert_eq!(report.suites[0].cases.iter().map(failed).collect::<Vec<_>>(), [false, true, false], "{report}");
    let told = problems(&report);
    assert!(told.starts_with("expected `a` first, got no router: it fails on outcomes that make no sense: it trapped"));
    assert!(told.ends_with("; it said: a latency that is no number"), "{told}");
    assert_eq!(report.suites[0].coverage.as_ref().unwrap().ends, [("not started", 1), ("ranked", 2)].into());
    // Where it cannot be started at all, no case can.
    let report = tried(HOSTILE, &text.replace("nothing", "trial-outcome-trap"));
    let told = problems(&report).matches("got no router: it fails on").count();
    assert_eq!((report.exit_code(), told), (1, 3), "{report}");
}

#[test]
fn the_checks_every_policy_gets_find_a_bad_one() {
    let failed = |what: &str| {
        let report = hostile(what, "{fault: trap}");
        let failed = report.suites[0].general.iter().filter(|check| !check.problems.is_empty());
        failed.map(|check| check.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(failed("state-trap"), ["a saved state that makes no sense"]);
    assert!(failed("nothing").is_empty(), "{:?}", failed("nothing"));
}

#[test]
fn what_cannot_be_tried_is_neither_passed_nor_failed() {
    let head = "policy: simple-shuffle\ndeployments: {a: }\n";
    let case = |case: &str| format!("{head}cases:\n  - {{name: x, {case}}}\n");
    let bad = [
        ("policy: [".to_owned(), "suite.yaml:"),
        (format!("{head}cases: []\n"), "`cases` is empty"),
        ("policy: simple-shuffle\ndeployments: {}\ncases: []\n".to_owned(), "`deployments` is empty"),
        (format!("{head}casses: []\n"), "casses"),
        (case("expect: {}"), "`expect` needs exactly one of"),
        (case("expect: {choose: a, wait: 1}"), "`expect` needs exactly one of"),
        (case("expect: {choose: z}"), "no deployment is called `z`; there are a"),
        (case("expect: {choose: a}, signals: {a: {wait: 1}}"), "no signal is called `wait`; there are wait-ms"),
        (case("expect: {choose: a}, signals: {z: {wait-ms: 1}}"), "no deployment is called `z`"),
        (case("expect: {fault: crash}"), "no policy fault is called `crash`"),
        (case("expect: {choose: a}, outcomes: [{deployment: a, fault: oops}]"), "no fault is called `oops`"),
        (case("expect: {choose: a}, request: {features: {size: 1}}"), "no feature is called `size`"),
        (case("expect: {distribution: {a: 1}}"), "a `distribution` needs a `repeat`"),
        (case("expect: {config_error: x}"), "a `config_error` needs `settings`"),
        (case("repeat: 0, expect: {choose: a}"), "`repeat` must be from 1"),
    ];
    for (text, told) in bad {
        let (_folder, file) = written(&text);
        let report = run(&file, &options());
        assert_eq!(report.exit_code(), 2, "{text}");
        assert!(report.to_string().contains(told), "{text}: {report}");
    }
}

#[test]
fn a_policy_or_file_that_is_not_there_is_named() {
    let (folder, file) = written("policy: nobody\ndeployments: {a: }\ncases: [{name: x, expect: {choose: a}}]\n");
    let report = run(&file, &options());
    assert_eq!(report.exit_code(), 2);
    assert!(report.to_string().contains("nobody.wasm"), "{report}");
    assert_eq!(run(&folder.path().join("none.yaml"), &options()).exit_code(), 2);
    assert_eq!(run(tempfile::tempdir().unwrap().path(), &options()).exit_code(), 2);
    assert_eq!(check(&at("Cargo.toml"), &options()).exit_code(), 2);
}

#[test]
fn a_shipped_policy_needs_no_folder() {
    let (folder, file) = written("policy: least-busy\ndeployments: {a: }\ncases: [{name: x, expect: {choose: a}}]\n");
    let report = run(&file, &Options { policies: folder.path().join("policies"), ..Options::default() });
    assert_eq!(report.exit_code(), 0, "{report}");
}

#[test]
fn a_report_is_json_too() {
    let json: serde_json::Value = serde_json::from_str(&hostile("nothing", "{choose: b}").to_json().unwrap()).unwrap();
    let suite = &json["suites"][0];
    assert_eq!(suite["policy"], "hostile");
    assert_eq!(suite["cases"][0]["problems"][0], "expected `b` first, got the ranking a b");
    assert_eq!(suite["general"].as_array().map(Vec::len), Some(7));
}

/// The component of this file with a schema that wants a setting.
fn wanting_level(file: &str) -> Vec<u8> {
    let (name, schema) = ("witgate:settings-schema", r#"{"type":"object","required":["level"]}"#);
    let lengths = [1 + name.len() + schema.len(), name.len()].map(|length| u8::try_from(length).unwrap());
    let mut bytes = fs::read(at(file)).unwrap();
    bytes.push(0);
    bytes.extend(lengths);
    bytes.extend([name, schema].concat().into_bytes());
    bytes
}

#[test]
fn who_checks_a_policy_that_wants_settings_is_told_how_to_give_it_some() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counting.wasm");
    fs::write(&file, wanting_level(COUNTING)).unwrap();
    let given = |settings: Option<&str>| Options { settings: settings.map(str::to_owned), ..options() };
    let checked = |settings| check(&file, &given(settings)).to_string();
    let way = "setting `level` is missing; it was given no settings: `--settings JSON` gives it some";
    assert!(checked(None).contains(way), "{}", checked(None));
    assert!(checked(Some("{}")).contains("setting `level` is missing\n"), "{}", checked(Some("{}")));
    let looked = look(&file, &given(None)).unwrap();
    assert!(looked.refused.as_ref().is_some_and(|problem| problem.ends_with(way)), "{looked}");
}

#[test]
fn what_anybody_is_told_is_not_said_to_take_a_grant() {
    let checked = |attribute: &str| {
        let settings = Some(format!("attribute {attribute}"));
        check(&at(HOSTILE), &Options { settings, ..options() }).to_string()
    };
    assert!(
        checked("team").contains("attributes team") && !checked("team").contains("may_read"),
        "{}",
        checked("team")
    );
    let prompt = checked("prompt");
    assert!(prompt.contains("reads prompt, as far as `may_read` grants it"), "{prompt}");
}

/// What it passes is served and what it fails is not: one function judges here and there.
#[test]
fn a_check_fails_what_a_gateway_refuses_and_warns_of_the_rest() {
    let checked = |settings: &str| check(&at(HOSTILE), &Options { settings: Some(settings.to_owned()), ..options() });
    for (settings, told) in [
        ("trial-outcome-trap", "it said: a latency that is no number"),
        ("trial-save-trap", "fails on `save`: it trapped"),
        ("configure-refuse", "refused its configuration: these settings will not do"),
        ("unknown-signal", "wants the signal `phase-of-the-moon`"),
        ("attribute face", "wants the attribute `face`"),
    ] {
        let report = checked(settings);
        assert_eq!(report.exit_code(), 1, "{report}");
        assert_eq!(report.to_string().matches(told).count(), 1, "{settings} is told once: {report}");
        // What it would have asked for was not found out.
        assert!(!report.to_string().contains("asks for") && !report.to_string().contains("memory"), "{report}");
    }
    let warned = checked("state-trap");
    assert_eq!((warned.exit_code(), warned.warnings()), (0, 1), "{warned}");
    assert!(warned.to_string().contains("warn  a saved state that makes no sense"), "{warned}");
    assert!(warned.to_string().ends_with("6 passed, 0 failed, 1 warning (it is served all the same)\n"), "{warned}");
}

#[test]
fn expectations_are_rewritten_in_place_and_nothing_else_is() {
    let text = r#"# What it is for.
policy: counting
deployments: {a: {signals: {cost-usd: .nan}}, b: {signals: {wait-ms: .inf}}}
cases:
  - name: flow   # stays
    expect: {choose: b, max_fuel: 900000}   # so does this
  - name: block
    expect:
      # in here too
      ranked:
        - b
        - a
      log: "never, said"
  - name: a list in one line
    expect:
      ranked: [b,
               a]  # twice
  - {name: a word, expect: none}
  - {name: refused, settings: {x: 1}, expect: {config_error: "another, word", max_fuel: 5}}
  - name: shares
    repeat: 4
    expect: {distribution: {a: 0.5, "b": 0.5}, tolerance: 0.01}
  - {name: right, expect: {one_of: [a, b]}}
"#;
    let (_folder, file) = written(text);
    let options = Options { policy: Some(at(COUNTING)), update: true, ..options() };
    let report = run(&file, &options);
    let now = fs::read_to_string(&file).unwrap();
    let refusal = "unknown setting";
    assert!(now.contains(refusal), "{now}");
    let words = now.split("config_error: \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let expected = text
        .replace("{choose: b,", "{choose: a,")
        .replace("ranked:\n        - b\n        - a\n", "ranked: [a, b]\n")
        .replace("ranked: [b,\n               a]", "ranked: [a, b]")
        .replace("expect: none", "expect: {choose: a}")
        .replace("another, word", words)
        .replace("{a: 0.5, \"b\": 0.5}", "{a: 1}");
    assert_eq!(now, expected);
    assert_eq!(report.suites[0].updated.len(), 6, "{report}");
    // A log line that was not written is no end of a question.
    assert_eq!(problems(&report), "expected a log line with `never, said`, got 0");
    let again = run(&file, &options);
    assert_eq!((again.suites[0].updated.len(), fs::read_to_string(&file).unwrap()), (0, now));
}

#[test]
fn rankings_that_differ_are_shown_place_by_place() {
    let report = hostile("nothing", "{ranked: [b, a]}");
    let told = report.to_string();
    assert!(told.contains("!   1. expected b                        got a\n        !   2. expected a"), "{told}");
}

#[test]
fn a_report_is_junit_too() {
    let xml = hostile("nothing", "{choose: b}").to_junit();
    assert!(xml.contains(r#"tests="8" failures="1" errors="0""#), "{xml}");
    assert!(xml.contains(r#"<failure message="expected `b` first, got the ranking a b">"#), "{xml}");
    let broken = run(&at("Cargo.toml"), &options()).to_junit();
    assert!(broken.contains(r#"errors="1""#) && broken.contains("<error message="), "{broken}");
    let name = tried(
        HOSTILE,
        "policy: hostile\ndeployments: {a: }\ncases:\n  - {name: 'a <b> & \"c\"', expect: {choose: a}}\n",
    );
    assert!(name.to_junit().contains(r#"name="a &lt;b&gt; &amp; &quot;c&quot;""#), "{}", name.to_junit());
}

#[test]
fn a_component_is_looked_at_and_measured() {
    let seen = look(&at("policies/tpm-aware.wasm"), &options()).unwrap();
    assert_eq!(seen.interface, "router@0.1.0");
    assert!(
        seen.wit.contains("export witgate:policy/routing@0.1.0") && seen.wit.contains("record ranking"),
        "{}",
        seen.wit
    );
    assert!(seen.producers.iter().any(|line| line.contains("wit-component")), "{:?}", seen.producers);
    assert!(seen.memory_bytes.is_some_and(|bytes| bytes > 0) && seen.start_ms.is_some() && seen.refused.is_none());
    let refused = look(&at(HOSTILE), &Options { settings: Some("configure-refuse".to_owned()), ..options() }).unwrap();
    assert!(refused.refused.as_ref().is_some_and(|words| words.contains("will not do")), "{refused}");
    assert!(look(&at("Cargo.toml"), &options()).unwrap_err().contains("Cargo.toml: not a WebAssembly component"));

    let measured = bench(&at("policies/tpm-aware.wasm"), &[1, 20], &options()).unwrap();
    assert_eq!(measured.rows.len(), 2 * (1 + routers().count()));
    assert!(measured.rows.iter().all(|row| row.p50_us > 0.0 && row.p99_us >= row.p50_us && row.decisions > 10));
    assert!(measured.to_string().contains("* tpm-aware"), "{measured}");
    assert!(bench(&at("policies/tpm-aware.wasm"), &[0], &options()).unwrap_err().contains("1 to"));
}
