//! What a question's features say of the quality of one deployment's answers: a ridge regression that forgets.
//!
//! It holds `θ`, and `P`, the inverse of `A = prior + Σ w·x·xᵀ` (Li et al., 2010), as the lower triangle of a symmetric matrix.
//! What is outside the diagonal stands doubled when it is read against products `xᵢ·xⱼ`, so that the variance of a question is one sum
//! of products over a flat list, which the deployments of a group share.

/// The most numbers a question may have, the constant one included.
pub(crate) const MOST: usize = 65;

/// A question as the regression reads it: its numbers, the first of which is 1, and the products of any two of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Question {
    /// The numbers.
    pub(crate) x: Vec<f32>,
    /// `xᵢ·xⱼ` for `j ≤ i`, doubled where they differ.
    products: Vec<f32>,
    /// The sum of the squares of all but the first number.
    rest: f32,
}

impl Question {
    /// Of these numbers.
    pub(crate) fn new(x: &[f32]) -> Self {
        let mut question = Self::default();
        question.ask(x);
        question
    }

    /// Another one in the place of this, in the same memory.
    pub(crate) fn ask(&mut self, x: &[f32]) {
        let width = x.len();
        self.x.clear();
        self.x.extend_from_slice(x);
        // The last row may be written beyond its end, too.
        self.x.resize(width.next_multiple_of(REGISTER), 0.0);
        self.products.resize(width * (width + 1) / 2 + REGISTER, 0.0);
        multiply(&self.x, width, &mut self.products);
        self.x.truncate(width);
        self.products.truncate(width * (width + 1) / 2);
        let others = x.get(1..).unwrap_or_default();
        self.rest = dot(others, others);
    }
}

/// The regression of one deployment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Linear {
    theta: Vec<f32>,
    /// The lower triangle of `P`, row by row.
    inverse: Vec<f32>,
}

/// What is believed before anything is seen: the quality without regard to the question, and for how many replies that stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prior {
    pub(crate) quality: f32,
    pub(crate) strength: f32,
    /// How strongly the weights of features are held to zero.
    pub(crate) ridge: f32,
}

impl Prior {
    /// The diagonal of `P` before anything is seen.
    fn variance(self, row: usize) -> f32 {
        1.0 / if row == 0 { self.strength } else { self.ridge }.max(1e-3)
    }
}

impl Linear {
    /// Nothing seen, of questions with so many numbers.
    pub(crate) fn new(width: usize, prior: Prior) -> Self {
        let mut theta = vec![0.0; width];
        if let Some(first) = theta.first_mut() {
            *first = prior.quality;
        }
        let mut inverse = vec![0.0; width * (width + 1) / 2];
        for row in 0..width {
            inverse[at(row, row)] = prior.variance(row);
        }
        Self { theta, inverse }
    }

    /// Of what was kept; `None` where it does not fit together or holds no numbers.
    pub(crate) fn of(theta: Vec<f32>, inverse: Vec<f32>) -> Option<Self> {
        let fits = inverse.len() == theta.len() * (theta.len() + 1) / 2;
        let whole = theta.iter().chain(&inverse).all(|number| number.is_finite());
        let positive = (0..theta.len()).all(|row| inverse.get(at(row, row)).is_some_and(|own| *own > 0.0));
        (fits && whole && positive).then_some(Self { theta, inverse })
    }

    /// The weights, and the lower triangle of `P`.
    pub(crate) fn parts(&self) -> (&[f32], &[f32]) {
        (&self.theta, &self.inverse)
    }

    /// The expected quality of an answer to this question.
    pub(crate) fn mean(&self, question: &Question) -> f32 {
        dot(&self.theta, &question.x)
    }

    /// How uncertain that is, as the variance of the mean in units of a reply's own variance.
    pub(crate) fn variance(&self, question: &Question) -> f32 {
        dot(&self.inverse, &question.products).max(0.0)
    }

    /// The same before anything was seen: no memory fades beyond it.
    pub(crate) fn most_variance(question: &Question, prior: Prior) -> f32 {
        prior.variance(0) + prior.variance(1) * question.rest
    }

    /// What was seen counts `kept` of what it did; no direction becomes less certain than it was before anything was seen.
    pub(crate) fn fade(&mut self, kept: f32, prior: Prior) {
        if kept >= 1.0 {
            return;
        }
        let growth = 1.0 / kept.max(1e-6);
        let width = self.theta.len();
        let mut shrink = [1.0_f32; MOST];
        for (row, shrink) in shrink.iter_mut().enumerate().take(width) {
            let own = self.inverse[at(row, row)] * growth;
            *shrink = (prior.variance(row) / own).min(1.0).sqrt();
        }
        let mut rest = &mut self.inverse[..];
        for row in 0..width {
            let (own, after) = rest.split_at_mut(row + 1);
            scale_by(own, growth * shrink[row], &shrink);
            rest = after;
        }
    }

    /// Answers to all questions are better by so much than was believed.
    pub(crate) fn shift(&mut self, by: f32) {
        if let Some(constant) = self.theta.first_mut() {
            *constant += by;
        }
    }

