//! Randomness from a seed: every draw of a request comes from that request's own seed, so that a decision
//! can be repeated.

/// A stream of draws: `SplitMix64` (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed; equal seeds give equal streams.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, not including, 1: the upper 53 bits, so every value is exact.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub const fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// A number from 0 up to, not including, `end`; 0 where `end` is 0. Its bias is below `end` / 2⁶⁴.
    #[expect(clippy::cast_possible_truncation, reason = "the high half of the product is below `end`")]
    pub const fn below(&mut self, end: u32) -> u32 {
        ((self.bits() as u128 * end as u128) >> 64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn agrees_with_the_published_generator() {
        // First outputs for seed 1234567, as the reference implementation prints them.
        let mut random = Random::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn stays_within_its_bounds() {
        let mut random = Random::new(7);
        let mut seen = [0; 5];
        for _ in 0..5_000 {
            let unit = random.unit();
            assert!((0.0..1.0).contains(&unit), "{unit}");
            seen[random.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (800..1_200).contains(&count)), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
