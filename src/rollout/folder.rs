//! The folder of what outlives the process: versions of policies by digest, where they stand, what has happened to them, and
//! what policies have learned.
//!
//! It decides what is run, so it is this user's alone (0700), used by one process at a time, and nothing in it is believed
//! without its digest or checksum. Files are written aside and renamed into place. What cannot be written is told and costs what
//! would have been remembered, nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::Standing;
use super::history::{Change, KEPT as LINES};
use crate::policy::{Digest, SavedState};

/// Versions of one policy that are kept beside those in use.
const VERSIONS: usize = 20;
/// The largest saved state that is read.
const LARGEST_STATE: u64 = 64 << 20;
/// Bytes of history from which on only its last lines stay: two or three times as many as those.
const LARGEST_HISTORY: u64 = 4 << 20;
const CHECKSUM: usize = 32;
/// The file of random bytes with which numbers are disguised that are kept here.
const SALT: &str = "salt";
const SALT_BYTES: usize = 32;

/// The folder, held for this process.
pub struct StateFolder {
    path: PathBuf,
    salt: [u8; SALT_BYTES],
    _held: File,
}

impl fmt::Debug for StateFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateFolder").field("path", &self.path).finish_non_exhaustive()
    }
}

impl StateFolder {
    /// Opens the folder, making it where there is none, and keeps others out.
    ///
    /// # Errors
    /// It is not a folder of this user's alone, or another process uses it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let failed = |fault: io::Error| format!("{shown}: {fault}\nhint: name another folder with `witgate.state_dir`");
        for folder in [path.to_owned(), path.join("policies"), path.join("saved")] {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        }
        let about = fs::symlink_metadata(path).map_err(failed)?;
        if !about.is_dir() || about.uid() != rustix::process::geteuid().as_raw() || about.mode() & 0o077 != 0 {
            return Err(format!(
                "{shown}: is no folder of this user's alone\nhint: chmod 700 it, or name another with `witgate.state_dir`"
            ));
        }
        let lock = path.join("in-use");
        let held =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock).map_err(failed)?;
        flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            format!("{shown}: another gateway uses it\nhint: name another folder with `witgate.state_dir`")
        })?;
        let salt = salt(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), salt, _held: held })
    }

    /// A number that stands for this one in what is kept here. Without the folder's own random bytes it tells nothing of it: who reads a
    /// file of state alone cannot try what the number was made of.
    #[must_use]
    pub fn disguised(&self, number: u64) -> u64 {
        let digest = Sha256::new().chain_update(self.salt).chain_update(number.to_be_bytes()).finalize();
        digest.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a version.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, digest: Digest, bytes: &[u8]) -> io::Result<()> {
        let path = self.version(digest);
        if path.exists() { Ok(()) } else { self.write(&path, &[bytes]) }
    }

    /// The bytes of a version that was kept.
    ///
    /// # Errors
    /// It is not kept, or is damaged.
    pub fn read(&self, digest: Digest) -> Result<Vec<u8>, String> {
        let path = self.version(digest);
        let bytes = fs::read(&path).map_err(|fault| format!("{}: {fault}", path.display()))?;
        if Digest::of(&bytes) == digest { Ok(bytes) } else { Err(format!("{}: is damaged", path.display())) }
    }

    /// Whether a version is kept.
    #[must_use]
    pub fn keeps(&self, digest: Digest) -> bool {
        self.version(digest).exists()
    }

    /// Every version that is kept.
    #[must_use]
    pub fn versions(&self) -> BTreeSet<Digest> {
        let entries = fs::read_dir(self.path.join("policies")).into_iter().flatten().flatten();
        let digest = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            Digest::try_from(name.strip_suffix(".wasm")?.to_owned()).ok()
        };
        entries.filter_map(digest).collect()
    }

    /// Removes versions that are old: of each policy the last twenty stay, and all that are in use.
    pub fn prune(&self, in_use: &BTreeSet<Digest>, history: &[Change]) {
        let mut kept: BTreeMap<&str, BTreeSet<Digest>> = BTreeMap::new();
        for change in history.iter().rev() {
            let versions = kept.entry(&change.policy).or_default();
            if versions.len() < VERSIONS {
                versions.insert(change.digest);
            }
        }
        for digest in self.versions() {
            if !in_use.contains(&digest) && !kept.values().any(|versions| versions.contains(&digest)) {
                let _already_gone = fs::remove_file(self.version(digest));
            }
        }
    }

    /// Where versions stand; what cannot be read is told and begins anew.
    ///
    /// # Errors
    /// What there is cannot be understood.
    pub fn standings(&self) -> Result<BTreeMap<String, Standing>, String> {
        let path = self.path.join("standing.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|fault| {
                format!("{}: is damaged: {fault}\nhint: the files of the policies' folder are in force", path.display())
            }),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(fault) => Err(format!("{}: {fault}", path.display())),
        }
    }

    /// Keeps where versions stand.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_standings(&self, standings: &BTreeMap<String, Standing>) -> io::Result<()> {
        self.write(&self.path.join("standing.json"), &[&serde_json::to_vec(standings)?])
    }

    /// What has happened, the newest last; lines that are none are left out.
    #[must_use]
    pub fn history(&self) -> Vec<Change> {
        // A line may end within a letter.
        let bytes = fs::read(self.path.join("history.jsonl")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Adds to what has happened.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add_history(&self, changes: &[Change]) -> io::Result<()> {
        let path = self.path.join("history.jsonl");
        let line = |change: &Change| serde_json::to_string(change).map(|line| line + "\n");
        if fs::metadata(&path).is_ok_and(|about| about.len() > LARGEST_HISTORY) {
            let mut all = self.history();
            all.extend_from_slice(changes);
            let lines = all.iter().skip(all.len().saturating_sub(LINES)).map(line).collect::<Result<String, _>>()?;
            return self.write(&path, &[lines.as_bytes()]);
        }
        let mut lines = changes.iter().map(line).collect::<Result<String, _>>()?;
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
        let mut last = *b"\n";
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last)?;
        }
        // A disk that was full, or a loss of power, left a part of a line: what is added now must not be lost with it.
        if last != *b"\n" {
            lines.insert(0, '\n');
        }
        file.write_all(lines.as_bytes())
    }

    /// What is kept under `key`; `None` where nothing is.
    ///
    /// # Errors
    /// It is damaged. What is lost with it, its caller knows.
    pub fn state(&self, key: &str) -> Result<Option<SavedState>, String> {
        let path = self.saved(key);
        let damaged = || format!("{}: is damaged", path.display());
        match fs::metadata(&path) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(about) if about.len() <= LARGEST_STATE => {}
            _ => return Err(damaged()),
        }
        let bytes = fs::read(&path).map_err(|_| damaged())?;
        let (sum, body) = bytes.split_first_chunk::<CHECKSUM>().ok_or_else(damaged)?;
        if *sum != checksum(key, body) {
            return Err(damaged());
        }
        let (length, rest) = body.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (schema, bytes) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(damaged)?;
        let schema = String::from_utf8(schema.to_vec()).map_err(|_| damaged())?;
        Ok(Some(SavedState { schema, bytes: bytes.to_vec() }))
    }

    /// Keeps what was learned under `key`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_state(&self, key: &str, state: &SavedState) -> io::Result<()> {
        let length = u32::try_from(state.schema.len()).map_err(io::Error::other)?.to_le_bytes();
        let body = [&length[..], state.schema.as_bytes(), &state.bytes].concat();
        self.write(&self.saved(key), &[&checksum(key, &body), &body])
    }

    /// Removes what was learned under `key`.
    pub fn remove_state(&self, key: &str) {
        let _already_gone = fs::remove_file(self.saved(key));
    }

    /// Removes what was learned under other keys than these and was written before `since`.
    pub fn forget_states(&self, keys: &BTreeSet<String>, since: SystemTime) {
        let kept: BTreeSet<PathBuf> = keys.iter().map(|key| self.saved(key)).collect();
        for entry in fs::read_dir(self.path.join("saved")).into_iter().flatten().flatten() {
            let old = entry.metadata().and_then(|about| about.modified()).is_ok_and(|written| written < since);
            if old && !kept.contains(&entry.path()) {
                let _already_gone = fs::remove_file(entry.path());
            }
        }
    }

    fn version(&self, digest: Digest) -> PathBuf {
        self.path.join("policies").join(format!("{digest}.wasm"))
    }

    fn saved(&self, key: &str) -> PathBuf {
        self.path.join("saved").join(Digest::of(key.as_bytes()).to_string())
    }

    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        write(&self.path, path, parts)
    }
}

