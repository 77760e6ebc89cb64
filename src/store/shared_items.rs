//! The items of a run that several workers carry out together, in Postgres: each is taken by one of them, who holds it by a lease.
//!
//! Who takes items skips those that somebody else is taking. A lease ends by the server's clock, so that machines need not agree on the
//! time; until then its worker says again and again that it is there. Items of one that does not are taken by others: what it had
//! sent is asked again. The first answer of an item is its answer, whoever brings it.

use std::time::Duration;

use secrecy::SecretString;

use super::items::{ItemState, Items, KeptItem, PAGE, Paid};
use super::postgres::Postgres;
use crate::money::NanoUsd;

/// The server's time, in milliseconds.
pub(super) const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// What was paid for a run. Earlier versions kept a sum beside it.
pub(super) const PAID_BY_RUN: &str = "
SELECT (coalesce((SELECT sum(paid_nano_usd) FROM run_paid WHERE run = $1), 0)
    + coalesce((SELECT value::numeric FROM runs WHERE run = $1 AND name = 'paid_nano_usd'), 0))::bigint";

/// The items of one run, and what one worker does with them.
#[derive(Debug)]
pub struct SharedItems {
    server: Postgres,
    run: String,
    worker: String,
    lease_ms: i64,
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items of each model with an answer, and those that failed.
    pub ended: Vec<(String, usize, usize)>,
    /// Items without an end.
    pub open: usize,
}

