//! The ledger and the keys in Postgres: the same tables, in a schema of their own (`witgate`), behind threads that own the connections.
//!
//! Whoever asks waits for a thread, and not without end (`line`); none of it is done on an event loop. A connection that was lost is made
//! anew for the next question, and what failed because of that is asked once more. What keys and records wait for goes over one connection,
//! what may take long over another.

mod line;
mod writing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use postgres::types::ToSql;
use postgres::{Client, Config, Error, NoTls, Statement, Transaction};
use secrecy::{ExposeSecret, SecretString};

use super::encrypted::{self, Encryption};
use super::schema::STEPS;
use super::spent::Bound;
use line::{Asked, Lines, Unanswered};

pub(super) use writing::Writing;

/// How long is waited for a server that does not answer.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a server may be silent on the wire before the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(15);
/// How long an answer is waited for that comes at once from a server that is well. Longer than the server itself takes to give up.
const ANSWER: Duration = Duration::from_secs(20);
/// The same where much may have to be read, or tables to be made.
const LONG_ANSWER: Duration = Duration::from_secs(120);
/// Where the tables are.
const TABLES: &str = "SET search_path TO witgate";
/// The first statement of a connection whose questions are short. A table that somebody has locked, and a server that is stuck in its own disk, are an
/// error by then.
const ENTER: &str = "SET search_path TO witgate; SET lock_timeout TO '10s'; SET statement_timeout TO '15s'";
/// The same where they may take long: an index that is being made is finished even where nobody waits for it any more.
const ENTER_TO_READ: &str = "SET search_path TO witgate; SET lock_timeout TO '10s'; SET statement_timeout TO 0";
/// Two gateways that start at once must not make the tables twice.
pub(super) const LOCK: i64 = 0x5749_5447_4154_4500;
/// Nor must two change keys or teams at once.
pub(super) const KEYS_LOCK: i64 = LOCK + 1;

/// A server that is asked, from any thread.
#[derive(Clone)]
pub(super) struct Postgres {
    shown: Arc<str>,
    short: Arc<Lines<Connection>>,
    long: Arc<Lines<Connection>>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Postgres").field(&self.shown).finish()
    }
}

/// Where a server is, and how it is spoken to.
#[derive(Clone)]
struct Server {
    config: Config,
    /// `None` is plain.
    encryption: Option<Encryption>,
}

/// A connection, made where it is needed.
struct Connection {
    server: Server,
    /// What is said first.
    enter: &'static str,
    client: Option<Client>,
    /// What writes a batch, once it is prepared over this connection.
    insert: Option<Statement>,
}

/// Nobody says of himself that it is enough.
fn patient(_ran: Duration) -> bool {
    false
}

impl Postgres {
    /// Connects, and makes the tables or brings them up to date.
    ///
    /// # Errors
    /// It is no URL, the server cannot be reached, or its tables are a newer version's.
    pub(super) fn open(url: &SecretString) -> Result<Self, String> {
        let opened = Self::open_later(url)?;
        opened.connect(&patient)?;
        Ok(opened)
    }

