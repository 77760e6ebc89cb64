//! Scenarios and checks of builders and parsers find what is wrong, and say it.

use super::*;

fn told(text: &str) -> (u8, String) {
    let (_folder, file) = written(text);
    let report = run(&file, &options());
    (report.exit_code(), report.to_string())
}

/// Hostile guests fail their checks, each in its own words; the process does not mind.
#[test]
fn what_is_unfit_is_found() {
    for (guest, deed, words) in [
        ("hostile-prompt", "", "with []: it gave an answer that breaks the contract: a prompt without a message"),
        ("hostile-reply", "", ""),
        ("hostile-reply", "hold", ""),
        ("hostile-reply", "late", ""),
        ("hostile-reply", "open-trap", "ends in the fault `trap`"),
        ("hostile-reply", "grow", "fault: Some(\"memory\")"),
    ] {
        let settings = format!("{{\"do\":\"{deed}\"}}");
        let report = check(
            &at(&format!("tests/fixtures/policies/{guest}.wasm")),
            &Options { settings: Some(settings), ..options() },
        );
        let (code, told) = (u8::from(report.exit_code() > 0 || report.warnings() > 0), report.to_string());
        assert_eq!(code, u8::from(!words.is_empty()), "{guest} {deed}: {told}");
        assert!(told.contains(words), "{guest} {deed}: {told}");
    }
}

#[test]
fn a_builder_that_answers_otherwise_is_told_what_was_expected() {
    let head = "policy: redact\ncases:\n  - name: one\n    request: {messages: [{role: user, content: to a@b.de}]}\n";
    for (expect, code, words) in [
        ("{messages: [{role: user, content: to <EMAIL_1>}], note: {<EMAIL_1>: a@b.de}}", 0, "ok    one"),
        (
            "{messages: [{role: user, content: to a@b.de}]}",
            1,
            "expected the messages user: \"to a@b.de\", got user: \"to <EMAIL_1>\"",
        ),
        ("{items: [1]}", 1, "expected the items [1], got []"),
        ("{note: }", 2, "`expect` needs a prompt"),
        ("{note: x}", 1, "expected the note \"x\", got {\"<EMAIL_1>\":\"a@b.de\"}"),
        ("{refused: x}", 1, "expected a refusal with `x`, got a prompt"),
        ("{items: [], max_fuel: 10}", 1, "expected at most 10 fuel"),
        ("{items: [], log: x}", 1, "expected a log line with `x`"),
        ("{fault: flu}", 2, "no policy fault is called `flu`"),
        ("{items: [], refused: x}", 2, "`expect` needs a prompt"),
        ("{choose: a}", 2, "unknown field"),
    ] {
        let (found, text) = told(&format!("{head}    expect: {expect}\n"));
        assert!(found == code && text.contains(words), "{expect} gives {found}: {text}");
    }
    let (code, text) =
        told(&head.replace("role: user", "role: guest").replace("a@b.de}]}", "x}]}\n    expect: {items: []}"));
    assert!(code == 2 && text.contains("no role is called `guest`"), "{code}: {text}");
}

#[test]
fn a_parser_that_reads_otherwise_is_told_what_was_expected() {
    let head = "policy: json\nsettings: {schema: {type: object, required: [a]}}\ncases:\n  - name: one\n    reply: {texts: [\"x {\\\"b\\\": 1}\"]}\n";
    for (expect, code, words) in [
        ("{complaint: it has no `a`, repair: it has no `a`}", 0, "ok    one"),
        ("{text: x}", 1, "whole: expected no complaint, got it has no `a`"),
        ("{complaint: purple}", 1, "streamed: expected a complaint with `purple`, got it has no `a`"),
        ("{complaint: no, repair: ''}", 1, "expected \"\" in what the model is told"),
        ("{complaint: no, reasoning: hm}", 1, "expected the reasoning \"hm\", got \"\""),
        ("{complaint: no, arguments: [x]}", 1, "expected the arguments [\"x\"], got []"),
        ("{complaint: no, fault: trap}", 1, "expected the fault `trap`, got no fault"),
        ("{config_error: x}", 1, "expected refused settings with `x`, and it started"),
        ("{}", 2, "case `one`: `expect` is empty"),
        ("{text: }", 2, "`expect` is empty"),
        ("{config_error: x, text: y}", 2, "`expect` has `config_error` and more"),
        ("{text: x, repair: ''}", 2, "`expect` has `repair`, which goes with `complaint`"),
    ] {
        let (found, text) = told(&format!("{head}    expect: {expect}\n"));
        assert!(found == code && text.contains(words), "{expect} gives {found}: {text}");
    }
    let (code, text) = told(&format!(
        "{}    expect: {{text: x}}\n",
        head.replace("]}\n", "], finish: never}\n").replace("[a], finish: never}", "[a]}")
    ));
    assert!(code == 2 && text.contains("no reply ends with `never`"), "{code}: {text}");
}

