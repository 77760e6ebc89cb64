use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::policy::host::compile::child_main;
use crate::signal::{Attribute, Grant, Signal};

fn load(bytes: &[u8]) -> PolicyProblem {
    ENGINE.load(&PolicyName::from("guest"), bytes).unwrap_err()
}

fn load_text(text: &str) -> PolicyProblem {
    load(&wat::parse_str(text).unwrap())
}

fn refused(settings: &str) -> String {
    Router::start(Arc::clone(&COMPONENT), setup(settings, &["a", "b"]), None).unwrap_err().to_string()
}

/// A component with the named exports and imports and nothing behind them.
fn shell(imports: &[&str], export: &str) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut text = String::from("(component ");
    for import in imports {
        write!(text, "(import \"{import}\" (instance)) ").unwrap();
    }
    write!(text, "(component $c) (instance $i (instantiate $c)) (export \"{export}\" (instance $i)))").unwrap();
    wat::parse_str(text).unwrap()
}

#[test]
fn garbage_is_refused() {
    for bytes in [&b""[..], b"garbage", b"\0asm", &HOSTILE[..HOSTILE.len() / 2]] {
        assert!(matches!(load(bytes), PolicyProblem::NotWasm(_)), "{:?}", load(bytes));
    }
}

#[test]
fn a_damaged_component_never_panics() {
    let mut seed = 1;
    for _ in 0..300 {
        let mut bytes = HOSTILE.to_vec();
        for _ in 0..4 {
            seed = crate::seed::mix(seed);
            let at = usize::try_from(seed).unwrap() % bytes.len();
            bytes[at] ^= u8::try_from(seed >> 56).unwrap() | 1;
        }
        // Most still look right from outside; whether they compile is the compiler's business.
        drop(inspect(&bytes, false));
    }
}

#[test]
fn a_core_module_is_refused_with_the_way_out() {
    let problem = load_text("(module (func (export \"route\")))");
    assert_eq!(problem, PolicyProblem::CoreModule);
    assert!(problem.to_string().contains("`witgate policy build FOLDER`"));
}

#[test]
fn a_component_of_another_trade_is_refused() {
    assert!(
        matches!(load(&shell(&[], "acme:shop/till@1.0.0")), PolicyProblem::NoRole { found } if found.contains("till"))
    );
    assert!(matches!(load_text("(component)"), PolicyProblem::NoRole { found } if found == "nothing"));
}

#[test]
fn another_version_is_refused_naming_the_one_served() {
    for found in ["witgate:policy/routing@0.2.0", "witgate:policy/routing@0.1.1", "witgate:policy/routing"] {
        let problem = load(&shell(&[], found));
        assert_eq!(problem, PolicyProblem::Version { found: found.to_owned(), served: "0.1.0" });
        assert!(problem.to_string().contains("0.1.0"));
    }
}

#[test]
fn an_import_no_policy_is_given_is_refused() {
    let routing = "witgate:policy/routing@0.1.0";
    let found = load(&shell(&["acme:disk/files@1.0.0"], routing));
    assert_eq!(found, PolicyProblem::Import("acme:disk/files@1.0.0".to_owned()));
    let found = load(&shell(&["wasi:cli/stdout@0.2.0", "wasi:clocks/wall-clock@0.2.0"], routing)).to_string();
    assert!(found.contains("wasi:cli/stdout@0.2.0, wasi:clocks/wall-clock@0.2.0"), "{found}");
    assert!(found.contains("witgate.policies.allow_wasi_stubs: [guest]"), "the key that lets it in: {found}");
}

#[test]
fn wasi_is_let_through_where_allowed_and_nothing_else_is() {
    let routing = "witgate:policy/routing@0.1.0";
    assert!(inspect(&shell(&["wasi:cli/stdout@0.2.0"], routing), true).is_ok());
    assert!(inspect(&shell(&["wasi:cli/stdout@0.2.0", "acme:a/b"], routing), true).is_err());
}

#[test]
fn wasi_that_is_let_through_is_linked_to_traps() {
    let bytes = wat::parse_str(
        "(component (import \"wasi:cli/stdout@0.2.0\" (instance (export \"get\" (func)))) \
         (component $c) (instance $i (instantiate $c)) (export \"witgate:policy/routing@0.1.0\" (instance $i)))",
    )
    .unwrap();
    assert!(matches!(load(&bytes), PolicyProblem::Wasi { .. }));
    let problem = ENGINE.load_granted(&PolicyName::from("guest"), &bytes, true).unwrap_err();
    // The import is satisfied, so what is missing is the interface's own functions.
    assert!(matches!(&problem, PolicyProblem::Interface(words) if !words.contains("wasi")), "{problem}");
}

