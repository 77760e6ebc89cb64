//! Numbers in a run file: each comes back as the very bits that were written.
//!
//! A finite one is a JSON number with as many digits as its type needs; NaN and the infinities, which JSON does not have, are
//! the texts "nan", "inf" and "-inf". A NaN with other bits than usual says them: "nan:7fc00001". Read with the standard library
//! and not by way of another type: `serde_json` reads every number as an `f64`, not always to the last digit.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A number whose every bit counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exact<T>(pub(super) T);

macro_rules! exact {
    ($float:ident, $bits:ident, $write:ident) => {
        impl Serialize for Exact<$float> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.0 {
                    value if value.is_finite() => serializer.$write(value),
                    value if value.to_bits() == $float::NAN.to_bits() => serializer.serialize_str("nan"),
                    value if value.is_nan() => serializer.collect_str(&format_args!("nan:{:x}", value.to_bits())),
                    value => serializer.serialize_str(if value > 0.0 { "inf" } else { "-inf" }),
                }
            }
        }

        impl<'de> Deserialize<'de> for Exact<$float> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <&RawValue>::deserialize(deserializer)?.get().trim_matches('"');
                let value = match text.strip_prefix("nan:") {
                    Some(bits) => $bits::from_str_radix(bits, 16).ok().map($float::from_bits),
                    None => text.parse().ok(),
                };
                value.map(Self).ok_or_else(|| D::Error::custom(format_args!("`{text}` is no number")))
            }
        }
    };
}

exact!(f32, u32, serialize_f32);
exact!(f64, u64, serialize_f64);

/// Many of them.
pub(super) fn all<T: Copy>(values: &[T]) -> Vec<Exact<T>> {
    values.iter().copied().map(Exact).collect()
}

/// Many of them, as they were.
pub(super) fn plain<T: Copy>(values: &[Exact<T>]) -> Vec<T> {
    values.iter().map(|value| value.0).collect()
}

/// 64 bits of which programs that read JSON numbers as floating point would lose eleven: as hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hex(pub(super) u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(|_| D::Error::custom(format_args!("`{text}` is no seed")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_bit_of_a_single_comes_back(bits: u32) {
            let text = serde_json::to_string(&Exact(f32::from_bits(bits))).unwrap();
            prop_assert_eq!(serde_json::from_str::<Exact<f32>>(&text).unwrap().0.to_bits(), bits, "{}", text);
        }

        #[test]
        fn every_bit_of_a_double_comes_back(bits: u64) {
            let text = serde_json::to_string(&Exact(f64::from_bits(bits))).unwrap();
            prop_assert_eq!(serde_json::from_str::<Exact<f64>>(&text).unwrap().0.to_bits(), bits, "{}", text);
        }
    }

    #[test]
    fn what_json_has_no_number_for_is_a_word() {
        let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::from_bits(0x7FC0_0001), 0.1];
        let text = serde_json::to_string(&all(&values)).unwrap();
        assert_eq!(text, r#"["nan","inf","-inf",-0.0,"nan:7fc00001",0.1]"#);
        let back: Vec<Exact<f32>> = serde_json::from_str(&text).unwrap();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&plain(&back)), bits(&values));
    }
}
