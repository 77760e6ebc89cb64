//! From the host's features to the numbers of a question: all of them from -1 to 1, the constant one first.

/// How a feature is brought between -1 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// It is there already.
    Unit,
    /// A size: its logarithm.
    Size,
}

/// Which features there are, and how many numbers a question has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    scales: Vec<Scale>,
}

impl Layout {
    /// Of features by name; `NAME/N` has `N` numbers.
    ///
    /// # Errors
    /// Names what is too much.
    pub(crate) fn of(names: &[String], most: usize) -> Result<Self, String> {
        let mut scales = Vec::new();
        for name in names {
            let width = match name.split_once('/') {
                None => 1,
                Some((_, width)) => {
                    width.parse().map_err(|_| format!("`{name}`: after `/` stands how many numbers it has"))?
                }
            };
            let scale = if matches!(name.as_str(), "length" | "messages") { Scale::Size } else { Scale::Unit };
            if scales.len() + width >= most {
                return Err(format!("`features` come to more than {} numbers", most - 1));
            }
            scales.extend(std::iter::repeat_n(scale, width));
        }
        Ok(Self { scales })
    }

    /// Numbers of a question.
    pub(crate) fn width(&self) -> usize {
        self.scales.len() + 1
    }

    /// The numbers of a question, in the place of what `numbers` held; what is unknown is 0.
    pub(crate) fn numbers(&self, features: &[f32], numbers: &mut Vec<f32>) {
        numbers.clear();
        numbers.push(1.0);
        let given = features.iter().copied().chain(std::iter::repeat(f32::NAN));
        numbers.extend(self.scales.iter().zip(given).map(|(scale, given)| {
            let given = if given.is_finite() { given } else { 0.0 };
            match scale {
                Scale::Unit => given.clamp(-1.0, 1.0),
                // A million bytes come to about 1.
                Scale::Size => (given.max(0.0).ln_1p() / 14.0).min(1.0),
            }
        }));
    }
}
