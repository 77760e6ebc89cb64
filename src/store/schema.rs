//! The ledger's tables, and how older ones become those of this version. Versions only add: SQLite's `user_version` says how many of
//! the steps a file has taken.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Error, OpenFlags, TransactionBehavior};

/// Each step makes the next version of a ledger, in a file or on a server.
pub(super) const STEPS: [&str; 6] = [
    "
CREATE TABLE requests (
    id TEXT PRIMARY KEY, arrived_ms INTEGER NOT NULL, api TEXT NOT NULL, key TEXT, team TEXT, model_group TEXT, policy TEXT,
    streamed INTEGER NOT NULL, estimated_input_tokens INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL, usage_estimated INTEGER NOT NULL, cost_nano_usd INTEGER, waited_ms INTEGER NOT NULL,
    ttft_ms INTEGER, latency_ms INTEGER NOT NULL, status INTEGER NOT NULL, ending TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX requests_arrived ON requests (arrived_ms);
CREATE TABLE attempts (
    request TEXT NOT NULL, number INTEGER NOT NULL, deployment TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
    fault TEXT, latency_ms INTEGER NOT NULL, input_tokens INTEGER NOT NULL, cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
    cost_nano_usd INTEGER, PRIMARY KEY (request, number)) WITHOUT ROWID;
CREATE TABLE tags (request TEXT NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (request, tag)) WITHOUT ROWID;
",
    // What budgets count: the cost, or what an unknown price is taken for.
    "
ALTER TABLE requests ADD COLUMN charged_nano_usd INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN charged_nano_usd INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN model_group TEXT;
UPDATE requests SET charged_nano_usd = coalesce(cost_nano_usd, 0);
UPDATE attempts SET charged_nano_usd = coalesce(cost_nano_usd, 0),
    model_group = (SELECT model_group FROM requests WHERE id = request);
CREATE INDEX requests_key ON requests (key, arrived_ms, charged_nano_usd);
CREATE TABLE keys (token TEXT PRIMARY KEY, key_alias TEXT, team TEXT, key TEXT NOT NULL) WITHOUT ROWID;
",
    // What replies were worth, as somebody said later. Routers know a request by its seed, here with a sign.
    "
ALTER TABLE requests ADD COLUMN seed INTEGER;
CREATE TABLE feedback (
    request TEXT NOT NULL, source TEXT NOT NULL, score DOUBLE PRECISION NOT NULL, comment TEXT, given_ms INTEGER NOT NULL,
    PRIMARY KEY (request, source)) WITHOUT ROWID;
",
    "
CREATE TABLE teams (team_id TEXT PRIMARY KEY, team TEXT NOT NULL) WITHOUT ROWID;
",
    // Runs of experiments that workers share, which only a server has: a run that is one process's is a file of its own.
    "
CREATE TABLE runs (run TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run, name)) WITHOUT ROWID;
CREATE TABLE run_items (
    run TEXT NOT NULL, id TEXT NOT NULL, place INTEGER NOT NULL, model TEXT NOT NULL, state TEXT NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0, changed_ms INTEGER NOT NULL DEFAULT 0, worker TEXT, leased_ms INTEGER NOT NULL DEFAULT 0, outcome TEXT,
    PRIMARY KEY (run, id)) WITHOUT ROWID;
CREATE INDEX run_items_place ON run_items (run, model, state, place);
",
    // What each call of a run cost, once however often it is told; and who works on a run.
    "
CREATE INDEX run_items_order ON run_items (run, place);
CREATE TABLE run_paid (run TEXT NOT NULL, call TEXT NOT NULL, paid_nano_usd INTEGER NOT NULL, PRIMARY KEY (run, call)) WITHOUT ROWID;
CREATE TABLE run_workers (
    run TEXT NOT NULL, worker TEXT NOT NULL, begun_ms INTEGER NOT NULL, said_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL,
    PRIMARY KEY (run, worker)) WITHOUT ROWID;
",
];

