//! What the documentation shows is run: every command of the README, every example configuration.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const README: &str = include_str!("../../README.md");

fn witgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_witgate"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        // What a gateway remembers from one start to the next is none of the tests'.
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env_remove("OPENAI_API_KEY")
        .env_remove("ANTHROPIC_API_KEY");
    command
}

fn run(arguments: &[&str]) -> Output {
    witgate(arguments).output().expect("the binary runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The commands shown in blocks of shell, comments cut off.
fn shown() -> BTreeSet<String> {
    let blocks = README.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("cargo run -- "));
    lines.map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned()).collect()
}

#[test]
fn every_command_of_the_readme_is_one_that_a_test_runs() {
    let run_here = [
        "check config.yaml",
        // `experiments.rs`, quicker and into another folder; `cargo xtask prove experiments`.
        "plan examples/experiments/speeches.yaml",
        "policies",
        // `build`, and `test` of what it made, by `cargo xtask prove languages`, which installs what they need.
        "policy build my-router",
        "policy check policies/tpm-aware.wasm",
        "policy new my-router --lang python",
        "policy test my-router --to policies",
        "policy test scenarios/",
        "run examples/experiments/speeches.yaml",
        "runs examples/experiments",
        "serve",
        "serve --config config.yaml",
        "spend --config examples/spend.yaml --by day",
        // `simulate.rs`.
        "simulate --config examples/multi-key-tpm.yaml --load examples/load.jsonl --routers simple-shuffle,tpm-aware",
        "simulate-provider --port 4010 --ttft-ms 300 --tokens-per-second 60 --tpm 30000",
    ];
    assert_eq!(shown(), run_here.map(str::to_owned).into());
}

#[test]
fn spend_reads_the_ledger_that_an_example_keeps() {
    let folder = tempfile::tempdir().expect("a folder");
    let spend = ["spend", "--config", "examples/spend.yaml", "--by", "day"];
    let none = witgate(&spend).env("XDG_STATE_HOME", folder.path()).output().expect("the binary runs");
    assert!(!none.status.success() && text(&none).contains("hint: "), "{}", text(&none));
    let mut serve = witgate(&["serve", "--config", "examples/spend.yaml", "--port", "0"])
        .env("XDG_STATE_HOME", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut first = String::new();
    BufReader::new(serve.stdout.as_mut().expect("piped")).read_line(&mut first).expect("a line");
    let body = r#"{"model": "dear", "messages": [{"role": "user", "content": "Hello"}]}"#;
    let address = first.trim().rsplit("//").next().expect("an address");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(post("/v1/chat/completions", body, address).as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("200 OK"), "{answer}");
    // A clean stop loses nothing.
    let told = Command::new("kill").arg(serve.id().to_string()).status().expect("kill runs");
    assert!(told.success() && serve.wait().expect("it ends").success());
    let kept = witgate(&spend).env("XDG_STATE_HOME", folder.path()).output().expect("the binary runs");
    let line = text(&kept).lines().nth(1).map(str::to_owned).unwrap_or_default();
    assert!(line.split_whitespace().nth(1) == Some("1") && !line.contains("unknown"), "{}", text(&kept));
}

/// The comparisons of the page on learning; its page is written elsewhere. Over runs that were kept: `replay.rs`.
#[test]
fn every_comparison_of_the_page_on_learning_runs() {
    let page = include_str!("../../docs/learning.md");
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("witgate evaluate "));
    let lines: Vec<&str> = lines.filter(|line| !line.contains("RUNS")).collect();
    assert!(!lines.is_empty(), "{page}");
    let folder = tempfile::tempdir().expect("a folder");
    let html = folder.path().join("learning.html").display().to_string();
    for line in lines {
        let words = line.split_whitespace().map(|word| word.trim_matches('\'').replace("learning.html", &html));
        let words: Vec<String> = ["evaluate".to_owned()].into_iter().chain(words).collect();
        let output = run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(output.status.success() && text(&output).contains("ucb1-linucb"), "{line}: {}", text(&output));
    }
    let drawn = std::fs::read_to_string(&html).expect("a page");
    assert!(drawn.contains("<polyline") && !drawn.contains("src="), "{drawn}");
}