/// Readable by this user alone.
fn write(folder: &Path, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut aside = NamedTempFile::new_in(folder)?;
    for part in parts {
        aside.write_all(part)?;
    }
    // Renamed only when it is whole on disk: after a loss of power there is the old or the new one.
    aside.as_file().sync_data()?;
    aside.persist(path)?;
    Ok(())
}

/// The folder's random bytes, drawn where there are none. What was disguised with others is forgotten.
fn salt(folder: &Path) -> io::Result<[u8; SALT_BYTES]> {
    let path = folder.join(SALT);
    match fs::read(&path) {
        Ok(bytes) => {
            if let Ok(salt) = <[u8; SALT_BYTES]>::try_from(bytes) {
                return Ok(salt);
            }
            tracing::warn!("{}: is damaged; which credentials were refused is forgotten", path.display());
        }
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
        Err(fault) => return Err(fault),
    }
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(io::Error::other)?;
    write(folder, &path, &[&salt])?;
    Ok(salt)
}

/// Over the key too: what one policy learned under another one's name is not that one's.
fn checksum(key: &str, body: &[u8]) -> [u8; CHECKSUM] {
    Sha256::new().chain_update(key).chain_update([0]).chain_update(body).finalize().into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    fn folder() -> (tempfile::TempDir, StateFolder) {
        let place = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(&place.path().join("state")).unwrap();
        (place, folder)
    }

    fn change(policy: &str, digest: Digest) -> Change {
        Change {
            at_ms: 1,
            generation: 1,
            group: "g".to_owned(),
            role: "router".to_owned(),
            policy: policy.to_owned(),
            from: None,
            digest,
            how: "replace".to_owned(),
            by: "file".to_owned(),
            result: String::new(),
            waits: false,
            earlier: false,
        }
    }

    #[test]
    fn it_is_one_users_and_one_process_alone() {
        let (place, folder) = folder();
        let path = place.path().join("state");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(StateFolder::open(&path).unwrap_err().contains("another gateway uses it"));
        drop(folder);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(StateFolder::open(&path).unwrap_err().contains("this user's alone"));
    }

    #[test]
    fn what_numbers_are_disguised_with_is_drawn_once_and_is_this_user_s_alone() {
        let (place, folder) = folder();
        let (path, disguised) = (place.path().join("state"), folder.disguised(7));
        let file = path.join(SALT);
        assert_eq!((fs::metadata(&file).unwrap().mode() & 0o777, fs::read(&file).unwrap().len()), (0o600, SALT_BYTES));
        assert!(disguised != 7 && disguised != folder.disguised(8) && disguised != self::folder().1.disguised(7));
        assert!(!format!("{folder:?}").contains("salt"));
        drop(folder);
        assert_eq!(StateFolder::open(&path).unwrap().disguised(7), disguised);
        fs::write(&file, "short").unwrap();
        assert_ne!(StateFolder::open(&path).unwrap().disguised(7), disguised);
        assert_eq!(fs::read(&file).unwrap().len(), SALT_BYTES);
    }

    #[test]
    fn versions_are_believed_by_their_digest() {
        let (_place, folder) = folder();
        let digest = Digest::of(b"one");
        folder.keep(digest, b"one").unwrap();
        assert_eq!(folder.read(digest), Ok(b"one".to_vec()));
        fs::write(folder.version(digest), b"two").unwrap();
        assert!(folder.read(digest).unwrap_err().ends_with("is damaged"));
        assert!(folder.read(Digest::of(b"three")).is_err());
    }

    #[test]
    fn twenty_versions_of_a_policy_stay_and_those_in_use() {
        let (_place, folder) = folder();
        let digests: Vec<Digest> = (0..30_u8).map(|number| Digest::of(&[number])).collect();
        let history: Vec<Change> = digests.iter().map(|digest| change("p", *digest)).collect();
        for (number, digest) in digests.iter().enumerate() {
            folder.keep(*digest, &[u8::try_from(number).unwrap()]).unwrap();
        }
        folder.prune(&[digests[0]].into(), &history);
        let expected: BTreeSet<Digest> = digests[10..].iter().chain([&digests[0]]).copied().collect();
        assert_eq!(folder.versions(), expected);
    }

    #[test]
    fn history_and_standings_come_back() {
        let (_place, folder) = folder();
        let (one, two) = (change("p", Digest::of(b"1")), change("q", Digest::of(b"2")));
        folder.add_history(std::slice::from_ref(&one)).unwrap();
        folder.add_history(std::slice::from_ref(&two)).unwrap();
        assert_eq!(folder.history(), [one, two]);
        let standings = BTreeMap::from([("router/g".to_owned(), Standing::new("p", Digest::of(b"1")))]);
        assert_eq!(folder.standings(), Ok(BTreeMap::new()));
        folder.keep_standings(&standings).unwrap();
        assert_eq!(folder.standings(), Ok(standings));
        fs::write(folder.path.join("standing.json"), "{").unwrap();
        assert!(folder.standings().unwrap_err().contains("is damaged"));
    }

    #[test]
    fn what_was_written_in_part_costs_no_line_that_is_added_behind_it() {
        let (_place, folder) = folder();
        let [one, two, three] = ["p", "q", "r"].map(|policy| change(policy, Digest::of(policy.as_bytes())));
        folder.add_history(std::slice::from_ref(&one)).unwrap();
        let path = folder.path.join("history.jsonl");
        let mut bytes = fs::read(&path).unwrap();
        // A disk may be full within a letter.
        bytes.extend(b"{\"at_ms\":1,\"generation\":1,\"group\":\"caf\xc3");
        fs::write(&path, bytes).unwrap();
        folder.add_history(&[two.clone(), three.clone()]).unwrap();
        assert_eq!(folder.history(), [one, two, three]);
    }

    #[test]
    fn a_saved_state_is_whole_and_its_own_or_none() {
        let (_place, folder) = folder();
        let state = SavedState { schema: "count".to_owned(), bytes: vec![1, 2, 3] };
        assert_eq!(folder.state("a"), Ok(None));
        folder.keep_state("a", &state).unwrap();
        assert_eq!(folder.state("a"), Ok(Some(state)));
        fs::copy(folder.saved("a"), folder.saved("b")).unwrap();
        assert!(folder.state("b").is_err(), "another policy's");
        let mut bytes = fs::read(folder.saved("a")).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(folder.saved("a"), bytes).unwrap();
        assert!(folder.state("a").unwrap_err().ends_with(": is damaged"));
    }

    #[test]
    fn old_states_that_nobody_may_want_are_removed() {
        let (_place, folder) = folder();
        let state = SavedState { schema: "count".to_owned(), bytes: vec![1] };
        for key in ["old", "young", "in use"] {
            folder.keep_state(key, &state).unwrap();
        }
        let day = SystemTime::UNIX_EPOCH + Duration::from_hours(24);
        for key in ["old", "in use"] {
            File::options().append(true).open(folder.saved(key)).unwrap().set_modified(day).unwrap();
        }
        folder.forget_states(&["in use".to_owned()].into(), day + Duration::from_secs(1));
        let found = ["old", "young", "in use"].map(|key| folder.state(key).unwrap().is_some());
        assert_eq!(found, [false, true, true]);
    }
}
