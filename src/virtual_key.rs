//! Virtual keys: what a caller shows in the place of a provider's credential, and what it may do with it.
//!
//! The key itself is known to its holder alone. Here it is a digest (SHA-256 of a key nobody can guess, as LiteLLM keeps it), which
//! is also its stable name: limits, spend and records follow it when its alias changes.

mod defaults;
mod team;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::budgets::{BudgetSpec, Period};
use crate::id::{KeyId, TeamId};
use crate::limits::{Dimension, LimitSpec};
use crate::moment::Moment;
use crate::money::NanoUsd;

pub use defaults::{KeyDefaults, TeamDefaults};
pub use team::KeptTeam;

/// How every virtual key begins.
pub const PREFIX: &str = "sk-";

/// The digest of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Of the key as its holder shows it.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// The digest written as 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// Of what names a key: the key itself, or its digest in hexadecimal digits.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        if text.starts_with(PREFIX) { Some(Self::of(text)) } else { Self::parse(text) }
    }

    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The name of its holder in limits and records.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::from(self.to_string())
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no digest"))
    }
}

/// What somebody may use: a key, a team, whatever has a tag. `None` is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Allowance {
    /// Requests a minute.
    pub rpm: Option<u64>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// Input tokens a minute.
    pub itpm: Option<u64>,
    /// Output tokens a minute.
    pub otpm: Option<u64>,
    /// Requests a day.
    pub rpd: Option<u64>,
    /// Tokens a day.
    pub tpd: Option<u64>,
    /// Requests at once.
    pub max_parallel: Option<u64>,
    /// What may be spent.
    pub max_budget: Option<NanoUsd>,
    /// From which spend on somebody is told.
    pub soft_budget: Option<NanoUsd>,
    /// How long a budget is for; `None` is for ever.
    pub period: Option<Period>,
}

impl Allowance {
    /// Its limits, where it has any.
    #[must_use]
    pub fn limits(&self) -> Option<LimitSpec> {
        let minute = LimitSpec::default()
            .with(Dimension::Requests, self.rpm)
            .with(Dimension::Tokens, self.tpm)
            .with(Dimension::InputTokens, self.itpm)
            .with(Dimension::OutputTokens, self.otpm)
            .with(Dimension::InFlight, self.max_parallel);
        let spec = LimitSpec { others: LimitSpec::daily(self.rpd, self.tpd), ..minute };
        spec.limits_anything().then_some(spec)
    }

    /// What has these limits, and no budget.
    #[must_use]
    pub fn of_limits(spec: &LimitSpec) -> Self {
        let day = |dimension| spec.others.first().and_then(|(_, limits)| limits[dimension]);
        Self {
            rpm: spec.limits[Dimension::Requests],
            tpm: spec.limits[Dimension::Tokens],
            itpm: spec.limits[Dimension::InputTokens],
            otpm: spec.limits[Dimension::OutputTokens],
            rpd: day(Dimension::Requests),
            tpd: day(Dimension::Tokens),
            max_parallel: spec.limits[Dimension::InFlight],
            ..Self::default()
        }
    }

    /// Its budget, where it has one or one that is only told.
    #[must_use]
    pub fn budget(&self) -> Option<BudgetSpec> {
        self.max_budget.or(self.soft_budget).is_some().then(|| self.account())
    }

    /// The same for somebody whose spend is told in any case.
    #[must_use]
    pub fn account(&self) -> BudgetSpec {
        let Self { max_budget, soft_budget, ref period, .. } = *self;
        BudgetSpec { max: max_budget, soft: soft_budget, period: period.clone(), counted: None }
    }
}

