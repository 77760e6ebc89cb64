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

use crate::id::PolicyName;
use crate::policy::Digest;

/// The largest component taken, bytes.
const LARGEST: u64 = 64 << 20;

/// What a folder holds: each policy's bytes, or why it may not be read.
pub(super) type Contents = BTreeMap<PolicyName, Result<Vec<u8>, String>>;

/// Reads every `*.wasm` of `folder`, once. A folder that is not there is empty.
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
    let lock = if locked { Some(fs::read_to_string(folder.join("policies.lock")).unwrap_or_default()) } else { None };
    let mut contents = Contents::new();
    let entries = fs::read_dir(folder).map_err(|fault| format!("{shown}: cannot be listed: {fault}"))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "wasm") {
            continue;
        }
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        contents.insert(PolicyName::from(stem), read_one(&path, lock.as_deref()));
    }
    Ok(contents)
}

/// Opens without following a link and reads what was opened: nothing can be put in its place in between.
fn read_one(path: &Path, lock: Option<&str>) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let failed = |fault: std::io::Error| format!("{shown}: cannot be read: {fault}");
    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut file = match fs::OpenOptions::new().read(true).custom_flags(no_link).open(path) {
        Ok(file) => file,
        Err(fault) if fault.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Err(format!("{shown}: is a link\nhint: links are not followed; copy the component here"));
        }
        Err(fault) => return Err(failed(fault)),
    };
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(format!("{shown}: is not a plain file\nhint: copy the component here"));
    }
    if about.mode() & 0o002 != 0 {
        return Err(format!("{shown}: may be written by everybody\nhint: chmod o-w {shown}"));
    }
    if about.len() > LARGEST {
        return Err(format!("{shown}: has {} bytes, {LARGEST} are allowed\nhint: strip the component", about.len()));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    if let Some(lock) = lock {
        let digest = Digest::of(&bytes).to_string();
        if !lock.contains(&digest) {
            return Err(format!(
                "{shown}: its digest {digest} is not in policies.lock, which a gateway that serves other machines requires\nhint: add it to policies.lock beside the file"
            ));
        }
    }
    Ok(bytes)
}