/// What only files do after these, each a version too: a server's tables are laid out for whoever else reads and writes them.
///
/// A request of one whole call, as nearly all are, is one row with its call in it, and no index is kept that nobody may need: rows of
/// requests stand in the order of time by their ids. What came before stays where it is. `attempts` tells of all calls, and takes none:
/// a gateway of an older version that still writes is refused, and loses what it cannot write rather than splitting sums.
pub(super) const FILE_STEPS: [&str; 1] = ["
DROP INDEX IF EXISTS requests_arrived;
DROP INDEX IF EXISTS requests_key;
ALTER TABLE attempts RENAME TO other_attempts;
ALTER TABLE requests ADD COLUMN deployment TEXT;
ALTER TABLE requests ADD COLUMN provider TEXT;
ALTER TABLE requests ADD COLUMN model TEXT;
ALTER TABLE requests ADD COLUMN attempt_ms INTEGER;
CREATE VIEW attempts AS
    SELECT request, number, deployment, provider, model, fault, latency_ms, input_tokens, cache_read_tokens, cache_write_tokens,
        output_tokens, reasoning_tokens, cost_nano_usd, charged_nano_usd, model_group FROM other_attempts
    UNION ALL SELECT id, 0, deployment, provider, model, NULL, attempt_ms, input_tokens, cache_read_tokens, cache_write_tokens,
        output_tokens, reasoning_tokens, cost_nano_usd, charged_nano_usd, model_group FROM requests WHERE deployment IS NOT NULL;
"];

/// What this version of a file is called.
const VERSION: usize = STEPS.len() + FILE_STEPS.len();

/// The first version that has all that a report reads.
const READABLE: usize = 2;

/// What a file of an older version lacks, for as long as it is read.
const AS_NOW: &str = "
CREATE TEMP VIEW other_attempts AS SELECT * FROM main.attempts;
CREATE TEMP VIEW requests AS SELECT *, NULL AS deployment, NULL AS provider, NULL AS model, NULL AS attempt_ms FROM main.requests;
";

/// Pages of the log before they go into the file: with a quarter as many rounds as by itself, one write of a page counts for more changes.
const CHECKPOINT: u32 = 4000;

/// How long is waited for whoever else writes: a command that reads takes no lock a writer minds.
const BUSY: Duration = Duration::from_secs(5);

/// Opens a ledger to be written, new or of any version up to this one.
pub(super) fn open(path: &Path) -> Result<Connection, Error> {
    let mut database = Connection::open(path)?;
    database.busy_timeout(BUSY)?;
    // Readers never wait for the writer, and a killed process leaves whole transactions.
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "NORMAL")?;
    database.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
    // Another one that is writing is waited for from the beginning: who has read already is refused at once.
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let taken: usize = transaction.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))? as usize;
    if taken > VERSION {
        return Err(newer(taken));
    }
    for step in STEPS.iter().chain(&FILE_STEPS).skip(taken) {
        transaction.execute_batch(step)?;
    }
    transaction.execute_batch(&format!("PRAGMA user_version = {VERSION}"))?;
    transaction.commit()?;
    Ok(database)
}

/// Opens a ledger to be read. One of an older version is left as it is: the gateway that writes it may still run.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, Error> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    database.busy_timeout(BUSY)?;
    let version = database.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))? as usize;
    if version > VERSION {
        return Err(newer(version));
    }
    if version < READABLE {
        return Err(said(
            "the file was written by an early version of witgate; a gateway that opens it brings it up to date"
                .to_owned(),
        ));
    }
    if version < VERSION {
        database.execute_batch(AS_NOW)?;
    }
    Ok(database)
}

fn newer(version: usize) -> Error {
    said(format!(
        "the file was written by a newer version of witgate (its tables are version {version}, this one knows {VERSION})"
    ))
}

/// A file of a kind that has no older versions to read.
pub(super) fn other() -> Error {
    said("the file was written by another version of witgate".to_owned())
}

/// The one kind that is shown as its words.
fn said(words: String) -> Error {
    Error::ToSqlConversionFailure(words.into())
}