/// A virtual key, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VirtualKey {
    /// Its digest.
    pub hash: KeyHash,
    /// Its last letters, which may be shown.
    pub tail: String,
    /// What people call it. No two have the same.
    pub alias: Option<String>,
    /// The models it may ask for, stars allowed; empty is all.
    pub models: Vec<String>,
    /// What it may use.
    pub allowance: Allowance,
    /// Its team.
    pub team: Option<String>,
    /// Whose it is.
    pub user: Option<String>,
    /// Whatever its makers want to remember.
    pub metadata: Map<String, Value>,
    /// Tags that each of its requests has.
    pub tags: Vec<String>,
    /// Whether it is refused for now.
    pub blocked: bool,
    /// From when on it is refused.
    pub expires: Option<Moment>,
    /// When it was made.
    pub created: Moment,
    /// When it was changed.
    pub updated: Moment,
    /// Its spend was set to so much at that moment.
    pub spend_set: Option<(Moment, NanoUsd)>,
}

impl VirtualKey {
    /// A key with no bounds.
    #[must_use]
    pub fn new(hash: KeyHash, tail: String, now: Moment) -> Self {
        Self {
            hash,
            tail,
            alias: None,
            models: Vec::new(),
            allowance: Allowance::default(),
            team: None,
            user: None,
            metadata: Map::new(),
            tags: Vec::new(),
            blocked: false,
            expires: None,
            created: now,
            updated: now,
            spend_set: None,
        }
    }

    /// The letters of a key that may be shown.
    #[must_use]
    pub fn tail_of(key: &str) -> String {
        let letters: Vec<char> = key.chars().collect();
        // Of a short one four letters would be a good part.
        let tail = if letters.len() < 20 { &[] } else { &letters[letters.len() - 4..] };
        tail.iter().collect()
    }

    /// What is shown of it: `sk-...` and its last letters.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{PREFIX}...{}", self.tail)
    }

    /// The tags that each of its requests has: its own, and those in its metadata.
    pub fn all_tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(String::as_str).chain(tags_in(&self.metadata))
    }

    /// Its name for people.
    #[must_use]
    pub fn label(&self) -> String {
        self.alias.clone().unwrap_or_else(|| self.name())
    }

    /// Its team's name.
    #[must_use]
    pub fn team_id(&self) -> Option<TeamId> {
        self.team.as_deref().map(TeamId::from)
    }

    /// Its budget: what is spent is counted from when it was made, or set.
    #[must_use]
    pub fn budget(&self) -> BudgetSpec {
        let counted = self.spend_set.unwrap_or((self.created, NanoUsd::default()));
        BudgetSpec { counted: Some(counted), ..self.allowance.account() }
    }

    /// So much counts as spent with it from now on, and nothing that arrived before: to the millisecond, in which requests are kept, so that
    /// the same counts after a restart.
    pub fn set_spend(&mut self, now: Moment, spend: NanoUsd) {
        // Nothing arrived before a key was made.
        let from = if self.created < now { Moment::from_millis(now.as_nanos().div_ceil(1_000_000)) } else { now };
        self.spend_set = Some((from, spend));
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now: Moment) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// The tags in metadata, which is where LiteLLM looks for a key's and a team's.
fn tags_in(metadata: &Map<String, Value>) -> impl Iterator<Item = &str> {
    metadata.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Words for all models in a list of them.
const ALL_MODELS: [&str; 3] = ["*", "all-proxy-models", "all-team-models"];

/// Whether a list of models lets one of these names in; an empty list lets every one in.
#[must_use]
pub fn allows<'n>(models: &[String], names: &(impl Iterator<Item = &'n str> + Clone)) -> bool {
    let fits = |model: &String| ALL_MODELS.contains(&model.as_str()) || names.clone().any(|name| is_named(model, name));
    models.is_empty() || models.iter().any(fits)
}

/// Whether a pattern among them lets a name in.
#[must_use]
pub fn allows_by_pattern(models: &[String], name: &str) -> bool {
    models.iter().any(|model| model.contains('*') && is_named(model, name))
}

