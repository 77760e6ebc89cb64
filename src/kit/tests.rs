use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::build::rust::check_package;
use super::build::{check, with_language, with_schema};
use super::template::{RUST_BUILDER_SDK, RUST_PARSER_SDK, RUST_PROVIDER_SDK, RUST_SDK, WIT, example, sdk};
use super::watch::listed;
use super::{KitProblem, Language, Manifest, Sources, World, build, new, newer_than_built, place, wrap};
use crate::builtin_policies::SHIPPED;
use crate::policy::{PolicyManifest, anatomy, inspect};
use crate::scenario::{self, Options};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Texts of files by their paths below `folder`. What tools make is no source.
fn files(folder: &Path) -> BTreeMap<String, String> {
    const MADE: [&str; 9] = [
        "target",
        "build",
        "node_modules",
        ".coverage",
        ".venv",
        "__pycache__",
        "Cargo.lock",
        "package-lock.json",
        "policy_test",
    ];
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let endings = ["wasm", "o", "gcda", "gcno", "gcov"];
            let is_made = path.extension().is_some_and(|extension| endings.iter().any(|made| extension == *made));
            if MADE.contains(&name.as_str()) || is_made {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(below, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

fn written(name: &str, world: World, language: Language) -> BTreeMap<String, String> {
    let parent = TempDir::new().unwrap();
    files(&new(parent.path(), name, world, language).unwrap())
}

/// Every world in each of its languages.
fn examples() -> Vec<(World, Language, &'static str)> {
    let all = World::ALL.into_iter().flat_map(|world| Language::ALL.map(|language| (world, language)));
    all.map(|(world, language)| (world, language, example(world, language).0)).collect()
}

#[test]
fn the_examples_are_what_new_writes() {
    for (world, language, name) in examples() {
        let shown = files(&root().join("examples/policies").join(name));
        let mut written = written(name, world, language);
        // What stands elsewhere in this repository.
        written.retain(|path, _| !path.starts_with("wit/") && !path.starts_with("sdk"));
        for (path, text) in sdk(world, language).iter().copied().flatten() {
            assert_eq!(written.remove(*path).as_deref(), Some(*text), "{path} of {name}");
        }
        assert_eq!(written, shown, "{name}");
    }
}

#[test]
fn the_guide_s_table_is_what_new_writes() {
    let page = fs::read_to_string(root().join("wit/README.md")).unwrap();
    let (_, table) = page.split_once("| `--world` | The project | Its idea |\n| --- | --- | --- |\n").unwrap();
    let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), World::ALL.len());
    for (row, world) in rows.into_iter().zip(World::ALL) {
        let (idea, _) = example(world, Language::Rust).0.split_once('-').unwrap();
        let wanted = format!("| `{}` | `examples/policies/{idea}-*` | ", world.as_str());
        assert!(row.starts_with(&wanted), "{row} is not {wanted}");
    }
}

/// One scenario file holds for all languages.
#[test]
fn every_language_is_held_to_the_same_scenarios() {
    for world in World::ALL {
        let of = |language| {
            let (name, files) = example(world, language);
            let (_, text) = files.iter().find(|(path, _)| *path == "scenarios.yaml").unwrap();
            text.replace(name, "NAME")
        };
        for language in Language::ALL {
            assert_eq!(of(language), of(Language::Rust), "{} in {}", world.as_str(), language.as_str());
        }
    }
}

#[test]
fn a_project_holds_the_whole_contract_and_the_whole_sdk() {
    let of_wit = files(&root().join("wit")).into_iter().filter(|(path, _)| path != "README.md");
    let embedded = |list: &[(&str, &str)]| {
        list.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(embedded(WIT), of_wit.collect());
    for (part, list) in [
        ("sdk", RUST_SDK),
        ("sdk-prompt-builder", RUST_BUILDER_SDK),
        ("sdk-response-parser", RUST_PARSER_SDK),
        ("sdk-provider", RUST_PROVIDER_SDK),
    ] {
        assert_eq!(embedded(list), files(&root().join("plugins").join(part)), "{part}");
    }
    for (world, part) in [(World::PromptBuilder, "sdk-prompt-builder"), (World::Provider, "sdk-provider")] {
        let project = written("other", world, Language::Rust);
        assert!(project[&format!("{part}/src/bindings.rs")].contains("path: \"../wit\""));
    }
    let project = written("other", World::Router, Language::Rust);
    assert!(WIT.iter().all(|(path, _)| project.contains_key(&format!("wit/{path}"))));
    let manifest = &project["sdk/Cargo.toml"];
    assert!(!manifest.contains("workspace") && manifest.contains("edition = \"2024\""), "{manifest}");
    assert!(project["sdk/src/bindings.rs"].contains("path: \"../wit\""));
}

#[test]
fn a_project_has_its_own_name_throughout() {
    let parent = TempDir::new().unwrap();
    for (world, language, example) in examples() {
        let name = format!("my-{}-{}", world.as_str(), language.as_str());
        let folder = new(parent.path(), &name, world, language).unwrap();
        let manifest = Manifest::read(&folder).unwrap();
        assert_eq!(manifest, Manifest { name: name.clone(), world, language, needs: PolicyManifest::default() });
        for (path, text) in files(&folder) {
            assert!(!text.contains(example), "{path} of {name} names `{example}`");
        }
        let again = new(parent.path(), &name, world, language).unwrap_err();
        assert!(matches!(again, KitProblem::Exists(_)), "{again}");
    }
}

#[test]
fn names_that_no_package_can_have_are_refused() {
    let parent = TempDir::new().unwrap();
    for name in ["", "A", "9lives", "a--b", "a-", "-a", "a_b", "a/b", "../a", "ä", &"a".repeat(65)] {
        let refused = new(parent.path(), name, World::Router, Language::C).unwrap_err();
        assert_eq!(refused, KitProblem::Name(name.to_owned()));
    }
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_is_no_project_is_said_to_be_none() {
    let folder = TempDir::new().unwrap();
    let told = build(folder.path()).unwrap_err().to_string();
    assert!(told.contains("policy.toml") && told.contains("witgate policy new"), "{told}");
    fs::write(folder.path().join("policy.toml"), "name = \"a\"\nworld = \"router\"\nlanguage = \"cobol\"\n").unwrap();
    let told = build(folder.path()).unwrap_err().to_string();
    assert!(told.contains("cobol") && told.contains("rust"), "{told}");
}

#[test]
fn a_missing_tool_is_named_with_the_line_that_installs_it() {
    let parent = TempDir::new().unwrap();
    let folder = new(parent.path(), "a", World::Router, Language::TypeScript).unwrap();
    let told = build(&folder).unwrap_err().to_string();
    assert!(told.contains("esbuild is not here") && told.contains("install it: npm install --prefix"), "{told}");
}

/// A router's exports as the canonical ABI names them, of a module that asks for WASI as Go's runtime does.
const MODULE: &str = r#"(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "_initialize") (drop (call $random (i32.const 0) (i32.const 8))))
  (func (export "witgate:policy/lifecycle@0.1.0#configure") (param i32 i32 i64 i32 i32 i32 i32 i32) (result i32)
    (i32.const 64))
  (func (export "witgate:policy/lifecycle@0.1.0#save") (result i32) (i32.const 64))
  (func (export "witgate:policy/routing@0.1.0#start") (param i32 i32) (result i32) (i32.const 64))
  (func (export "witgate:policy/routing@0.1.0#route")
    (param i64 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 64))
  (func (export "witgate:policy/routing@0.1.0#observe")
    (param i64 i32 i32 i32 i32 i32 i32 f64 f32 i32 f32 i32 f32)))"#;

#[test]
fn what_a_runtime_asks_of_wasi_is_answered_inside_the_component() {
    let wit = root().join("wit");
    let module = wat::parse_str(MODULE).unwrap();
    let component = wrap::plain(module.clone(), &wit, World::Router, "a test").unwrap();
    let seen = inspect(&component, false).unwrap();
    assert_eq!(seen.imports, [""; 0]);
    let told = wrap::described(&module, "a test").unwrap_err().to_string();
    assert!(told.starts_with("what a test made is no policy"), "{told}");
    let unknown = MODULE.replace("path_open", "path_unknown");
    let told = wrap::plain(wat::parse_str(unknown).unwrap(), &wit, World::Router, "a test").unwrap_err().to_string();
    assert!(told.contains("path_unknown"), "{told}");
}

/// What preview 1 of WASI has besides `proc_exit` and what `MODULE` imports, and the parameters of each: `i` of 32 bits, `I` of 64.
const PREVIEW_1: &str = "\
    args_get ii, args_sizes_get ii, environ_get ii, environ_sizes_get ii, clock_res_get ii, clock_time_get iIi, \
    fd_advise iIIi, fd_allocate iII, fd_close i, fd_datasync i, fd_fdstat_get ii, fd_fdstat_set_flags ii, \
    fd_fdstat_set_rights iII, fd_filestat_get ii, fd_filestat_set_size iI, fd_filestat_set_times iIIi, \
    fd_pread iiiIi, fd_prestat_get ii, fd_prestat_dir_name iii, fd_pwrite iiiIi, fd_read iiii, fd_readdir iiiIi, \
    fd_renumber ii, fd_seek iIii, fd_sync i, fd_tell ii, fd_write iiii, path_create_directory iii, \
    path_filestat_get iiiii, path_filestat_set_times iiiiIIi, path_link iiiiiii, path_readlink iiiiii, \
    path_remove_directory iii, path_rename iiiiii, path_symlink iiiii, path_unlink_file iii, poll_oneoff iiii, \
    proc_raise i, sched_yield , sock_accept iii, sock_recv iiiiii, sock_send iiiii, sock_shutdown ii";

/// A program that links anything of a language's library becomes a component.
#[test]
fn all_that_may_be_asked_of_wasi_is_answered() {
    let import = |function: &str| {
        let (name, letters) = function.split_once(' ').unwrap();
        let params: String = letters.chars().map(|letter| if letter == 'i' { " i32" } else { " i64" }).collect();
        format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func (param{params}) (result i32)))\n")
    };
    let imports = PREVIEW_1.split(", ").map(import).collect::<Vec<_>>().concat();
    let exit = "(import \"wasi_snapshot_preview1\" \"proc_exit\" (func (param i32)))\n";
    let module = MODULE.replacen("(module\n", &format!("(module\n{imports}{exit}"), 1);
    let component = wrap::plain(wat::parse_str(module).unwrap(), &root().join("wit"), World::Router, "a test").unwrap();
    assert_eq!(inspect(&component, false).unwrap().imports, [""; 0]);
}

