//! From the host's features to the numbers of a question: all of them from -1 to 1, the constant one first.

/// How features are brought between -1 and 1, and how many numbers a question has. Most features are there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The places of those that are sizes, of which the logarithm is taken.
    sizes: Vec<usize>,
    /// The constant one included.
    width: usize,
}

/// What is unknown is 0.
const fn known(given: f32) -> f32 {
    if given.is_finite() { given } else { 0.0 }
}

impl Layout {
    /// Of features by name; `NAME/N` has `N` numbers.
    ///
    /// # Errors
    /// Names what is too much.
    pub(crate) fn of(names: &[String], most: usize) -> Result<Self, String> {
        let (mut sizes, mut width) = (Vec::new(), 1_usize);
        for name in names {
            let own = match name.split_once('/') {
                None => 1,
                Some((_, own)) => {
                    own.parse::<usize>().map_err(|_| format!("`{name}`: after `/` stands how many numbers it has"))?
                }
            };
            if matches!(name.as_str(), "length" | "messages") {
                sizes.push(width - 1);
            }
            width = width.saturating_add(own);
            if width > most {
                return Err(format!("`features` come to more than {} numbers", most - 1));
            }
        }
        Ok(Self { sizes, width })
    }

    /// Numbers of a question.
    pub(crate) const fn width(&self) -> usize {
        self.width
    }

    /// The numbers of a question, in the place of what `numbers` held; what is unknown is 0.
    pub(crate) fn numbers(&self, features: &[f32], numbers: &mut Vec<f32>) {
        numbers.clear();
        numbers.push(1.0);
        // All of them alike, which takes no branch; then the few that are sizes.
        numbers.extend(features.iter().take(self.width - 1).map(|given| known(*given).clamp(-1.0, 1.0)));
        numbers.resize(self.width, 0.0);
        for place in &self.sizes {
            let given = features.get(*place).map_or(0.0, |given| known(*given));
            // A million bytes come to about 1.
            numbers[place + 1] = (given.max(0.0).ln_1p() / 14.0).min(1.0);
        }
    }
}
