//! Vectors of texts: what is asked of them, and what comes back.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

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

impl Vector {
    /// As numbers.
    #[must_use]
    pub fn to_numbers(&self) -> Cow<'_, [f64]> {
        match self {
            Self::Numbers(numbers) => Cow::Borrowed(numbers),
            Self::Base64(text) => {
                let bytes = STANDARD.decode(text).unwrap_or_default();
                let floats = bytes.as_chunks::<4>().0.iter().map(|four| f64::from(f32::from_le_bytes(*four)));
                Cow::Owned(floats.collect())
            }
        }
    }

    /// In base64.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the form has 32 bits for each number")]
    pub fn to_base64(&self) -> Cow<'_, str> {
        match self {
            Self::Numbers(numbers) => {
                let bytes: Vec<u8> = numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect();
                Cow::Owned(STANDARD.encode(bytes))
            }
            Self::Base64(text) => Cow::Borrowed(text),
        }
    }
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