/// The commands of the page on policies, in its blocks of shell.
#[test]
fn every_command_of_the_page_on_policies_runs() {
    let page = include_str!("../../wit/README.md");
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines: Vec<&str> = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("witgate ")).collect();
    // With tools of other languages: `cargo xtask prove languages`. Over runs that were kept: `replay.rs`. Of a gateway that
    // runs: `rollout.rs`.
    let elsewhere = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.contains(&"thrifty") || words.contains(&"RUNS") || words.first() == Some(&"policies")
    };
    let (elsewhere, here): (Vec<&str>, Vec<&str>) = lines.into_iter().partition(elsewhere);
    assert_eq!((elsewhere.len(), here.len() >= 5), (14, true), "{elsewhere:?} {here:?}");
    for line in here {
        let line = line.split(" #").next().unwrap_or_default();
        let output = run(&line.split_whitespace().collect::<Vec<_>>());
        assert!(output.status.success(), "{line}: {}", text(&output));
    }
}

/// What each language wants is in the README of its project, every command of which `cargo xtask prove languages` runs.
#[test]
fn what_each_language_wants_is_what_its_project_says() {
    let page = include_str!("../../wit/README.md");
    let table = page.split("| `--lang` | Once | Tests |\n| --- | --- | --- |\n").nth(1).expect("the table");
    let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let words: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        let project =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies").join(format!("thrifty-{}", words[0]));
        let readme = std::fs::read_to_string(project.join("README.md")).expect("a project of this language");
        for command in &words[1..] {
            assert!(readme.contains(command), "{}: `{command}` is not in the project's README", words[0]);
        }
    }
}

/// `cargo xtask prove languages` runs every command of a language's tutorial. Held to them here: those of the project's own README, which
/// are the same but for the folder, the configuration, which is one for all, and the idea as it is shown.
#[test]
fn a_tutorial_shows_its_project_and_runs_its_commands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("a file");
    let blocks = |page: &str, fence: &str| -> Vec<String> {
        page.split(&format!("```{fence}\n"))
            .skip(1)
            .filter_map(|rest| rest.split("```").next().map(str::to_owned))
            .collect()
    };
    let first = read("docs/policies/rust.md");
    let shared = |page: &str| {
        let asked = blocks(page, "sh").concat();
        let lines = asked.lines().filter(|line| line.starts_with("curl ") || line.starts_with("witgate serve "));
        (blocks(page, "yaml"), lines.map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!((shared(&first).0.len(), shared(&first).1.len()), (1, 2));
    let languages = [
        ("c", "c", "policy.c"),
        ("go", "go", "thrifty.go"),
        ("javascript", "js", "thrifty.js"),
        ("python", "python", "thrifty.py"),
        ("rust", "rust", "src/lib.rs"),
        ("typescript", "ts", "thrifty.ts"),
    ];
    for (language, fence, idea) in languages {
        let page = read(&format!("docs/policies/{language}.md"));
        assert_eq!(shared(&page), shared(&first), "{language}");
        let shown = blocks(&page, fence).concat();
        let source = read(&format!("examples/policies/thrifty-{language}/{idea}"));
        assert!(!shown.is_empty() && source.contains(shown.trim_end()), "{language}: {idea} has no such lines");
        let commands = blocks(&page, "sh").concat();
        let readme = blocks(&read(&format!("examples/policies/thrifty-{language}/README.md")), "sh").concat();
        for command in readme.lines().map(|line| line.split(" #").next().unwrap_or_default().trim()) {
            let wanted = match command.split_once(" .") {
                // The tutorial's test puts it there too.
                _ if command.starts_with("cp ") => "witgate policy test thrifty --to policies".to_owned(),
                Some(("witgate policy test", "")) => "witgate policy test thrifty --to policies".to_owned(),
                Some((words, "")) => format!("{words} thrifty"),
                _ => format!("(cd thrifty && {command})"),
            };
            assert!(commands.lines().any(|line| line == wanted), "{language}: `{wanted}` is not in the tutorial");
        }
    }
}

#[test]
fn a_configuration_s_policies_are_resolved_with_their_places() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("config.yaml");
    let list = "model_list:\n  - {model_name: g, litellm_params: {model: simulated/m}}\n";
    let check = |routers: &str| {
        std::fs::write(&file, format!("{list}witgate:\n  routers:\n    {routers}\n")).expect("written");
        let output = run(&["check", file.to_str().expect("a path"), "--policies", "tests/fixtures/policies"]);
        (output.status.success(), text(&output))
    };
    let (fit, told) = check("g: {policy: hostile, settings: {do: nothing}}");
    assert!(fit && told.contains("every group's policy starts"), "{told}");
    for (routers, wanted) in [
        ("g: {policy: nobody}", "config.yaml:5:5: group `g`: no policy is named `nobody`"),
        (
            "g: {policy: hostil}",
            "did you mean `hostile`? Else put hostil.wasm into the policies folder, or use one of hostile, ",
        ),
        ("g: {policy: hostile, settings: {do: configure-refuse}}", "these settings will not do"),
        ("g: {policy: hostile, settings: {do: attribute prompt}}", "witgate.routers.GROUP.may_read: [\"prompt\"]"),
    ] {
        let (fit, told) = check(routers);
        assert!(!fit && told.contains(wanted) && told.contains("config.yaml:5:5: "), "{routers}: {told}");
    }
}

