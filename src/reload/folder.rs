//! The folder of policies: what may be read from it, and what is in it.
//!
//! A policy decides where requests and their keys' money go, so the folder must not be writable by everybody
//! and no link is followed: what was checked is what is run.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::lock::{self, PoliciesLock};
use crate::id::PolicyName;
use crate::policy::Digest;

/// The largest component taken, bytes.
const LARGEST: u64 = 64 << 20;

/// The most that all components of a folder may have together, bytes.
const LARGEST_TOTAL: u64 = 512 << 20;

/// What a folder holds: each policy's bytes, or why it may not be read.
pub(super) type Contents = BTreeMap<PolicyName, Result<Vec<u8>, String>>;

/// Reads every `*.wasm` of `folder`, once. A folder that is not there is empty. A file whose name is no policy's, as one that is
/// hidden or ends in `.WASM`, is not read, and told.
///
/// # Errors
/// Where the folder itself may not be trusted or cannot be read.
pub(super) fn read(folder: &Path, locked: bool) -> Result<Contents, String> {
    let shown = folder.display();
    let about = match fs::symlink_metadata(folder) {
        Ok(about) => about,
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(Contents::new()),
        Err(fault) => return Err(format!("{shown}: cannot be read: {fault}")),
    };
    if !about.is_dir() {
        return Err(format!("{shown}: is not a folder\nhint: links are not followed; name the folder itself"));
    }
    if about.mode() & 0o002 != 0 {
        return Err(format!("{shown}: may be written by everybody\nhint: chmod o-w {shown}"));
    }
    let lock = if locked { read_lock(&folder.join(lock::FILE))? } else { None };
    let mut contents = Contents::new();
    let mut total = 0;
    let entries = fs::read_dir(folder).map_err(|fault| format!("{shown}: cannot be listed: {fault}"))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let Some(extension) = path.extension().filter(|extension| extension.eq_ignore_ascii_case("wasm")) else {
            continue;
        };
        if extension != "wasm" {
            let told = format!(
                "{}: is passed over, for its name does not end in `.wasm`\nhint: rename it, with `.wasm` in small letters",
                path.display()
            );
            // By its whole name: another file may have its stem.
            contents.insert(PolicyName::from(&*entry.file_name().to_string_lossy()), Err(told));
            continue;
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = PolicyName::from(&*stem);
        if !PolicyName::is_fit(&stem) {
            let told = format!(
                "{}: is passed over, for `{stem}` cannot be a policy's name\nhint: rename it: {}",
                path.display(),
                PolicyName::RULE
            );
            contents.insert(name, Err(told));
            continue;
        }
        let within = |bytes: Vec<u8>| {
            total += bytes.len() as u64;
            if total > LARGEST_TOTAL {
                return Err(format!(
                    "{}: the components of {shown} have more than {} MiB together\nhint: remove those nobody uses",
                    path.display(),
                    LARGEST_TOTAL >> 20
                ));
            }
            Ok(bytes)
        };
        let bytes = read_plain(&path).and_then(within).and_then(|bytes| match &lock {
            Some(lock) => match lock.allows(&stem, &Digest::of(&bytes).to_string()) {
                Ok(()) => Ok(bytes),
                Err(why) => Err(format!("{}: {why}", path.display())),
            },
            None if locked => Err(lock::missing(folder)),
            None => Ok(bytes),
        });
        contents.insert(name, bytes);
    }
    Ok(contents)
}

