//! Medians, percentiles and the units they are told in.

use std::time::Duration;

/// A length of time in microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A count divided by something.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(crate) fn ratio(count: usize, by: f64) -> f64 {
    count as f64 / by
}

/// Bytes in MiB.
#[expect(clippy::cast_precision_loss, reason = "memory is told to a tenth of a MiB")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The value that `percent` of the values do not exceed; NaN where there is none. Sorts them.
pub(crate) fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// The middle value; NaN where there is none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    percentile(&mut values, 50)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let same = |left: f64, right: f64| assert!((left - right).abs() < 1e-9, "{left}, not {right}");
        same(percentile(&mut values, 50), 50.0);
        same(percentile(&mut values, 99), 99.0);
        same(percentile(&mut values, 100), 100.0);
        same(median([3.0, 1.0, 2.0]), 2.0);
        same(median([7.0]), 7.0);
        assert!(median([]).is_nan());
    }
}
