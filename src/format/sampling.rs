//! How a model draws its words, for models that take only some of it.

use super::quirks::Sampling;
use super::rest::Report;
use crate::chat::{ChatRequest, Reasoning};

/// What is sent of a request's sampling.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sampled {
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_k: Option<u32>,
}

/// What models of this kind take that are asked to think so: some take none of it while they do.
pub(super) fn beside(kind: Sampling, reasoning: Option<&Reasoning>) -> Sampling {
    let thinks = reasoning.map(|asked| asked.effort.as_deref() != Some("none"));
    match (kind, thinks) {
        (Sampling::BesideNone | Sampling::UnlessAsked, Some(false)) | (Sampling::UnlessAsked, None) => Sampling::Any,
        (Sampling::BesideNone | Sampling::UnlessAsked, _) => Sampling::Fixed,
        (kind, _) => kind,
    }
}

/// What models of this kind take of it. What is left out is reported: what would make another reply as lost, the others by name.
pub(super) fn taken(request: &ChatRequest, kind: Sampling, report: &mut Report) -> Sampled {
    let (temperature, top_p, top_k) = (request.temperature, request.top_p, request.top_k);
    match beside(kind, request.reasoning.as_ref()) {
        Sampling::Any => Sampled { temperature, top_p, top_k },
        Sampling::One => {
            let capped = temperature.filter(|&temperature| report.same_dialect || temperature <= 1.0);
            if temperature != capped {
                report.lose("temperature");
            }
            // One of the two is to be altered, and newer models refuse both. Their own dialect's clients are told so by the provider.
            let both = temperature.is_some() && top_p.is_some() && !report.same_dialect;
            if both {
                report.dropped.push("top_p".to_owned());
            }
            let temperature = temperature.map(|_| capped.unwrap_or(1.0));
            Sampled { temperature, top_p: top_p.filter(|_| !both), top_k }
        }
        Sampling::Fixed | Sampling::BesideNone | Sampling::UnlessAsked => {
            // Neither is asked of the model where it is 1.
            let is_one = |number: f64| (number - 1.0).abs() < f64::EPSILON;
            for (name, given) in [("temperature", temperature), ("top_p", top_p)] {
                match given {
                    None => {}
                    Some(number) if is_one(number) => report.dropped.push(name.to_owned()),
                    Some(_) => report.lose(name),
                }
            }
            if top_k.is_some() {
                report.lose("top_k");
            }
            Sampled::default()
        }
    }
}