/// `None` where there is no lock.
fn read_lock(path: &Path) -> Result<Option<PoliciesLock>, String> {
    if fs::symlink_metadata(path).is_err_and(|fault| fault.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let shown = path.display().to_string();
    let text = String::from_utf8(read_plain(path)?).map_err(|_| format!("{shown}: is not text"))?;
    PoliciesLock::parse(&text, &shown).map(Some)
}

/// Opens without following a link and reads what was opened: nothing can be put in its place in between.
fn read_plain(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let failed = |fault: std::io::Error| format!("{shown}: cannot be read: {fault}");
    // Without blocking: what is opened may turn out to be a pipe nobody writes to.
    let no_link = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let mut file = match fs::OpenOptions::new().read(true).custom_flags(no_link).open(path) {
        Ok(file) => file,
        Err(fault) if fault.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Err(format!("{shown}: is a link\nhint: links are not followed; copy the file here"));
        }
        Err(fault) => return Err(failed(fault)),
    };
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(format!("{shown}: is not a plain file\nhint: copy the file here"));
    }
    if about.mode() & 0o002 != 0 {
        return Err(format!("{shown}: may be written by everybody\nhint: chmod o-w {shown}"));
    }
    if about.uid() != 0 && about.uid() != rustix::process::geteuid().as_raw() {
        return Err(format!(
            "{shown}: belongs to somebody else (user {})\nhint: copy it, so that it is yours",
            about.uid()
        ));
    }
    if about.len() > LARGEST {
        return Err(format!("{shown}: has {} bytes, {LARGEST} are allowed\nhint: strip it", about.len()));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// A configuration's text. A link is followed, a pipe is not waited for.
pub(super) fn read_text(path: &Path) -> std::io::Result<String> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a plain file"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn line(name: &str, text: &str) -> String {
        format!("{name} router witgate:policy/routing@0.1.0 {} here\n", Digest::of(text.as_bytes()))
    }

    #[test]
    fn a_locked_component_passes_under_its_own_name_alone() {
        let lock = line("one", "1") + &line("two", "2");
        let folder = folder(&[("one.wasm", "1"), ("two.wasm", "1"), ("three.wasm", "2"), ("policies.lock", &lock)]);
        let contents = read(folder.path(), true).unwrap();
        assert_eq!(contents["one"], Ok(b"1".to_vec()));
        assert!(contents["two"].as_ref().unwrap_err().contains("two.wasm: its digest"));
        assert!(contents["three"].as_ref().unwrap_err().contains("three.wasm: its name is not in policies.lock"));
        assert!(read(folder.path(), false).unwrap().values().all(Result::is_ok));
    }

    #[test]
    fn a_file_whose_name_is_no_policy_s_is_told_and_passed_over() {
        let folder = folder(&[("one.wasm", "1"), ("my router.wasm", "1"), ("Two.wasm", "1"), (".one.wasm", "1")]);
        let contents = read(folder.path(), false).unwrap();
        assert_eq!((contents.len(), &contents["one"]), (4, &Ok(b"1".to_vec())));
        for name in ["my router", "Two", ".one"] {
            let told = contents[name].as_ref().unwrap_err();
            assert!(told.contains(&format!("`{name}` cannot be a policy's name\nhint: rename it: small")), "{told}");
        }
    }

    #[test]
    fn an_extension_in_other_letters_is_told_beside_the_file_it_would_be() {
        let folder = folder(&[("one.wasm", "1"), ("one.WASM", "2"), ("two.Wasm", "1"), ("three.wat", "1")]);
        let contents = read(folder.path(), false).unwrap();
        assert_eq!((contents.len(), &contents["one"]), (3, &Ok(b"1".to_vec())));
        for name in ["one.WASM", "two.Wasm"] {
            let told = contents[name].as_ref().unwrap_err();
            assert!(told.contains(&format!("/{name}: is passed over")) && told.contains("\nhint: rename it"), "{told}");
        }
    }

    #[test]
    fn without_a_lock_nothing_is_allowed_and_every_file_is_told_the_same() {
        let folder = folder(&[("one.wasm", "1"), ("two.wasm", "2")]);
        let contents = read(folder.path(), true).unwrap();
        let told = contents["one"].as_ref().unwrap_err();
        assert_eq!(contents["two"].as_ref().unwrap_err(), told);
        let shown = folder.path().display();
        assert!(told.starts_with(&format!("{shown}/policies.lock: there is no such file")), "{told}");
        assert!(told.contains(&format!("`witgate policy lock {shown}`")), "{told}");
    }

    #[test]
    fn a_lock_that_is_a_pipe_or_a_link_is_told_and_not_waited_for() {
        let folder = folder(&[("elsewhere", "")]);
        let lock = folder.path().join("policies.lock");
        mknodat(CWD, &lock, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        assert!(read(folder.path(), true).unwrap_err().contains("policies.lock: is not a plain file"));
        fs::remove_file(&lock).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &lock).unwrap();
        assert!(read(folder.path(), true).unwrap_err().contains("policies.lock: is a link"));
    }
}