impl SharedItems {
    /// The items of the run `run`, for a worker with a name of its own that holds what it takes for `lease` at a time.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn open(url: &SecretString, run: String, worker: String, lease: Duration) -> Result<Self, String> {
        let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        Ok(Self { server: Postgres::open(url)?, run, worker, lease_ms })
    }

    /// The lease.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms.unsigned_abs())
    }

    /// Begins the run with these items, each with its model, in their order; one that is begun already stays as it is.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn begin<'a>(
        &self,
        about: &[(&str, &str)],
        items: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), String> {
        let (ids, models): (Vec<String>, Vec<String>) =
            items.map(|(id, model)| (id.to_owned(), model.to_owned())).unzip();
        let places: Vec<i64> = (0..).take(ids.len()).collect();
        let (names, values): (Vec<String>, Vec<String>) =
            about.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).unzip();
        let run = self.run.clone();
        self.server.run_long(move |client| {
            let mut transaction = client.transaction()?;
            // The first one writes every item, which may take longer than others wait for a lock.
            transaction.batch_execute("SET LOCAL lock_timeout TO 0")?;
            // Before the items, so that whoever begins at the same time waits here.
            transaction.execute(
                "INSERT INTO runs SELECT $1, name, value FROM unnest($2::text[], $3::text[]) AS told (name, value) ON CONFLICT DO NOTHING",
                &[&run, &names, &values],
            )?;
            transaction.execute(
                &format!("INSERT INTO runs VALUES ($1, 'begun_ms', {NOW}::text) ON CONFLICT DO NOTHING"),
                &[&run],
            )?;
            transaction.execute(
                "INSERT INTO run_items (run, id, place, model, state)
                 SELECT $1, id, place, model, 'waiting' FROM unnest($2::text[], $3::bigint[], $4::text[]) AS told (id, place, model)
                 ON CONFLICT DO NOTHING",
                &[&run, &ids, &places, &models],
            )?;
            transaction.commit()
        })
    }

    /// Takes up to `most` items of a model that nobody holds, in their order.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn take(&self, model: &str, most: usize) -> Result<Vec<String>, String> {
        let (run, worker, model, lease) = (self.run.clone(), self.worker.clone(), model.to_owned(), self.lease_ms);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let text = format!(
            "WITH free AS (
                 SELECT id FROM run_items WHERE run = $1 AND model = $2 AND state IN ('waiting', 'sent') AND leased_ms < {NOW}
                 ORDER BY place LIMIT $4 FOR UPDATE SKIP LOCKED),
             taken AS (
                 UPDATE run_items AS item SET worker = $3, leased_ms = {NOW} + $5 FROM free WHERE item.run = $1 AND item.id = free.id
                 RETURNING item.id, item.place)
             SELECT id FROM taken ORDER BY place"
        );
        self.server.run_long(move |client| {
            let rows = client.query(&text, &[&run, &model, &worker, &most, &lease])?;
            rows.iter().map(|row| row.try_get(0)).collect()
        })
    }

    /// Holds these of what this worker has taken for another lease, and tells how far the run is.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn renew(&self, held: &[String]) -> Result<Counts, String> {
        let held = held.to_vec();
        let (run, worker, lease) = (self.run.clone(), self.worker.clone(), self.lease_ms);
        let text = format!(
            "UPDATE run_items SET leased_ms = {NOW} + $3 WHERE run = $1 AND worker = $2 AND id = ANY($4) AND state IN ('waiting', 'sent')"
        );
        let here = format!(
            "INSERT INTO run_workers VALUES ($1, $2, {NOW}, {NOW}, {NOW} + $3)
             ON CONFLICT (run, worker) DO UPDATE SET said_ms = excluded.said_ms, until_ms = excluded.until_ms"
        );
        self.server.run_long(move |client| {
            client.execute(&here, &[&run, &worker, &lease])?;
            client.execute(&text, &[&run, &worker, &lease, &held])?;
            let counted = client.query(
                "SELECT model, count(*) FILTER (WHERE state = 'answered'), count(*) FILTER (WHERE state = 'failed'),
                     count(*) FILTER (WHERE state IN ('waiting', 'sent')) FROM run_items WHERE run = $1 GROUP BY model",
                &[&run],
            )?;
            let mut counts = Counts::default();
            for row in counted {
                let count = |at: usize| row.try_get(at).map(|count: i64| usize::try_from(count).unwrap_or_default());
                counts.ended.push((row.try_get(0)?, count(1)?, count(2)?));
                counts.open += count(3)?;
            }
            Ok(counts)
        })
    }

    /// Lets others have what this worker has taken and not ended.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn release(&self) -> Result<(), String> {
        let (run, worker) = (self.run.clone(), self.worker.clone());
        let text = "UPDATE run_items SET worker = NULL, leased_ms = 0 WHERE run = $1 AND worker = $2 AND state IN ('waiting', 'sent')";
        let gone = "UPDATE run_workers SET until_ms = 0 WHERE run = $1 AND worker = $2";
        self.server.run_long(move |client| {
            client.execute(text, &[&run, &worker])?;
            client.execute(gone, &[&run, &worker]).map(drop)
        })
    }

    /// Whether another worker holds anything.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn has_others(&self) -> Result<bool, String> {
        let (run, worker) = (self.run.clone(), self.worker.clone());
        let text = format!(
            "SELECT EXISTS (SELECT 1 FROM run_items WHERE run = $1 AND worker <> $2 AND leased_ms >= {NOW} AND state IN ('waiting', 'sent'))"
        );
        self.server.run_long(move |client| client.query_one(&text, &[&run, &worker])?.try_get(0))
    }
}

impl Items for SharedItems {
    fn about(&self, name: &str) -> Result<Option<String>, String> {
        let (run, name) = (self.run.clone(), name.to_owned());
        self.server.run_long(move |client| {
            let found = client.query_opt("SELECT value FROM runs WHERE run = $1 AND name = $2", &[&run, &name])?;
            found.map(|row| row.try_get(0)).transpose()
        })
    }

    fn set_about(&self, name: &str, value: &str) -> Result<(), String> {
        let (run, name, value) = (self.run.clone(), name.to_owned(), value.to_owned());
        self.server.run_long(move |client| {
            let put =
                "INSERT INTO runs VALUES ($1, $2, $3) ON CONFLICT (run, name) DO UPDATE SET value = excluded.value";
            client.execute(put, &[&run, &name, &value]).map(drop)
        })
    }

