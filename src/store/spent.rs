//! What budgets have spent before a process starts, added up out of the ledger.

use rusqlite::{Connection, Error, params};

use crate::limits::Scope;
use crate::moment::Moment;
use crate::money::NanoUsd;

/// What the requests that arrived since the one moment and before the other were charged for, as far as they count in a scope.
pub(super) fn spent(database: &Connection, scope: &Scope, span: [Moment; 2]) -> Result<NanoUsd, Error> {
    const ATTEMPTS: &str = "SELECT sum(attempts.charged_nano_usd) FROM requests \
         JOIN attempts ON attempts.request = requests.id WHERE arrived_ms >= ?1 AND arrived_ms < ?3 AND";
    let (text, name) = match scope {
        // `?2` is there in all of them, so that they take the same parameters.
        Scope::Global => (
            "SELECT sum(charged_nano_usd) FROM requests WHERE arrived_ms >= ?1 AND arrived_ms < ?3 AND ?2 = ''"
                .to_owned(),
            "",
        ),
        Scope::Key(key) => (of_requests("key"), key.as_str()),
        Scope::Team(team) => (of_requests("team"), team.as_str()),
        Scope::Tag(tag) => (
            "SELECT sum(charged_nano_usd) FROM requests JOIN tags ON tags.request = requests.id \
             WHERE arrived_ms >= ?1 AND arrived_ms < ?3 AND tag = ?2"
                .to_owned(),
            &**tag,
        ),
        Scope::Group(group) => (format!("{ATTEMPTS} attempts.model_group = ?2"), group.as_str()),
        Scope::Provider(provider) => (format!("{ATTEMPTS} provider = ?2"), provider.as_str()),
        Scope::Deployment(deployment) => (format!("{ATTEMPTS} deployment = ?2"), deployment.as_str()),
        // Nobody pays for a quota.
        Scope::Quota(_) => return Ok(NanoUsd::default()),
    };
    let [since, before] = span.map(|at| i64::try_from(at.as_millis()).unwrap_or(i64::MAX));
    let sum: Option<i64> = database.query_row(&text, params![since, name, before], |row| row.get(0))?;
    Ok(NanoUsd(sum.and_then(|sum| u64::try_from(sum).ok()).unwrap_or_default()))
}

fn of_requests(column: &str) -> String {
    format!("SELECT sum(charged_nano_usd) FROM requests WHERE {column} = ?2 AND arrived_ms >= ?1 AND arrived_ms < ?3")
}
