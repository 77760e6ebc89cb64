//! `policies.lock`: which components may be loaded, each under its own name alone.
//!
//! A line is `name role interface sha256 source`, separated by spaces; `#` begins a comment. `witgate policy lock` writes
//! it. A component is allowed only where its name and its digest stand in one line: a digest under another name would
//! let somebody swap two policies that are both allowed.

use std::collections::BTreeMap;
use std::path::Path;

use crate::id::PolicyName;
use crate::policy::{Digest, inspect};

/// The file's name in the folder of policies.
pub(super) const FILE: &str = "policies.lock";

/// What helps a file of which a line is damaged: the command that writes it reads it first.
const REPAIR: &str = "remove that line, or the file, then run `witgate policy lock FOLDER`";

/// Names and SHA-256 digests, in hexadecimal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PoliciesLock(BTreeMap<String, String>);

impl PoliciesLock {
    /// Reads the text of a lock. `shown` is what problems call the file.
    ///
    /// # Errors
    /// The first line that is none of a lock, or a name that stands in two lines.
    pub fn parse(text: &str, shown: &str) -> Result<Self, String> {
        let mut digests = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let [name, _role, _interface, sha256, _source] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                return Err(format!(
                    "{shown}:{number}:1: expected five words: name, role, interface, sha256, source\nhint: {REPAIR}"
                ));
            };
            if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(format!(
                    "{shown}:{number}:1: the fourth word is no SHA-256 digest of 64 hexadecimal digits\nhint: {REPAIR}"
                ));
            }
            if digests.insert(name.to_owned(), sha256.to_ascii_lowercase()).is_some() {
                return Err(format!("{shown}:{number}:1: `{name}` stands here a second time\nhint: keep one line"));
            }
        }
        Ok(Self(digests))
    }

    /// Whether the component `name` may be loaded.
    ///
    /// # Errors
    /// What the lock says instead, for whoever put the file there.
    pub(super) fn allows(&self, name: &str, digest: &str) -> Result<(), String> {
        match self.0.get(name) {
            Some(locked) if locked == digest => Ok(()),
            Some(locked) => Err(format!(
                "its digest is {digest}, and {FILE} allows {locked} under this name\nhint: restore the file; or, once you trust it, `witgate policy lock` with the folder"
            )),
            None => Err(format!(
                "its name is not in {FILE}, which a gateway that serves other machines, and every one with `--locked`, requires (digest {digest})\nhint: once you trust it, `witgate policy lock` with the folder writes its line"
            )),
        }
    }
}

/// What stands in the last word of a line whose component came from nowhere that is known.
const LOCAL: &str = "local";

/// The lock of all components of a folder, and what it changes: a line for each name that is new, that has another digest, or that
/// is no longer there. Where a component came from, and comments, stay as they were.
///
/// # Errors
/// A component that is none, or the folder or its lock cannot be read.
pub fn lock_of(folder: &Path) -> Result<(String, Vec<String>), String> {
    let path = folder.join(FILE);
    let old = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(fault) => return Err(format!("{}: {fault}", path.display())),
    };
    PoliciesLock::parse(&old, &path.display().to_string())?;
    let is_comment = |line: &&str| line.trim().is_empty() || line.starts_with('#');
    let mut lines: BTreeMap<&str, &str> = old
        .lines()
        .filter(|line| !is_comment(line))
        .filter_map(|line| Some((line.split_whitespace().next()?, line)))
        .collect();
    let mut text: String = old.lines().filter(is_comment).flat_map(|line| [line, "\n"]).collect();
    let mut changes = Vec::new();
    for (name, bytes) in super::folder::read(folder, false)? {
        let about = |problem: &dyn std::fmt::Display| format!("{}/{name}.wasm: {problem}", folder.display());
        let bytes = bytes.map_err(|problem| about(&problem))?;
        let inspection = inspect(&bytes, true).map_err(|problem| about(&problem))?;
        let roles: Vec<&str> = inspection.roles.iter().map(|role| role.as_str()).collect();
        let interfaces = inspection.roles.iter().map(|role| role.interface()).collect::<Vec<_>>().join(",");
        let digest = Digest::of(&bytes).to_string();
        let before = lines.remove(name.as_str()).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let source = before.as_ref().map_or(LOCAL, |words| words[4]);
        let (roles, version) = (roles.join(","), &inspection.version);
        let line = format!("{name} {roles} witgate:policy/{interfaces}@{version} {digest} {source}\n");
        text += &line;
        match before.map(|words| words[3].eq_ignore_ascii_case(&digest)) {
            Some(true) => {}
            Some(false) => changes.push(format!("{name}: another component, {digest}")),
            None => changes.push(format!("{name}: new, {digest}")),
        }
    }
    changes.extend(lines.keys().map(|name| format!("{name}: no longer here")));
    Ok((text, changes))
}