#[test]
fn a_reply_that_depends_on_where_it_is_cut_is_found_and_may_be_meant() {
    let guest = at("tests/fixtures/policies/hostile-reply.wasm");
    let text = |splits: &str| {
        format!(
            "policy: {}\nsettings: {{do: amplify}}\ncases:\n  - name: one\n    reply: {{texts: [a, \"666\"], streamed: true{splits}}}\n    expect: {{reasoning: \"\"}}\n",
            guest.display()
        )
    };
    let (code, told_) = told(&text(""));
    assert!(code == 1 && told_.contains("letter by letter it comes to"), "{code}: {told_}");
    let (code, told_) = told(&text(", splits: false"));
    assert_eq!(code, 0, "{told_}");
}

#[test]
fn the_files_of_the_readme_pass() {
    let readme = fs::read_to_string(at("wit/README.md")).unwrap();
    let files: Vec<&str> =
        readme.split("```yaml\npolicy: ").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let of_roles =
        files.iter().filter(|file| ["redact", "reasoning", "cohere"].iter().any(|name| file.starts_with(name)));
    let mut passed = 0;
    for file in of_roles {
        let (code, text) = told(&format!("policy: {file}"));
        assert_eq!(code, 0, "{text}");
        passed += 1;
    }
    assert_eq!(passed, 3);
}

