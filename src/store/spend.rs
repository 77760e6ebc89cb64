//! What a ledger is asked: spend by key, model, tag, day and so on, and the requests themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Row};
use serde::Serialize;

use super::postgres::{Postgres, numbered};
use super::schema;
use super::spent::Bound::{self, At, Id};
use crate::id::RequestId;
use crate::moment::Moment;
use crate::money::NanoUsd;

/// What spend is added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The caller's key, by name.
    Key,
    /// The caller's team.
    Team,
    /// The group that clients name as the model.
    Model,
    /// Each of a request's tags: a request with two counts under both.
    Tag,
    /// The day it arrived, UTC.
    Day,
    /// The deployment that was called: each attempt counts.
    Deployment,
    /// Its provider.
    Provider,
}

impl By {
    /// The column, what it is taken from, and the request's id there.
    const fn query(self) -> [&'static str; 3] {
        match self {
            Self::Key => ["key", "requests AS spent", "id"],
            Self::Team => ["team", "requests AS spent", "id"],
            Self::Model => ["model_group", "requests AS spent", "id"],
            Self::Tag => ["tag", "requests AS spent JOIN tags ON tags.request = spent.id", "id"],
            Self::Day => ["date(arrived_ms / 1000, 'unixepoch')", "requests AS spent", "id"],
            Self::Deployment => ["deployment", "attempts AS spent", "request"],
            Self::Provider => ["provider", "attempts AS spent", "request"],
        }
    }
}

/// From which day to which, both in it, as `YYYY-MM-DD` in UTC. `None` is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// The first day.
    pub since: Option<String>,
    /// The last day.
    pub until: Option<String>,
}

impl Period {
    /// Whether its days are days.
    ///
    /// # Errors
    /// Names the one that is none.
    pub fn check(&self) -> Result<(), String> {
        bounds(self).map(drop)
    }
}

/// Which requests of a period are asked for; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The one with this id.
    pub id: Option<String>,
    /// Those of these keys, by the names that records have of them.
    pub keys: Option<Vec<String>>,
}

/// One line of a sum.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spend {
    /// Whose; empty where requests had none. Of a virtual key it is the digest.
    pub name: String,
    /// What people call it, where that is another name.
    pub alias: Option<String>,
    /// Requests, or attempts where a deployment or a provider is meant.
    pub requests: u64,
    /// All input tokens.
    pub input_tokens: u64,
    /// All output tokens.
    pub output_tokens: u64,
    /// What those with a known price cost.
    pub cost_nano_usd: NanoUsd,
    /// How many used tokens at a price nobody knows.
    pub unpriced: u64,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Logged {
    /// Its id.
    pub id: String,
    /// When it arrived, in milliseconds since the epoch.
    pub arrived_ms: u64,
    /// The same as a date.
    pub arrived: String,
    /// When it ended.
    pub ended: String,
    /// The API it came through.
    pub api: String,
    /// The caller's key, by name.
    pub key: Option<String>,
    /// The caller's team.
    pub team: Option<String>,
    /// The group.
    pub model_group: Option<String>,
    /// All input tokens.
    pub input_tokens: u64,
    /// All output tokens.
    pub output_tokens: u64,
    /// What it cost; `None` where that is unknown.
    pub cost_nano_usd: Option<NanoUsd>,
    /// The HTTP status.
    pub status: u16,
    /// How it ended.
    pub ending: String,
    /// Its tags, in order.
    pub tags: Vec<String>,
}

/// One request, as it may be simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its id.
    pub id: String,
    /// When it arrived, in milliseconds since the epoch.
    pub arrived_ms: u64,
    /// The caller's key, by name.
    pub key: Option<String>,
    /// The group it was first called for.
    pub model_group: String,
    /// Input tokens of its reply's call; where it got none, as they were estimated.
    pub input_tokens: u64,
    /// Output tokens of its reply.
    pub output_tokens: Option<u64>,
    /// Its tags, in order.
    pub tags: Vec<String>,
}

