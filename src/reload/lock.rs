//! `policies.lock`: which components may be loaded, each under its own name alone.
//!
//! A line is `name role interface sha256 source`, separated by spaces; `#` begins a comment. `witgate policy lock` writes
//! it. A component is allowed only where its name and its digest stand in one line: a digest under another name would
//! let somebody swap two policies that are both allowed.

use std::collections::BTreeMap;
use std::path::Path;

use crate::id::PolicyName;
use crate::policy::{Digest, PolicyProblem, inspect};

/// The file's name in the folder of policies.
pub(super) const FILE: &str = "policies.lock";

/// What helps a file of which a line is damaged.
const REPAIR: &str = "`witgate policy lock FOLDER` writes it anew, without that line";

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
            if is_comment(line) {
                continue;
            }
            let words = five_words(line).map_err(|why| format!("{shown}:{number}:1: {why}\nhint: {REPAIR}"))?;
            let [name, _role, _interface, sha256, _source] = words;
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

/// What is told of every component of a folder that has no lock where one is required. The same words for all of them, so that
/// they are told once.
pub(super) fn missing(folder: &Path) -> String {
    format!(
        "{}: there is no such file, and a gateway that serves other machines, and every one with `--locked`, loads no component that is not in it\nhint: once you trust what the folder holds, `witgate policy lock {}` writes it",
        folder.join(FILE).display(),
        folder.display()
    )
}

/// Whether a line says nothing of any component.
fn is_comment(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

/// The words of a line; otherwise why it is none of a lock.
fn five_words(line: &str) -> Result<[&str; 5], &'static str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let words: [&str; 5] =
        words.try_into().map_err(|_| "expected five words: name, role, interface, sha256, source")?;
    let sha256 = words[3];
    if sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(words)
    } else {
        Err("the fourth word is no SHA-256 digest of 64 hexadecimal digits")
    }
}

/// What stands in the last word of a line whose component came from nowhere that is known.
const LOCAL: &str = "local";

/// A lock as it is to be written.
#[derive(Debug)]
pub struct NewLock {
    /// The whole file.
    pub text: String,
    /// What it changes: a line for each name that is new, that has another digest, or that is no longer there, and for each line of
    /// the old file that was none of a lock.
    pub changes: Vec<String>,
    /// The files that no gateway serves, whoever runs it, because of their names or because they are no plain files: each with what to do
    /// about it.
    pub passed_over: Vec<String>,
}

/// The lines of an old lock, by name.
type Lines<'t> = BTreeMap<&'t str, [&'t str; 5]>;

/// The lock of all components of a folder. Where a component came from, and comments, stay as they were; lines that are none of a
/// lock do not, whatever damaged them. A link or a folder that ends in `.wasm` is passed over, for no gateway loads one. What another
/// user's gateway may load is not: without all of it there is no lock.
///
/// # Errors
/// Every component that is none or cannot be read, or the folder or its lock cannot be.
pub fn lock_of(folder: &Path) -> Result<NewLock, String> {
    let path = folder.join(FILE);
    let shown = path.display();
    let old = match std::fs::read(&path) {
        // What is no text is in a comment, or in a line that is none of a lock.
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(fault) => return Err(format!("{shown}: {fault}")),
    };
    let mut lock = NewLock { text: String::new(), changes: Vec::new(), passed_over: Vec::new() };
    let (mut lines, mut problems) = (lock.keep_comments(&old, &shown.to_string()), Vec::new());
    for (name, bytes) in super::folder::read(folder, false)? {
        let file = folder.join(format!("{name}.wasm"));
        let locked = match bytes {
            Ok(bytes) => {
                lock.add(&name, &bytes, &mut lines).map_err(|problem| format!("{}: {problem}", file.display()))
            }
            Err(problem) if !PolicyName::is_fit(name.as_str()) || is_no_plain_file(&file) => {
                lock.passed_over.push(problem);
                if lines.remove(name.as_str()).is_some() {
                    lock.changes.push(format!("{name}: left out, for what is here now is passed over"));
                }
                Ok(())
            }
            Err(problem) => Err(problem),
        };
        problems.extend(locked.err());
    }
    lock.changes.extend(lines.keys().map(|name| format!("{name}: no longer here")));
    if problems.is_empty() { Ok(lock) } else { Err(problems.join("\n")) }
}

impl NewLock {
    /// Begins with the comments of an old lock. Its lines, and nothing that is none of a lock.
    fn keep_comments<'t>(&mut self, old: &'t str, shown: &str) -> Lines<'t> {
        let mut lines = Lines::new();
        for (number, line) in (1..).zip(old.lines()) {
            if is_comment(line) {
                self.text.extend([line, "\n"]);
                continue;
            }
            match five_words(line) {
                Ok(words) if lines.contains_key(words[0]) => {
                    let told = format!("{shown}:{number}:1: `{}` stands here a second time: left out", words[0]);
                    self.changes.push(told);
                }
                Ok(words) => {
                    lines.insert(words[0], words);
                }
                Err(why) => self.changes.push(format!("{shown}:{number}:1: {why}: left out")),
            }
        }
        lines
    }

    /// Adds the line of a component, whose old one is taken from `lines`.
    fn add(&mut self, name: &PolicyName, bytes: &[u8], lines: &mut Lines<'_>) -> Result<(), PolicyProblem> {
        let inspection = inspect(bytes, true)?;
        let roles: Vec<&str> = inspection.roles.iter().map(|role| role.as_str()).collect();
        let interfaces = inspection.roles.iter().map(|role| role.interface()).collect::<Vec<_>>().join(",");
        let digest = Digest::of(bytes).to_string();
        let before = lines.remove(name.as_str());
        let source = before.map_or(LOCAL, |words| words[4]);
        let (roles, version) = (roles.join(","), &inspection.version);
        let line = format!("{name} {roles} witgate:policy/{interfaces}@{version} {digest} {source}\n");
        self.text += &line;
        match before.map(|words| words[3].eq_ignore_ascii_case(&digest)) {
            Some(true) => {}
            Some(false) => self.changes.push(format!("{name}: another component, {digest}")),
            None => self.changes.push(format!("{name}: new, {digest}")),
        }
        Ok(())
    }
}