#[test]
fn a_provider_that_answers_otherwise_is_told_what_was_expected() {
    let request = "request: {messages: [{role: user, content: hi}], user: u}";
    let reply = "reply: {id: r, finish_reason: COMPLETE, message: {content: [{type: text, text: Hello}]}}";
    let stream = "stream: \"data: {\\\"type\\\":\\\"message-end\\\",\\\"delta\\\":{\\\"finish_reason\\\":\\\"COMPLETE\\\"}}\\n\\n\"";
    let refusal = "refusal: {status: 400, body: {message: no such model}}";
    for (given, expect, code, words) in [
        (request, "{path: /v2/chat, headers: {}, dropped: [user]}", 0, "ok    one"),
        (request, "{path: /v1/chat}", 1, "expected the path `/v1/chat`, got `/v2/chat`"),
        (request, "{headers: {accept: x}}", 1, "expected the headers {\"accept\": \"x\"}, got {}"),
        (request, "{dropped: []}", 1, "expected dropped [], got [\"user\"]"),
        (request, "{body: {}}", 1, "expected the body {}, got {"),
        (request, "{fault: x}", 1, "expected a fault with `x`, and it was written"),
        (request, "{max_fuel: 10}", 1, "expected at most 10 fuel"),
        (request, "{log: x}", 1, "expected a log line with `x`"),
        (request, "{paths: x}", 2, "unknown field"),
        (reply, "{id: r, text: Hello, finish: stop}", 0, "ok    one"),
        (reply, "{text: Hell}", 1, "expected the text \"Hell\", got \"Hello\""),
        (reply, "{calls: [{id: c, name: f, arguments: x}]}", 1, "expected the calls"),
        (reply, "{usage: {input_tokens: 1}}", 1, "expected the usage"),
        (reply, "{fault: x}", 1, "expected a fault with `x`, and it was read"),
        (stream, "{finish: stop}", 0, "ok    one"),
        (stream, "{finish: length}", 1, "expected the finish \"length\", got \"stop\""),
        (refusal, "{fault: no such model, kind: rejected}", 0, "ok    one"),
        (refusal, "{fault: no such model, kind: parse}", 1, "expected the kind `parse`, got `rejected`"),
        (refusal, "{max_fuel: 1000000000}", 1, "expected no fault, got the fault `no such model`"),
        // What nobody would look at is a mistake, and not a case that passes.
        (refusal, "{text: x}", 2, "`expect` of a refusal has `text`, which does not come of it"),
        (refusal, "{kind: rejected}", 2, "`expect` of a refusal has `kind`, which goes with `fault`"),
        (reply, "{text: Hello, kind: rate-limited}", 2, "`expect` of a reply has `kind`, which goes with `fault`"),
        (reply, "{text: Hello, path: /x}", 2, "`expect` of a reply has `path`, which does not come of it"),
        (reply, "{headers: {a: b}}", 2, "`expect` of a reply has `headers`, which does not come of it"),
        (reply, "{text: Hello, fault: x}", 2, "`expect` of a reply has `text`, and `fault`, of which one alone"),
        (reply, "{text: Hello, config_error: x}", 2, "and `config_error`, of which one alone"),
        (stream, "{finish: stop, body: {}}", 2, "`expect` of a stream has `body`"),
        (request, "{path: /v2/chat, text: x, finish: stop}", 2, "`expect` of a request has `text`"),
        (request, "{}", 2, "case `one`: `expect` is empty"),
        (reply, "{}", 2, "`expect` is empty"),
        ("settings: {a: 1}", "{config_error: unknown setting}", 0, "ok    one"),
        ("settings: {}", "{config_error: unknown setting}", 1, "and it started"),
        ("settings: {a: 1}", "{text: x}", 2, "it needs one of request, reply, stream, refusal"),
        ("settings: {a: 1}\n    request: {messages: []}", "{path: /}", 1, "it refused its settings: "),
        ("settings: {}", "{text: x}", 2, "it needs one of request, reply, stream, refusal"),
        ("request: {messages: 3}", "{path: /}", 2, "the request is none: "),
    ] {
        let (found, text) =
            told(&format!("policy: cohere\ncases:\n  - name: one\n    {given}\n    expect: {expect}\n"));
        assert!(found == code && text.contains(words), "{given} {expect} gives {found}: {text}");
    }
}

#[test]
fn an_attribute_that_is_set_and_not_asked_for_is_told() {
    let case = "request: {messages: [{role: user, content: hi}], attributes: {team: lab}}";
    let expect = "expect: {messages: [{role: user, content: hi}]}";
    let (code, text) = told(&format!("policy: redact\ncases:\n  - name: one\n    {case}\n    {expect}\n"));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("note: the policy is told nothing of attribute `team`: it asks for "), "{text}");
}

fn rewritten(text: &str) -> (String, Report) {
    let (_folder, file) = written(text);
    let report = run(&file, &Options { update: true, ..options() });
    let now = fs::read_to_string(&file).unwrap();
    let again = run(&file, &Options { update: true, ..options() });
    assert!(again.suites[0].updated.is_empty() && fs::read_to_string(&file).unwrap() == now, "{again}");
    (now, report)
}

