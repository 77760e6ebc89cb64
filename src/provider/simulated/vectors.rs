//! Vectors of the simulated provider: of length one, each drawn from the model's seed and its own text and from nothing else.

use crate::chat::{ChatRequest, PartKind, Usage, Vector, VectorRequest, Vectors};
use crate::seed::derive;

/// Numbers in a vector where the client does not say.
const DIMENSIONS: u32 = 256;
/// More than any model has.
const MOST: u32 = 1 << 14;

/// One vector for each input.
pub(super) fn of(request: &ChatRequest, asked: VectorRequest, seed: u64, input: u64) -> Vectors {
    let dimensions = asked.dimensions.unwrap_or(DIMENSIONS).min(MOST);
    let one = |part: &PartKind| match part {
        PartKind::Text(text) => vector(text, seed, dimensions),
        other => vector(&format!("{other:?}"), seed, dimensions),
    };
    let parts = request.messages.iter().filter_map(|message| message.parts.first());
    Vectors {
        model: request.model.clone(),
        list: parts.map(|part| Vector::Numbers(one(&part.kind))).collect(),
        usage: Some(Usage { input_tokens: input, ..Usage::default() }),
    }
}

fn vector(text: &str, seed: u64, dimensions: u32) -> Vec<f64> {
    let seed = text.bytes().fold(seed, |seed, byte| derive(seed, u64::from(byte)));
    let mut draw = fastrand::Rng::with_seed(seed);
    let numbers: Vec<f64> = (0..dimensions).map(|_| draw.f64() * 2.0 - 1.0).collect();
    let length = numbers.iter().map(|number| number * number).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    numbers.into_iter().map(|number| number / length).collect()
}