/// A router that answers that it failed from this millisecond on, as a component.
fn failing_router(from: u64) -> Vec<u8> {
    let text = include_str!("tests/failing_router.wat").replace("$FROM)", &format!("{from})"));
    wrap::plain(wat::parse_str(text).unwrap(), &root().join("wit"), World::Router, "a test").unwrap()
}

/// Who checks or tests sees no log: what the router wrote there stands in what is told.
#[test]
fn a_router_that_says_that_it_failed_is_told_in_its_words() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("failing.wasm");
    let words = "it gave an answer that breaks the contract: it failed; it said: KeyError: 'oops'";
    let at_once = format!("it failed in `route` while it was set up: {words}");
    let tested = |text: &str| {
        let suite = folder.path().join("scenarios.yaml");
        fs::write(&suite, format!("policy: failing.wasm\ndeployments: {{a: , b: }}\n{text}")).unwrap();
        scenario::run(&suite, &Options::default())
    };
    fs::write(&file, failing_router(0)).unwrap();
    let report = scenario::check(&file, &Options::default());
    assert_eq!(report.exit_code(), 1, "{report}");
    assert!(format!("it {}", report.suites[0].general[0].problems[0]) == at_once, "{report}");
    let report = tested("cases:\n  - {name: one, expect: {choose: a}}\n  - {name: two, expect: none}\n");
    assert_eq!((report.exit_code(), report.suites[0].cases.len()), (1, 2), "{report}");
    assert_eq!(report.suites[0].cases[0].problems, [format!("expected `a` first, got no router: {at_once}")]);
    assert_eq!(report.suites[0].cases[1].problems, [format!("expected none of them, got no router: {at_once}")]);
    // Later than all times of the trial before service, so that it is served.
    fs::write(&file, failing_router(1_700_000_000_000)).unwrap();
    let report = scenario::check(&file, &Options::default());
    assert_eq!((report.exit_code(), report.warnings()), (0, 4), "{report}");
    assert_eq!(report.to_string().matches(&format!("with signals []: {words}")).count(), 4, "{report}");
    let cases = "start_ms: 0
