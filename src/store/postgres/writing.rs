//! Records, as a server is told them: a batch is one statement.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postgres::types::ToSql;
use secrecy::SecretString;

use super::line::Asked;
use super::{ANSWER, Connection, Postgres};
use crate::fault::FaultKind;
use crate::record::{AttemptRecord, Record};
use crate::store::aside::{self, Untaken, Values};
use crate::store::writer::{Sink, State, millis, tokens, whole};

/// What the writer writes to: a connection of its own, for which it waits no longer than the end of the process allows.
pub(in crate::store) struct Writing {
    server: Postgres,
    state: Arc<State>,
    silent: bool,
}

impl Writing {
    /// # Errors
    /// It is no URL of a server.
    pub(in crate::store) fn new(url: &SecretString, state: Arc<State>) -> Result<Self, String> {
        Ok(Self { server: Postgres::open_later(url)?, state, silent: false })
    }

    fn write(&mut self, columns: Columns) -> Result<(), String> {
        let work = move |connection: &mut Connection, asked: &Asked| {
            connection.work(asked, |client, prepared| {
                let statement = match prepared {
                    Some(statement) => statement,
                    None => prepared.insert(client.prepare(&insert())?),
                };
                client.execute(statement, &columns.0.iter().map(Column::as_sql).collect::<Vec<_>>()).map(drop)
            })
        };
        let state = Arc::clone(&self.state);
        let answer = self.server.short.ask(ANSWER, &move |ran: Duration| state.waits_no_longer(ran), work);
        self.silent = answer.is_err();
        self.server.told(answer)
    }
}

impl Sink for Writing {
    /// It cannot be done where the ledger is opened, which may be an event loop's thread.
    fn open(&mut self) -> Result<(), String> {
        self.server.connect(&|ran: Duration| self.state.waits_no_longer(ran))
    }

    fn insert(&mut self, batch: &[Box<Record>]) -> Result<(), String> {
        self.write(Columns::of(batch))
    }

    fn is_silent(&self) -> bool {
        self.silent
    }

    fn take_in(&mut self, file: &Path) -> Result<(), Untaken> {
        let database = aside::open(file)?;
        let kinds = [("requests", REQUESTS), ("attempts", ATTEMPTS), ("tags", TAGS)];
        for (at, (table, letters)) in kinds.iter().enumerate() {
            let mut after = 0;
            loop {
                let mut rows = aside::page(&database, table, letters, after)?;
                let count = rows.first().map_or(0, Values::count);
                if count == 0 {
                    break;
                }
                after += count;
                let mut columns = Vec::new();
                for (other, (_, letters)) in kinds.iter().enumerate() {
                    if other == at {
                        columns.append(&mut rows);
                    } else {
                        columns.extend(letters.chars().map(Values::none));
                    }
                }
                // Whatever the server says: the file can be read.
                let columns = columns.into_iter().map(Column::from).collect();
                self.write(Columns(columns)).map_err(Untaken::Later)?;
            }
        }
        Ok(())
    }
}

impl From<Values> for Column {
    fn from(values: Values) -> Self {
        match values {
            // What a file takes and a server does not.
            Values::Texts(texts) => Self::Texts(texts.into_iter().map(|text| text.as_deref().map(clean)).collect()),
            Values::Counts(counts) => Self::Counts(counts),
        }
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
