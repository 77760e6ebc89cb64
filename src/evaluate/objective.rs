//! What a reply is worth: what the router `bandit` is told to want, in the same words, so that routers are measured by what they are for.

use serde::Serialize;
use serde_json::{Map, Value};

/// `quality·q − cost·c − latency·l`, where `c` and `l` run from 0 to 1 over their ranges on a logarithmic scale. The defaults are those
/// of `plugins/router-bandit/settings.schema.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Objective {
    /// The weight of quality.
    pub quality: f64,
    /// The weight of cost.
    pub cost: f64,
    /// The weight of latency.
    pub latency: f64,
    /// US dollars that count as 0 and as 1.
    pub cost_range_usd: (f64, f64),
    /// Milliseconds that count as 0 and as 1.
    pub latency_range_ms: (f64, f64),
}

impl Default for Objective {
    fn default() -> Self {
        Self {
            quality: 1.0,
            cost: 0.2,
            latency: 0.0,
            cost_range_usd: (0.000_01, 0.1),
            latency_range_ms: (100.0, 60_000.0),
        }
    }
}

impl Objective {
    /// Of a router's settings: `reward`, `cost_range_usd` and `latency_range_ms`.
    ///
    /// # Errors
    /// One of them is not as it must be.
    pub fn of(settings: &Map<String, Value>) -> Result<Self, String> {
        let mut objective = Self::default();
        if let Some(reward) = settings.get("reward").filter(|reward| !reward.is_null()) {
            for (name, weight) in [
                ("quality", &mut objective.quality),
                ("cost", &mut objective.cost),
                ("latency", &mut objective.latency),
            ] {
                if let Some(given) = reward.get(name) {
                    let given = given.as_f64().filter(|given| *given >= 0.0);
                    *weight = given.ok_or_else(|| format!("setting `reward.{name}` must be a number, at least 0"))?;
                }
            }
        }
        for (name, range) in
            [("cost_range_usd", &mut objective.cost_range_usd), ("latency_range_ms", &mut objective.latency_range_ms)]
        {
            if let Some(given) = settings.get(name).filter(|given| !given.is_null()) {
                let ends = (given.get(0).and_then(Value::as_f64), given.get(1).and_then(Value::as_f64));
                *range = match ends {
                    (Some(low), Some(high)) if low > 0.0 && low < high => (low, high),
                    _ => return Err(format!("setting `{name}` must be two numbers above 0, the lower one first")),
                };
            }
        }
        Ok(objective)
    }

    /// The worth of a reply; a latency that is unknown takes nothing off.
    #[must_use]
    pub fn worth(&self, quality: f64, cost_usd: f64, latency_ms: Option<f64>) -> f64 {
        let latency = latency_ms.map_or(0.0, |latency| on_scale(latency, self.latency_range_ms));
        self.quality * quality - self.cost * on_scale(cost_usd, self.cost_range_usd) - self.latency * latency
    }
}

fn on_scale(value: f64, (low, high): (f64, f64)) -> f64 {
    ((value.max(f64::MIN_POSITIVE) / low).ln() / (high / low).ln()).clamp(0.0, 1.0)
}