fn is_named(model: &str, name: &str) -> bool {
    match model.split_once('*') {
        None => name == model,
        Some((head, tail)) => name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_litellm_and_is_read_as_it_is_written() {
        // printf sk-1234 | sha256sum
        let hash = KeyHash::of("sk-1234");
        assert_eq!(hash.to_string(), "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b");
        assert_eq!(KeyHash::parse(&hash.to_string()), Some(hash));
        assert_eq!((KeyHash::named("sk-1234"), KeyHash::named(&hash.to_string())), (Some(hash), Some(hash)));
        assert_eq!([KeyHash::parse("88dc"), KeyHash::named("1234"), KeyHash::parse(&"g".repeat(64))], [None; 3]);
    }

    #[test]
    fn little_of_a_key_is_shown() {
        let name = |key: &str| VirtualKey::new(KeyHash::of(key), VirtualKey::tail_of(key), Moment::default()).name();
        assert_eq!(name("sk-1234"), "sk-...");
        assert_eq!(name("sk-abcdefghijklmnopqrstuvwxyz"), "sk-...wxyz");
    }

    #[test]
    fn models_are_let_in_by_name_by_star_or_all() {
        let list = |models: &[&str]| models.iter().map(|model| (*model).to_owned()).collect::<Vec<_>>();
        for (models, name, expected) in [
            (&[][..], "any", true),
            (&["a", "b"], "b", true),
            (&["a"], "ab", false),
            (&["openai/*"], "openai/gpt", true),
            (&["openai/*"], "openai", false),
            (&["ab*ba"], "aba", false),
            (&["all-proxy-models"], "x", true),
        ] {
            assert_eq!(allows(&list(models), &[name].into_iter()), expected, "{models:?} {name}");
        }
    }

    #[test]
    fn limits_of_a_minute_and_of_a_day_are_told_as_they_were_given() {
        let of = |rpd, itpm| Allowance { itpm, rpd, ..Allowance::default() };
        assert_eq!(of(None, None).limits(), None);
        for allowance in [of(Some(7), None), of(None, Some(9)), of(Some(7), Some(9))] {
            let spec = allowance.limits().unwrap();
            assert_eq!(
                spec.others.len(),
                usize::from(allowance.rpd.is_some()),
                "a day is only looked at where it is limited"
            );
            assert_eq!(Allowance::of_limits(&spec), allowance);
        }
    }

    #[test]
    fn the_tags_of_metadata_are_a_key_s_and_a_team_s() {
        let metadata = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let mut key = VirtualKey::new(KeyHash::of("sk-x"), String::new(), Moment::default());
        assert_eq!(key.all_tags().count(), 0);
        (key.tags, key.metadata) = (vec!["own".to_owned()], metadata(r#"{"tags": ["study", 7], "room": 1}"#));
        assert_eq!(key.all_tags().collect::<Vec<_>>(), ["own", "study"]);
        let mut team = KeptTeam::new("lab".to_owned(), Moment::default());
        team.metadata = metadata(r#"{"tags": ["lab-wide"]}"#);
        assert_eq!(team.tags().collect::<Vec<_>>(), ["lab-wide"]);
        team.metadata = metadata(r#"{"tags": "none"}"#);
        assert_eq!(team.tags().count(), 0);
    }

    #[test]
    fn spend_that_is_set_counts_from_the_next_whole_millisecond_on() {
        let mut key = VirtualKey::new(KeyHash::of("sk-x"), String::new(), Moment::from_nanos(1_000_001));
        for (now, from) in
            [(1_000_001, 1_000_001), (1_000_002, 2_000_000), (2_000_000, 2_000_000), (2_000_001, 3_000_000)]
        {
            key.set_spend(Moment::from_nanos(now), NanoUsd(5));
            assert_eq!(key.budget().counted, Some((Moment::from_nanos(from), NanoUsd(5))), "{now}");
        }
    }

    #[test]
    fn a_key_is_read_as_it_was_kept() {
        let mut key = VirtualKey::new(KeyHash::of("sk-x"), String::new(), Moment::from_millis(7));
        key.allowance.period = Period::parse("30d");
        key.allowance.max_budget = Some(NanoUsd(5));
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<VirtualKey>(&text).unwrap(), key);
        // As an older version kept it.
        let text = text.replace(r#""itpm":null,"otpm":null,"rpd":null,"tpd":null,"#, "");
        assert!(!text.contains("itpm"), "{text}");
        assert_eq!(serde_json::from_str::<VirtualKey>(&text).unwrap(), key);
    }
}