/// Whether it is a link, a folder or the like.
fn is_no_plain_file(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|about| !about.is_file())
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
    use std::os::unix::fs::PermissionsExt as _;

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
        assert!([told("a b c"), digest].iter().all(|why| why.ends_with(&format!("hint: {REPAIR}"))));
        assert!(told(&format!("{}{}", line("a", '1'), line("a", '2'))).contains(":2:1: `a` stands here a second time"));
    }

    #[test]
    fn a_lock_that_is_none_is_written_anew_and_names_that_no_policy_has_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        let (name, component) = crate::builtin_policies::SHIPPED[0];
        for file in [format!("{name}.wasm"), "my router.wasm".to_owned(), ".hidden.wasm".to_owned()] {
            write(&file, component);
        }
        let damaged = format!(
            "# ours\nmy router router i {0} local\n\u{fffd}\n{1}{1}{2}",
            "1".repeat(64),
            line(name, '1'),
            line("gone", '2')
        );
        write(FILE, damaged.as_bytes());
        let lock = lock_of(folder.path()).unwrap();
        let digest = Digest::of(component);
        assert_eq!(lock.text, format!("# ours\n{name} router witgate:policy/routing@0.1.0 {digest} plugins/x\n"));
        for wanted in [
            ":2:1: expected five words",
            ":3:1: expected five words",
            &format!(":5:1: `{name}` stands here a second time"),
            &format!("{name}: another component, {digest}"),
            "gone: no longer here",
        ] {
            assert!(lock.changes.iter().any(|told| told.contains(wanted)), "{wanted} is not in {:?}", lock.changes);
        }
        assert_eq!((lock.changes.len(), lock.passed_over.len()), (5, 2), "{lock:?}");
        assert!(lock.passed_over.iter().all(|told| told.contains("rename it")), "{lock:?}");
        // What it wrote it reads.
        PoliciesLock::parse(&lock.text, FILE).unwrap();
        write(FILE, lock.text.as_bytes());
        let again = lock_of(folder.path()).unwrap();
        assert_eq!((again.text, again.changes), (lock.text, Vec::new()));
    }

    #[test]
    fn a_link_or_a_folder_is_passed_over_and_what_may_be_served_must_be_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (name, component) = crate::builtin_policies::SHIPPED[0];
        std::fs::write(path("elsewhere"), component).unwrap();
        std::os::unix::fs::symlink(path("elsewhere"), path("linked.wasm")).unwrap();
        std::fs::create_dir(path("folded.wasm")).unwrap();
        std::fs::write(path(&format!("{name}.wasm")), component).unwrap();
        std::fs::write(path(FILE), line("linked", '1')).unwrap();
        let lock = lock_of(folder.path()).unwrap();
        let digest = Digest::of(component);
        assert_eq!(lock.text, format!("{name} router witgate:policy/routing@0.1.0 {digest} local\n"));
        let [as_folder, linked] = &lock.passed_over[..] else { panic!("{lock:?}") };
        assert!(as_folder.contains("/folded.wasm: is not a plain file\nhint: "), "{as_folder}");
        assert!(linked.contains("/linked.wasm: is a link\nhint: "), "{linked}");
        assert!(lock.changes.iter().any(|told| told.starts_with("linked: left out, ")), "{lock:?}");
        // Whoever owns these may have a gateway that loads them: all are told at once, each once, and there is no lock.
        for name in ["one.wasm", "two.wasm"] {
            std::fs::write(path(name), "no component").unwrap();
        }
        std::fs::set_permissions(path("one.wasm"), std::fs::Permissions::from_mode(0o666)).unwrap();
        let told = lock_of(folder.path()).unwrap_err();
        assert_eq!((told.matches("one.wasm").count(), told.matches("two.wasm").count()), (2, 1), "{told}");
        assert!(told.contains("one.wasm: may be written by everybody\nhint: chmod o-w "), "{told}");
    }

    #[test]
    fn the_lock_of_the_policies_built_in_is_one() {
        let text = include_str!("../../policies/policies.lock");
        assert_eq!(PoliciesLock::parse(text, FILE).unwrap().0.len(), crate::builtin_policies::SHIPPED.len());
    }
}