/// The components of a folder that its lock, where there is one, keeps out of a gateway that goes by it, each with why.
///
/// # Errors
/// The folder or its lock cannot be read.
pub fn kept_out(folder: &Path) -> Result<BTreeMap<PolicyName, String>, String> {
    if std::fs::symlink_metadata(folder.join(FILE)).is_err_and(|fault| fault.kind() == std::io::ErrorKind::NotFound) {
        return Ok(BTreeMap::new());
    }
    let open = super::folder::read(folder, false)?;
    let locked = super::folder::read(folder, true)?;
    // What cannot be read without the lock either is told anyway.
    let kept_out = locked.into_iter().filter(|(name, _)| open.get(name).is_some_and(Result::is_ok));
    Ok(kept_out.filter_map(|(name, bytes)| Some((name, bytes.err()?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, digit: char) -> String {
        format!("{name} router witgate:policy/routing@0.1.0 {} plugins/x\n", digit.to_string().repeat(64))
    }

    #[test]
    fn name_and_digest_must_stand_in_one_line() {
        let lock = PoliciesLock::parse(&format!("# ours\n\n{}{}", line("a", '1'), line("b", '2')), "l").unwrap();
        let (one, two) = ("1".repeat(64), "2".repeat(64));
        assert_eq!(lock.allows("a", &one), Ok(()));
        assert!(lock.allows("a", &two).unwrap_err().contains("allows 1111"));
        assert!(lock.allows("c", &one).unwrap_err().starts_with("its name is not in policies.lock"));
        assert!(PoliciesLock::default().allows("a", &one).is_err());
    }

    #[test]
    fn what_a_lock_keeps_out_is_told_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        for name in ["new.wasm", "other.wasm", "known.wasm"] {
            write(name, name);
        }
        assert_eq!(kept_out(folder.path()), Ok(BTreeMap::new()), "nobody locked it");
        let known = Digest::of(b"known.wasm").to_string();
        write(FILE, &format!("known router i {known} local\n{}", line("other", '1')));
        let out = kept_out(folder.path()).unwrap();
        assert_eq!(out.keys().map(PolicyName::as_str).collect::<Vec<_>>(), ["new", "other"]);
        assert!(
            out["new"].contains("its name is not in policies.lock") && out["other"].contains("allows 1111"),
            "{out:?}"
        );
        write(FILE, "no lock");
        assert!(kept_out(folder.path()).is_err());
    }

    #[test]
    fn what_is_no_lock_is_told_with_its_line() {
        let told = |text: &str| PoliciesLock::parse(text, "p/policies.lock").unwrap_err();
        assert!(told(&format!("{}a b c\n", line("a", '1'))).starts_with("p/policies.lock:2:1: expected five words"));
        let digest = told("a router i 00 s");
        assert!(digest.starts_with("p/policies.lock:1:1: the fourth word"), "{digest}");
        // The command reads the file before it writes it: alone it would help nobody.
        assert!([told("a b c"), digest].iter().all(|why| why.ends_with(&format!("hint: {REPAIR}"))));
        assert!(told(&format!("{}{}", line("a", '1'), line("a", '2'))).contains(":2:1: `a` stands here a second time"));
    }

    #[test]
    fn the_lock_of_the_policies_built_in_is_one() {
        let text = include_str!("../../policies/policies.lock");
        assert_eq!(PoliciesLock::parse(text, FILE).unwrap().0.len(), crate::builtin_policies::SHIPPED.len());
    }
}
