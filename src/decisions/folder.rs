//! The folder of runs: ours alone, bounded, the oldest first.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How the name of a run file ends.
pub(super) const ENDING: &str = "jsonl";

/// Where decisions are kept where nothing says otherwise: the folder for what programs remember.
#[must_use]
pub fn default_folder(environment: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let state = environment("XDG_STATE_HOME").map(PathBuf::from);
    let base = state.or_else(|| environment("HOME").map(|home| PathBuf::from(home).join(".local/state")))?;
    base.is_absolute().then(|| base.join("witgate/decisions"))
}

/// The run files of a folder, the oldest first; a file is itself.
///
/// # Errors
/// It cannot be read.
pub fn run_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == ENDING) {
            files.push(file);
        }
    }
    // Names begin with the moment.
    files.sort();
    Ok(files)
}

/// Makes the folder where there is none, and sees that nobody else may look into it.
pub(super) fn open(folder: &Path) -> Result<(), String> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| error.to_string())?;
    let found = fs::symlink_metadata(folder).map_err(|error| error.to_string())?;
    if !found.is_dir() {
        return Err("it is a link or a file".to_owned());
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user".to_owned());
    }
    if found.mode() & 0o077 != 0 {
        return Err(format!("its mode is {:o}, so others may enter it", found.mode() & 0o777));
    }
    Ok(())
}

/// Removes the oldest runs but those `open` until the others have at most `bytes`.
pub(super) fn prune(folder: &Path, bytes: u64, open: &[&Path]) -> io::Result<()> {
    let files = run_files(folder)?;
    let sized = files.into_iter().map(|file| fs::metadata(&file).map(|about| (file, about.len())));
    let sized: Vec<(PathBuf, u64)> = sized.filter_map(Result::ok).collect();
    let mut total: u64 = sized.iter().map(|(_, size)| size).sum();
    for (file, size) in sized {
        if total <= bytes {
            break;
        }
        if !open.contains(&file.as_path()) {
            fs::remove_file(&file)?;
            total -= size;
        }
    }
    Ok(())
}
