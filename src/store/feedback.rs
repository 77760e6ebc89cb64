//! What somebody said of a reply, beside the request it belongs to: once for each source, and whenever it comes.

use rusqlite::{OptionalExtension, params};

use super::keys::{KeyStore, Source, lock};
use super::postgres::numbered;
use super::spend::Columns;
use crate::fault::FaultKind;
use crate::id::RequestId;
use crate::moment::Moment;
use crate::money::NanoUsd;

/// A request that has ended, as far as a judgement of its reply must know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Replied {
    /// When it arrived.
    pub arrived: Moment,
    /// The caller's key, by name.
    pub key: Option<String>,
    /// `NAME@DIGEST` of the policy that decided, or `built-in`.
    pub policy: Option<String>,
    /// The seed its router was asked with; `None` where it was kept by a version that did not say.
    pub seed: Option<u64>,
    /// The call that gave the reply; `None` where nobody was called.
    pub last: Option<LastAttempt>,
}

impl Replied {
    /// Whether there is something to judge: a reply, if one that broke off or that its parser did not take.
    #[must_use]
    pub fn has_reply(&self) -> bool {
        const JUDGED: [FaultKind; 2] = [FaultKind::Unparsed, FaultKind::BrokenStream];
        let of = |name: &str| JUDGED.iter().any(|kind| kind.as_str() == name);
        self.last.as_ref().is_some_and(|last| last.fault.as_deref().is_none_or(of))
    }
}

/// The last call of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct LastAttempt {
    /// The group it was called for.
    pub group: String,
    /// Which call of this group it was, from 0.
    pub number: u32,
    /// The deployment that was called.
    pub deployment: String,
    /// What went wrong, as the fault's stable name; `None` for a whole reply.
    pub fault: Option<String>,
    /// All input tokens.
    pub input_tokens: u64,
    /// All output tokens.
    pub output_tokens: u64,
    /// What it cost; `None` where that is unknown.
    pub cost: Option<NanoUsd>,
}

/// What somebody says of a reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The request that got the reply.
    pub request: RequestId,
    /// Who says it.
    pub source: String,
    /// From 0, useless, to 1, as good as can be.
    pub score: f64,
    /// In words.
    pub comment: Option<String>,
    /// When.
    pub given: Moment,
}

impl Judgement {
    /// The source of what the gateway's own judges say, which nobody else may use.
    pub const JUDGE: &str = "judge";
}

/// What the same source has said of the same reply before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Earlier {
    /// Its score.
    pub score: f64,
    /// When it was given.
    pub given: Moment,
}

/// A request, its last call, and how many calls of the same group came before that.
pub(super) const REPLIED: &str = "SELECT requests.arrived_ms, requests.key, requests.policy, requests.seed, last.model_group, \
     (SELECT count(*) FROM attempts AS earlier WHERE earlier.request = ?1 \
      AND earlier.model_group = last.model_group AND earlier.number < last.number), \
     last.deployment, last.fault, last.input_tokens, last.output_tokens, last.cost_nano_usd \
     FROM requests LEFT JOIN (SELECT * FROM attempts WHERE request = ?1 ORDER BY number DESC LIMIT 1) AS last ON TRUE \
     WHERE requests.id = ?1";
const JUDGE: &str = "INSERT INTO feedback (request, source, score, comment, given_ms) VALUES (?1, ?2, ?3, ?4, ?5) \
     ON CONFLICT DO NOTHING";
const EARLIER: &str = "SELECT score, given_ms FROM feedback WHERE request = ?1 AND source = ?2";

/// The request with this id, where it has ended and is written.
///
/// # Errors
/// The ledger cannot be read, in words.
pub(super) fn replied(database: &KeyStore, id: RequestId) -> Result<Option<Replied>, String> {
    let id = id.to_string();
    match &database.0 {
        Source::File(database) => {
            let database = lock(database);
            let row = database.query_row(REPLIED, params![id], |row| Ok(read(&Columns::File(row))));
            row.optional().map_err(|fault| fault.to_string())?.transpose()
        }
        Source::Server(server) => {
            let row = server.run(move |client| client.query_opt(numbered(REPLIED).as_str(), &[&id]))?;
            row.map(|row| read(&Columns::Server(&row))).transpose()
        }
    }
}

fn read(row: &Columns<'_>) -> Result<Replied, String> {
    let last = match (row.text(4)?, row.text(6)?) {
        (Some(group), Some(deployment)) => Some(LastAttempt {
            group,
            number: u32::try_from(row.count(5)?).unwrap_or(u32::MAX),
            deployment,
            fault: row.text(7)?,
            input_tokens: row.count(8)?,
            output_tokens: row.count(9)?,
            cost: row.whole(10)?.map(NanoUsd),
        }),
        _ => None,
    };
    Ok(Replied {
        arrived: Moment::from_millis(row.count(0)?),
        key: row.text(1)?,
        policy: row.text(2)?,
        seed: row.signed(3)?.map(i64::cast_unsigned),
        last,
    })
}

/// Keeps a judgement, where its source has given none yet of this reply; else says what that was.
///
/// # Errors
/// The ledger cannot be written, in words.
pub(super) fn judge(database: &KeyStore, judgement: &Judgement) -> Result<Option<Earlier>, String> {
    let Judgement { request, source, score, comment, given } = judgement.clone();
    let (request, given) = (request.to_string(), i64::try_from(given.as_millis()).unwrap_or(i64::MAX));
    let earlier = match &database.0 {
        Source::File(database) => {
            let database = lock(database);
            let written = database.execute(JUDGE, params![request, source, score, comment, given]);
            if written.map_err(|fault| fault.to_string())? > 0 {
                return Ok(None);
            }
            let found = database.query_row(EARLIER, params![request, source], |row| Ok((row.get(0)?, row.get(1)?)));
            Some(found.map_err(|fault| fault.to_string())?)
        }
        Source::Server(server) => server.change(move |client| {
            let written = client.execute(numbered(JUDGE).as_str(), &[&request, &source, &score, &comment, &given])?;
            if written > 0 {
                return Ok(None);
            }
            let row = client.query_one(numbered(EARLIER).as_str(), &[&request, &source])?;
            Ok(Some((row.try_get(0)?, row.try_get(1)?)))
        })?,
    };
    Ok(earlier.map(|(score, given): (f64, i64)| Earlier {
        score,
        given: Moment::from_millis(u64::try_from(given).unwrap_or_default()),
    }))
}