/// What was compiled once is not compiled again, by the next check or by a gateway.
#[test]
fn a_check_keeps_what_it_compiled_where_gateways_look() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let [file, policies, cache] = ["config.yaml", "policies", "cache"].map(|name| folder.path().join(name));
    std::fs::create_dir(&policies).expect("a folder");
    // No group names it, and it is looked at all the same.
    std::fs::copy("tests/fixtures/policies/counting-a.wasm", policies.join("other.wasm")).expect("copied");
    std::fs::write(&file, "model_list: [{model_name: g, litellm_params: {model: simulated/m}}]\n").expect("written");
    let compiled = || {
        let paths = [&file, &policies].map(|path| path.to_str().expect("a path"));
        let output = witgate(&["check", paths[0], "--policies", paths[1]]).env("XDG_CACHE_HOME", &cache).output();
        let output = output.expect("the binary runs");
        assert!(output.status.success(), "{}", text(&output));
        let kept = std::fs::read_dir(cache.join("witgate")).expect("a folder").flatten();
        let when =
            |entry: std::fs::DirEntry| (entry.file_name(), entry.metadata().and_then(|about| about.modified()).ok());
        kept.map(when).collect::<BTreeSet<_>>()
    };
    let first = compiled();
    assert_eq!((first.len(), compiled()), (2, first));
}

/// A component that cannot be used is there: that its file is missing is not told beside what is wrong with it.
#[test]
fn a_policy_that_cannot_be_used_is_one_problem() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let (file, policies) = (folder.path().join("config.yaml"), folder.path().join("policies"));
    std::fs::create_dir(&policies).expect("a folder");
    std::fs::write(policies.join("broken.wasm"), "no component").expect("written");
    let list = "model_list:\n  - {model_name: g, litellm_params: {model: simulated/m}}\n";
    std::fs::write(&file, format!("{list}witgate: {{routers: {{g: {{policy: broken}}}}}}\n")).expect("written");
    let paths = [&file, &policies].map(|path| path.to_str().expect("a path"));
    let output = run(&["check", paths[0], "--policies", paths[1]]);
    let told = text(&output);
    assert!(!output.status.success() && told.contains("broken") && told.contains(": 1 problem with "), "{told}");
    assert!(!told.contains("no policy is named"), "{told}");
}

