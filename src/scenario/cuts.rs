//! Where a text is cut in two: everywhere, as long as that is no work for minutes.

/// What is longer is cut at so many places only.
const LONGEST: usize = 4096;
const OF_LONGER: usize = 200;

/// The places at which a text of this many letters, or bytes, is cut.
pub(super) fn cuts(length: usize) -> impl Iterator<Item = usize> {
    let step = if length <= LONGEST { 1 } else { length / OF_LONGER };
    (1..length).step_by(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_everywhere_up_to_a_bound() {
        for length in [0, 1, 2, 399, 400, 401, 1_000, LONGEST] {
            assert!(cuts(length).eq(1..length), "{length}");
        }
        let longer: Vec<usize> = cuts(1 << 20).collect();
        assert!((OF_LONGER..OF_LONGER + 2).contains(&longer.len()), "{}", longer.len());
    }
}
