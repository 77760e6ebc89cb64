//! What the operator wants: how to explore, what a reply is worth, what it may cost.

use std::collections::BTreeMap;

use witgate_policy::Settings;
use witgate_policy::settings::Value;

/// How choices are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// By means at first, then by the question.
    Ucb1Linucb,
    /// By means alone.
    Ucb1,
    /// By the question from the first request on.
    Linucb,
    /// By the question, each deployment as often as it is probably the best.
    Thompson,
}

const ALGORITHMS: [(&str, Algorithm); 4] = [
    ("ucb1-linucb", Algorithm::Ucb1Linucb),
    ("ucb1", Algorithm::Ucb1),
    ("linucb", Algorithm::Linucb),
    ("thompson", Algorithm::Thompson),
];

/// What is asked of the host about a question.
const FEATURES: [&str; 8] =
    ["embedding/32", "complexity", "code", "analysis", "creative", "simple-question", "english", "length"];

/// What a reply is worth: `quality·q − cost·c − latency·l`, where `c` and `l` run from 0 to 1 on a logarithmic scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Worth {
    pub(crate) quality: f32,
    pub(crate) cost: f32,
    pub(crate) latency: f32,
}

/// Everything that is set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    pub(crate) algorithm: Algorithm,
    /// Replies of a group after which the question decides.
    pub(crate) warm_up: u32,
    /// How much of its uncertainty a deployment is credited with.
    pub(crate) exploration: f32,
    /// The share of requests that are drawn evenly.
    pub(crate) uniform: f32,
    /// What a reply counts one request later.
    pub(crate) memory: f32,
    pub(crate) worth: Worth,
    /// The logarithms of the US dollars that count as 0 and as 1.
    pub(crate) cost_range: (f32, f32),
    /// The logarithms of the milliseconds that count as 0 and as 1.
    pub(crate) latency_range: (f32, f32),
    /// US dollars a request may cost on average.
    pub(crate) pace: Option<Pace>,
    /// The quality that is believed in at first, by id or model, and for how many replies it stands.
    pub(crate) priors: BTreeMap<String, f32>,
    pub(crate) prior_strength: f32,
    /// How strongly the weights of features are held to zero.
    pub(crate) ridge: f32,
    pub(crate) features: Vec<String>,
}

/// What requests may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many US dollars each, on average.
    PerRequest(f64),
    /// So many US dollars for so many requests, spent evenly.
    Budget { usd: f64, requests: f64 },
}

/// What a deployment of which nothing is known is believed to be worth.
pub(crate) const UNKNOWN_QUALITY: f32 = 0.5;

impl Rules {
    /// Reads the JSON object.
    ///
    /// # Errors
    /// One sentence about the setting that makes no sense.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Settings::parse(text)?;
        let words = ALGORITHMS.map(|(word, _)| word);
        let algorithm = settings.word("algorithm", &words)?.map_or(Algorithm::Ucb1Linucb, |place| ALGORITHMS[place].1);
        let warm_up = settings.whole("warm_up", 0..=1_000_000)?.unwrap_or(100);
        let exploration = share(&mut settings, "exploration", 10.0)?.unwrap_or(0.1);
        let uniform = share(&mut settings, "uniform", 1.0)?.unwrap_or(0.02);
        let memory = settings.number("memory", "above 0.9, at most 1", 0.9..=1.0)?.unwrap_or(0.9995);
        let worth = worth(settings.take("reward"))?;
        let cost_range = range(settings.take("cost_range_usd"), "cost_range_usd", (0.000_01, 0.1))?;
        let latency_range = range(settings.take("latency_range_ms"), "latency_range_ms", (100.0, 60_000.0))?;
        let pace = pace(&mut settings)?;
        let priors = priors(settings.take("priors"))?;
        let prior_strength = share(&mut settings, "prior_strength", 1e6)?.unwrap_or(1.0);
        let ridge = share(&mut settings, "ridge", 1e6)?.unwrap_or(5.0);
        let features = features(settings.take("features"))?;
        settings.finish()?;
        Ok(Self {
            algorithm,
            warm_up,
            exploration,
            uniform,
            memory: narrow(memory),
            worth,
            cost_range,
            latency_range,
            pace,
            priors,
            prior_strength: prior_strength.max(0.01),
            ridge: ridge.max(0.01),
            features,
        })
    }
}