/// What does not fit the schema that a component carries is told setting by setting, each at its own place.
#[test]
fn settings_are_held_to_the_schema_of_their_policy() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let (file, policies) = (folder.path().join("config.yaml"), folder.path().join("policies"));
    let schema =
        br#"{"properties": {"do": {"type": "string"}, "share": {"type": "number", "maximum": 1}}, "required": ["do"]}"#;
    let hostile = std::fs::read("tests/fixtures/policies/hostile.wasm").expect("a component");
    let strict = witgate::policy::SettingsSchema::embed(schema, hostile).expect("a schema");
    std::fs::create_dir(&policies).expect("a folder");
    std::fs::write(policies.join("strict.wasm"), strict).expect("written");
    let policies = policies.to_str().expect("a path");
    let check = |settings: &str| {
        let list = "model_list:\n  - {model_name: g, litellm_params: {model: simulated/m}}\n";
        let entry = format!("{list}witgate:\n  routers:\n    g: {{policy: strict, settings: {settings}}}\n");
        std::fs::write(&file, entry).expect("written");
        let output = run(&["check", file.to_str().expect("a path"), "--policies", policies]);
        (output.status.success(), text(&output))
    };
    let (fit, told) = check("{do: nothing, share: 1}");
    assert!(fit, "{told}");
    let (fit, told) = check("{do: [], share: 2}");
    for wanted in [
        "config.yaml:5:40: group `g`, policy `strict` (",
        "): setting `do` must be text",
        "config.yaml:5:51: group `g`, policy `strict` (",
        "): setting `share` must be a number, 1 or less",
        ": 2 problems with ",
    ] {
        assert!(!fit && told.contains(wanted), "{wanted} is not in {told}");
    }
    let looked = run(&["policy", "inspect", &format!("{policies}/strict.wasm"), "--settings", r#"{"do": "nothing"}"#]);
    assert!(text(&looked).contains("settings  do: string, share: number"), "{}", text(&looked));
    let looked = run(&["policy", "inspect", &format!("{policies}/strict.wasm"), "--json"]);
    assert!(
        text(&looked).contains(r#""required": ["#) && text(&looked).contains("setting `do` is missing"),
        "{}",
        text(&looked)
    );
}

/// Whoever mends what is wrong with a group's policies learns of all of it by one run.
#[test]
fn what_is_wrong_with_policies_is_told_together() {
    use witgate::policy::{PolicyManifest, SettingsSchema};
    let folder = tempfile::TempDir::new().expect("a folder");
    let (file, policies) = (folder.path().join("config.yaml"), folder.path().join("policies"));
    std::fs::create_dir(&policies).expect("a folder");
    let read = |name: &str| std::fs::read(format!("tests/fixtures/policies/{name}.wasm")).expect("a component");
    let schema = br#"{"properties": {"share": {"type": "number", "maximum": 1}, "rows": {"type": "array"}}}"#;
    let strict = SettingsSchema::embed(schema, read("hostile")).expect("a schema");
    let strict = PolicyManifest { may_reject: true, ..PolicyManifest::default() }.embed(strict);
    std::fs::write(policies.join("strict.wasm"), strict).expect("written");
    std::fs::write(policies.join("builder.wasm"), read("hostile-prompt")).expect("written");
    let list = "model_list:\n  - {model_name: g, litellm_params: {model: simulated/m}}\n";
    let own = "witgate:
  routers:
    g: {policy: strict, settings: {do: attribute prompt, share: 2, rows: none}}
  prompt_builders:
    g: {policy: builder, settings: {do: attribute prompt}}
";
    std::fs::write(&file, format!("{list}{own}")).expect("written");
    let paths = [&file, &policies].map(|path| path.to_str().expect("a path"));
    let told = text(&run(&["check", paths[0], "--policies", paths[1]]));
    for wanted in [
        "needs `may_reject`, which the configuration does not grant",
        "setting `share` must be a number, 1 or less",
        "setting `rows` must be",
        "policy `strict` (",
        "wants the attribute `prompt`",
        "config.yaml:7:5: group `g`, policy `builder` (",
        ": 5 problems with ",
    ] {
        assert!(told.contains(wanted), "{wanted} is not in {told}");
    }
    let mended = own
        .replace("policy: strict,", "policy: strict, may_reject: true, may_read: [prompt],")
        .replace("policy: builder,", "policy: builder, may_read: [prompt],")
        .replace(", share: 2, rows: none", "");
    std::fs::write(&file, format!("{list}{mended}")).expect("written");
    let output = run(&["check", paths[0], "--policies", paths[1]]);
    assert!(output.status.success(), "{}", text(&output));
}

/// What a policy needs is told with the lines that grant it: those let it serve, and without them it is refused where they belong.
#[test]
fn what_a_policy_needs_is_told_with_the_lines_that_grant_it() {
    use witgate::policy::PolicyManifest;
    let folder = tempfile::TempDir::new().expect("a folder");
    let (file, policies) = (folder.path().join("config.yaml"), folder.path().join("policies"));
    std::fs::create_dir(&policies).expect("a folder");
    let put = |name: &str, of: &str, manifest: PolicyManifest| {
        let component = std::fs::read(format!("tests/fixtures/policies/{of}.wasm")).expect("a component");
        let path = policies.join(name).with_extension("wasm");
        std::fs::write(&path, manifest.embed(component)).expect("written");
        path.display().to_string()
    };
    let none = PolicyManifest::default();
    let asks = r#"{"do": "attribute prompt"}"#;
    let cases = [
        ("strict", "hostile", PolicyManifest { may_reject: true, ..none }, asks, "may_reject"),
        ("holder", "hostile-reply", PolicyManifest { hold: true, ..none }, r#"{"do": "nothing"}"#, "hold"),
    ];
    for (name, of, manifest, settings, key) in cases {
        let path = put(name, of, manifest);
        let looked = text(&run(&["policy", "inspect", &path, "--settings", settings]));
        assert!(looked.contains("10 ms of CPU time a call"), "{looked}");
        let (_, lines) = looked.split_once("needs what these lines of a configuration grant:\n").expect("such lines");
        let lines: Vec<&str> = lines.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
        let granted =
            lines.join("\n").replace("GROUP", "g").replace("{policy:", &format!("{{settings: {settings}, policy:"));
        let check = |lines: &str| {
            let list = "model_list:\n  - {model_name: g, litellm_params: {model: simulated/m}}\n";
            std::fs::write(&file, format!("{list}{lines}\n")).expect("written");
            let output = run(&["check", file.to_str().expect("a path"), "--policies", &policies.display().to_string()]);
            (output.status.success(), text(&output))
        };
        let (fit, told) = check(&granted);
        assert!(fit, "{granted}\n{told}");
        let (fit, told) = check(&granted.replace(&format!("{key}: true"), &format!("{key}: false")));
        let wanted = format!("needs `{key}`, which the configuration does not grant; add `{key}: true`");
        assert!(!fit && told.contains("config.yaml:5:5: ") && told.contains(&wanted), "{told}");
    }
    // What may import WASI is said by the manifest, and refused with the line that lets it in.
    let path = put("ported", "hostile", PolicyManifest { allow_wasi_stubs: true, ..none });
    let looked = text(&run(&["policy", "inspect", &path, "--settings", r#"{"do": "nothing"}"#]));
    assert!(looked.contains(r#"  policies: {allow_wasi_stubs: ["ported"]}"#), "{looked}");
}

/// What is said of LiteLLM's behaviour and ours, and of what keeps secrets, is held by tests, each of which is named.
#[test]
fn every_test_that_a_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut code) = (vec![root.join("src"), root.join("tests/it")], String::new());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code += &std::fs::read_to_string(path).expect("a source");
            }
        }
    }
    for (page, least) in [("docs/litellm.md", 60), ("docs/security.md", 15), ("docs/field-cases.md", 38)] {
        let said = std::fs::read_to_string(root.join(page)).expect("the page");
        let mut rows = 0;
        for row in said.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
            // The last column; that of a table's head has words.
            let held_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
            if held_by == "held by" {
                continue;
            }
            rows += 1;
            let verdict = row.trim_end_matches(" |").rsplit(" | ").nth(1).unwrap_or_default();
            let told = ["same", "fixed", "different"].iter().any(|word| verdict.starts_with(word));
            assert!(told || page != "docs/litellm.md", "neither the same nor fixed nor different: {row}");
            let names: Vec<&str> = held_by.split(", ").map(|name| name.trim_matches('`')).collect();
            assert!(names.iter().all(|name| !name.is_empty()), "{page}: nothing holds {row}");
            for name in names {
                let at = code.find(&format!("fn {name}()")).unwrap_or_else(|| panic!("`{name}` is no test: {row}"));
                // Of the lines before it, those of its own attributes.
                let begin = code[..at].rfind('\n').unwrap_or_default();
                let mut before = code[..begin].lines().rev().take_while(|line| line.trim().starts_with(['#', '/']));
                let is_test = |line: &str| line.contains("#[test]") || line.contains("#[tokio::test");
                assert!(before.any(is_test), "`{name}` is not run as a test: {row}");
            }
        }
        assert!(rows >= least, "{page}: {rows} rows");
    }
}

#[test]
fn check_grades_every_example() {
    let account = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/google/service-account.json");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut checked = 0;
    for entry in std::fs::read_dir(examples).expect("examples").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let output = witgate(&["check", path.to_str().expect("a path")])
                .envs([
                    ("OPENAI_API_KEY", "k"),
                    ("ANTHROPIC_API_KEY", "k"),
                    ("AZURE_API_KEY", "k"),
                    ("LITELLM_MASTER_KEY", "k"),
                    ("GOOGLE_APPLICATION_CREDENTIALS", account.to_str().expect("a path")),
                ])
                .envs(variables(&path))
                .output()
                .expect("the binary runs");
            let told = text(&output);
            assert!(output.status.success(), "{}: {told}", path.display());
            // What people have of limits, budgets, fallbacks and Redis acts as they know it.
            let known = ["multi-key-tpm", "one-key-tpm", "limits", "budgets", "fallbacks", "redis", "spend"];
            if path.file_stem().is_some_and(|name| known.iter().any(|known| name == *known)) {
                assert!(told.contains(" exact, 0 approximate, 0 not yet, 0 unsupported"), "{}: {told}", path.display());
            }
            let quota = told.lines().find(|line| line.starts_with("shared quota "));
            if path.ends_with("one-key-tpm.yaml") {
                assert!(quota.is_some_and(|quota| quota.matches("gpt-4o-").count() == 3), "{told}");
            }
            checked += 1;
        }
    }
    assert!(checked >= 4, "{checked} examples");
}

