//! Randomness is an argument: every draw comes from a seed, every seed from another one.

/// One step of the `SplitMix64` generator: turns any two different seeds into unrelated ones.
/// Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
#[must_use]
pub const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The `n`-th seed under `parent`: request `n` of a process, attempt `n` of a request.
#[must_use]
pub const fn derive(parent: u64, n: u64) -> u64 {
    mix(parent ^ mix(n))
}

/// Whether a seed, of which nothing else is made, is among this share of all: 0 is none, 1 is every one.
#[must_use]
pub fn is_drawn(seed: u64, share: f64) -> bool {
    // The upper 53 bits are as many as a double holds.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let number = (seed >> 11) as f64 / (1_u64 << 53) as f64;
    number < share
}
