//! What a ledger is asked: spend by key, model, tag, day and so on, and the requests themselves.

use std::path::Path;

use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::schema;
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
    /// The column, and what it is taken from.
    const fn query(self) -> (&'static str, &'static str) {
        const ATTEMPTS: &str = "attempts AS spent JOIN requests ON requests.id = spent.request";
        match self {
            Self::Key => ("key", "requests AS spent"),
            Self::Team => ("team", "requests AS spent"),
            Self::Model => ("model_group", "requests AS spent"),
            Self::Tag => ("tag", "requests AS spent JOIN tags ON tags.request = spent.id"),
            Self::Day => ("date(arrived_ms / 1000, 'unixepoch')", "requests AS spent"),
            Self::Deployment => ("deployment", ATTEMPTS),
            Self::Provider => ("provider", ATTEMPTS),
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

/// One line of a sum.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spend {
    /// Whose; empty where requests had none.
    pub name: String,
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
}

/// A ledger that is read, while a gateway writes it or none does.
pub struct Reader(Connection);

impl Reader {
    /// Opens it.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, String> {
        schema::open_to_read(path).map(Self).map_err(|fault| format!("{}: {fault}", path.display()))
    }

    /// Adds up, the dearest first; days in their order.
    ///
    /// # Errors
    /// A day that is none; a file that cannot be read.
    pub fn spend(&self, by: By, period: &Period) -> Result<Vec<Spend>, String> {
        let (column, from) = by.query();
        let order = if by == By::Day { "1" } else { "5 DESC, 1" };
        let text = format!(
            "SELECT coalesce({column}, ''), count(*), sum(spent.input_tokens), sum(spent.output_tokens), \
             sum(coalesce(spent.cost_nano_usd, 0)), \
             sum(spent.cost_nano_usd IS NULL AND spent.input_tokens + spent.output_tokens > 0) \
             FROM {from} WHERE arrived_ms >= ?1 AND arrived_ms < ?2 GROUP BY 1 ORDER BY {order}"
        );
        let [since, until] = self.bounds(period)?;
        let mut statement = self.0.prepare(&text).map_err(|fault| fault.to_string())?;
        let line = |row: &Row<'_>| {
            Ok(Spend {
                name: row.get(0)?,
                requests: count(row, 1)?,
                input_tokens: count(row, 2)?,
                output_tokens: count(row, 3)?,
                cost_nano_usd: NanoUsd(count(row, 4)?),
                unpriced: count(row, 5)?,
            })
        };
        let lines = statement.query_map(params![since, until], line).map_err(|fault| fault.to_string())?;
        lines.collect::<Result<_, _>>().map_err(|fault| fault.to_string())
    }

    /// The last requests of a period, or the one with this id, the newest first and at most `most`.
    ///
    /// # Errors
    /// As [`Reader::spend`].
    pub fn requests(&self, id: Option<&str>, period: &Period, most: u32) -> Result<Vec<Logged>, String> {
        let [since, until] = self.bounds(period)?;
        let text = "SELECT id, arrived_ms, strftime('%Y-%m-%dT%H:%M:%fZ', arrived_ms / 1000.0, 'unixepoch'), \
             strftime('%Y-%m-%dT%H:%M:%fZ', (arrived_ms + latency_ms) / 1000.0, 'unixepoch'), api, key, team, model_group, \
             input_tokens, output_tokens, cost_nano_usd, status, ending FROM requests \
             WHERE arrived_ms >= ?1 AND arrived_ms < ?2 AND (?3 IS NULL OR id = ?3) ORDER BY arrived_ms DESC LIMIT ?4";
        let mut statement = self.0.prepare(text).map_err(|fault| fault.to_string())?;
        let line = |row: &Row<'_>| {
            let cost: Option<i64> = row.get(10)?;
            Ok(Logged {
                id: row.get(0)?,
                arrived_ms: count(row, 1)?,
                arrived: row.get(2)?,
                ended: row.get(3)?,
                api: row.get(4)?,
                key: row.get(5)?,
                team: row.get(6)?,
                model_group: row.get(7)?,
                input_tokens: count(row, 8)?,
                output_tokens: count(row, 9)?,
                cost_nano_usd: cost.map(|cost| NanoUsd(u64::try_from(cost).unwrap_or_default())),
                status: row.get(11)?,
                ending: row.get(12)?,
            })
        };
        let lines = statement.query_map(params![since, until, id, most], line).map_err(|fault| fault.to_string())?;
        lines.collect::<Result<_, _>>().map_err(|fault| fault.to_string())
    }

    /// Milliseconds from which on, and before which.
    fn bounds(&self, period: &Period) -> Result<[i64; 2], String> {
        let day = |day: &Option<String>, later: &str, open: i64| {
            let Some(day) = day else { return Ok(open) };
            let plain = day.len() == 10 && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            let seconds: Option<i64> = self
                .0
                .query_row("SELECT unixepoch(?1, ?2)", params![day, later], |row| row.get(0))
                .map_err(|fault| fault.to_string())?;
            let seconds = seconds.filter(|_| plain);
            seconds.map(|seconds| seconds * 1000).ok_or_else(|| format!("`{day}` is no day; write it as YYYY-MM-DD"))
        };
        Ok([day(&period.since, "+0 days", 0)?, day(&period.until, "+1 day", i64::MAX)?])
    }
}

fn count(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or_default())
}
