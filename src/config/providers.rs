//! The providers by the names LiteLLM gives them (`data/providers.json`): which format they speak, where they
//! are, which variable holds their key. `simulated` is ours and has neither place nor key.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::HeaderName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::models::{self, Model};
use crate::format::{self, NO_QUIRKS, ProviderFormat, Quirks};
use crate::limits::Counting;

/// The name of the in-process provider.
pub(super) const SIMULATED: &str = "simulated";

/// One provider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Provider {
    pub(super) name: String,
    /// The wire format it speaks; with a `policy`, the one whose way of carrying a key it shares.
    #[serde(deserialize_with = "named_format")]
    pub(super) format: &'static dyn ProviderFormat,
    /// Where it is; `None` where every deployment must say.
    #[serde(default)]
    pub(super) base: Option<String>,
    key: Key,
    /// Variables that may hold its key, first one first.
    #[serde(default)]
    pub(super) key_env: Vec<String>,
    /// Variables that may say where it is.
    #[serde(default)]
    pub(super) base_env: Vec<String>,
    /// The policy that writes and reads its bodies.
    #[serde(default)]
    pub(super) policy: Option<String>,
    /// Ends of a configured address that the policy appends itself, outermost first.
    #[serde(default)]
    pub(super) endings: Vec<String>,
    /// What the path of its address must end with.
    #[serde(default)]
    pub(super) suffix: Option<String>,
    /// What it takes otherwise than the one whose format it is.
    #[serde(default)]
    quirks: Option<Quirks>,
    /// The same of models, by how their names begin. The first that fits is all that counts.
    #[serde(default)]
    models: Vec<OfModels>,
    /// The same of versions of its API, the oldest first.
    #[serde(default)]
    pub(super) older: Vec<Older>,
    /// The version of its API where nobody says one.
    #[serde(default)]
    pub(super) api_version: Option<String>,
    /// Variables that may say the version.
    #[serde(default)]
    pub(super) version_env: Vec<String>,
    /// Variables that may hold a token in the place of a key.
    #[serde(default)]
    pub(super) token_env: Vec<String>,
    /// How it counts what a request uses.
    #[serde(default)]
    pub(super) counting: Counting,
    /// Where it is in a project and a location, or in a region: `{project}`, `{location}` and `{region}` stand for them.
    #[serde(default)]
    pub(super) regional_base: Option<String>,
    /// The regions that it is in. A client reaches no other, unless an entry names it.
    #[serde(default)]
    pub(super) regions: Vec<String>,
    /// Models that are in few locations, and which, the first of them where nobody says one.
    #[serde(default)]
    pub(super) few_locations: BTreeMap<String, Vec<String>>,
    /// Whose prices and windows its models have in the table of models; its own unless said.
    #[serde(default)]
    pub(super) models_of: Option<String>,
    /// What the names of its models begin with; empty where they begin with anything. A provider that has models of several formats has a
    /// row for each.
    #[serde(default)]
    only_models: Vec<String>,
    /// Another row, whose quirks it has beside its own.
    #[serde(default)]
    like: Option<String>,
    /// The header that it wants its key in, where that is not the format's.
    #[serde(default, deserialize_with = "header")]
    key_header: Option<HeaderName>,
    /// Whether a version in its address is left out: it is asked without one.
    #[serde(default)]
    pub(super) undated: bool,
    /// The ends of its own hosts' names, where that matters: at others neither `endings` nor `suffix` nor `key_header` is meant.
    #[serde(default)]
    own_hosts: Vec<String>,
    /// Whether Azure's directory may authorise in the place of a key: by a token, or an application.
    #[serde(default)]
    pub(super) entra: bool,
    /// Where it gives tokens for a client's id and secret.
    #[serde(default)]
    pub(super) oauth: Option<Oauth>,
    /// Marks that stand before the names of its deployments and are no part of them.
    #[serde(default)]
    series: Vec<Series>,
    /// What differs from LiteLLM.
    #[serde(default)]
    pub(super) note: Option<String>,
}

/// The token service of a provider (OAuth's client credentials).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Oauth {
    /// Its path at the host of the provider's address.
    pub(super) path: String,
    /// What tokens are asked for.
    pub(super) scope: String,
    /// The variable that may hold the client's id.
    pub(super) id_env: String,
    /// The variable that may hold its secret.
    pub(super) secret_env: String,
}