/// How one model's replies were.
#[derive(Clone, Debug, PartialEq)]
pub struct Replies {
    /// The model, as its provider names it.
    pub model: String,
    /// How many were looked at.
    pub replies: u64,
    /// Output tokens, on average.
    pub output_tokens: f64,
    /// Milliseconds from the call to the end, on average.
    pub latency_ms: f64,
}

/// A ledger that is read, while a gateway writes it or none does.
pub struct Reader(Source);

enum Source {
    File(Connection),
    Server(Postgres),
}

/// A row of an answer; both databases have columns by number.
pub(super) enum Columns<'a> {
    File(&'a Row<'a>),
    Server(&'a postgres::Row),
}

impl Columns<'_> {
    pub(super) fn text(&self, index: usize) -> Result<Option<String>, String> {
        match self {
            Self::File(row) => row.get(index).map_err(|fault| fault.to_string()),
            Self::Server(row) => row.try_get(index).map_err(|fault| fault.to_string()),
        }
    }

    pub(super) fn signed(&self, index: usize) -> Result<Option<i64>, String> {
        match self {
            Self::File(row) => row.get(index).map_err(|fault| fault.to_string()),
            Self::Server(row) => row.try_get(index).map_err(|fault| fault.to_string()),
        }
    }

    pub(super) fn whole(&self, index: usize) -> Result<Option<u64>, String> {
        Ok(self.signed(index)?.map(|number| u64::try_from(number).unwrap_or_default()))
    }

    pub(super) fn count(&self, index: usize) -> Result<u64, String> {
        Ok(self.whole(index)?.unwrap_or_default())
    }
}

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, String> {
        let opened = schema::open_to_read(path).map_err(|fault| format!("{}: {fault}", path.display()));
        opened.map(|database| Self(Source::File(database)))
    }

    /// Reads what a server has.
    pub(super) const fn of(server: Postgres) -> Self {
        Self(Source::Server(server))
    }

    /// Adds up, the dearest first; days in their order. What a key spent before it was renewed counts as the one's that took its place.
    ///
    /// # Errors
    /// A day that is none; a ledger that cannot be read.
    pub fn spend(&self, by: By, period: &Period) -> Result<Vec<Spend>, String> {
        let [column, from, id] = by.query();
        // A file has its rows in the order of ids; a server has an index of times, and ids in any order.
        let within = match self.0 {
            Source::File(_) => format!("{from} WHERE spent.{id} >= ?1 AND spent.{id} < ?2"),
            Source::Server(_) => {
                let times = if id == "request" { " JOIN requests ON requests.id = spent.request" } else { "" };
                format!("{from}{times} WHERE arrived_ms >= ?1 AND arrived_ms < ?2")
            }
        };
        let column = match self.0 {
            Source::Server(_) if by == By::Day => {
                "to_char(to_timestamp(arrived_ms / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')".to_owned()
            }
            // Names stand in the order of their bytes, whatever the language of a database.
            Source::Server(_) => format!("{column} COLLATE \"C\""),
            Source::File(_) => column.to_owned(),
        };
        let order = if by == By::Day { "1" } else { "5 DESC, 1" };
        let text = format!(
            "SELECT coalesce({column}, ''), count(*), CAST(sum(spent.input_tokens) AS BIGINT), \
             CAST(sum(spent.output_tokens) AS BIGINT), CAST(sum(coalesce(spent.cost_nano_usd, 0)) AS BIGINT), \
             count(*) FILTER (WHERE spent.cost_nano_usd IS NULL AND spent.input_tokens + spent.output_tokens > 0) \
             FROM {within} GROUP BY 1 ORDER BY {order}"
        );
        let span = bounds(period)?;
        let aliases = if by == By::Key { self.aliases()? } else { BTreeMap::new() };
        let line = |row: &Columns<'_>| {
            let name = row.text(0)?.unwrap_or_default();
            Ok(Spend {
                alias: aliases.get(&name).cloned(),
                name,
                requests: row.count(1)?,
                input_tokens: row.count(2)?,
                output_tokens: row.count(3)?,
                cost_nano_usd: NanoUsd(row.count(4)?),
                unpriced: row.count(5)?,
            })
        };
        let lines = self.rows(&text, &self.span(span), line)?;
        if by == By::Key { self.together(lines) } else { Ok(lines) }
    }

    /// A query of a file, or of a server.
    pub(super) const fn either(&self, file: &'static str, server: &'static str) -> &'static str {
        match self.0 {
            Source::File(_) => file,
            Source::Server(_) => server,
        }
    }

    /// A span as rows are found by it here: by the ids of who arrived then, which a file has in order, or by the times.
    fn span(&self, span: [i64; 2]) -> [Bound; 2] {
        match self.0 {
            Source::File(_) => span.map(first_at).map(Id),
            Source::Server(_) => span.map(At),
        }
    }

    /// What the kept keys are called, by their digests.
    fn aliases(&self) -> Result<BTreeMap<String, String>, String> {
        const ALL: &str = "SELECT token, key_alias FROM keys WHERE key_alias IS NOT NULL";
        let line = |row: &Columns<'_>| Ok((row.text(0)?.unwrap_or_default(), row.text(1)?.unwrap_or_default()));
        Ok(self.all(ALL, line)?.into_iter().collect())
    }

    /// The last requests of a period that are wanted, the newest first and at most `most`.
    ///
    /// # Errors
    /// As [`Reader::spend`].
    pub fn requests(&self, wanted: &Wanted, period: &Period, most: u32) -> Result<Vec<Logged>, String> {
        const COLUMNS: &str = "SELECT id, arrived_ms, latency_ms, api, key, team, model_group, input_tokens, output_tokens, \
             cost_nano_usd, status, ending FROM requests WHERE";
        let line = |row: &Columns<'_>| {
            let (arrived, latency) = (row.count(1)?, row.count(2)?);
            Ok(Logged {
                id: row.text(0)?.unwrap_or_default(),
                arrived_ms: arrived,
                arrived: Moment::from_millis(arrived).iso(),
                ended: Moment::from_millis(arrived.saturating_add(latency)).iso(),
                api: row.text(3)?.unwrap_or_default(),
                key: row.text(4)?,
                team: row.text(5)?,
                model_group: row.text(6)?,
                input_tokens: row.count(7)?,
                output_tokens: row.count(8)?,
                cost_nano_usd: row.whole(9)?.map(NanoUsd),
                status: u16::try_from(row.count(10)?).unwrap_or_default(),
                ending: row.text(11)?.unwrap_or_default(),
                tags: Vec::new(),
            })
        };
        let mut bounds = self.span(bounds(period)?).to_vec();
        bounds.push(At(i64::from(most)));
        let mut asked = String::new();
        let ids = wanted.id.as_ref().map(std::slice::from_ref);
        for (column, names) in [("id", ids), ("key", wanted.keys.as_deref())] {
            let Some(names) = names else { continue };
            if names.is_empty() {
                return Ok(Vec::new());
            }
            let one_of = format!(" AND {column} IN ({})", places(bounds.len() + 1, names.len()));
            asked.push_str(&one_of);
            bounds.extend(names.iter().cloned().map(Id));
        }
        let (place, order) = match self.0 {
            Source::File(_) => ("id", "id DESC"),
            Source::Server(_) => ("arrived_ms", "arrived_ms DESC, id DESC"),
        };
        let text = format!("{COLUMNS} {place} >= ?1 AND {place} < ?2{asked} ORDER BY {order} LIMIT ?3");
        let mut requests = self.rows(&text, &bounds, line)?;
        let ids: Vec<Bound> = requests.iter().map(|request| Id(request.id.clone())).collect();
        if !ids.is_empty() {
            let text = format!("SELECT request, tag FROM tags WHERE request IN ({})", places(1, ids.len()));
            let mut tags = self.tags(&text, &ids)?;
            for request in &mut requests {
                request.tags = tags.remove(&request.id).unwrap_or_default();
            }
        }
        Ok(requests)
    }

    /// The tags of requests that a statement finds, by their ids and each in order.
    fn tags(&self, text: &str, bounds: &[Bound]) -> Result<BTreeMap<String, Vec<String>>, String> {
        let line = |row: &Columns<'_>| Ok((row.text(0)?.unwrap_or_default(), row.text(1)?.unwrap_or_default()));
        let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (request, tag) in self.rows(text, bounds, line)? {
            tags.entry(request).or_default().push(tag);
        }
        // By their bytes, whatever the language of a database.
        for tags in tags.values_mut() {
            tags.sort_unstable();
        }
        Ok(tags)
    }

    /// The next requests of a period that a group was found for, the oldest first: after the one with this arrival and id, at most `most`.
    ///
    /// # Errors
    /// As [`Reader::spend`].
    pub fn arrived(&self, period: &Period, after: Option<&(u64, String)>, most: u32) -> Result<Vec<Arrived>, String> {
        const REQUESTS: &str = "SELECT id, arrived_ms, key, coalesce((SELECT model_group FROM attempts WHERE request = id \
             ORDER BY number LIMIT 1), model_group), coalesce((SELECT input_tokens FROM attempts WHERE request = id AND \
             fault IS NULL ORDER BY number DESC LIMIT 1), estimated_input_tokens), (SELECT output_tokens FROM attempts WHERE \
             request = id AND fault IS NULL ORDER BY number DESC LIMIT 1) FROM requests WHERE arrived_ms >= ?1 AND arrived_ms < ?2 \
             AND model_group IS NOT NULL AND (arrived_ms > ?3 OR (arrived_ms = ?3 AND id > ?4)) ORDER BY arrived_ms, id LIMIT ?5";
        // A request with its only call in it has used what that has, in one group.
        const FILE_REQUESTS: &str = "SELECT id, arrived_ms, key, coalesce((SELECT model_group FROM other_attempts WHERE request = id \
             ORDER BY number LIMIT 1), model_group), CASE WHEN deployment IS NULL THEN coalesce((SELECT input_tokens FROM \
             other_attempts WHERE request = id AND fault IS NULL ORDER BY number DESC LIMIT 1), estimated_input_tokens) ELSE \
             input_tokens END, CASE WHEN deployment IS NULL THEN (SELECT output_tokens FROM other_attempts WHERE request = id AND \
             fault IS NULL ORDER BY number DESC LIMIT 1) ELSE output_tokens END FROM requests WHERE id >= ?1 AND id < ?2 \
             AND model_group IS NOT NULL AND id > ?3 ORDER BY id LIMIT ?4";
        const FILE_TAGS: &str = "SELECT request, tag FROM tags WHERE request >= ?1 AND request <= ?2";
        const TAGS: &str = "SELECT request, tag FROM tags JOIN requests ON requests.id = tags.request \
             WHERE arrived_ms >= ?1 AND arrived_ms <= ?2";
        let [from, before] = self.span(bounds(period)?);
        let (last, id) =
            after.map_or((-1, String::new()), |(ms, id)| (i64::try_from(*ms).unwrap_or(i64::MAX), id.clone()));
        let line = |row: &Columns<'_>| {
            Ok(Arrived {
                id: row.text(0)?.unwrap_or_default(),
                arrived_ms: row.count(1)?,
                key: row.text(2)?,
                model_group: row.text(3)?.unwrap_or_default(),
                input_tokens: row.count(4)?,
                output_tokens: row.whole(5)?,
                tags: Vec::new(),
            })
        };
        let most = i64::from(most);
        let mut page = match self.0 {
            Source::File(_) => self.rows(FILE_REQUESTS, &[from, before, Id(id), At(most)], line),
            Source::Server(_) => self.rows(REQUESTS, &[from, before, At(last), Id(id), At(most)], line),
        }?;
        let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(page) };
        let (text, span) = match self.0 {
            Source::File(_) => (FILE_TAGS, [first, last].map(|one| Id(one.id.clone()))),
            Source::Server(_) => {
                let at = |one: &Arrived| At(i64::try_from(one.arrived_ms).unwrap_or(i64::MAX));
                (TAGS, [at(first), at(last)])
            }
        };
        let mut tags = self.tags(text, &span)?;
        for arrived in &mut page {
            arrived.tags = tags.remove(&arrived.id).unwrap_or_default();
        }
        Ok(page)
    }

    /// How long the replies of each model were and how long they took: of its last thousand whole ones.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn replies(&self) -> Result<Vec<Replies>, String> {
        const ALL: &str = "WITH kept AS (SELECT model, output_tokens, latency_ms, \
             row_number() OVER (PARTITION BY model ORDER BY request DESC) AS place FROM attempts \
             WHERE fault IS NULL AND output_tokens > 0) \
             SELECT model, count(*), CAST(sum(output_tokens) AS BIGINT), CAST(sum(latency_ms) AS BIGINT) FROM kept \
             WHERE place <= 1000 GROUP BY model";
        let line = |row: &Columns<'_>| {
            let replies = row.count(1)?;
            #[expect(clippy::cast_precision_loss, reason = "a mean of a thousand replies")]
            let mean = |sum: u64| sum as f64 / replies.max(1) as f64;
            Ok(Replies {
                model: row.text(0)?.unwrap_or_default(),
                replies,
                output_tokens: mean(row.count(2)?),
                latency_ms: mean(row.count(3)?),
            })
        };
        self.all(ALL, line)
    }

    /// Every row of a statement with these parameters.
    fn rows<T>(
        &self,
        text: &str,
        bounds: &[Bound],
        line: impl Fn(&Columns<'_>) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        match &self.0 {
            Source::File(database) => {
                let mut statement = database.prepare(text).map_err(|fault| fault.to_string())?;
                let mut rows =
                    statement.query(rusqlite::params_from_iter(bounds)).map_err(|fault| fault.to_string())?;
                from_file(&mut rows, line)
            }
            Source::Server(server) => {
                let (text, bounds) = (numbered(text), bounds.to_vec());
                let rows = server.run_long(move |client| {
                    client.query(text.as_str(), &bounds.iter().map(Bound::as_sql).collect::<Vec<_>>())
                })?;
                rows.iter().map(|row| line(&Columns::Server(row))).collect()
            }
        }
    }

    /// Every row of a statement without parameters.
    pub(super) fn all<T>(
        &self,
        text: &'static str,
        line: impl Fn(&Columns<'_>) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        match &self.0 {
            Source::File(database) => {
                let mut statement = database.prepare(text).map_err(|fault| fault.to_string())?;
                from_file(&mut statement.query([]).map_err(|fault| fault.to_string())?, line)
            }
            Source::Server(server) => {
                let rows = server.run_long(|client| client.query(text, &[]))?;
                rows.iter().map(|row| line(&Columns::Server(row))).collect()
            }
        }
    }
}