    /// An answer to `question` had this quality; it counts as `weight` replies. The formula of Sherman and Morrison.
    pub(crate) fn learn(&mut self, question: &Question, quality: f32, weight: f32) {
        let (width, x) = (self.theta.len(), &question.x);
        if x.len() != width || weight <= 0.0 {
            return;
        }
        let mut along = [0.0_f32; MOST];
        let mut rest = &self.inverse[..];
        for row in 0..width {
            let (own, after) = rest.split_at(row + 1);
            along[row] += dot(own, &x[..=row]);
            add(&mut along[..row], x[row], own);
            rest = after;
        }
        let scale = 1.0 / (1.0 / weight + dot(&along[..width], x).max(0.0));
        let off = quality - self.mean(question);
        let mut rest = &mut self.inverse[..];
        for row in 0..width {
            self.theta[row] += along[row] * scale * off;
            let (own, after) = rest.split_at_mut(row + 1);
            add(own, -along[row] * scale, &along);
            // Rounding must not make a variance negative.
            own[row] = own[row].max(1e-7);
            rest = after;
        }
    }
}

const fn at(row: usize, column: usize) -> usize {
    row * (row + 1) / 2 + column
}

/// Numbers that a vector register holds.
const REGISTER: usize = 4;

/// The products of any two of the first `width` numbers, row by row; `x` is filled up with zeros to whole registers. A row is written
/// in whole registers too: what stands beyond its end is the next row's, which is written after it.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn multiply(x: &[f32], width: usize, products: &mut [f32]) {
    let mut rest = products;
    for row in 0..width {
        let (one, registers) = (x[row], row / REGISTER + 1);
        let (own, others) = (rest[..registers * REGISTER].chunks_exact_mut(REGISTER), x.chunks_exact(REGISTER));
        for (products, others) in own.zip(others) {
            for (product, other) in products.iter_mut().zip(others) {
                *product = 2.0 * one * other;
            }
        }
        rest[row] = one * one;
        rest = &mut rest[row + 1..];
    }
}

/// So many times `more` is added, place by place.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "relaxed-simd"))]
fn add(sums: &mut [f32], times: f32, more: &[f32]) {
    let whole = sums.len().min(more.len()) / REGISTER * REGISTER;
    let ((sums, rest), (more, last)) = (sums.split_at_mut(whole), more.split_at(whole));
    for (sum, more) in registers_mut(sums).zip(registers(more)) {
        fuse(sum, &[times; REGISTER], more);
    }
    for (sum, more) in rest.iter_mut().zip(last) {
        *sum += times * more;
    }
}

/// Each is multiplied by `all` and by its own factor.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn scale_by(numbers: &mut [f32], all: f32, factors: &[f32]) {
    for (number, factor) in numbers.iter_mut().zip(factors) {
        *number *= all * factor;
    }
}

/// Registers beside each other: as many as an addition and the look at whether it gave a number take until they are done.
const BESIDE: usize = 4;

/// The sum of products, in sums beside each other. One after another each addition would wait for the one before, and for the look at
/// whether that was a number.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "relaxed-simd"))]
fn dot(one: &[f32], other: &[f32]) -> f32 {
    const LANES: usize = REGISTER * BESIDE;
    let mut sums = [[0.0_f32; REGISTER]; BESIDE];
    let (ones, others) = (one.chunks_exact(LANES), other.chunks_exact(LANES));
    let (last, others_last) = (ones.remainder(), others.remainder());
    for (ones, others) in ones.zip(others) {
        for ((sum, ones), others) in sums.iter_mut().zip(registers(ones)).zip(registers(others)) {
            fuse(sum, ones, others);
        }
    }
    for ((sum, ones), others) in sums.iter_mut().zip(registers(last)).zip(registers(others_last)) {
        fuse(sum, ones, others);
    }
    let whole = last.len() / REGISTER * REGISTER;
    for (sum, (a, b)) in sums[0].iter_mut().zip(last[whole..].iter().zip(others_last.get(whole..).unwrap_or_default()))
    {
        *sum += a * b;
    }
    let mut half = BESIDE / 2;
    while half > 0 {
        let (sums, more) = sums.split_at_mut(half);
        for (sums, more) in sums.iter_mut().zip(more) {
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum += *more;
            }
        }
        half /= 2;
    }
    let [a, b, c, d] = sums[0];
    (a + c) + (b + d)
}

fn registers(numbers: &[f32]) -> std::slice::Iter<'_, [f32; REGISTER]> {
    numbers.as_chunks().0.iter()
}

fn registers_mut(numbers: &mut [f32]) -> std::slice::IterMut<'_, [f32; REGISTER]> {
    numbers.as_chunks_mut().0.iter_mut()
}

/// Adds the products of a register's numbers. The gateway has each rounded once, with the sum, on every processor.
#[cfg(target_arch = "wasm32")]
#[target_feature(enable = "relaxed-simd")]
fn fuse(sums: &mut [f32; REGISTER], one: &[f32; REGISTER], other: &[f32; REGISTER]) {
    use std::arch::wasm32::{f32x4, f32x4_extract_lane, f32x4_relaxed_madd};

    let load = |numbers: &[f32; REGISTER]| f32x4(numbers[0], numbers[1], numbers[2], numbers[3]);
    let fused = f32x4_relaxed_madd(load(one), load(other), load(sums));
    *sums = [
        f32x4_extract_lane::<0>(fused),
        f32x4_extract_lane::<1>(fused),
        f32x4_extract_lane::<2>(fused),
        f32x4_extract_lane::<3>(fused),
    ];
}

#[cfg(not(target_arch = "wasm32"))]
fn fuse(sums: &mut [f32; REGISTER], one: &[f32; REGISTER], other: &[f32; REGISTER]) {
    for (sum, (one, other)) in sums.iter_mut().zip(one.iter().zip(other)) {
        *sum += one * other;
    }
}