cases:
  - {name: early, expect: none}
  - {name: late, advance_ms: 1750000000000, expect: none}
  - {name: after, advance_ms: 100000000000, expect: none}
";
    let report = tested(cases);
    let problems: Vec<_> = report.suites[0].cases.iter().map(|case| case.problems.join("; ")).collect();
    assert_eq!(problems, ["", &format!("expected none of them, got a fault: {words}"), ""]);
}

#[test]
fn a_project_s_schema_ends_up_in_its_component() {
    let folder = TempDir::new().unwrap();
    let component =
        || wrap::plain(wat::parse_str(MODULE).unwrap(), &root().join("wit"), World::Router, "a test").unwrap();
    let plain = with_schema(folder.path(), component()).unwrap();
    assert_eq!(inspect(&plain, false).unwrap().schema, None);
    let example = root().join("examples/policies/thrifty-rust");
    let held = with_schema(&example, component()).unwrap();
    assert_eq!(inspect(&held, false).unwrap().schema.unwrap().keys(), ["penalty: number"]);
    fs::write(folder.path().join("settings.schema.json"), r#"{"oneOf": []}"#).unwrap();
    let told = with_schema(folder.path(), component()).unwrap_err().to_string();
    assert!(told.ends_with("settings.schema.json: `oneOf` at # is not understood here"), "{told}");
}

/// An engine in it is written in another language than the policy.
#[test]
fn a_component_tells_the_language_of_its_policy() {
    let module = MODULE.replacen("(module\n", "(module (@producers (language \"Rust\" \"1.95\"))\n", 1);
    let component = wrap::plain(wat::parse_str(module).unwrap(), &root().join("wit"), World::Router, "a test").unwrap();
    let languages = |language| {
        let component = with_language(component.clone(), language);
        assert!(inspect(&component, false).is_ok());
        let told = anatomy(&component).unwrap().producers.into_iter();
        told.filter(|told| told.starts_with("language ")).collect::<Vec<_>>()
    };
    assert_eq!(languages(Language::TypeScript), ["language TypeScript", "language of a part Rust 1.95"]);
    assert_eq!(languages(Language::Python), ["language Python", "language of a part Rust 1.95"]);
    assert_eq!(languages(Language::Rust), ["language Rust 1.95"]);
}

/// What `policy.toml` says a policy needs is in the component that is made of the project.
#[test]
fn a_project_s_needs_end_up_in_its_component() {
    let parent = TempDir::new().unwrap();
    let folder = new(parent.path(), "a", World::Router, Language::C).unwrap();
    let needs = |more: &str| {
        let text = format!("name = \"a\"\nworld = \"router\"\nlanguage = \"c\"\n{more}");
        fs::write(folder.join("policy.toml"), text).unwrap();
        Manifest::read(&folder).map(|manifest| manifest.needs)
    };
    assert_eq!(needs("").unwrap(), PolicyManifest::default());
    let said = needs("[needs]\nmay_reject = true\n").unwrap();
    let component = wrap::plain(wat::parse_str(MODULE).unwrap(), &root().join("wit"), World::Router, "a test").unwrap();
    assert_eq!(inspect(&said.embed(component), false).unwrap().manifest, said);
    let told = needs("[needs]\nnetwork = true\n").unwrap_err().to_string();
    assert!(told.contains("policy.toml") && told.contains("network") && told.contains("may_reject"), "{told}");
}

#[test]
fn a_mistake_in_a_manifest_is_told_with_its_place_and_what_was_meant() {
    let folder = TempDir::new().unwrap();
    let told = |text: &str| {
        fs::write(folder.path().join("policy.toml"), text).unwrap();
        let told = Manifest::read(folder.path()).unwrap_err().to_string();
        told.strip_prefix(&format!("{}/policy.toml", folder.path().display())).unwrap().to_owned()
    };
    let head = "name = \"a\"\nworld = \"router\"\nlanguage = \"c\"\n";
    let known = "`may_reject`, `hold`, `allow_wasi_stubs`";
    assert_eq!(
        told(&format!("{head}[needs]\nhold = true\nmay_reejct = true\n")),
        format!(":6:1: unknown field `may_reejct`, expected one of {known}; did you mean `may_reject`?")
    );
    assert_eq!(
        told(&format!("{head}[needs]\nnetwork = true\n")),
        format!(":5:1: unknown field `network`, expected one of {known}")
    );
    assert!(told(&format!("{head}[needs]\nhold = \"yes\"\n")).starts_with(":5:8: invalid type: string \"yes\", "));
    assert_eq!(
        told(&format!("{head}needs = true\n")),
        ":4:9: invalid type: boolean `true`, expected a table of `may_reject`, `hold` and `allow_wasi_stubs`"
    );
    let told_of_language = told(&head.replace("\"c\"", "\"pyton\""));
    assert!(
        told_of_language.starts_with(":3:12: unknown variant `pyton`, ")
            && told_of_language.ends_with("; did you mean `python`?"),
        "{told_of_language}"
    );
    assert!(told(&head.replace("\"a\"", "\"my router\"")).starts_with(": `my router` cannot be a policy's name: "));
    // Which roles a component has is known when it is built.
    fs::write(folder.path().join("policy.toml"), format!("{head}[needs]\nhold = true\n")).unwrap();
    let manifest = Manifest::read(folder.path()).unwrap();
    let component = wrap::plain(wat::parse_str(MODULE).unwrap(), &root().join("wit"), World::Router, "a test").unwrap();
    let told = check(&manifest.needs.embed(component), "a test", folder.path(), &manifest).unwrap_err().to_string();
    assert!(told.ends_with("/policy.toml:5:8: `hold` is what a response-parser may need, and it is none"), "{told}");
}

#[test]
fn sources_change_when_one_is_saved_and_not_when_tools_write() {
    let parent = TempDir::new().unwrap();
    let folder = new(parent.path(), "a", World::Router, Language::Python).unwrap();
    let before = Sources::of(&folder).unwrap();
    fs::create_dir(folder.join("build")).unwrap();
    fs::write(folder.join("build/component.wasm"), "x").unwrap();
    fs::write(folder.join("a.wasm"), "x").unwrap();
    fs::write(folder.join("policy.gcno"), "x").unwrap();
    assert_eq!(Sources::of(&folder).unwrap(), before);
    fs::write(folder.join("thrifty.py"), "x = 1\n").unwrap();
    assert_ne!(Sources::of(&folder).unwrap(), before);
}

/// Branches are changed and folders removed while somebody watches.
#[test]
fn a_folder_that_is_gone_since_it_was_found_has_no_sources() {
    let parent = TempDir::new().unwrap();
    let gone = parent.path().join("gone");
    assert!(listed(&gone, parent.path()).unwrap().is_none());
    assert!(listed(parent.path(), parent.path()).unwrap().is_some());
    let told = listed(&gone, &gone).unwrap_err().to_string();
    assert!(told.starts_with(&format!("{}: ", gone.display())), "the project itself: {told}");
}

#[test]
fn a_package_of_another_name_than_the_project_is_told() {
    let parent = TempDir::new().unwrap();
    let folder = new(parent.path(), "my-router", World::Router, Language::Rust).unwrap();
    assert_eq!(check_package(&folder, "my-router"), Ok(()));
    let told = check_package(&folder, "other").unwrap_err().to_string();
    let rest = "Cargo.toml: names the package `my-router`, and policy.toml the policy `other`: give both one name";
    assert!(told.ends_with(rest), "{told}");
    // A library may have a name of its own, and what is wrong otherwise cargo tells.
    let text = "[package]\nname = \"a\"\n[lib]\nname = \"my_router\"\n";
    for good in [text, "[package", ""] {
        fs::write(folder.join("Cargo.toml"), good).unwrap();
        assert_eq!(check_package(&folder, "my-router"), Ok(()), "{good}");
    }
}

#[test]
fn a_component_that_is_older_than_its_sources_is_found() {
    let parent = TempDir::new().unwrap();
    let folder = new(parent.path(), "a", World::Router, Language::Python).unwrap();
    assert_eq!(newer_than_built(&folder), None, "it was not built");
    let at = |name: &str, seconds: u64| {
        let file = fs::File::options().append(true).create(true).open(folder.join(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    let (built, later) = (10_000_000_000, 11_000_000_000);
    at("a.wasm", built);
    assert_eq!(newer_than_built(&folder), None);
    for beside in ["scenarios.yaml", "README.md", "test_thrifty.py", "results.xml"] {
        at(beside, later);
    }
    assert_eq!(newer_than_built(&folder), None, "they are no part of it");
    for source in ["thrifty.py", "settings.schema.json"] {
        at(source, later);
        assert_eq!(newer_than_built(&folder), Some((folder.join(source), folder.join("a.wasm"))));
        at(source, 0);
    }
    assert_eq!(newer_than_built(parent.path()), None, "it is no project");
}

/// Scenarios test the file that they name, which need not be the project's own.
#[test]
fn what_the_scenarios_did_not_test_is_put_nowhere() {
    let shipped = |wanted: &str| SHIPPED.iter().find(|(name, _)| *name == wanted).unwrap().1;
    let (folder, policies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("policy.toml", b"name = \"own\"\nworld = \"router\"\nlanguage = \"rust\"\n");
    write("own.wasm", shipped("simple-shuffle"));
    write("other.wasm", shipped("least-busy"));
    let placed = |policy: &str| {
        let cases = "deployments: {a: {}, b: {}}\ncases:\n  - {name: one, expect: {one_of: [a, b]}}\n";
        write("scenarios.yaml", format!("policy: {policy}\n{cases}").as_bytes());
        let report = scenario::run(folder.path(), &Options::default());
        assert_eq!(report.exit_code(), 0, "{report}");
        place(folder.path(), policies.path(), &report)
    };
    let told = placed("other.wasm").unwrap_err().to_string();
    for wanted in ["own.wasm (", "scenarios.yaml names ", "other.wasm (", "write `policy: own.wasm` there"] {
        assert!(told.contains(wanted), "{wanted} is not in {told}");
    }
    assert!(!policies.path().join("own.wasm").exists());
    assert_eq!(placed("own.wasm"), Ok(policies.path().join("own.wasm")));
}
