//! Vectors of texts: what is asked of them, and what comes back.

use super::Usage;

/// How a client wants the vectors of what it sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VectorRequest {
    /// Numbers in each vector; the model's own size where the client does not say.
    pub dimensions: Option<u32>,
    /// As 32-bit little-endian floats in base64, and not as a list of numbers.
    pub base64: bool,
}

/// One vector, as the provider wrote it.
#[derive(Clone, Debug, PartialEq)]
pub enum Vector {
    /// Numbers.
    Numbers(Vec<f64>),
    /// 32-bit little-endian floats in base64.
    Base64(String),
}

/// What a provider answered, one vector for each input and in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    /// The upstream model, as the provider names it.
    pub model: String,
    /// The vectors.
    pub list: Vec<Vector>,
    /// Tokens as the provider counted them.
    pub usage: Option<Usage>,
}