fn from_file<T>(
    rows: &mut rusqlite::Rows<'_>,
    line: impl Fn(&Columns<'_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let mut lines = Vec::new();
    while let Some(row) = rows.next().map_err(|fault| fault.to_string())? {
        lines.push(line(&Columns::File(row))?);
    }
    Ok(lines)
}

/// So many parameters of a statement, with commas between, from this number on.
fn places(first: usize, count: usize) -> String {
    let places: Vec<String> = (first..first.saturating_add(count)).map(|number| format!("?{number}")).collect();
    places.join(", ")
}

/// How the ids begin of those that arrived then.
fn first_at(millis: i64) -> String {
    RequestId::first_at(Moment::from_millis(u64::try_from(millis).unwrap_or_default()))
}

/// Milliseconds from which on, and before which.
fn bounds(period: &Period) -> Result<[i64; 2], String> {
    let day = |day: &Option<String>, later: Duration, open: i64| -> Result<i64, String> {
        let Some(day) = day else { return Ok(open) };
        let plain = day.len() == 10 && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let midnight = Moment::parse(day).filter(|_| plain);
        let midnight = midnight.ok_or_else(|| format!("`{day}` is no day; write it as YYYY-MM-DD"))?;
        Ok(i64::try_from((midnight + later).as_millis()).unwrap_or(i64::MAX))
    };
    Ok([day(&period.since, Duration::ZERO, 0)?, day(&period.until, Duration::from_hours(24), i64::MAX)?])
}
