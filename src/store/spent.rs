//! What budgets have spent before a process starts, added up out of the ledger.

use rusqlite::ToSql;
use rusqlite::types::ToSqlOutput;

use super::keys::KeyStore;
use crate::id::RequestId;
use crate::limits::Scope;
use crate::moment::Moment;
use crate::money::NanoUsd;

/// What is asked, and the index that answers it.
pub(super) struct Question<'a> {
    /// Makes the index where there is none.
    pub(super) index: &'static str,
    /// The same of requests with their only call in them, which files have.
    pub(super) within: &'static str,
    /// The sum, for the name and the two ends of a span.
    pub(super) sum: String,
    pub(super) name: &'a str,
    pub(super) span: [Bound; 2],
}

impl Question<'_> {
    /// The sum over a file, whose calls have two kinds of rows: of each no more than an index holds.
    pub(super) fn sum_of_file(&self) -> String {
        const CALLS: &str = "(SELECT request, COLUMN, charged_nano_usd FROM other_attempts UNION ALL \
             SELECT id, COLUMN, charged_nano_usd FROM requests WHERE deployment IS NOT NULL) AS spent";
        let Some((_, rest)) = self.sum.split_once("attempts AS spent WHERE ") else { return self.sum.clone() };
        let column = rest.split(' ').next().unwrap_or_default();
        self.sum.replace("attempts AS spent", &CALLS.replace("COLUMN", column))
    }
}

/// One end of a span, as a column has it.
#[derive(Clone, Debug)]
pub(super) enum Bound {
    /// When a request arrived, in milliseconds.
    At(i64),
    /// How the ids of requests begin that arrive then: they are ordered by time.
    Id(String),
}

impl ToSql for Bound {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::At(at) => at.to_sql(),
            Self::Id(id) => id.to_sql(),
        }
    }
}

/// What the requests but these that arrived since the one moment and before the other were charged for, as far as they count in a scope.
pub(super) fn spent(
    database: &KeyStore,
    scope: &Scope,
    span: [Moment; 2],
    without: &[RequestId],
) -> Result<NanoUsd, String> {
    // Nobody pays for a quota.
    let Some(question) = question(scope, span, without) else { return Ok(NanoUsd::default()) };
    let sum = database.sum(&question)?;
    Ok(NanoUsd(sum.and_then(|sum| u64::try_from(sum).ok()).unwrap_or_default()))
}

/// An index is made when first it is needed: who has no budget of that kind pays for none.
pub(super) fn question<'a>(scope: &'a Scope, span: [Moment; 2], without: &[RequestId]) -> Option<Question<'a>> {
    let (index, from, name) = match scope {
        Scope::Global => (
            "CREATE INDEX IF NOT EXISTS requests_charged ON requests (arrived_ms, charged_nano_usd)",
            // `?1` is there in all of them, so that they take the same parameters.
            "requests AS spent WHERE ?1 = ''",
            "",
        ),
        Scope::Key(key) => (
            "CREATE INDEX IF NOT EXISTS requests_key ON requests (key, arrived_ms, charged_nano_usd)",
            "requests AS spent WHERE key = ?1",
            key.as_str(),
        ),
        Scope::Team(team) => (
            "CREATE INDEX IF NOT EXISTS requests_team ON requests (team, arrived_ms, charged_nano_usd)",
            "requests AS spent WHERE team = ?1",
            team.as_str(),
        ),
        Scope::Tag(tag) => (
            "CREATE INDEX IF NOT EXISTS tags_tag ON tags (tag, request COLLATE BINARY)",
            "tags JOIN requests AS spent ON spent.id = tags.request WHERE tag = ?1",
            &**tag,
        ),
        Scope::Group(group) => (
            "CREATE INDEX IF NOT EXISTS attempts_group ON attempts (model_group, request COLLATE BINARY, charged_nano_usd)",
            "attempts AS spent WHERE model_group = ?1",
            group.as_str(),
        ),
        Scope::Provider(provider) => (
            "CREATE INDEX IF NOT EXISTS attempts_provider ON attempts (provider, request COLLATE BINARY, charged_nano_usd)",
            "attempts AS spent WHERE provider = ?1",
            provider.as_str(),
        ),
        Scope::Deployment(deployment) => (
            "CREATE INDEX IF NOT EXISTS attempts_deployment ON attempts (deployment, request COLLATE BINARY, charged_nano_usd)",
            "attempts AS spent WHERE deployment = ?1",
            deployment.as_str(),
        ),
        Scope::Quota(_) => return None,
    };
    let within = match scope {
        Scope::Group(_) => {
            "CREATE INDEX IF NOT EXISTS requests_group ON requests (model_group, id, charged_nano_usd, deployment) WHERE deployment IS NOT NULL"
        }
        Scope::Provider(_) => {
            "CREATE INDEX IF NOT EXISTS requests_provider ON requests (provider, id, charged_nano_usd, deployment) WHERE deployment IS NOT NULL"
        }
        Scope::Deployment(_) => {
            "CREATE INDEX IF NOT EXISTS requests_deployment ON requests (deployment, id, charged_nano_usd) WHERE deployment IS NOT NULL"
        }
        _ => "",
    };
    let by_time = matches!(scope, Scope::Global | Scope::Key(_) | Scope::Team(_));
    let (column, bound): (_, fn(Moment) -> Bound) = if by_time {
        ("arrived_ms", |at| Bound::At(i64::try_from(at.as_millis()).unwrap_or(i64::MAX)))
    } else {
        ("request COLLATE BINARY", |at| Bound::Id(RequestId::first_at(at)))
    };
    let id =
        if matches!(scope, Scope::Global | Scope::Key(_) | Scope::Team(_) | Scope::Tag(_)) { "id" } else { "request" };
    // Ids are digits and dashes.
    let names: Vec<String> = without.iter().map(|request| format!("'{request}'")).collect();
    let others =
        if names.is_empty() { String::new() } else { format!(" AND spent.{id} NOT IN ({})", names.join(", ")) };
    let sum = format!(
        "SELECT CAST(sum(spent.charged_nano_usd) AS BIGINT) FROM {from} AND {column} >= ?2 AND {column} < ?3{others}"
    );
    Some(Question { index, within, sum, name, span: span.map(bound) })
}
