//! `policies.lock`: which components are ours. One line each, in name order, five words: name, role, interface,
//! SHA-256, source.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::build::Built;

/// Its name in the folder of the policies.
pub(crate) const FILE: &str = "policies.lock";

const HEAD: &str = "# Written by `cargo xtask policies`. name, role, interface, sha256, source\n";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lock(Vec<Entry>);

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    role: String,
    interface: String,
    sha256: String,
    source: String,
}

impl Lock {
    pub(crate) fn of(built: &[Built]) -> Self {
        let entry = |policy: &Built| {
            let (role, interface) = policy.guest.role.words();
            Entry {
                name: policy.guest.name.clone(),
                role: role.to_owned(),
                interface: interface.to_owned(),
                sha256: digest(&policy.bytes),
                source: format!("plugins/{}", policy.guest.crate_name),
            }
        };
        Self(built.iter().map(entry).collect())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| entry.name.as_str())
    }

    /// Compares every file with its line.
    pub(crate) fn verify(&self, folder: &Path) -> Result<(), String> {
        for entry in &self.0 {
            let file = folder.join(format!("{}.wasm", entry.name));
            let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            let found = digest(&bytes);
            if found != entry.sha256 {
                let (file, locked) = (file.display(), &entry.sha256);
                return Err(format!(
                    "{file} is not the component of {FILE}: its sha256 is {found}, locked is {locked}; run `cargo xtask \
                     policies` if its source changed, else restore the file"
                ));
            }
        }
        Ok(())
    }
}

fn digest(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        for half in [byte >> 4, byte & 15] {
            hex.extend(char::from_digit(half.into(), 16));
        }
    }
    hex
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for Entry { name, role, interface, sha256, source } in &self.0 {
            writeln!(f, "{name} {role} {interface} {sha256} {source}")?;
        }
        Ok(())
    }
}

impl FromStr for Lock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty());
        let entry = |(number, line): (usize, &str)| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [name, role, interface, sha256, source] => Ok(Entry {
                name: name.to_owned(),
                role: role.to_owned(),
                interface: interface.to_owned(),
                sha256: sha256.to_owned(),
                source: source.to_owned(),
            }),
            _ => Err(format!("{FILE}:{number}: expected five words: name, role, interface, sha256, source")),
        };
        lines.map(entry).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::{Lock, digest};

    const LINE: &str = "a router witgate:policy/routing@0.1.0 00 plugins/router-a\n";

    #[test]
    fn what_is_written_reads_back() {
        let lock: Lock = LINE.parse().unwrap();
        assert_eq!(lock.to_string().parse(), Ok(lock));
    }

    #[test]
    fn a_line_with_a_word_missing_is_named() {
        let error = format!("# head\n\n{LINE}a b c\n").parse::<Lock>().unwrap_err();
        assert!(error.starts_with("policies.lock:4: "), "{error}");
    }

    #[test]
    fn a_changed_file_is_noticed() {
        let folder = std::env::temp_dir().join(format!("witgate-lock-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a.wasm"), b"one").unwrap();
        let lock: Lock = LINE.replace(" 00 ", &format!(" {} ", digest(b"one"))).parse().unwrap();
        assert_eq!(lock.verify(&folder), Ok(()));
        std::fs::write(folder.join("a.wasm"), b"two").unwrap();
        assert!(lock.verify(&folder).unwrap_err().contains("is not the component"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