#[test]
fn a_builder_s_expectations_are_rewritten_in_place_and_nothing_else_is() {
    let text = r#"policy: redact   # what it is for
settings: {patterns: [email]}
cases:
  - name: the words alone
    request: {messages: [{role: user, content: to a@b.de}]}
    expect: {messages: [{role: user, content: "it's, to a@b.de"}], note: {<EMAIL_1>: a@b.de}}   # stays
  - name: over lines
    request: {messages: [{role: user, content: to a@b.de}, {role: assistant, content: Yes.}]}
    expect:
      # here too
      messages:
        - role: user
          content: |
            to

            somebody
        - {role: user, content: x}
      max_fuel: 900000000   # a decision
  - name: another end
    request: {messages: [{role: user, content: hi}]}
    expect: {refused: purple, max_fuel: 900000000}
  - name: refused
    settings: {purple: 1}
    expect:
      messages: []
  - {name: right, request: {messages: [{role: user, content: hi}]}, expect: {items: []}}
"#;
    let (now, report) = rewritten(text);
    let refusal = now.split("config_error: \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(refusal.contains("purple"), "{now}");
    let lines =
        "messages:\n        - {role: user, content: \"to <EMAIL_1>\"}\n        - {role: assistant, content: Yes.}\n";
    let over_lines =
        text.split("# here too\n      ").nth(1).and_then(|rest| rest.split("      max_fuel").next()).unwrap();
    let expected = text
        .replace("[{role: user, content: \"it's, to a@b.de\"}]", "[{role: user, content: \"to <EMAIL_1>\"}]")
        .replace(over_lines, lines)
        .replace("refused: purple", "messages: [{role: user, content: hi}]")
        .replace("      messages: []\n", &format!("      config_error: \"{refusal}\"\n"));
    assert_eq!(now, expected);
    assert_eq!((report.suites[0].updated.len(), report.exit_code()), (4, 0), "{report}");
    let told = "`another end`: {messages: [{role: user, content: hi}], max_fuel: 900000000} (was {refused: purple, max_fuel: 900000000})";
    assert!(report.to_string().contains(told), "{report}");
}

#[test]
fn a_parser_s_expectations_are_rewritten_but_where_they_hang_on_cuts() {
    let text = r#"policy: reasoning
cases:
  - name: words
    reply: {texts: ["<think>hm</think>", "So it is."]}
    expect: {text: "So \"it\" was, not.", reasoning: hm}
  - name: another end
    reply: {texts: [x]}
    expect:
      complaint: no
      log: purple
"#;
    let (now, report) = rewritten(text);
    let expected = text
        .replace("text: \"So \\\"it\\\" was, not.\"", "text: \"So it is.\"")
        .replace("      complaint: no\n", "      text: x\n");
    assert_eq!(now, expected);
    assert_eq!(problems(&report), "expected a log line with `purple`, got 0");
    let guest = at("tests/fixtures/policies/hostile-reply.wasm");
    let text = format!(
        "policy: {}\nsettings: {{do: amplify}}\ncases:\n  - name: one\n    reply: {{texts: [a, \"666\"]}}\n    expect: {{text: x}}\n",
        guest.display()
    );
    assert_eq!(rewritten(&text).0, text);
}

#[test]
fn a_provider_s_expectations_are_rewritten() {
    let text = r#"policy: cohere
model: m
cases:
  - name: a request
    request: {messages: [{role: user, content: hi}], user: u}
    expect: {path: /v1/chat, body: {model: x}, dropped: []}
  - name: a reply
    reply: {id: r, finish_reason: COMPLETE, message: {content: [{type: text, text: Hello}]}}
    expect:
      id: r
      text: >
        Good

        bye
      finish: length
  - name: a refusal
    refusal: {status: 429, body: {message: "too many, 'now'"}}
    expect: {fault: x, kind: unavailable}
"#;
    let (now, report) = rewritten(text);
    let expected = text
        .replace(
            "{path: /v1/chat, body: {model: x}, dropped: []}",
            "{path: \"/v2/chat\", body: {model: m, messages: [{role: user, content: hi}]}, dropped: [user]}",
        )
        .replace("text: >\n        Good\n\n        bye\n      finish: length", "text: Hello\n      finish: stop")
        .replace("{fault: x, kind: unavailable}", "{fault: \"too many, 'now'\", kind: rate-limited}");
    assert_eq!(now, expected);
    assert_eq!((report.suites[0].updated.len(), report.exit_code()), (7, 0), "{report}");
}

/// What no case is about is told by name, whatever the role.
#[test]
fn the_scenarios_of_every_role_say_what_their_cases_reach() {
    let message = "request: {messages: [{role: user, content: hi}]}";
    for (text, ends, untouched) in [
        (
            format!("policy: redact\nsettings: {{patterns: [email]}}\ncases:\n  - {{name: a, {message}, expect: {{items: []}}}}\n  - {{name: b, {message}, settings: {{x: 1}}, expect: {{config_error: x}}}}\n"),
            "covers built 1, settings refused 1; ",
            &["setting `restore`"][..],
        ),
        (
            "policy: reasoning\ncases:\n  - {name: a, reply: {texts: [hi]}, expect: {text: hi}}\n".to_owned(),
            "covers read 1; ",
            &["setting `tags`", "setting `thinking`"],
        ),
        (
            "policy: cohere\nmodel: m\ncases:\n  - {name: a, refusal: {status: 429, body: {message: no}}, expect: {fault: no}}\n  - {name: b, reply: x, expect: {fault: reply}}\n".to_owned(),
            "covers fault 1, refusal 1; ",
            &["`request`", "`stream`"],
        ),
    ] {
        let (_folder, file) = written(&text);
        let report = run(&file, &options());
        let (coverage, told) = (report.suites[0].coverage.clone().unwrap(), report.to_string());
        assert!(told.contains(ends) && coverage.first_places.is_none(), "{told}");
        for what in untouched {
            assert!(coverage.untouched.iter().any(|found| found == what), "{what}: {:?}", coverage.untouched);
        }
    }
}

/// Kinds of deltas that a parser is told, and attributes that a policy reads, are branches of it too.
#[test]
fn what_a_policy_asks_for_is_covered_by_cases_that_say_it() {
    let text = |said: &str| {
        format!(
            "policy: hostile-reply\nsettings: {{do: attribute team}}\ncases:\n  - {{name: a, reply: {{{said}}}, expect: {{refusal: \"\"}}}}\n"
        )
    };
    for (said, untouched) in [
        ("texts: [hi]", "attribute `team`, delta `reasoning`, delta `refusal`, delta `tool-calls`"),
        ("texts: [{reasoning: hm}, {call: f}], attributes: {team: t}", "delta `refusal`, delta `text`"),
    ] {
        let (_folder, file) = written(&text(said));
        let policies = at("tests/fixtures/policies");
        let report = run(&file, &Options { policies, ..options() });
        let coverage = report.suites[0].coverage.as_ref().map(|coverage| coverage.untouched.join(", "));
        assert_eq!(coverage.as_deref(), Some(untouched), "{report}");
    }
}

#[test]
fn what_a_policy_of_any_role_asks_for_is_told() {
    for (name, settings, told) in [
        ("counting-a", "{}", "  asks for nothing\n"),
        ("hostile-prompt", r#"{"do":"attribute team"}"#, "  asks for attributes team"),
        (
            "hostile-reply",
            r#"{"do":"attribute team"}"#,
            "  asks for attributes team; deltas text, reasoning, refusal, tool-calls",
        ),
        ("hostile-provider", "{}", "  asks for "),
    ] {
        let file = at(&format!("tests/fixtures/policies/{name}.wasm"));
        let report = check(&file, &Options { settings: Some(settings.to_owned()), ..options() }).to_string();
        assert!(report.contains(told), "{name}: {report}");
    }
}

#[test]
fn a_project_that_is_not_built_yet_is_told_how() {
    let (folder, file) = written("policy: mine.wasm\ncases: []\n");
    let told = |report: Report| report.suites[0].broken.clone().unwrap();
    assert!(!told(run(&file, &options())).contains("policy build"), "no project stands there");
    fs::write(folder.path().join("policy.toml"), "").unwrap();
    let told = told(run(folder.path(), &options()));
    let way = format!("`witgate policy build {}` makes it", folder.path().display());
    assert!(told.contains("mine.wasm: No such file") && told.ends_with(&way), "{told}");
}

#[test]
fn a_folder_in_the_place_of_a_component_is_told_with_what_to_name() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path();
    let told = || {
        let told = check(project, &options()).suites[0].broken.clone().unwrap();
        assert_eq!(look(project, &options()).unwrap_err(), told);
        assert_eq!(bench(project, &[1], &options()).unwrap_err(), told);
        told
    };
    let shown = project.display();
    assert_eq!(told(), format!("{shown}: is a folder\nhint: name a component, a `.wasm` file"));
    fs::write(project.join("policy.toml"), "name = \"mine\"\nworld = \"router\"\nlanguage = \"rust\"\n").unwrap();
    let way = format!("not built\nhint: `witgate policy build {shown}` makes {shown}/mine.wasm; name that");
    assert!(told().ends_with(&way), "{}", told());
    fs::write(project.join("mine.wasm"), "").unwrap();
    let way = format!("a policy project\nhint: name its component: {shown}/mine.wasm");
    assert!(told().ends_with(&way), "{}", told());
}
