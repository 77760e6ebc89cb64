//! What budgets have spent before a process starts, added up out of the ledger.

use rusqlite::ToSql;
use rusqlite::types::ToSqlOutput;

use super::keys::KeyStore;
use crate::id::RequestId;
use crate::limits::Scope;
use crate::moment::Moment;
use crate::money::NanoUsd;

/// What is asked of a ledger: a sum for a name, between the two ends of a span.
pub(super) struct Question<'a> {
    rows: Rows,
    pub(super) name: &'a str,
    pub(super) span: [Bound; 2],
    /// Names that count as this one: digests.
    pub(super) before: Vec<String>,
    /// Requests that are left out.
    without: Vec<RequestId>,
}

/// Which rows count in a scope.
#[derive(Clone, Copy)]
enum Rows {
    /// Every request.
    All,
    /// Requests with its name in this column.
    Requests(&'static str),
    /// Requests with it as a tag.
    Tagged,
    /// Calls with its name in this column.
    Calls(&'static str),
}

/// How the rows of calls are laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In a table of their own.
    Server,
    /// The only call of a request is in the request's row.
    File,
}

impl Question<'_> {
    /// What makes the indices that answer it, where they are not there yet: who has no budget of that kind pays for none.
    pub(super) fn indices(&self, layout: Layout) -> String {
        let index = |name: &str, on: &str| format!("CREATE INDEX IF NOT EXISTS {name} ON {on};");
        match self.rows {
            Rows::All => index("requests_charged", "requests (arrived_ms, charged_nano_usd)"),
            Rows::Requests(column) => {
                index(&format!("requests_{column}"), &format!("requests ({column}, arrived_ms, charged_nano_usd)"))
            }
            Rows::Tagged => index("tags_tag", "tags (tag, request COLLATE BINARY)"),
            Rows::Calls(column) => {
                let short = column.trim_start_matches("model_");
                let table = if layout == Layout::File { "other_attempts" } else { "attempts" };
                let calls = format!("{table} ({column}, request COLLATE BINARY, charged_nano_usd)");
                let mut indices = index(&format!("attempts_{short}"), &calls);
                if layout == Layout::File {
                    let whether = if column == "deployment" { "" } else { ", deployment" };
                    let only =
                        format!("requests ({column}, id, charged_nano_usd{whether}) WHERE deployment IS NOT NULL");
                    indices += &index(&format!("requests_{short}"), &only);
                }
                indices
            }
        }
    }

    /// The sum: of the name as its first parameter, which is there in all of them, and the ends of the span.
    pub(super) fn sum(&self, layout: Layout) -> String {
        let (from, id) = match self.rows {
            Rows::All => ("requests AS spent WHERE ?1 = ''".to_owned(), "id"),
            Rows::Requests(column) if self.before.is_empty() => {
                (format!("requests AS spent WHERE {column} = ?1"), "id")
            }
            Rows::Requests(column) => {
                // Digests are digits and letters.
                let names: Vec<String> = self.before.iter().map(|name| format!("'{name}'")).collect();
                (format!("requests AS spent WHERE {column} IN (?1, {})", names.join(", ")), "id")
            }
            Rows::Tagged => ("tags JOIN requests AS spent ON spent.id = tags.request WHERE tag = ?1".to_owned(), "id"),
            Rows::Calls(column) if layout == Layout::Server => {
                (format!("attempts AS spent WHERE {column} = ?1"), "request")
            }
            // Of each kind of rows no more than an index holds.
            Rows::Calls(column) => {
                let of = |id, table| format!("SELECT {id} AS request, {column}, charged_nano_usd FROM {table}");
                let (others, only) =
                    (of("request", "other_attempts"), of("id", "requests WHERE deployment IS NOT NULL"));
                (format!("({others} UNION ALL {only}) AS spent WHERE {column} = ?1"), "request")
            }
        };
        let place = match self.rows {
            Rows::All | Rows::Requests(_) => "arrived_ms",
            Rows::Tagged | Rows::Calls(_) => "request COLLATE BINARY",
        };
        // Ids are digits and dashes.
        let names: Vec<String> = self.without.iter().map(|request| format!("'{request}'")).collect();
        let others =
            if names.is_empty() { String::new() } else { format!(" AND spent.{id} NOT IN ({})", names.join(", ")) };
        format!(
            "SELECT CAST(sum(spent.charged_nano_usd) AS BIGINT) FROM {from} AND {place} >= ?2 AND {place} < ?3{others}"
        )
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
    let Some(mut question) = question(scope, span, without) else { return Ok(NanoUsd::default()) };
    if let Scope::Key(key) = scope {
        question.before = database.known_before(key.as_str())?;
    }
    let sum = database.sum(&question)?;
    Ok(NanoUsd(sum.and_then(|sum| u64::try_from(sum).ok()).unwrap_or_default()))
}

/// What is asked for a scope; `None` for one that has no budgets.
pub(super) fn question<'a>(scope: &'a Scope, span: [Moment; 2], without: &[RequestId]) -> Option<Question<'a>> {
    let (rows, name) = match scope {
        Scope::Global => (Rows::All, ""),
        Scope::Key(key) => (Rows::Requests("key"), key.as_str()),
        Scope::Team(team) => (Rows::Requests("team"), team.as_str()),
        Scope::Tag(tag) => (Rows::Tagged, &**tag),
        Scope::Group(group) => (Rows::Calls("model_group"), group.as_str()),
        Scope::Provider(provider) => (Rows::Calls("provider"), provider.as_str()),
        Scope::Deployment(deployment) => (Rows::Calls("deployment"), deployment.as_str()),
        Scope::Quota(_) => return None,
    };
    let bound = |at: Moment| match rows {
        Rows::All | Rows::Requests(_) => Bound::At(i64::try_from(at.as_millis()).unwrap_or(i64::MAX)),
        Rows::Tagged | Rows::Calls(_) => Bound::Id(RequestId::first_at(at)),
    };
    Some(Question { rows, name, span: span.map(bound), before: Vec::new(), without: without.to_vec() })
}
