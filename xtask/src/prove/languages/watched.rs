//! `witgate policy watch`: from a saved source to a decided request, with no command in between.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use witgate::kit::Language;

use super::{Live, NAME, Tools, seconds};
use crate::bench::watch::now;

const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);

/// Where the default of a setting stands in each language's project, and what stands there instead.
const fn edit(language: Language) -> (&'static str, [&'static str; 2]) {
    match language {
        Language::C => ("policy.c", ["penalty = 10;", "penalty = 11;"]),
        Language::Go => ("thrifty.go", ["1000, 10)", "1000, 11)"]),
        Language::JavaScript => ("thrifty.js", ["1000, 10)", "1000, 11)"]),
        Language::Python => ("thrifty.py", ["1000, 10)", "1000, 11)"]),
        Language::Rust => ("src/lib.rs", ["unwrap_or(10.0)", "unwrap_or(11.0)"]),
        Language::TypeScript => ("thrifty.ts", ["1000, 10)", "1000, 11)"]),
    }
}

/// Edits the project in `folder` under watch; says the seconds from there to a request decided by what came of it.
pub(super) fn prove(tools: &Tools, live: &Live, folder: &Path, language: Language) -> Result<f64, String> {
    let failed = |problem: std::io::Error| problem.to_string();
    let component = folder.join(NAME).join(NAME).with_extension("wasm");
    let log = folder.join("watch.log");
    let told = fs::File::create(&log).map_err(failed)?;
    let mut command = Command::new("witgate");
    tools.equip(&mut command);
    let mut watcher = command
        .current_dir(folder)
        .args(["policy", "watch", NAME, "--to"])
        .arg(live.policies())
        .stdin(Stdio::null())
        .stdout(told.try_clone().map_err(failed)?)
        .stderr(told)
        .spawn()
        .map_err(failed)?;
    let done = edited(live, &component, &folder.join(NAME), language);
    let _ended_already = watcher.kill();
    let _reaped = watcher.wait();
    done.map_err(|problem| format!("{problem}\n{}", fs::read_to_string(&log).unwrap_or_default()))
}

fn edited(live: &Live, component: &Path, project: &Path, language: Language) -> Result<f64, String> {
    let failed = |problem: std::io::Error| problem.to_string();
    let (name, [before, after]) = edit(language);
    let source = &project.join(name);
    let text = fs::read_to_string(source).map_err(failed)?;
    let changed = text.replace(before, after);
    if changed == text {
        return Err(format!("{} is not as this expects", source.display()));
    }
    // It begins by building what is there, which is not the same bytes each time.
    rebuilt(live, component, &fs::read(component).map_err(failed)?)?;
    let before = fs::read(component).map_err(failed)?;
    let start = now();
    fs::write(source, changed).map_err(failed)?;
    rebuilt(live, component, &before)?;
    Ok(seconds(start))
}

/// Waits until there is another component, and it decides.
fn rebuilt(live: &Live, component: &Path, before: &[u8]) -> Result<(), String> {
    let start = now();
    // Renamed into place, so it is there whole or not at all.
    while fs::read(component).map_err(|problem| problem.to_string())? == before {
        if start.elapsed() > PATIENCE {
            return Err(format!("not built after {} s", PATIENCE.as_secs()));
        }
        std::thread::sleep(PAUSE);
    }
    live.decided_by(component)
}