#[test]
fn an_interface_with_the_right_name_and_nothing_in_it_is_refused() {
    assert!(matches!(load(&shell(&[], "witgate:policy/routing@0.1.0")), PolicyProblem::Interface(_)));
}

#[test]
fn a_component_that_is_too_large_is_refused() {
    let engine = Engine::new(EngineOptions { max_component_bytes: 1000, ..EngineOptions::default() }).unwrap();
    let problem = engine.load(&PolicyName::from("guest"), HOSTILE).unwrap_err();
    assert_eq!(problem, PolicyProblem::TooLarge { bytes: HOSTILE.len(), limit: 1000 });
}

#[test]
fn what_a_component_says_of_itself_is_read_without_compiling() {
    let found = inspect(HOSTILE, false).unwrap();
    assert_eq!((&found.roles[..], found.version.as_str()), (&[Role::Router][..], "0.1.0"));
    assert_eq!(found.imports, ["witgate:policy/log@0.1.0"]);
    assert_eq!(COMPONENT.digest().short().len(), 12);
    assert!(COMPONENT.digest().to_string().starts_with(&COMPONENT.digest().short()));
}

#[test]
fn a_configuration_the_policy_refuses_is_refused_in_its_words() {
    assert_eq!(refused("configure-refuse"), "refused its configuration: these settings will not do");
}

#[test]
fn an_endless_configure_ends() {
    assert!(refused("configure-loop").contains("failed in `configure`"));
}

#[test]
fn an_endless_start_ends() {
    assert!(refused("start-loop").contains("failed in `start`"));
}

#[test]
fn a_policy_that_traps_on_any_request_never_serves_one() {
    assert!(refused("self-test-trap").contains("failed in `route`"));
}

#[test]
fn a_policy_that_fails_on_strange_numbers_never_serves_and_is_told_in_its_own_words() {
    let words = refused("trial-outcome-trap");
    assert!(words.starts_with("fails on outcomes that make no sense: it trapped: "), "{words}");
    assert!(words.ends_with("; it said: a latency that is no number"), "{words}");
    let words = refused("trial-priority-duplicate");
    assert!(words.starts_with("fails on the largest and smallest numbers"), "{words}");
    assert!(words.ends_with("place 1 names deployment 0 again"), "{words}");
}

#[test]
fn a_policy_that_cannot_say_what_it_knows_never_serves() {
    let words = refused("trial-save-trap");
    assert!(words.starts_with("fails on `save`: it trapped: "), "{words}");
}

/// A swap must stay quick: what is tried costs little beside making an instance.
#[test]
fn the_trial_takes_a_fraction_of_a_call_s_budget() {
    let before = crate::policy::host::ticker::thread_cpu();
    for _ in 0..10 {
        start("");
    }
    let each = crate::policy::host::ticker::thread_cpu().saturating_sub(before) / 10;
    assert!(each < Duration::from_millis(10), "{each:?}");
}

#[test]
fn an_unknown_need_is_refused_listing_the_known_ones() {
    let words = refused("unknown-signal");
    assert!(words.contains("phase-of-the-moon"));
    assert!(Signal::ALL.iter().all(|signal| words.contains(signal.as_str())), "{words}");
    assert!(refused("unknown-feature").contains("code-share"));
    assert!(refused("too-many-needs").contains("100 signals"));
}

#[test]
fn an_attribute_is_refused_where_there_is_none_and_where_nobody_granted_it() {
    let start = |name: &str, may_read: &[&str]| {
        let grants = may_read.iter().map(|written| Grant::parse(written).unwrap()).collect();
        let setup = Setup { may_read: Grants::These(grants), ..setup(&format!("attribute {name}"), &["a", "b"]) };
        Router::start(Arc::clone(&COMPONENT), setup, None).map_err(|problem| problem.to_string())
    };
    let unknown = start("face", &[]).unwrap_err();
    assert!(unknown.contains("the attribute `face`") && unknown.contains("caller, team, group, api"), "{unknown}");
    assert!(start("api", &[]).is_ok(), "what the gateway itself names takes no grant");
    let ungranted = start("header:x-tier", &["header:x-other"]).unwrap_err();
    assert!(ungranted.contains("witgate.routers.GROUP.may_read: [\"header:x-tier\"]"), "{ungranted}");
    let router = start("header:X-Tier", &["header:x-tier"]).unwrap();
    assert_eq!(router.needs().attributes, [Attribute::parse("header:x-tier").unwrap()]);
    assert!(start("header:authorization", &["prompt"]).unwrap_err().contains("may hold a credential"));
}