/// The environment variables a file names, each with a value.
fn variables(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).expect("an example");
    let names = text.split("os.environ/").skip(1);
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let value = |name: &str| if name == "DATABASE_URL" { "postgres://u:p@localhost/db" } else { "value" };
    names.map(name).map(|name| (value(&name).to_owned(), name)).map(|(value, name)| (name, value)).collect()
}

#[test]
fn check_tells_every_problem_at_once_with_its_place() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("config.yaml");
    std::fs::write(
        &file,
        "model_list:\n  - {model_name: g, litellm_params: {model: simulated/m, rpm: many}}\n  - {model_name: h}\n",
    )
    .expect("written");
    let output = run(&["check", file.to_str().expect("a path")]);
    let told = text(&output);
    assert!(!output.status.success());
    assert!(told.contains("config.yaml:2:") && told.contains("config.yaml:3:") && told.contains("hint:"), "{told}");
}

#[test]
fn shipped_policies_are_fit_and_pass_their_scenarios() {
    let output = run(&["policy", "check", "policies/tpm-aware.wasm"]);
    assert!(output.status.success(), "{}", text(&output));
    let output = run(&["policy", "test", "scenarios/"]);
    assert!(output.status.success(), "{}", text(&output));
    let broken = run(&["policy", "check", "README.md"]);
    assert!(!broken.status.success() && text(&broken).contains("component"), "{}", text(&broken));
}

