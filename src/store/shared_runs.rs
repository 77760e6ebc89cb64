//! A look at the runs that workers carry out together, from anywhere.

use secrecy::SecretString;

use super::postgres::Postgres;
use super::shared_items::{NOW, PAID_BY_RUN};
use crate::money::NanoUsd;

/// How far a shared run is, and who works on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedRun {
    /// Tells it from others.
    pub run: String,
    /// The experiment's name.
    pub name: String,
    /// Items there are.
    pub items: usize,
    /// With an answer.
    pub answered: usize,
    /// That failed.
    pub failed: usize,
    /// That were sent and have no end.
    pub sent: usize,
    /// What was paid.
    pub paid: NanoUsd,
    /// Who works on it or did, in the order in which they came.
    pub workers: Vec<SeenWorker>,
}

/// A worker, as the others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenWorker {
    /// Its name.
    pub name: String,
    /// Whether it left by itself.
    pub left: bool,
    /// Whether others may take what it held: it left, or did not say for a lease that it is there.
    pub gone: bool,
    /// How long ago it said so last, milliseconds by the server's clock.
    pub said_ms_ago: u64,
    /// Items it holds.
    pub holds: usize,
    /// Items it answered.
    pub answered: usize,
    /// Items that failed with it.
    pub failed: usize,
}

/// The runs that a server knows, or the one that is named.
///
/// # Errors
/// The server cannot be reached.
pub fn shared_runs(url: &SecretString, run: Option<&str>) -> Result<Vec<SharedRun>, String> {
    let run = run.map(str::to_owned);
    let server = Postgres::open(url)?;
    server.run_long(move |client| {
        let count = |row: &postgres::Row, at: usize| {
            row.try_get(at).map(|count: i64| usize::try_from(count).unwrap_or_default())
        };
        let mut runs = Vec::new();
        for row in client.query(RUNS, &[&run])? {
            let run: String = row.try_get(0)?;
            let paid: i64 = client.query_one(PAID_BY_RUN, &[&run])?.try_get(0)?;
            let mut workers = Vec::new();
            for row in client.query(&workers_of(), &[&run])? {
                workers.push(SeenWorker {
                    name: row.try_get(0)?,
                    left: row.try_get(1)?,
                    gone: row.try_get(2)?,
                    said_ms_ago: u64::try_from(row.try_get::<_, i64>(3)?).unwrap_or_default(),
                    holds: count(&row, 4)?,
                    answered: count(&row, 5)?,
                    failed: count(&row, 6)?,
                });
            }
            runs.push(SharedRun {
                name: row.try_get(1)?,
                items: count(&row, 2)?,
                answered: count(&row, 3)?,
                failed: count(&row, 4)?,
                sent: count(&row, 5)?,
                paid: NanoUsd(u64::try_from(paid).unwrap_or_default()),
                run,
                workers,
            });
        }
        Ok(runs)
    })
}

const RUNS: &str = "
SELECT item.run, coalesce(named.value, ''), count(*), count(*) FILTER (WHERE state = 'answered'),
    count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state = 'sent')
FROM run_items AS item LEFT JOIN runs AS named ON named.run = item.run AND named.name = 'name'
WHERE $1::text IS NULL OR item.run = $1 GROUP BY 1, 2 ORDER BY 2, 1";

fn workers_of() -> String {
    format!(
        "SELECT told.worker, told.until_ms = 0, told.until_ms < {NOW}, greatest({NOW} - told.said_ms, 0),
             count(item.id) FILTER (WHERE state IN ('waiting', 'sent') AND leased_ms >= {NOW}),
             count(item.id) FILTER (WHERE state = 'answered'), count(item.id) FILTER (WHERE state = 'failed')
         FROM run_workers AS told LEFT JOIN run_items AS item ON item.run = told.run AND item.worker = told.worker
         WHERE told.run = $1 GROUP BY told.worker, told.until_ms, told.said_ms, told.begun_ms ORDER BY told.begun_ms, told.worker"
    )
}
