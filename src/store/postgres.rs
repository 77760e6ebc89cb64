//! The ledger and the keys in Postgres: the same tables, in a schema of their own (`witgate`), behind a thread that owns the connection.
//!
//! Whoever asks waits for the thread; none of it is done on an event loop. A connection that was lost is made anew for the next
//! question, and what failed because of that is asked once more.

use std::fmt;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::time::Duration;

use postgres::types::ToSql;
use postgres::{Client, Config, Error, NoTls, Statement, Transaction};
use secrecy::{ExposeSecret, SecretString};

use super::encrypted::{self, Encryption};
use super::schema::STEPS;
use super::spent::Bound;
use super::writer::{Sink, millis, tokens, whole};
use crate::fault::FaultKind;
use crate::record::{AttemptRecord, Record};

/// How long is waited for a server that does not answer.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a server may be silent on the wire before the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(15);
/// The first statement of every connection.
const ENTER: &str = "SET search_path TO witgate";
/// Two gateways that start at once must not make the tables twice.
const LOCK: i64 = 0x5749_5447_4154_4500;

/// Work for the connection's thread.
type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A server that is asked, from any thread.
#[derive(Clone)]
pub(super) struct Postgres {
    jobs: Sender<Job>,
    shown: String,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Postgres").field(&self.shown).finish()
    }
}

/// A connection, made where it is needed.
pub(super) struct Connection {
    config: Config,
    /// `None` is plain.
    encryption: Option<Encryption>,
    shown: String,
    client: Option<Client>,
    /// What writes a batch, once it is prepared over this connection.
    insert: Option<Statement>,
}

impl Postgres {
    /// Connects, and makes the tables or brings them up to date.
    ///
    /// # Errors
    /// It is no URL, the server cannot be reached, or its tables are a newer version's.
    pub(super) fn open(url: &SecretString) -> Result<Self, String> {
        let opened = Self::open_later(url)?;
        // Not on the caller's thread, which may belong to an event loop.
        opened.run(|_| Ok(()))?;
        Ok(opened)
    }

    /// The same, and connects when first it is asked.
    ///
    /// # Errors
    /// It is no URL.
    pub(super) fn open_later(url: &SecretString) -> Result<Self, String> {
        let mut connection = Connection::new(url)?;
        let shown = connection.shown.clone();
        let (jobs, received) = channel::<Job>();
        let work = move || {
            for job in received {
                job(&mut connection);
            }
        };
        let spawned = std::thread::Builder::new().name("postgres".to_owned()).spawn(work);
        spawned.map_err(|fault| format!("no thread for {shown}: {fault}"))?;
        Ok(Self { jobs, shown })
    }

    /// Does something with the connection, and waits until it is done.
    ///
    /// # Errors
    /// The server cannot be reached, or says why not.
    pub(super) fn run<R: Send + 'static>(
        &self,
        work: impl Fn(&mut Client) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, String> {
        let (done, told) = sync_channel(1);
        let job = move |connection: &mut Connection| {
            let _gone = done.send(connection.work(work));
        };
        let gone = || format!("{}: its thread has ended", self.shown);
        self.jobs.send(Box::new(job)).map_err(|_| gone())?;
        told.recv().map_err(|_| gone())?
    }
}

impl Connection {
    /// # Errors
    /// It is no URL of a server.
    pub(super) fn new(url: &SecretString) -> Result<Self, String> {
        let (mut config, encryption) = encrypted::read(url.expose_secret().trim())?;
        config.connect_timeout(CONNECT).application_name("witgate");
        // A server that vanishes is noticed: nothing else bounds how long an answer is waited for.
        config.tcp_user_timeout(SILENCE).keepalives_idle(SILENCE).keepalives_interval(CONNECT).keepalives_retries(2);
        let hosts: Vec<String> = config.get_hosts().iter().map(|host| format!("{host:?}")).collect();
        let shown =
            format!("Postgres at {}, database {}", hosts.join(", "), config.get_dbname().unwrap_or("of the user"));
        Ok(Self { config, encryption, shown, client: None, insert: None })
    }

    fn work<R>(&mut self, work: impl Fn(&mut Client) -> Result<R, Error>) -> Result<R, String> {
        self.work_prepared(|client, _| work(client))
    }

    fn work_prepared<R>(
        &mut self,
        work: impl Fn(&mut Client, &mut Option<Statement>) -> Result<R, Error>,
    ) -> Result<R, String> {
        let connected = self.client.is_some();
        let first = self.attempt(&work);
        let lost = connected && self.client.is_none();
        let answer = if first.is_err() && lost { self.attempt(&work) } else { first };
        answer.map_err(|why| format!("{}: {why}", self.shown))
    }