/// What some models of a provider take otherwise.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfModels {
    beginnings: Vec<String>,
    quirks: Quirks,
}

/// A mark of LiteLLM's that says what a deployment's own name does not: whose quirks its model has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Series {
    mark: String,
    like: String,
}

/// What a provider took otherwise before a version of its API.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Older {
    before: String,
    quirks: Quirks,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Key {
    Required,
    Optional,
    /// Not a key: a service account.
    Account,
    /// A resource's key, or a token of its directory.
    Azure,
    /// An access key that signs, or a bearer's key.
    Aws,
}

fn named_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static dyn ProviderFormat, D::Error> {
    let name = String::deserialize(deserializer)?;
    format::provider_format(&name).ok_or_else(|| D::Error::custom(format!("no format is named `{name}`")))
}

fn header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HeaderName>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
}

impl Provider {
    /// Whether it has a model of this name.
    fn has(&self, model: &str) -> bool {
        self.only_models.is_empty() || self.only_models.iter().any(|beginning| model.starts_with(beginning.as_str()))
    }

    /// The same of a name whose stars stand for any text: whether it may have one of the models.
    fn may_have(&self, model: &str) -> bool {
        let Some((before, _)) = model.split_once('*') else { return self.has(model) };
        self.has(before) || self.only_models.iter().any(|beginning| beginning.starts_with(before))
    }

    /// Which of the rows of its name it is.
    pub(super) fn place(&self) -> usize {
        let mut rows = TABLE.providers.iter().filter(|row| row.name == self.name);
        rows.position(|row| std::ptr::eq(row, self)).unwrap_or_default()
    }

    /// What the names of the models begin with that are spoken under its name, where that does not include `model`.
    pub(super) fn unspoken(&self, model: &str) -> Option<String> {
        let rows = || TABLE.providers.iter().filter(|row| row.name == self.name);
        let beginnings = || rows().flat_map(|row| &row.only_models).map(|beginning| format!("`{beginning}…`"));
        (!rows().any(|row| row.may_have(model))).then(|| beginnings().collect::<Vec<_>>().join(", "))
    }

