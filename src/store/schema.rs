//! The ledger's tables, and how older ones become those of this version. Versions only add: SQLite's `user_version` says how many of
//! the steps a file has taken.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Error, OpenFlags};

/// Each step makes the next version.
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

/// How long is waited for whoever else writes: a command that reads takes no lock a writer minds.
const BUSY: Duration = Duration::from_secs(5);

/// Opens a ledger to be written, new or of any version up to this one.
pub(super) fn open(path: &Path) -> Result<Connection, Error> {
    let mut database = Connection::open(path)?;
    database.busy_timeout(BUSY)?;
    // Readers never wait for the writer, and a killed process leaves whole transactions.
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "NORMAL")?;
    let transaction = database.transaction()?;
    let taken: usize = transaction.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))? as usize;
    if taken > STEPS.len() {
        return Err(newer());
    }
    for step in &STEPS[taken..] {
        transaction.execute_batch(step)?;
    }
    transaction.execute_batch(&format!("PRAGMA user_version = {}", STEPS.len()))?;
    transaction.commit()?;
    Ok(database)
}

/// Opens a ledger to be read.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, Error> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    database.busy_timeout(BUSY)?;
    let version: u32 = database.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version as usize != STEPS.len() {
        return Err(newer());
    }
    Ok(database)
}

pub(super) fn newer() -> Error {
    Error::InvalidParameterName("the file was written by another version of witgate".to_owned())
}
