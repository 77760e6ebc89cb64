//! Files that clients keep: in a folder beside the store, each key's its own, bounded one by one and together.
//!
//! A file is written aside and renamed into place before the store knows it, so that what the store knows is whole; what it does not know
//! is swept away at the next start.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::fault::{Refusal, RefusalKind};
use crate::moment::Moment;
use crate::store::{BatchStore, KeptFile, Listed};

/// Bytes of a file at most: OpenAI's bound.
pub(super) const FILE_BYTES: u64 = 200 << 20;
/// Bytes of all files of one key.
const OWNER_BYTES: u64 = 4 << 30;
/// What files are for: no other purpose is served.
const PURPOSE: &str = "batch";
/// What the files of replies are for.
pub(super) const OUTPUT: &str = "batch_output";
/// Seconds after which a file is gone, unless its owner says otherwise.
pub(super) const KEPT_FOR: u64 = 30 * 86_400;
/// The store's own name in its folder.
const STORE: &str = "batches.db";

/// The folder, which no other process has meanwhile.
pub(super) struct Keeping {
    pub(super) store: BatchStore,
    folder: PathBuf,
    _lock: File,
}

/// What a client says of a file.
#[derive(Clone, Debug, Default)]
pub struct FileWanted {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// Seconds after which it is gone.
    pub expires_after: Option<u64>,
}

/// A file that is being written.
pub struct Upload {
    aside: NamedTempFile,
    bytes: u64,
    /// Bytes it may have.
    room: u64,
}

fn internal(why: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(RefusalKind::Internal, format!("the files of batches cannot be kept: {why}"))
}

pub(super) fn not_found(what: &str, id: &str) -> Refusal {
    let message = format!("no {what} with the id `{}` is kept for this key", &id[..id.floor_char_boundary(100)]);
    Refusal { status: 404, ..Refusal::new(RefusalKind::InvalidRequest, message) }.at("id")
}

impl Keeping {
    /// Whether there is anything in this folder.
    pub(super) fn is_in(folder: &Path) -> bool {
        folder.join(STORE).is_file()
    }