    /// The name of a model, and the newer API by which it is asked where it is marked so, as LiteLLM's users mark models that OpenAI serves by
    /// no other: by what its name begins with, or by its mode.
    pub(super) fn asked_by<'m>(
        &self,
        model: &'m str,
        mode: Option<&str>,
    ) -> (&'m str, Option<&'static dyn ProviderFormat>) {
        let Some(newer) = self.format.newer() else { return (model, None) };
        let marked = model.strip_prefix(newer.mode()).and_then(|rest| rest.strip_prefix('/'));
        (marked.unwrap_or(model), Some(newer).filter(|newer| marked.is_some() || mode == Some(newer.mode())))
    }

    /// The provider whose rows of the table of models are its own.
    pub(super) fn models_of(&self) -> &str {
        self.models_of.as_deref().unwrap_or(&self.name)
    }

    /// Whether its requests are authorised by a service account.
    pub(super) fn needs_account(&self) -> bool {
        self.key == Key::Account
    }

    /// Whether it is a resource of Azure's.
    pub(super) fn is_azure(&self) -> bool {
        self.key == Key::Azure
    }

    /// Whether it is Amazon's cloud.
    pub(super) fn is_aws(&self) -> bool {
        self.key == Key::Aws
    }

    /// The name of a deployment without its mark, and the model that it is like by that mark.
    pub(super) fn marked<'m>(&'static self, model: &'m str) -> (&'m str, Option<&'static str>) {
        let by = |series: &'static Series| Some((model.strip_prefix(series.mark.as_str())?, series.like.as_str()));
        self.series.iter().find_map(by).map_or((model, None), |(name, like)| (name, Some(like)))
    }

    /// Its quirks in a version of its API. Versions are dates, so that their order is that of their text; those without a date are
    /// the newest.
    pub(super) fn quirks_at(&'static self, version: Option<&str>, model: &str) -> &'static Quirks {
        let dated = version.filter(|version| version.starts_with("20"));
        let older = dated.and_then(|version| self.older.iter().find(|older| version < older.before.as_str()));
        older.map_or_else(|| self.quirks_of(model), |older| &older.quirks)
    }

    /// Its quirks with one of its models. Whoever imitates another and says nothing else takes what all that imitate take.
    pub(super) fn quirks_of(&'static self, model: &str) -> &'static Quirks {
        // Clouds write vendors and regions before a model's name, and its date in a way of their own.
        let model = &*models::plain(model);
        // One that was tuned takes what the model takes that it was made of.
        let tuned = model.split_once("ft:").filter(|(before, _)| before.is_empty() || before.ends_with('/'));
        let model = tuned.map_or(model, |(_, of)| of);
        let begins = |beginning: &String| {
            model.starts_with(beginning.as_str())
                || model.match_indices(['.', '/']).any(|(at, _)| model[at + 1..].starts_with(beginning.as_str()))
        };
        let like = self.like.as_deref().and_then(|name| TABLE.providers.iter().find(|row| row.name == name));
        let rows = || std::iter::once(self).chain(like);
        if let Some(of) = rows().flat_map(|row| &row.models).find(|of| of.beginnings.iter().any(begins)) {
            return &of.quirks;
        }
        let imitates = self.format.name() == TABLE.imitated && self.policy.is_none();
        let own = rows().find_map(|row| row.quirks.as_ref());
        own.unwrap_or(if imitates { &TABLE.imitators } else { &NO_QUIRKS })
    }

    /// Whether this host is its own, as far as it says which those are.
    pub(super) fn owns(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.own_hosts.is_empty() || self.own_hosts.iter().any(|end| host.ends_with(end.as_str()))
    }

    /// The header that it wants its key in at this address, where that is not the format's.
    pub(super) fn key_header_at(&self, address: &str) -> Option<&HeaderName> {
        self.key_header.as_ref().filter(|_| host_of(address).is_none_or(|host| self.owns(host)))
    }

    /// Its quirks with one of its models at this address. A host below its own is its own: those of its regions.
    pub(super) fn quirks_at_address(&'static self, address: &str, model: &str) -> &'static Quirks {
        let imitator = IMITATORS.iter().find(|row| row.name == self.name && !self.is_at(address));
        imitator.unwrap_or(self).quirks_of(model)
    }

    /// Whether this address is its own, or of one that has none of its own.
    pub(super) fn is_at(&self, address: &str) -> bool {
        let own = self.base.as_deref().and_then(host_of);
        host_of(address).zip(own).is_none_or(|(host, own)| {
            let host = host.to_ascii_lowercase();
            host.strip_suffix(own).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
    }

    /// The newer API by which a model at this address is asked because it is known to have no other there: who serves it elsewhere may do so
    /// by chats.
    pub(super) fn known_newer(&self, known: Option<&Model>, address: &str) -> Option<&'static dyn ProviderFormat> {
        self.format.newer().filter(|_| known.is_some_and(|known| known.responses) && self.is_at(address))
    }

    /// Whether it answers nobody without a key.
    pub(super) fn needs_key(&self) -> bool {
        self.key == Key::Required
    }
}

#[derive(Debug, Deserialize)]
struct BareName {
    prefix: String,
    provider: String,
    /// It is meant only where a key is written that begins so, and then before all else that a name may say.
    #[serde(default)]
    keys: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Table {
    providers: Vec<Provider>,
    /// The format that others imitate, and what those take otherwise of whom nothing else is known.
    imitated: String,
    imitators: Quirks,
    /// Whose models begin so, where a name stands alone and is not in the table of models.
    bare_names: Vec<BareName>,
    /// Names of LiteLLM's whose format is not spoken yet.
    not_yet: Vec<String>,
}

/// A table that could not be read is empty; a test reads it.
static TABLE: LazyLock<Table> = LazyLock::new(read);

/// Those whose formats have their names, as servers take them that are reached under these names at addresses of their own. What the one
/// refuses whom most imitate is not known to be refused there, and many of them take it. Nor do they verify signatures: they make none, and
/// some refuse a conversation in which their thinking does not come back.
static IMITATORS: LazyLock<Vec<Provider>> = LazyLock::new(|| {
    let mut table = read();
    table.providers.retain(|row| row.base.is_some() && row.format.name() == row.name);
    for row in &mut table.providers {
        let refuses_nothing = row.name == table.imitated;
        for quirks in row.quirks.iter_mut().chain(row.models.iter_mut().map(|of| &mut of.quirks)) {
            quirks.verify_nothing();
            if refuses_nothing {
                quirks.refuse_nothing();
            }
        }
    }
    table.providers
});

fn read() -> Table {
    serde_json::from_str(include_str!("../../data/providers.json")).unwrap_or_default()
}

/// Who a deployment is.
#[derive(Debug)]
pub(super) enum Found {
    /// The in-process provider, and the model there.
    Simulated(String),
    /// A provider that is spoken, and the model as it names it.
    Spoken(&'static Provider, String),
    /// A provider LiteLLM speaks and Witgate does not yet.
    NotYet(String),
    /// Nobody known.
    Unknown,
}

/// Finds the provider of a deployment, by LiteLLM's rule: `custom_llm_provider`; else what stands before the
/// first slash of `model`; else whose address `api_base` is; else whose model has this name.
pub(super) fn find(model: &str, custom: Option<&str>, api_base: Option<&str>) -> Found {
    if let Some(custom) = custom {
        let rest = model.strip_prefix(custom).and_then(|rest| rest.strip_prefix('/'));
        return named(custom, rest.unwrap_or(model));
    }
    if let Some((provider, rest)) = model.split_once('/') {
        let found = named(provider, rest);
        if !matches!(found, Found::Unknown) {
            return found;
        }
    }
    let host = api_base.and_then(host_of);
    // Whoever listens there may be anybody.
    let own_machine = matches!(host, Some("localhost" | "127.0.0.1"));
    let known = |row: &&Provider| row.base.as_deref().and_then(host_of).is_some_and(|base| Some(base) == host);
    if let Some(row) = TABLE.providers.iter().find(known).filter(|_| !own_machine) {
        return Found::Spoken(row, model.to_owned());
    }
    let by_name = models::named(model).filter(|row| row.name == model).map(|row| row.provider.as_str());
    let by_prefix = || TABLE.bare_names.iter().find(|row| row.keys.is_none() && model.starts_with(&row.prefix));
    match by_name.or_else(|| by_prefix().map(|row| row.provider.as_str())) {
        Some(provider) => named(provider, model),
        None => Found::Unknown,
    }
}

/// The provider that a bare name is one of where keys are written that mean nobody else; `written` says whether there is one that begins so.
pub(super) fn by_keys(model: &str, written: impl Fn(&str) -> bool) -> Option<&'static str> {
    let mut rows = TABLE.bare_names.iter().filter(|row| model.starts_with(&row.prefix));
    rows.find(|row| row.keys.as_deref().is_some_and(&written)).map(|row| row.provider.as_str())
}

fn named(provider: &str, model: &str) -> Found {
    if provider == SIMULATED {
        return Found::Simulated(model.to_owned());
    }
    let rows = || TABLE.providers.iter().filter(|row| row.name == provider);
    if let Some(row) = rows().find(|row| row.has(model)).or_else(|| rows().next()) {
        return Found::Spoken(row, model.to_owned());
    }
    if TABLE.not_yet.iter().any(|name| name == provider) {
        return Found::NotYet(provider.to_owned());
    }
    Found::Unknown
}

/// The row of the provider of this name that has a model.
pub(super) fn row_of(provider: &str, model: &str) -> Option<&'static Provider> {
    match named(provider, model) {
        Found::Spoken(row, _) => Some(row),
        Found::Simulated(_) | Found::NotYet(_) | Found::Unknown => None,
    }
}

/// The rows of the provider of this name that may have a model, whose stars stand for any text. Behind one that has all of them no other
/// gets any.
pub(super) fn rows_of(provider: &str, model: &str) -> Vec<&'static Provider> {
    let before = model.split_once('*').map_or(model, |(before, _)| before);
    let mut found = Vec::new();
    for row in TABLE.providers.iter().filter(|row| row.name == provider && row.may_have(model)) {
        found.push(row);
        if row.has(before) {
            break;
        }
    }
    found
}

/// The providers, by name, that want a key which some variable has.
pub(super) fn with_key(is_set: impl Fn(&str) -> bool) -> impl Iterator<Item = &'static str> {
    let keyed = move |row: &&Provider| row.base.is_some() && row.key_env.iter().any(|name| is_set(name));
    TABLE.providers.iter().filter(keyed).map(|row| row.name.as_str())
}

/// Every name that is spoken, for "did you mean".
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.providers.iter().map(|row| row.name.as_str()).chain([SIMULATED])
}