#[test]
fn a_state_that_is_not_taken_leaves_an_empty_router() {
    let state = SavedState { schema: "count".to_owned(), bytes: vec![1; 16] };
    for settings in ["state-refuse", "state-trap"] {
        let router = Router::start(Arc::clone(&COMPONENT), setup(settings, &["a"]), Some(state.clone())).unwrap();
        assert!(router.report().state_refused, "{settings}");
        assert_eq!(counted(&router), (0, 0), "{settings}");
    }
    let router = Router::start(Arc::clone(&COMPONENT), setup("", &["a"]), Some(state)).unwrap();
    assert!(!router.report().state_refused);
    assert_eq!(counted(&router).0, u64::from_le_bytes([1; 8]));
}

fn private_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

fn engine_with(cache: &Path, compiler: Compiler, compile_timeout: Duration) -> Engine {
    let cache_dir = Some(cache.to_owned());
    let compile_timeout_a_mib = Duration::ZERO;
    let options =
        EngineOptions { cache_dir, compiler, compile_timeout, compile_timeout_a_mib, ..EngineOptions::default() };
    Engine::new(options).unwrap()
}

fn cached(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn an_artefact_is_kept_and_a_damaged_one_is_compiled_again() {
    let folder = private_folder();
    let load = |fuel| {
        let cache_dir = Some(folder.path().to_owned());
        let engine = Engine::new(EngineOptions { cache_dir, fuel, ..EngineOptions::default() }).unwrap();
        let component = engine.load(&PolicyName::from("hostile"), HOSTILE).unwrap();
        let router = Router::start(Arc::clone(&component), setup("", &["a", "b"]), None).unwrap();
        assert_eq!(ask(&router, 0, Moment::default()), Ok(vec![0, 1]));
        component.from_cache()
    };
    assert!(!load(None));
    assert!(load(None));
    let file = cached(folder.path()).pop().unwrap();
    let whole = fs::read(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for at in [0, 40, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&file, damaged).unwrap();
        assert!(!load(None), "one bit at {at} is enough");
        assert!(load(None));
    }
    for cut in [0, 10, 32, whole.len() - 1] {
        fs::write(&file, &whole[..cut]).unwrap();
        assert!(!load(None));
    }
    assert!(!load(Some(1_000_000)), "other settings, other machine code");
    let other = cached(folder.path()).into_iter().find(|path| *path != file).unwrap();
    fs::copy(&other, &file).unwrap();
    assert!(!load(None), "a whole artefact under another one's name is not that one");
}

#[test]
fn old_artefacts_go() {
    let folder = private_folder();
    for n in 0..80 {
        fs::write(folder.path().join(format!("{n}.cwasm")), b"old").unwrap();
    }
    fs::write(folder.path().join("notes.txt"), b"not ours").unwrap();
    let engine = engine_with(folder.path(), Compiler::InProcess, Duration::from_secs(30));
    engine.load(&PolicyName::from("hostile"), HOSTILE).unwrap();
    assert_eq!(cached(folder.path()).len(), 64 + 1);
    assert!(engine.load(&PolicyName::from("hostile"), HOSTILE).unwrap().from_cache());
}

#[test]
fn a_cache_folder_others_may_enter_is_refused() {
    let folder = private_folder();
    let open = |path: &Path| {
        Engine::new(EngineOptions { cache_dir: Some(path.to_owned()), ..EngineOptions::default() }).map(drop)
    };
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(open(folder.path()).unwrap_err().to_string().contains("chmod 700"));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    assert!(open(&link).unwrap_err().to_string().contains("a link"));
    let made = folder.path().join("a/b");
    open(&made).unwrap();
    assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
}

/// Functions of hundreds of loops each: small to send, seconds to compile.
static LONG_TO_COMPILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    use std::fmt::Write as _;
    let mut body = String::new();
    for n in 0..400 {
        write!(
            body,
            "(loop $l{n} (local.set 0 (i64.mul (i64.add (local.get 0) (i64.const {n})) (local.get 1))) \
             (br_if $l{n} (i64.eqz (local.get 0))))"
        )
        .unwrap();
    }
    let mut module = String::from("(core module ");
    for _ in 0..300 {
        write!(module, "(func (param i64 i64) {body})").unwrap();
    }
    module.push(')');
    let text = format!(
        "(component {module} (component $c) (instance $i (instantiate $c)) \
         (export \"witgate:policy/routing@0.1.0\" (instance $i)))"
    );
    wat::parse_str(text).unwrap()
});

