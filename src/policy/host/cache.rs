//! Compiled artefacts, kept from one start to the next. wasmtime accepts a damaged artefact as if it were
//! whole, so one is used only when it lies in a folder nobody else can write to and its own checksum holds;
//! anything else is compiled again.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::engine::Digest;
use super::problem::PolicyProblem;

const EXTENSION: &str = "cwasm";
/// Files kept; the oldest go first. Deployments have a dozen policies, so this holds several generations.
const KEPT: usize = 64;
/// Length of the checksum before the artefact.
const CHECKSUM: usize = 32;

/// What an artefact was made from: the component's bytes, wasmtime's version and the engine's settings.
pub(in crate::policy) type Key = Digest;

/// The folder.
#[derive(Debug)]
pub(in crate::policy) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Opens the folder, making it where there is none.
    ///
    /// # Errors
    /// It is not a folder, not ours, or others may enter it.
    pub(in crate::policy) fn open(folder: &Path) -> Result<Self, PolicyProblem> {
        let refuse =
            |cause: String, hint| PolicyProblem::CacheFolder { folder: folder.display().to_string(), cause, hint };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| refuse(error.to_string(), "create it, or choose another state folder"))?;
        let found =
            fs::symlink_metadata(folder).map_err(|error| refuse(error.to_string(), "make it readable to this user"))?;
        if !found.is_dir() {
            return Err(refuse("it is a link or a file".to_owned(), "give the path of a real folder"));
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(refuse("it belongs to another user".to_owned(), "choose a folder of this user's own"));
        }
        if found.mode() & 0o077 != 0 {
            let cause = format!("its mode is {:o}, so others may enter it", found.mode() & 0o777);
            return Err(refuse(cause, "chmod 700 it"));
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The artefact under `key`, if there is one and it is whole. What is damaged is removed.
    pub(in crate::policy) fn find(&self, key: &Key) -> Option<Vec<u8>> {
        let path = self.path(key);
        let mut bytes = Vec::new();
        File::open(&path).ok()?.read_to_end(&mut bytes).ok()?;
        let whole = bytes.split_first_chunk::<CHECKSUM>().is_some_and(|(sum, body)| *sum == checksum(key, body));
        if !whole {
            tracing::warn!(path = %path.display(), "a compiled policy is damaged; it is compiled again");
            drop(fs::remove_file(&path));
            return None;
        }
        bytes.drain(..CHECKSUM);
        Some(bytes)
    }

    /// Keeps an artefact. Failing to is logged and costs a compilation at the next start, nothing else.
    pub(in crate::policy) fn keep(&self, key: &Key, artefact: &[u8]) {
        if let Err(error) = self.write(key, artefact).and_then(|()| self.prune()) {
            tracing::warn!(folder = %self.folder.display(), %error, "a compiled policy could not be kept");
        }
    }

    fn write(&self, key: &Key, artefact: &[u8]) -> io::Result<()> {
        // Renamed into place, so that a reader never sees half a file and two writers do not mix.
        let mut aside = NamedTempFile::new_in(&self.folder)?;
        aside.write_all(&checksum(key, artefact))?;
        aside.write_all(artefact)?;
        aside.persist(self.path(key))?;
        Ok(())
    }

    fn prune(&self) -> io::Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                let age = fs::metadata(&path).and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((age, path));
            }
        }
        found.sort();
        let surplus = found.len().saturating_sub(KEPT);
        for (_, path) in found.into_iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(key.to_string()).with_extension(EXTENSION)
    }
}

/// Over the key too: a whole artefact under another one's name is not that one.
fn checksum(key: &Key, artefact: &[u8]) -> [u8; CHECKSUM] {
    Sha256::new().chain_update(key.to_string()).chain_update(artefact).finalize().into()
}
