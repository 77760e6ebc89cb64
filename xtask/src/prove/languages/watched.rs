//! `witgate policy watch`: from a saved source to a decided request, with no command in between.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Live, NAME, Tools, seconds};
use crate::bench::watch::now;

const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);

/// Edits the project in `folder` under watch; says the seconds from there to a request decided by what came of it.
pub(super) fn prove(tools: &Tools, live: &Live, folder: &Path, source: &str) -> Result<f64, String> {
    let failed = |problem: std::io::Error| problem.to_string();
    let component = folder.join(NAME).join(NAME).with_extension("wasm");
    let mut command = Command::new("witgate");
    tools.equip(&mut command);
    let mut watcher = command
        .current_dir(folder)
        .args(["policy", "watch", NAME, "--policies"])
        .arg(live.policies())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let done = edited(live, &component, &folder.join(NAME).join(source));
    let _ended_already = watcher.kill();
    let _reaped = watcher.wait();
    done
}

fn edited(live: &Live, component: &Path, source: &Path) -> Result<f64, String> {
    let failed = |problem: std::io::Error| problem.to_string();
    let text = fs::read_to_string(source).map_err(failed)?;
    let changed = text.replace("1000, 10)", "1000, 11)");
    if changed == text {
        return Err(format!("{} is not as this expects", source.display()));
    }
    let before = fs::read(component).map_err(failed)?;
    let start = now();
    fs::write(source, changed).map_err(failed)?;
    // Renamed into place, so it is there whole or not at all.
    while fs::read(component).map_err(failed)? == before {
        if start.elapsed() > PATIENCE {
            return Err(format!("not built after {} s", PATIENCE.as_secs()));
        }
        std::thread::sleep(PAUSE);
    }
    live.decided_by(component)?;
    Ok(seconds(start))
}