#[test]
fn a_compilation_without_end_is_given_up() {
    let limit = Duration::from_millis(200);
    let options = |compile_timeout, compile_timeout_a_mib| EngineOptions {
        compile_timeout,
        compile_timeout_a_mib,
        ..EngineOptions::default()
    };
    let engine = Engine::new(options(limit, Duration::ZERO)).unwrap();
    let problem = engine.load(&PolicyName::from("long"), &LONG_TO_COMPILE).unwrap_err();
    assert_eq!(problem, PolicyProblem::CompileTimeout(limit));
    // The same limit, given by its size.
    let engine = Engine::new(options(Duration::ZERO, limit)).unwrap();
    let problem = engine.load(&PolicyName::from("long"), &LONG_TO_COMPILE).unwrap_err();
    let mebibytes = u32::try_from(LONG_TO_COMPILE.len() >> 20).unwrap();
    assert_eq!(problem, PolicyProblem::CompileTimeout(limit * mebibytes));
}

/// A program that does what `witgate compile-policy` does: this test binary, told to run [`compile_child`].
fn child_program(folder: &Path) -> PathBuf {
    let program = folder.join("compiler.sh");
    let this = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\nshift\nWITGATE_CHILD=\"$*\" exec '{}' --ignored --exact \
         policy::tests::loading::compile_child 3>&1 1>/dev/null\n",
        this.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    program
}

#[test]
#[ignore = "the child process of the tests below, not a test"]
fn compile_child() {
    let args = std::env::var("WITGATE_CHILD").unwrap();
    assert_eq!(std::env::var_os("HOME"), None, "the child is given no environment");
    let mut output = fs::OpenOptions::new().write(true).open("/dev/fd/3").unwrap();
    let complaint = child_main(args.split(' ').map(Into::into), std::io::stdin().by_ref(), &mut output).err();
    if let Some(complaint) = complaint {
        use std::io::Write as _;
        writeln!(std::io::stderr(), "{complaint}").unwrap();
        std::process::exit(1);
    }
}

#[test]
fn a_child_compiles_what_this_process_runs() {
    let folder = private_folder();
    let compiler = Compiler::Child(child_program(folder.path()));
    let cache_dir = Some(folder.path().join("cache"));
    for fuel in [None, Some(1_000_000)] {
        let (compiler, cache_dir) = (compiler.clone(), cache_dir.clone());
        let engine = Engine::new(EngineOptions { cache_dir, compiler, fuel, ..EngineOptions::default() }).unwrap();
        let component = engine.load(&PolicyName::from("hostile"), HOSTILE).unwrap();
        let router = Router::start(component, setup("", &["a", "b"]), None).unwrap();
        assert_eq!(ask(&router, 0, Moment::default()), Ok(vec![0, 1]));
        assert!(engine.load(&PolicyName::from("hostile"), HOSTILE).unwrap().from_cache());
    }
}

#[test]
fn a_child_that_compiles_too_long_is_killed() {
    let folder = private_folder();
    let limit = Duration::from_millis(300);
    let engine = engine_with(&folder.path().join("cache"), Compiler::Child(child_program(folder.path())), limit);
    let problem = engine.load(&PolicyName::from("long"), &LONG_TO_COMPILE).unwrap_err();
    assert_eq!(problem, PolicyProblem::CompileTimeout(limit));
    assert!(cached(&folder.path().join("cache")).is_empty());
}

#[test]
fn a_child_says_why_it_cannot_compile() {
    let folder = private_folder();
    let compiler = Compiler::Child(child_program(folder.path()));
    let engine = engine_with(&folder.path().join("cache"), compiler, Duration::from_mins(1));
    let bad = wat::parse_str(
        "(component (core module (func (result i32) (i64.const 1))) (component $c) (instance $i (instantiate $c)) \
         (export \"witgate:policy/routing@0.1.0\" (instance $i)))",
    )
    .unwrap();
    let problem = engine.load(&PolicyName::from("bad"), &bad).unwrap_err();
    assert!(matches!(&problem, PolicyProblem::Compile(words) if words.contains("type mismatch")), "{problem}");
}

#[test]
fn a_program_that_is_no_compiler_is_a_problem_not_a_hang() {
    let folder = private_folder();
    for program in ["/bin/true", "/bin/false", "/nowhere"] {
        let compiler = Compiler::Child(program.into());
        let engine = engine_with(&folder.path().join("cache"), compiler, Duration::from_mins(1));
        let problem = engine.load(&PolicyName::from("hostile"), HOSTILE).unwrap_err();
        assert!(matches!(problem, PolicyProblem::Compile(_)), "{program}: {problem}");
    }
}