fn share(settings: &mut Settings, name: &str, most: f64) -> Result<Option<f32>, String> {
    let words = if most > 1.0 { "at least 0" } else { "from 0 to 1" };
    Ok(settings.number(name, words, 0.0..=most)?.map(narrow))
}

fn worth(given: Option<Value>) -> Result<Worth, String> {
    let mut worth = Worth { quality: 1.0, cost: 0.2, latency: 0.0 };
    let Some(given) = given else { return Ok(worth) };
    let wrong = || "setting `reward` must be an object of numbers, at least 0: quality, cost, latency".to_owned();
    let Value::Object(fields) = given else { return Err(wrong()) };
    for (name, value) in fields {
        let Value::Number(number) = value else { return Err(wrong()) };
        if !(0.0..=1e6).contains(&number) {
            return Err(wrong());
        }
        match name.as_str() {
            "quality" => worth.quality = narrow(number),
            "cost" => worth.cost = narrow(number),
            "latency" => worth.latency = narrow(number),
            _ => return Err(wrong()),
        }
    }
    Ok(worth)
}

fn range(given: Option<Value>, name: &str, otherwise: (f32, f32)) -> Result<(f32, f32), String> {
    let ends = match given {
        None => Ok(otherwise),
        Some(Value::List(ends)) => match ends.as_slice() {
            [Value::Number(low), Value::Number(high)] if *low > 0.0 && low < high => Ok((narrow(*low), narrow(*high))),
            _ => Err(format!("setting `{name}` must be two numbers above 0, the lower one first")),
        },
        Some(_) => Err(format!("setting `{name}` must be two numbers above 0, the lower one first")),
    };
    ends.map(|(low, high)| (low.ln(), high.ln()))
}

fn pace(settings: &mut Settings) -> Result<Option<Pace>, String> {
    let each = settings.number("max_cost_usd_per_request", "above 0", f64::MIN_POSITIVE..=1e9)?;
    let usd = settings.number("budget_usd", "above 0", f64::MIN_POSITIVE..=1e12)?;
    let requests = settings.whole("budget_requests", 1..=u32::MAX)?;
    match (each, usd, requests) {
        (None, None, None) => Ok(None),
        (Some(each), None, None) => Ok(Some(Pace::PerRequest(each))),
        (None, Some(usd), Some(requests)) => Ok(Some(Pace::Budget { usd, requests: requests.into() })),
        _ => Err("give either `max_cost_usd_per_request`, or `budget_usd` with `budget_requests`".to_owned()),
    }
}

fn priors(given: Option<Value>) -> Result<BTreeMap<String, f32>, String> {
    let wrong = || "setting `priors` must be an object: a quality from 0 to 1 by deployment or model".to_owned();
    match given {
        None => Ok(BTreeMap::new()),
        Some(Value::Object(fields)) => fields
            .into_iter()
            .map(|(name, value)| match value {
                Value::Number(quality) if (0.0..=1.0).contains(&quality) => Ok((name, narrow(quality))),
                _ => Err(wrong()),
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}

fn features(given: Option<Value>) -> Result<Vec<String>, String> {
    let wrong = || "setting `features` must be a list of features' names".to_owned();
    match given {
        None => Ok(FEATURES.map(str::to_owned).to_vec()),
        Some(Value::List(names)) => names
            .into_iter()
            .map(|name| match name {
                Value::Text(name) => Ok(name),
                _ => Err(wrong()),
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "settings need no more digits")]
const fn narrow(number: f64) -> f32 {
    number as f32
}