    /// Opens the folder, making it where there is none.
    ///
    /// # Errors
    /// Another process has it, or it cannot be written.
    pub(super) fn open(folder: &Path) -> Result<Self, Refusal> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder.join("files")).map_err(|fault| internal(&fault))?;
        let lock = File::create(folder.join("lock")).map_err(|fault| internal(&fault))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            let message = format!("another gateway serves the batches in {}; ask that one", folder.display());
            Refusal::new(RefusalKind::Unavailable, message)
        })?;
        let store = BatchStore::open(&folder.join(STORE)).map_err(|fault| internal(&fault))?;
        let keeping = Self { store, folder: folder.to_owned(), _lock: lock };
        keeping.sweep_unknown().map_err(|why| internal(&why))?;
        Ok(keeping)
    }

    /// Takes away what the store does not know: its process died between writing and knowing.
    fn sweep_unknown(&self) -> Result<(), String> {
        let known: BTreeSet<String> = self.store.file_ids()?.into_iter().collect();
        let entries = self.folder.join("files").read_dir().map_err(|fault| fault.to_string())?;
        for entry in entries.flatten() {
            if !known.contains(&*entry.file_name().to_string_lossy()) {
                std::fs::remove_file(entry.path()).map_err(|fault| fault.to_string())?;
            }
        }
        Ok(())
    }

    /// Takes away files whose time is over, and batches that ended long ago.
    pub(super) fn sweep(&self, now: Moment) -> Result<(), String> {
        for id in self.store.expired_files(now.as_millis())? {
            self.remove(&id)?;
        }
        self.store.forget_before(now.as_millis().saturating_sub(KEPT_FOR * 1000))
    }

    fn remove(&self, id: &str) -> Result<(), String> {
        self.store.remove_file(id)?;
        match std::fs::remove_file(self.path(id)) {
            Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => Err(fault.to_string()),
            _ => Ok(()),
        }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join("files").join(id)
    }

    /// A file that is kept, to be read.
    pub(super) fn read(&self, id: &str) -> std::io::Result<File> {
        File::open(self.path(id))
    }

    /// Begins a file of the gateway's own.
    pub(super) fn aside(&self) -> std::io::Result<NamedTempFile> {
        NamedTempFile::new_in(self.folder.join("files"))
    }

    /// Puts a file in its place, where it is on the disk when this returns. Its bytes.
    pub(super) fn place(&self, aside: NamedTempFile, id: &str) -> std::io::Result<u64> {
        aside.as_file().sync_all()?;
        let file = aside.persist(self.path(id)).map_err(|fault| fault.error)?;
        Ok(file.metadata()?.len())
    }

    pub(super) fn begin_upload(&self, owner: &str) -> Result<Upload, Refusal> {
        let taken = self.store.bytes_of(owner).map_err(|why| internal(&why))?;
        let aside = self.aside().map_err(|fault| internal(&fault))?;
        Ok(Upload { aside, bytes: 0, room: OWNER_BYTES.saturating_sub(taken).min(FILE_BYTES) })
    }

    pub(super) fn keep_upload(
        &self,
        owner: &str,
        id: String,
        upload: Upload,
        wanted: FileWanted,
        now: Moment,
    ) -> Result<KeptFile, Refusal> {
        let FileWanted { name, purpose, expires_after } = wanted;
        if purpose != PURPOSE {
            let message = format!("files are kept for batches: `purpose` must be `{PURPOSE}`");
            return Err(Refusal::new(RefusalKind::InvalidRequest, message).at("purpose"));
        }
        let bytes = self.place(upload.aside, &id).map_err(|fault| internal(&fault))?;
        let file = KeptFile {
            id,
            owner: owner.to_owned(),
            name,
            purpose,
            bytes,
            created_ms: now.as_millis(),
            expires_ms: Some(now.as_millis() + expires_after.unwrap_or(KEPT_FOR) * 1000),
        };
        self.store.add_file(&file).map_err(|why| internal(&why))?;
        Ok(file)
    }

    pub(super) fn file(&self, owner: &str, id: &str, now: Moment) -> Result<KeptFile, Refusal> {
        let found = self.store.file(owner, id).map_err(|why| internal(&why))?;
        let gone = |file: &KeptFile| file.expires_ms.is_some_and(|at| at <= now.as_millis());
        found.filter(|file| !gone(file)).ok_or_else(|| not_found("file", id))
    }

    pub(super) fn files(
        &self,
        owner: &str,
        purpose: Option<&str>,
        listed: &Listed<'_>,
    ) -> Result<Vec<KeptFile>, Refusal> {
        self.store.files(owner, purpose, listed).map_err(|why| internal(&why))
    }

    pub(super) fn delete(&self, owner: &str, id: &str, now: Moment) -> Result<(), Refusal> {
        self.file(owner, id, now)?;
        if self.store.is_read(id).map_err(|why| internal(&why))? {
            let message = "a batch reads this file; cancel the batch, or wait for its end";
            return Err(Refusal { status: 409, ..Refusal::new(RefusalKind::InvalidRequest, message) }.at("id"));
        }
        self.remove(id).map_err(|why| internal(&why))
    }
}

impl Upload {
    /// Adds what came. Blocks.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.room {
            let message = format!(
                "a file has at most {} MB, and all files of a key {} GB; delete some, or send less",
                FILE_BYTES >> 20,
                OWNER_BYTES >> 30
            );
            return Err(Refusal::new(RefusalKind::TooLarge, message).at("file"));
        }
        self.aside.write_all(piece).map_err(|fault| internal(&fault))
    }
}

/// OpenAI's object.
pub(super) fn told(file: &KeptFile) -> Value {
    json!({
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_ms / 1000,
        "expires_at": file.expires_ms.map(|at| at / 1000),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": null,
    })
}