    fn attempt<R>(
        &mut self,
        work: &impl Fn(&mut Client, &mut Option<Statement>) -> Result<R, Error>,
    ) -> Result<R, String> {
        let mut client = if let Some(client) = self.client.take() {
            client
        } else {
            let mut client = match &self.encryption {
                None => self.config.connect(NoTls),
                Some(encryption) => self.config.connect(encryption.clone()),
            }
            .map_err(words)?;
            migrate(&mut client)?;
            self.insert = None;
            client
        };
        let answer = work(&mut client, &mut self.insert);
        // The client does not know of itself that its connection is lost. After what the server refused it is there still.
        let refused = |fault: &Error| fault.as_db_error().is_some_and(|said| said.severity() == "ERROR");
        if answer.as_ref().err().is_none_or(refused) {
            self.client = Some(client);
        }
        answer.map_err(words)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn words(fault: Error) -> String {
    if let Some(said) = fault.as_db_error() {
        return said.message().to_owned();
    }
    let cause = std::error::Error::source(&fault).map(|cause| format!(": {cause}"));
    format!("{fault}{}", cause.unwrap_or_default())
}

/// Takes the steps that the tables have not taken.
fn migrate(client: &mut Client) -> Result<(), String> {
    let made = |transaction: &mut Transaction<'_>| {
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
        transaction.batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS witgate; {ENTER}; CREATE TABLE IF NOT EXISTS version (taken BIGINT NOT NULL)"
        ))?;
        let taken = transaction.query_opt("SELECT taken FROM version", &[])?.map_or(0, |row| row.get::<_, i64>(0));
        let taken = usize::try_from(taken).unwrap_or(usize::MAX);
        if taken < STEPS.len() {
            for step in &STEPS[taken..] {
                transaction.batch_execute(&step.replace(" INTEGER", " BIGINT").replace(" WITHOUT ROWID", ""))?;
            }
            let steps = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
            transaction.execute("DELETE FROM version", &[])?;
            transaction.execute("INSERT INTO version VALUES ($1)", &[&steps])?;
        }
        let encoding: String = transaction.query_one("SHOW server_encoding", &[])?.try_get(0)?;
        Ok((taken, encoding))
    };
    let mut transaction = client.transaction().map_err(words)?;
    let (taken, encoding) = made(&mut transaction).map_err(words)?;
    if !["UTF8", "SQL_ASCII"].contains(&encoding.as_str()) {
        // A letter that it has not would hold up every record behind it.
        return Err(format!("the database has the encoding {encoding}; create one with UTF8"));
    }
    transaction.commit().map_err(words)?;
    if taken > STEPS.len() {
        return Err("the tables were made by a newer version of witgate".to_owned());
    }
    client.batch_execute(ENTER).map_err(words)
}

/// A statement with SQLite's parameters as Postgres has them.
pub(super) fn numbered(text: &str) -> String {
    text.replace('?', "$")
}

/// The order of bytes, which SQLite has by itself, as Postgres names it: else texts stand in the order of a language.
pub(super) fn collated(text: &str) -> String {
    text.replace("COLLATE BINARY", "COLLATE \"C\"")
}

impl Bound {
    /// As a parameter.
    pub(super) fn as_sql(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::At(at) => at,
            Self::Id(id) => id,
        }
    }
}

impl Sink for Connection {
    /// It cannot be done where the ledger is opened, which may be an event loop's thread.
    fn open(&mut self) -> Result<(), String> {
        self.work(|_| Ok(()))
    }

    fn insert(&mut self, batch: &[Box<Record>]) -> Result<(), String> {
        self.work_prepared(|client, prepared| {
            let statement = match prepared {
                Some(statement) => statement,
                None => prepared.insert(client.prepare(&insert())?),
            };
            let columns = Columns::of(batch);
            client.execute(statement, &columns.0.iter().map(Column::as_sql).collect::<Vec<_>>()).map(drop)
        })
    }
}

/// One statement for all rows of a batch: one way to the server and back, and all of it or nothing.
fn insert() -> String {
    let mut first = 1;
    let mut rows = |table: &str, kinds: &str| {
        let lists = kinds.chars().zip(first..).map(|(kind, number)| {
            let kind = if kind == 'T' { "text" } else { "bigint" };
            format!("${number}::{kind}[]")
        });
        let lists = lists.collect::<Vec<_>>().join(", ");
        first += kinds.len();
        format!("INSERT INTO {table} SELECT * FROM unnest({lists}) ON CONFLICT DO NOTHING")
    };
    let (requests, attempts) = (rows("requests", REQUESTS), rows("attempts", ATTEMPTS));
    format!("WITH requested AS ({requests}), attempted AS ({attempts}) {}", rows("tags", TAGS))
}