    fn paid(&self) -> Result<NanoUsd, String> {
        let run = self.run.clone();
        let paid = self.server.run_long(move |client| client.query_one(PAID_BY_RUN, &[&run])?.try_get::<_, i64>(0));
        Ok(NanoUsd(u64::try_from(paid?).unwrap_or_default()))
    }

    fn sent(&self, ids: &[&str], _now_ms: u64) -> Result<(), String> {
        let (run, worker, lease) = (self.run.clone(), self.worker.clone(), self.lease_ms);
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let text = format!(
            "UPDATE run_items SET state = 'sent', sent = sent + 1, changed_ms = {NOW}, leased_ms = {NOW} + $4
             WHERE run = $1 AND id = ANY($2) AND worker = $3 AND state IN ('waiting', 'sent')"
        );
        self.server.run_long(move |client| client.execute(&text, &[&run, &ids, &worker, &lease]).map(drop))
    }

    fn retry_failed(&self) -> Result<usize, String> {
        let run = self.run.clone();
        let text = "UPDATE run_items SET state = 'waiting', outcome = NULL, worker = NULL, leased_ms = 0 WHERE run = $1 AND state = 'failed'";
        self.server.run_long(move |client| client.execute(text, &[&run]).map(|rows| usize::try_from(rows).unwrap_or(0)))
    }

    /// The answer to a commit may be lost, and the ends told again: what was paid has its call's name, and an answer stays.
    fn ended(&self, ends: &[(&str, ItemState, String)], paid: &Paid<'_>, _now_ms: u64) -> Result<(), String> {
        let (run, worker) = (self.run.clone(), self.worker.clone());
        let mut lists: [Vec<String>; 3] = Default::default();
        for (id, state, outcome) in ends {
            lists[0].push((*id).to_owned());
            lists[1].push(state.as_str().to_owned());
            // Postgres takes no text with this letter in it, and JSON writes it with others.
            lists[2].push(outcome.replace('\0', ""));
        }
        let call = format!("{} {}", self.worker, paid.call);
        let paid = i64::try_from(paid.cost.0).unwrap_or(i64::MAX);
        // Somebody else's failure is no end of what is not his any more.
        let end = format!(
            "UPDATE run_items AS item SET state = told.state, outcome = told.outcome, changed_ms = {NOW}, worker = $5
             FROM unnest($2::text[], $3::text[], $4::text[]) AS told (id, state, outcome)
             WHERE run = $1 AND item.id = told.id AND item.state <> 'answered' AND (told.state = 'answered' OR item.worker = $5)"
        );
        let add = "INSERT INTO run_paid VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        self.server.run_long(move |client| {
            let mut transaction = client.transaction()?;
            transaction.execute(&end, &[&run, &lists[0], &lists[1], &lists[2], &worker])?;
            if paid > 0 {
                transaction.execute(add, &[&run, &call, &paid])?;
            }
            transaction.commit()
        })
    }

    fn page(&self, after: Option<u64>) -> Result<Vec<KeptItem>, String> {
        let run = self.run.clone();
        let after = after.map_or(-1, |after| i64::try_from(after).unwrap_or(i64::MAX));
        self.server.run_long(move |client| {
            let text = "SELECT id, place, state, sent, changed_ms, outcome FROM run_items
                 WHERE run = $1 AND place > $2 ORDER BY place LIMIT $3";
            let rows = client.query(text, &[&run, &after, &PAGE])?;
            let item = |row: &postgres::Row| {
                Ok(KeptItem {
                    id: row.try_get(0)?,
                    place: u64::try_from(row.try_get::<_, i64>(1)?).unwrap_or_default(),
                    state: ItemState::of(row.try_get(2)?),
                    sent: row.try_get::<_, i64>(3).map(|sent| u32::try_from(sent).unwrap_or(u32::MAX))?,
                    changed_ms: u64::try_from(row.try_get::<_, i64>(4)?).unwrap_or_default(),
                    outcome: row.try_get(5)?,
                })
            };
            rows.iter().map(item).collect()
        })
    }
}