#[test]
fn a_policy_project_is_written_and_says_what_to_install() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let there = |arguments: &[&str]| witgate(arguments).current_dir(folder.path()).output().expect("the binary runs");
    let output = there(&["policy", "new", "my-router", "--lang", "python"]);
    assert!(output.status.success() && text(&output).contains("witgate policy build my-router"), "{}", text(&output));
    assert!(folder.path().join("my-router/policy.toml").exists());
    let again = there(&["policy", "new", "my-router", "--lang", "rust"]);
    assert!(!again.status.success() && text(&again).contains("is there already"), "{}", text(&again));
    // With nothing on the search path.
    let output = witgate(&["policy", "build", "my-router"]).current_dir(folder.path()).env("PATH", "").output();
    let output = output.expect("the binary runs");
    assert!(!output.status.success() && text(&output).contains("pip install -r"), "{}", text(&output));
}

/// A process that is ended with the test.
struct Server {
    child: Child,
    lines: Vec<String>,
    address: String,
}

impl Server {
    /// Reads what it prints up to the line that holds `last`.
    fn start(arguments: &[&str], last: &str) -> Self {
        let mut child = witgate(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        let mut lines = Vec::new();
        for line in out.lines() {
            let line = line.expect("text");
            let done = line.contains(last);
            lines.push(line);
            if done {
                break;
            }
        }
        let first = lines.first().cloned().unwrap_or_default();
        let address = first.rsplit("http://").next().unwrap_or_default().to_owned();
        Self { child, lines, address }
    }

    fn ask(&self, request: &str) -> String {
        let mut socket = TcpStream::connect(&self.address).expect("it listens");
        socket.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn post(path: &str, body: &str, host: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn serve_without_a_configuration_prints_a_call_that_works() {
    let cache = tempfile::TempDir::new().expect("a folder");
    let server = Server::start(
        &["serve", "--port", "0", "--cache", cache.path().join("compiled").to_str().expect("a path")],
        "-d '",
    );
    let call = server.lines.last().expect("the call");
    let body = call.split('\'').nth(1).expect("its body");
    let answer = server.ask(&post("/v1/chat/completions", body, &server.address));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("data: [DONE]"), "{answer}");
    assert!(answer.contains("x-witgate-policy: simple-shuffle@"), "{answer}");
    let listed = run(&["policies", "--url", &format!("http://{}", server.address)]);
    assert!(listed.status.success() && text(&listed).contains("simple-shuffle"), "{}", text(&listed));
}

#[test]
fn serve_with_an_example_and_the_simulated_provider_over_http() {
    let provider = Server::start(
        &["simulate-provider", "--port", "0", "--ttft-ms", "3", "--tokens-per-second", "0", "--tpm", "30000"],
        "listening",
    );
    let folder = tempfile::TempDir::new().expect("a folder");
    let config = folder.path().join("config.yaml");
    let yaml = format!(
        "model_list:\n  - {{model_name: g, litellm_params: {{model: openai/simulated, api_base: \"http://{}/v1\", api_key: k}}}}\n",
        provider.address
    );
    std::fs::write(&config, yaml).expect("written");
    let cache = folder.path().join("cache");
    let arguments = [
        "serve",
        "--config",
        config.to_str().expect("a path"),
        "--port",
        "0",
        "--cache",
        cache.to_str().expect("a path"),
    ];
    let server = Server::start(&arguments, "-d '");
    let body = "{\"model\": \"g\", \"max_tokens\": 9, \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}";
    let answer = server.ask(&post("/v1/messages", body, &server.address));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"type\":\"message\""), "{answer}");
}

#[test]
fn other_machines_are_not_served_without_a_key() {
    let output = run(&["serve", "--host", "0.0.0.0", "--port", "0"]);
    assert!(!output.status.success() && text(&output).contains("master_key"), "{}", text(&output));
}

#[test]
fn the_configurations_of_the_learning_page_are_such() {
    let page = include_str!("../../docs/learning.md");
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("config.yaml");
    for block in page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().expect("a block")) {
        std::fs::write(&file, block).expect("written");
        let check = ["check", &file.display().to_string(), "--strict", "--policies", "policies"];
        let output = witgate(&check).env("OPENAI_API_KEY", "sk-x").output().expect("the binary runs");
        assert!(output.status.success() && text(&output).contains("every group's policy starts"), "{}", text(&output));
    }
}