/// The columns of each table, a letter for each: a text or a whole number.
const REQUESTS: &str = "TITTTTTIIIIIIIIIIIIITII";
const ATTEMPTS: &str = "TITTTTIIIIIIIIT";
const TAGS: &str = "TT";

/// A list for each column of the tables.
struct Columns(Vec<Column>);

enum Column {
    Texts(Vec<Option<String>>),
    Counts(Vec<Option<i64>>),
}

impl Column {
    fn as_sql(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Texts(texts) => texts,
            Self::Counts(counts) => counts,
        }
    }
}

impl Columns {
    fn of(batch: &[Box<Record>]) -> Self {
        let mut columns = requests(batch);
        columns.extend(attempts(batch));
        columns.extend(tags(batch));
        Self(columns)
    }
}

/// Postgres takes no text with this letter in it.
fn clean(text: &str) -> String {
    text.replace('\0', "")
}

fn requests(batch: &[Box<Record>]) -> Vec<Column> {
    let texts = |of: &dyn Fn(&Record) -> Option<&str>| {
        Column::Texts(batch.iter().map(|record| of(record).map(clean)).collect())
    };
    let counts = |of: &dyn Fn(&Record) -> Option<i64>| Column::Counts(batch.iter().map(|record| of(record)).collect());
    let token = |at: usize| counts(&|record| Some(tokens(&record.usage)[at]));
    vec![
        Column::Texts(batch.iter().map(|record| Some(record.id.to_string())).collect()),
        counts(&|record| Some(whole(record.arrived.as_millis()))),
        texts(&|record| Some(record.api)),
        texts(&|record| record.caller.as_ref().map(crate::id::KeyId::as_str)),
        texts(&|record| record.team.as_ref().map(crate::id::TeamId::as_str)),
        texts(&|record| record.group.as_ref().map(crate::id::GroupName::as_str)),
        texts(&|record| record.policy.as_deref()),
        counts(&|record| Some(i64::from(record.streamed))),
        counts(&|record| Some(whole(record.estimated_input_tokens))),
        token(0),
        token(1),
        token(2),
        token(3),
        token(4),
        counts(&|record| Some(i64::from(record.usage_estimated))),
        counts(&|record| record.cost.map(|cost| whole(cost.0))),
        counts(&|record| Some(millis(record.waited))),
        counts(&|record| record.ttft.map(millis)),
        counts(&|record| Some(millis(record.latency))),
        counts(&|record| Some(i64::from(record.status))),
        texts(&|record| Some(record.ending.as_str())),
        counts(&|record| Some(whole(record.charged.0))),
        counts(&|record| Some(record.seed.cast_signed())),
    ]
}

fn attempts(batch: &[Box<Record>]) -> Vec<Column> {
    let all: Vec<_> =
        batch.iter().flat_map(|record| (0_i64..).zip(&record.attempts).map(move |one| (record, one))).collect();
    let texts = |of: &dyn Fn(&AttemptRecord) -> Option<&str>| {
        Column::Texts(all.iter().map(|(_, (_, attempt))| of(attempt).map(clean)).collect())
    };
    let counts = |of: &dyn Fn(&AttemptRecord) -> Option<i64>| {
        Column::Counts(all.iter().map(|(_, (_, attempt))| of(attempt)).collect())
    };
    let token = |at: usize| counts(&|attempt| Some(tokens(&attempt.usage)[at]));
    vec![
        Column::Texts(all.iter().map(|(record, _)| Some(record.id.to_string())).collect()),
        Column::Counts(all.iter().map(|(_, (number, _))| Some(*number)).collect()),
        texts(&|attempt| Some(attempt.deployment.as_str())),
        texts(&|attempt| Some(attempt.provider.as_str())),
        texts(&|attempt| Some(&attempt.model)),
        texts(&|attempt| attempt.fault.map(FaultKind::as_str)),
        counts(&|attempt| Some(millis(attempt.latency))),
        token(0),
        token(1),
        token(2),
        token(3),
        token(4),
        counts(&|attempt| attempt.cost.map(|cost| whole(cost.0))),
        counts(&|attempt| Some(whole(attempt.charged.0))),
        texts(&|attempt| Some(attempt.group.as_str())),
    ]
}

fn tags(batch: &[Box<Record>]) -> [Column; 2] {
    let all = || batch.iter().flat_map(|record| record.tags.iter().map(|tag| (record.id, tag)));
    [
        Column::Texts(all().map(|(id, _)| Some(id.to_string())).collect()),
        Column::Texts(all().map(|(_, tag)| Some(clean(tag))).collect()),
    ]
}