    /// The same, and connects when first it is asked.
    ///
    /// # Errors
    /// It is no URL.
    pub(super) fn open_later(url: &SecretString) -> Result<Self, String> {
        let (mut config, encryption) = encrypted::read(url.expose_secret().trim())?;
        config.connect_timeout(CONNECT).application_name("witgate");
        // A server that vanishes is noticed by the system too.
        config.tcp_user_timeout(SILENCE).keepalives_idle(SILENCE).keepalives_interval(CONNECT).keepalives_retries(2);
        let hosts: Vec<String> = config.get_hosts().iter().map(|host| format!("{host:?}")).collect();
        let shown =
            format!("Postgres at {}, database {}", hosts.join(", "), config.get_dbname().unwrap_or("of the user"));
        let server = Server { config, encryption };
        let lines = |enter: &'static str| {
            let server = server.clone();
            let connect = move || Connection { server: server.clone(), enter, client: None, insert: None };
            Arc::new(Lines::new(connect))
        };
        Ok(Self { shown: shown.into(), short: lines(ENTER), long: lines(ENTER_TO_READ) })
    }

    fn told<R>(&self, answer: Result<Result<R, String>, Unanswered>) -> Result<R, String> {
        let told = |why: &dyn fmt::Display| format!("{}: {why}", self.shown);
        answer.map_err(|why| told(&why))?.map_err(|why| told(&why))
    }

    /// Connects, and waits until `enough` at most. The tables are made where there are none, which may take long.
    ///
    /// # Errors
    /// As [`Postgres::open`].
    fn connect(&self, enough: &dyn Fn(Duration) -> bool) -> Result<(), String> {
        self.told(self.short.ask(LONG_ANSWER, enough, |connection, asked| connection.work(asked, |_, _| Ok(()))))
    }

    /// Does something with the connection, and waits until it is done.
    ///
    /// # Errors
    /// The server cannot be reached, does not answer, or says why not.
    pub(super) fn run<R: Send + 'static>(
        &self,
        work: impl Fn(&mut Client) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, String> {
        let work = move |connection: &mut Connection, asked: &Asked| connection.work(asked, |client, _| work(client));
        self.told(self.short.ask(ANSWER, &patient, work))
    }

    /// The same of what may take long: nobody who is quick stands behind it.
    ///
    /// # Errors
    /// As [`Postgres::run`].
    pub(super) fn run_long<R: Send + 'static>(
        &self,
        work: impl Fn(&mut Client) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, String> {
        let work = move |connection: &mut Connection, asked: &Asked| connection.work(asked, |client, _| work(client));
        self.told(self.long.ask(LONG_ANSWER, &patient, work))
    }

    /// Changes something, all of it or nothing: and nothing where whoever asked was told that there is no answer.
    ///
    /// # Errors
    /// As [`Postgres::run`].
    pub(super) fn change<R: Send + 'static>(
        &self,
        work: impl Fn(&mut Transaction<'_>) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, String> {
        let work = move |connection: &mut Connection, asked: &Asked| {
            let changed = connection.work(asked, |client, _| {
                let mut transaction = client.transaction()?;
                let answer = work(&mut transaction)?;
                if !asked.may_commit() {
                    return Ok(None);
                }
                transaction.commit()?;
                Ok(Some(answer))
            });
            changed?.ok_or_else(|| Unanswered::Silent.to_string())
        };
        self.told(self.short.ask(ANSWER, &patient, work))
    }
}

impl Connection {
    fn work<R>(
        &mut self,
        asked: &Asked,
        work: impl Fn(&mut Client, &mut Option<Statement>) -> Result<R, Error>,
    ) -> Result<R, String> {
        let connected = self.client.is_some();
        let first = self.attempt(asked, &work);
        let lost = connected && self.client.is_none();
        if first.is_err() && lost { self.attempt(asked, &work) } else { first }
    }

    fn attempt<R>(
        &mut self,
        asked: &Asked,
        work: &impl Fn(&mut Client, &mut Option<Statement>) -> Result<R, Error>,
    ) -> Result<R, String> {
        let mut client = if let Some(client) = self.client.take() {
            client
        } else {
            let Server { config, encryption } = &self.server;
            let mut client = match encryption {
                None => config.connect(NoTls),
                Some(encryption) => config.connect(encryption.clone()),
            }
            .map_err(words)?;
            migrate(&mut client, self.enter)?;
            self.insert = None;
            client
        };
        // That may have taken longer than whoever asked has waited.
        if asked.is_given_up() {
            self.client = Some(client);
            return Err(Unanswered::Silent.to_string());
        }
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
fn migrate(client: &mut Client, enter: &str) -> Result<(), String> {
    let made = |transaction: &mut Transaction<'_>| {
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
        transaction.batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS witgate; {TABLES}; CREATE TABLE IF NOT EXISTS version (taken BIGINT NOT NULL)"
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
    client.batch_execute(enter).map_err(words)
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
