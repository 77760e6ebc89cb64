//! The matrix of signals with names on it. A cell that is unknown, was not asked for or does not exist reads
//! as NaN; nothing in here panics.

/// Milliseconds until this request may start there: 0 now, +inf never.
pub const WAIT_MS: &str = "wait-ms";
/// Requests under way.
pub const IN_FLIGHT: &str = "in-flight";
/// Mean time of the last 10 whole replies, milliseconds.
pub const LATENCY_MS: &str = "latency-ms";
/// Mean time per output token of the last 10 whole replies, milliseconds.
pub const LATENCY_PER_TOKEN_MS: &str = "latency-per-token-ms";
/// Mean time to the first token of the last 10 streamed replies, milliseconds.
pub const TTFT_MS: &str = "ttft-ms";
/// Share of failed attempts among the last 20, 0 to 1.
pub const FAILURE_RATE: &str = "failure-rate";
/// What this request is expected to cost, US dollars.
pub const COST_USD: &str = "cost-usd";
/// Tokens reserved or used in the current window.
pub const TOKENS_USED: &str = "tokens-used";
/// Requests reserved or used in the current window.
pub const REQUESTS_USED: &str = "requests-used";
/// Tokens that may still be reserved now; +inf without a limit.
pub const TOKENS_FREE: &str = "tokens-free";
/// Requests that may still be reserved now; +inf without a limit.
pub const REQUESTS_FREE: &str = "requests-free";
/// 1 while the breaker lets requests through, 0 while it does not.
pub const HEALTHY: &str = "healthy";

/// What the router asked to know about each deployment at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Signals<'a> {
    names: &'a [String],
    values: &'a [f32],
    rows: usize,
}

/// One signal, for every deployment.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a>(&'a [f32]);

/// One deployment, every signal.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    table: Signals<'a>,
    index: usize,
}

impl<'a> Signals<'a> {
    /// Names the columns of `values`, which hold `rows` numbers each, one after another. Tests of a policy
    /// build their tables with this.
    #[must_use]
    pub const fn new(names: &'a [String], values: &'a [f32], rows: usize) -> Self {
        Self { names, values, rows }
    }

    /// How many deployments there are.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// The column of this name. Look it up once per decision, not once per deployment.
    #[must_use]
    pub fn column(&self, name: &str) -> Column<'a> {
        let start = self.names.iter().position(|known| known == name).map(|column| column * self.rows);
        Column(start.and_then(|start| self.values.get(start..start + self.rows)).unwrap_or(&[]))
    }

    /// The first `N` columns, in the order in which they were asked for: no name has to be looked up.
    #[must_use]
    pub fn columns<const N: usize>(&self) -> [Column<'a>; N] {
        std::array::from_fn(|column| {
            let start = column * self.rows;
            Column(self.values.get(start..start + self.rows).unwrap_or(&[]))
        })
    }

    /// What is known of one deployment.
    #[must_use]
    pub const fn row(&self, index: usize) -> Row<'a> {
        Row { table: *self, index }
    }
}

impl<'a> Column<'a> {
    /// The numbers of all deployments, in their order; NaN where unknown. None of a column that was not asked for.
    #[must_use]
    pub fn iter(self) -> impl ExactSizeIterator<Item = f32> + Clone + use<'a> {
        self.0.iter().copied()
    }

    /// The numbers of all deployments, in their order; `other` where unknown.
    #[must_use]
    pub fn iter_or(self, other: f32) -> impl ExactSizeIterator<Item = f32> + Clone + use<'a> {
        self.iter().map(move |value| if value.is_nan() { other } else { value })
    }

    /// The number of one deployment; NaN where unknown.
    #[must_use]
    pub fn at(&self, index: usize) -> f32 {
        self.0.get(index).copied().unwrap_or(f32::NAN)
    }

    /// The number of one deployment, `other` where it is unknown.
    #[must_use]
    pub fn at_or(&self, index: usize, other: f32) -> f32 {
        let value = self.at(index);
        if value.is_nan() { other } else { value }
    }
}

impl Row<'_> {
    /// The number in the column of this name; NaN where unknown.
    #[must_use]
    pub fn get(&self, name: &str) -> f32 {
        self.table.column(name).at(self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::{IN_FLIGHT, Signals, WAIT_MS};

    #[test]
    fn columns_and_rows_meet_in_the_same_cells() {
        let names = [WAIT_MS.to_owned(), IN_FLIGHT.to_owned()];
        let table = Signals::new(&names, &[0.0, 5.0, f32::INFINITY, 3.0, f32::NAN, 1.0], 3);
        let seen = [table.column(IN_FLIGHT).at(0), table.row(1).get(WAIT_MS), table.column(IN_FLIGHT).at_or(1, 9.0)];
        assert_eq!(seen.map(f32::to_bits), [3.0_f32, 5.0, 9.0].map(f32::to_bits));
        assert!(table.column(IN_FLIGHT).at(1).is_nan());
        let [wait, in_flight, none] = table.columns();
        assert_eq!([wait.at(1), in_flight.at(2)].map(f32::to_bits), [5.0_f32, 1.0].map(f32::to_bits));
        assert!(none.at(0).is_nan());
    }

    #[test]
    fn what_is_not_there_is_unknown() {
        let names = [WAIT_MS.to_owned()];
        let table = Signals::new(&names, &[0.0], 2);
        assert!(table.column(WAIT_MS).at(0).is_nan(), "a column too short is no column");
        assert!(table.column("no such").at(0).is_nan());
        assert!(table.row(9).get(WAIT_MS).is_nan());
    }
}
