//! What a scenario file looks like. Every key is optional but those a test makes no sense without.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};

use super::ordered::Ordered;

/// A scenario file.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SuiteFile {
    /// A name, looked for in the folder of policies, or a path to a `.wasm` file from this one.
    #[serde(rename = "policy")]
    pub(super) _policy: String,
    /// A mapping; or text, handed on as it is.
    #[serde(default)]
    pub(super) settings: Option<serde_json::Value>,
    #[serde(default)]
    pub(super) seed: Option<u64>,
    /// Milliseconds since the Unix epoch at which the clock starts.
    #[serde(default)]
    pub(super) start_ms: Option<u64>,
    /// The policy may decide otherwise after a restart: it learns and does not save.
    #[serde(default)]
    pub(super) forgets: bool,
    /// What deployments have in common.
    #[serde(default)]
    pub(super) defaults: DeploymentFile,
    pub(super) deployments: Ordered<Option<DeploymentFile>>,
    pub(super) cases: Vec<CaseFile>,
}

/// A deployment's facts and first signals.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeploymentFile {
    #[serde(default)]
    pub(super) provider: Option<String>,
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) tags: Option<Vec<String>>,
    #[serde(default)]
    pub(super) weight: Option<f64>,
    #[serde(default)]
    pub(super) order: Option<u32>,
    #[serde(default)]
    pub(super) input_price: Option<f64>,
    #[serde(default)]
    pub(super) output_price: Option<f64>,
    #[serde(default)]
    pub(super) context_window: Option<u32>,
    #[serde(default)]
    pub(super) rpm: Option<u64>,
    #[serde(default)]
    pub(super) tpm: Option<u64>,
    #[serde(default)]
    pub(super) itpm: Option<u64>,
    #[serde(default)]
    pub(super) otpm: Option<u64>,
    #[serde(default)]
    pub(super) signals: BTreeMap<String, f32>,
}

/// One case. In this order: the clock advances, the settings change or the policy restarts, signals change,
/// outcomes are told, the question is asked.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFile {
    pub(super) name: String,
    #[serde(default)]
    pub(super) advance_ms: u64,
    /// From here on.
    #[serde(default)]
    pub(super) settings: Option<serde_json::Value>,
    /// Save, end the instance, start one from what was saved.
    #[serde(default)]
    pub(super) restart: bool,
    /// By deployment, from here on.
    #[serde(default)]
    pub(super) signals: BTreeMap<String, BTreeMap<String, f32>>,
    #[serde(default)]
    pub(super) outcomes: Vec<OutcomeFile>,
    #[serde(default)]
    pub(super) request: RequestFile,
    /// Ask so often, each time under another seed.
    #[serde(default)]
    pub(super) repeat: Option<u32>,
    #[serde(deserialize_with = "expectation")]
    pub(super) expect: ExpectFile,
}

/// The question of a case.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "they are the interface's flags, one to one")]
pub(super) struct RequestFile {
    #[serde(default)]
    pub(super) seed: Option<u64>,
    #[serde(default)]
    pub(super) input_tokens: Option<u32>,
    /// exact, estimate or upper-bound; where a file does not say, what a gateway would have: counted if the policy wants
    /// that, else the bound.
    #[serde(default)]
    pub(super) input_tokens_are: Option<String>,
    #[serde(default)]
    pub(super) expected_output_tokens: Option<u32>,
    #[serde(default)]
    pub(super) max_output_tokens: Option<u32>,
    #[serde(default)]
    pub(super) priority: i32,
    #[serde(default)]
    pub(super) deadline_ms: Option<u32>,
    #[serde(default)]
    pub(super) streaming: bool,
    #[serde(default)]
    pub(super) tools: bool,
    #[serde(default)]
    pub(super) images: bool,
    #[serde(default)]
    pub(super) json: bool,
    #[serde(default)]
    pub(super) features: BTreeMap<String, f32>,
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, String>,
}

/// How an attempt ended.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutcomeFile {
    pub(super) deployment: String,
    /// A fault's stable name; none for a whole reply.
    #[serde(default)]
    pub(super) fault: Option<String>,
    #[serde(default)]
    pub(super) input_tokens: u32,
    #[serde(default)]
    pub(super) output_tokens: u32,
    #[serde(default)]
    pub(super) cost_usd: f64,
    #[serde(default)]
    pub(super) latency_ms: f32,
    #[serde(default)]
    pub(super) ttft_ms: Option<f32>,
    #[serde(default)]
    pub(super) quality: Option<f32>,
    /// Told so often.
    #[serde(default)]
    pub(super) repeat: Option<u32>,
}

/// What must come of a case. One of the first group, or a distribution; any of the second besides.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectFile {
    /// The first of the ranking.
    #[serde(default)]
    pub(super) choose: Option<String>,
    /// The first of the ranking is one of these.
    #[serde(default)]
    pub(super) one_of: Option<Vec<String>>,
    /// The whole ranking.
    #[serde(default)]
    pub(super) ranked: Option<Vec<String>>,
    /// It finds no deployment fit. `expect: none` says the same.
    #[serde(default)]
    pub(super) none: bool,
    /// Milliseconds.
    #[serde(default)]
    pub(super) wait: Option<u64>,
    /// Words in the rejection.
    #[serde(default)]
    pub(super) reject: Option<String>,
    /// A fault's kind: trap, cpu-budget, memory, stack-overflow, contract, quarantined.
    #[serde(default)]
    pub(super) fault: Option<String>,
    /// Words in the refusal of the case's settings.
    #[serde(default)]
    pub(super) config_error: Option<String>,

    /// Shares of the first place over all repetitions, deployments not named never being first.
    #[serde(default)]
    pub(super) distribution: Option<BTreeMap<String, f64>>,
    /// How far a share may be off, 0.05 unless given.
    #[serde(default)]
    pub(super) tolerance: Option<f64>,
    /// The probability the first place claims, within a thousandth.
    #[serde(default)]
    pub(super) propensity: Option<f32>,
    /// The most any call of the case may use.
    #[serde(default)]
    pub(super) max_fuel: Option<u64>,
    /// Words in a line it logs in this case.
    #[serde(default)]
    pub(super) log: Option<String>,
}

/// A mapping, or the word `none`.
fn expectation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ExpectFile, D::Error> {
    struct Expectation;

    impl<'de> Visitor<'de> for Expectation {
        type Value = ExpectFile;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("what is expected: a mapping, or `none`")
        }

        fn visit_str<E: Error>(self, word: &str) -> Result<ExpectFile, E> {
            match word {
                "none" => Ok(ExpectFile { none: true, ..ExpectFile::default() }),
                _ => Err(E::invalid_value(Unexpected::Str(word), &self)),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ExpectFile, A::Error> {
            ExpectFile::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_any(Expectation)
}