fn host_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['/', ':', '?']).unwrap_or(rest.len());
    Some(&rest[..end]).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod page;
#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read_and_makes_sense() {
        let table: Table = serde_json::from_str(include_str!("../../data/providers.json")).expect("the table is JSON");
        assert!(table.providers.len() > 60 && table.not_yet.len() > 50);
        let mut seen = std::collections::BTreeSet::new();
        for row in &table.providers {
            let same = |other: &&Provider| other.name == row.name;
            let rows: Vec<&Provider> = table.providers.iter().filter(same).collect();
            // Of several rows with one name each has models of its own, or is the last one.
            let apart = rows.iter().rev().skip(1).all(|row| !row.only_models.is_empty());
            assert!(seen.insert(row.name.as_str()) || rows.len() > 1 && apart, "twice: {}", row.name);
            let like = row.like.as_ref().is_none_or(|name| table.providers.iter().any(|other| other.name == *name));
            assert!(like, "like nobody: {}", row.name);
            assert!(!row.needs_key() || !row.key_env.is_empty(), "no variable: {}", row.name);
            if let Some(base) = &row.base {
                let uri: http::Uri = base.parse().unwrap_or_else(|_| panic!("address of {}", row.name));
                assert!(uri.scheme_str().is_some_and(|scheme| scheme.starts_with("http")) && !base.ends_with('/'));
                assert!(row.suffix.as_deref().is_none_or(|suffix| base.ends_with(suffix)), "suffix: {}", row.name);
            }
        }
        for name in &table.not_yet {
            assert!(seen.insert(name.as_str()), "twice: {name}");
        }
        for row in &table.bare_names {
            assert!(table.providers.iter().any(|provider| provider.name == row.provider));
        }
    }

    #[test]
    fn models_of_one_cloud_are_spoken_to_each_in_its_own_format() {
        for (model, format, quirks_as) in [
            ("vertex_ai/gemini-2.5-pro", "gemini_vertex", "gemini/gemini-2.5-pro"),
            ("vertex_ai/claude-sonnet-4@20250514", "anthropic_vertex", "anthropic/claude-sonnet-4-20250514"),
            ("vertex_ai/claude-opus-5-5@default", "anthropic_vertex", "anthropic/claude-opus-5-5"),
            ("vertex_ai/openai/gpt-oss-120b-maas", "openai", "cerebras/openai/gpt-oss-120b"),
            ("azure_ai/claude-sonnet-4-5", "anthropic", "anthropic/claude-sonnet-4-5"),
            ("azure_ai/DeepSeek-R1", "openai", "cerebras/m"),
            ("azure/gpt-5-mini", "azure", "openai/gpt-5-mini"),
            ("azure_ai/gpt-5-mini", "openai", "openai/gpt-5-mini"),
            ("openai/ft:gpt-4.1-mini-2025-04-14:acme::1", "openai", "openai/gpt-4.1-mini"),
            ("openai/ft:o4-mini-2025-04-16:acme::1", "openai", "openai/o4-mini"),
            ("codestral/codestral-latest", "openai", "mistral/codestral-latest"),
        ] {
            let of = |model: &str| match find(model, None, None) {
                Found::Spoken(row, model) => (row.format.name(), row.quirks_of(&model)),
                _ => panic!("{model}"),
            };
            assert_eq!(of(model).0, format, "{model}");
            assert_eq!(of(model).1, of(quirks_as).1, "{model}");
        }
        for (provider, model, formats) in [
            ("vertex_ai", "*", vec!["gemini_vertex", "anthropic_vertex", "openai"]),
            ("vertex_ai", "claude-*", vec!["anthropic_vertex"]),
            ("vertex_ai", "openai/*", vec!["openai"]),
            ("vertex_ai", "jamba-*", vec![]),
            ("azure_ai", "*", vec!["anthropic", "openai"]),
            ("azure_ai", "claude-*", vec!["anthropic"]),
            ("openai", "gpt-*", vec!["openai"]),
        ] {
            let rows = rows_of(provider, model);
            assert_eq!(rows.iter().map(|row| row.format.name()).collect::<Vec<_>>(), formats, "{provider}/{model}");
        }
        let Found::Spoken(row, model) = find("vertex_ai/jamba-1.5", None, None) else { panic!("a row") };
        assert!(row.unspoken(&model).is_some_and(|told| told.contains("`gemini-…`") && told.contains("`claude-…`")));
    }

    #[test]
    fn a_row_of_models_does_not_take_those_of_the_row_before() {
        for (model, takes) in [
            ("bedrock/us.openai.gpt-6-astra", "thinks at the levels [low, medium, high, xhigh]"),
            ("bedrock/global.openai.gpt-6.1-sol", "thinks at the levels [low, medium, high, xhigh]"),
            ("bedrock/us.openai.gpt-6.1-terra", "thinks at the levels [none, low, medium, high, xhigh]"),
            ("bedrock/openai.gpt-6-sol", "thinks at the levels [none, low, medium, high, xhigh]"),
            ("bedrock/openai.gpt-oss-120b-1:0", "thinks at the levels [low, medium, high]"),
            ("anthropic/claude-opus-4-5", "thinks at the levels [low, medium, high]"),
            ("vertex_ai/claude-opus-4-6@default", "thinks at the levels [low, medium, high, max]"),
            ("anthropic/claude-opus-4-7", "takes no budget of thinking"),
            ("azure_ai/claude-sonnet-5-5", "always thinks"),
            ("bedrock/us.anthropic.claude-sonnet-4-6", "thinks at the levels [low, medium, high, max]"),
            ("bedrock/global.anthropic.claude-opus-4-6-v1", "thinks at the levels [low, medium, high, max]"),
            ("bedrock/us.anthropic.claude-opus-4-7", "thinks at the levels [low, medium, high, xhigh]"),
            ("bedrock/us.anthropic.claude-opus-5-5", "always thinks"),
            ("bedrock/us.anthropic.claude-fable-5", "always thinks"),
            ("bedrock/us.anthropic.claude-fable-5-1", "takes no call of a tool that is forced"),
            ("vertex_ai/claude-sonnet-5-5", "takes no call of a tool that is forced"),
            ("groq/openai/gpt-oss-120b", "thinks at the levels [low, medium, high]"),
            ("groq/qwen/qwen3-32b", "thinks at the levels [none, default]"),
            ("groq/llama-3.3-70b-versatile", "takes no effort"),
            ("mistral/mistral-medium-latest", "thinks at the levels [none, high]"),
            ("mistral/magistral-medium-latest", "thinks at the levels [none, high]"),
            ("mistral/magistral-medium-2509", "always thinks"),
            ("mistral/mistral-large-2512", "takes no effort"),
            ("codestral/codestral-latest", "takes no effort"),
            ("anthropic/claude-opus-4-6", "takes no beginning of the reply"),
            ("vertex_ai/claude-haiku-5-5@default", "takes no beginning of the reply"),
            ("bedrock/us.anthropic.claude-sonnet-4-6", "takes no beginning of the reply"),
            ("bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0", "+`context-1m-2025-08-07`"),
            ("bedrock/us.anthropic.claude-opus-4-1-20250805-v1:0", "+`interleaved-thinking-2025-05-14`"),
            ("gemini/gemini-2.0-flash", "-`messages[].id`"),
            ("gemini/gemini-2.5-pro", "-`messages[].id`"),
            ("vertex_ai/gemini-2.5-flash-lite", "-`messages[].id`"),
            ("gemini/gemini-3-pro-preview", "+a word that a call has no signature"),
        ] {
            let Found::Spoken(row, name) = find(model, None, None) else { panic!("{model}") };
            let told = row.quirks_of(&name).told();
            assert!(told.iter().any(|told| told == takes), "{model}: {told:?}");
        }
        // Whose name does not tell that it is one of those is not refused what it may take.
        for model in ["vertex_ai/claude-sonnet-4", "vertex_ai/claude-opus-4@default", "azure_ai/claude-of-ours"] {
            let Found::Spoken(row, name) = find(model, None, None) else { panic!("{model}") };
            let told = row.quirks_of(&name).told();
            assert!(!told.iter().any(|told| told == "takes no beginning of the reply"), "{model}: {told:?}");
        }
    }

    #[test]
    fn who_imitates_at_an_address_of_his_own_verifies_no_signature() {
        let at = |model: &str, address: &str| match find(model, None, None) {
            Found::Spoken(row, model) => row.quirks_at_address(address, &model).told(),
            _ => panic!("{model}"),
        };
        let verifies = "takes no unsigned thinking back";
        for model in ["anthropic/claude-sonnet-4-5", "anthropic/claude-3-5-haiku-20241022", "anthropic/claude-newest"] {
            let mut own = at(model, "https://api.anthropic.com");
            assert!(own.iter().any(|told| told == verifies), "{model}: {own:?}");
            own.retain(|told| told != verifies);
            assert_eq!(at(model, "https://api.moonshot.ai/anthropic"), own, "{model}");
        }
        for model in ["vertex_ai/claude-sonnet-4-5@20250929", "azure_ai/claude-sonnet-4-5"] {
            assert!(at(model, "https://a.test").iter().any(|told| told == verifies), "{model}");
        }
    }

    #[test]
    fn a_provider_is_found_as_litellm_finds_it() {
        let cases = [
            ("openai/gpt-4o", None, None, "openai gpt-4o"),
            ("gpt-4o", None, None, "openai gpt-4o"),
            ("ft:gpt-4o-mini:acme::1", None, None, "openai ft:gpt-4o-mini:acme::1"),
            ("claude-newer-9", None, None, "anthropic claude-newer-9"),
            ("groq/llama-3.1-8b", None, None, "groq llama-3.1-8b"),
            ("openrouter/anthropic/claude-sonnet-5", None, None, "openrouter anthropic/claude-sonnet-5"),
            ("meta-llama/Llama-3", Some("openai"), None, "openai meta-llama/Llama-3"),
            ("openai/gpt-4o", Some("openai"), None, "openai gpt-4o"),
            ("llama-3.1-8b", None, Some("https://api.groq.com/openai/v1"), "groq llama-3.1-8b"),
            ("simulated/talker", None, None, "simulated talker"),
            ("azure_ai/gpt-4o", None, None, "azure_ai gpt-4o"),
            ("sagemaker/jumpstart-1", None, None, "not yet sagemaker"),
            ("vertex_ai/meta/llama-4-maas", None, None, "vertex_ai meta/llama-4-maas"),
            ("azure/gpt-4o", None, None, "azure gpt-4o"),
            ("gemini-2.5-pro", None, None, "gemini gemini-2.5-pro"),
            ("text-embedding-004", None, None, "vertex_ai text-embedding-004"),
            ("text-embedding-3-large", None, None, "openai text-embedding-3-large"),
            ("mystery", None, None, "unknown"),
            ("meta-llama/Llama-3", None, Some("http://localhost:8000/v1"), "unknown"),
        ];
        for (model, custom, base, expected) in cases {
            let found = match find(model, custom, base) {
                Found::Simulated(model) => format!("simulated {model}"),
                Found::Spoken(row, model) => format!("{} {model}", row.name),
                Found::NotYet(name) => format!("not yet {name}"),
                Found::Unknown => "unknown".to_owned(),
            };
            assert_eq!(found, expected, "{model}");
        }
    }

    /// LiteLLM answers `bedrock` for each of these.
    #[test]
    fn ids_of_bedrock_s_models_are_known_without_its_name() {
        for model in [
            "anthropic.claude-3-haiku-20240307-v1:0",
            "anthropic.claude-3-sonnet-20240229-v1:0",
            "anthropic.claude-v2",
            "us.anthropic.claude-3-haiku-20240307-v1:0",
            "eu.anthropic.claude-sonnet-4-20250514-v1:0",
            "amazon.nova-2-sonic-v1:0",
            "amazon.titan-embed-text-v2:0",
            "us.amazon.nova-canvas-v1:0",
            "meta.llama3-70b-instruct-v1:0",
            "cohere.embed-english-v3",
            "cohere.rerank-v3-5:0",
            "openai.gpt-oss-120b-1:0",
            "qwen.qwen3-32b-v1:0",
            "deepseek.r1-v1:0",
            "stability.sd3-large-v1:0",
            "us.twelvelabs.pegasus-1-2-v1:0",
        ] {
            let found = find(model, None, None);
            assert!(matches!(&found, Found::Spoken(row, name) if row.name == "bedrock" && name == model), "{model}");
        }
        assert!(matches!(find("anthropic.gguf", None, None), Found::Unknown));
    }

    #[test]
    fn a_bare_name_is_its_cloud_s_where_the_cloud_s_keys_are_written() {
        let vertex = |beginning: &str| beginning == "vertex_";
        for (model, expected) in [
            ("gemini-2.5-pro", Some("vertex_ai")),
            ("gemini-embedding-001", Some("vertex_ai")),
            ("claude-sonnet-4-5", None),
            ("gemini/gemini-2.5-pro", None),
            ("gpt-4o", None),
        ] {
            assert_eq!(by_keys(model, vertex), expected, "{model}");
            assert_eq!(by_keys(model, |_| false), None, "{model}");
        }
    }
}