/// A deployment that cannot be used is left out loudly, and `--strict` takes no such file; neither does one that nobody can start.
#[test]
fn a_strict_check_takes_no_file_of_which_something_is_left_out() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("config.yaml");
    let path = file.display().to_string();
    for (params, told) in [
        ("model: openai/gpt-4o, api_key: os.environ/NOT_THERE", "NOT_THERE"),
        (
            "model: vertex_ai/gemini-2.5-pro, vertex_project: p, vertex_credentials: /nowhere/a.json",
            "/nowhere/a.json: cannot",
        ),
        (
            "model: vertex_ai/gemini-2.5-pro, vertex_project: p, vertex_credentials: {type: external_account}",
            "`external_account`",
        ),
    ] {
        let text_of = format!(
            "model_list:\n  - {{model_name: g, litellm_params: {{model: openai/gpt-4o, api_key: sk-x}}}}\n  \
             - {{model_name: g, litellm_params: {{{params}}}}}\n"
        );
        std::fs::write(&file, text_of).expect("written");
        let (lenient, strict) = (run(&["check", &path]), run(&["check", &path, "--strict"]));
        assert!(lenient.status.success() && text(&lenient).contains(told), "{}", text(&lenient));
        assert!(!strict.status.success() && text(&strict).contains(told), "{}", text(&strict));
    }
}

/// The one command of the example on learning, with fewer questions.
#[test]
fn the_example_on_learning_shows_what_is_learned() {
    if Command::new("python3").arg("--version").output().is_err() {
        return;
    }
    let mut command = Command::new("python3");
    let command = command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["examples/learning.py", "--requests", "300"]);
    let output = command.env("WITGATE", env!("CARGO_BIN_EXE_witgate")).output().expect("python runs");
    let told = text(&output);
    assert!(output.status.success() && told.contains("that an even choice over the models costs"), "{told}");
    assert_eq!(told.matches("chosen with probability").count(), 8, "{told}");
    let page = include_str!("../../docs/learning.md");
    assert!(page.contains("python3 examples/learning.py\n"), "the page shows it");
}
