//! What is saved: what the group has decided and spent, what is known of each deployment by its id, and the questions whose replies may
//! still be judged. Numbers are little-endian; a list is its length (`u32`) and its entries.

use std::collections::BTreeMap;

use witgate_policy::SavedState;

use crate::arm::{Arm, Mean, WINDOWS};
use crate::brain::Brain;
use crate::linear::Linear;
use crate::pacer::Pacer;
use crate::pending::{Asked, MOST, NOBODY, TOLD};

/// The name of this shape, and of the one before it, which is read too: it does not say how replies turned out against what was believed.
const SCHEMA: &str = "bandit-2";
const BEFORE: &str = "bandit-1";
/// Bytes after which only what is short is saved; the host takes 4 MiB.
const ROOM: usize = 3 << 20;

pub(crate) fn write(brain: &Brain) -> SavedState {
    // As much as it may ever come to, at once: what grows with each question would take new memory each time.
    let width = brain.width();
    let each = (MOST * (32 + TOLD * 8 + width)) + brain.arms.len() * (192 + 4 * width * (width + 3) / 2);
    let mut out = Vec::with_capacity(each.min(4 << 20));
    out.extend(brain.decisions.to_le_bytes());
    out.push(u8::from(brain.judged));
    out.extend(brain.pacer.price.to_le_bytes());
    out.extend(brain.pacer.spent.to_le_bytes());
    out.extend(brain.pacer.requests.to_le_bytes());
    out.extend(brain.pacer.planned.to_le_bytes());
    count(&mut out, brain.rules.features.len());
    brain.rules.features.iter().for_each(|name| text(&mut out, name));
    count(&mut out, brain.arms.len());
    for (id, arm) in brain.ids.iter().zip(&brain.arms) {
        text(&mut out, id);
        for mean in
            [arm.quality, arm.cost_ratio, arm.cost, arm.latency, arm.variance, arm.better].iter().chain(&arm.surprises)
        {
            out.extend(mean.mean.to_le_bytes());
            out.extend(mean.count.to_le_bytes());
        }
        out.extend(arm.at.to_le_bytes());
        // Of very many deployments the last keep their means alone.
        let (theta, inverse) = if out.len() < ROOM { arm.linear.parts() } else { (&[][..], &[][..]) };
        numbers(&mut out, theta);
        numbers(&mut out, inverse);
    }
    let kept = if out.len() < ROOM { brain.pending.len() } else { 0 };
    count(&mut out, kept);
    for asked in brain.pending.iter().take(kept) {
        out.extend(asked.seed.to_le_bytes());
        out.extend(asked.settled.to_le_bytes());
        count(&mut out, asked.x.len());
        out.extend(asked.x.iter().map(|number| number.to_le_bytes()[0]));
        for (arm, cost) in &asked.costs {
            out.extend(arm.to_le_bytes());
            out.extend(cost.to_le_bytes());
        }
    }
    SavedState { schema: SCHEMA.to_owned(), bytes: out }
}

fn count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    count(out, text.len());
    out.extend(text.as_bytes());
}

fn numbers(out: &mut Vec<u8>, numbers: &[f32]) {
    count(out, numbers.len());
    // Of many deployments these are millions of bytes: room is made once, and each number is written as a whole.
    out.reserve(size_of_val(numbers));
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Takes over what was saved, as far as it is about the same deployments and features.
///
/// # Errors
/// Says why nothing was taken.
pub(crate) fn restore(brain: &mut Brain, saved: &SavedState) -> Result<(), String> {
    if ![SCHEMA, BEFORE].contains(&saved.schema.as_str()) {
        return Err(format!("it was saved as `{}`, this policy reads `{SCHEMA}` and `{BEFORE}`", saved.schema));
    }
    let mut reader = Reader { bytes: &saved.bytes, before: saved.schema == BEFORE };
    let known = reader.all().filter(|_| reader.bytes.is_empty()).ok_or("its bytes are cut off or damaged")?;
    let same_features = known.features == brain.rules.features;
    let same_deployments = known.arms.iter().map(|(id, _)| id).eq(&brain.ids);
    (brain.decisions, brain.judged, brain.pacer) = (known.decisions, known.judged, known.pacer);
    let mut arms: BTreeMap<String, Kept> = known.arms.into_iter().collect();
    for (id, arm) in brain.ids.iter().zip(&mut brain.arms) {
        arm.at = known.decisions;
        if let Some(kept) = arms.remove(id) {
            kept.into_arm(arm, same_features);
        }
    }
    for mut asked in known.asked {
        if same_features {
            if !same_deployments {
                asked.costs = [NOBODY; TOLD];
            }
            brain.pending.restore(&asked);
        }
    }
    Ok(())
}

/// A deployment as it was saved.
struct Kept {
    means: [Mean; 4],
    /// How much replies vary, and how the last ones turned out.
    varied: Option<(Mean, Mean, [Mean; WINDOWS.len()])>,
    at: u64,
    theta: Vec<f32>,
    inverse: Vec<f32>,
}

impl Kept {
    /// What was learned by other features is no use to these: the means alone are.
    fn into_arm(self, arm: &mut Arm, same_features: bool) {
        [arm.quality, arm.cost_ratio, arm.cost, arm.latency] = self.means;
        arm.at = self.at;
        if let Some((variance, better, surprises)) = self.varied {
            (arm.variance, arm.better, arm.surprises) = (variance, better, surprises);
        }
        let width = arm.linear.parts().0.len();
        let linear = Linear::of(self.theta, self.inverse).filter(|one| same_features && one.parts().0.len() == width);
        match (linear, arm.quality.known()) {
            (Some(linear), _) => arm.linear = linear,
            (None, Some(quality)) => {
                let strength = arm.quality.count.clamp(arm.prior.strength, 20.0);
                arm.linear = Linear::new(width, crate::linear::Prior { quality, strength, ..arm.prior });
            }
            (None, None) => {}
        }
    }
}

struct Known {
    decisions: u64,
    judged: bool,
    pacer: Pacer,
    features: Vec<String>,
    arms: Vec<(String, Kept)>,
    asked: Vec<Asked>,
}

/// Reads entry by entry: a damaged length must not reserve memory.
struct Reader<'a> {
    bytes: &'a [u8],
    /// Of the shape before.
    before: bool,
}

impl Reader<'_> {
    fn all(&mut self) -> Option<Known> {
        let (decisions, judged) = (self.long()?, self.take::<1>()? != [0]);
        let pacer = Pacer {
            price: self.number().filter(|price| price.is_finite())?,
            spent: f64::from_le_bytes(self.take()?),
            requests: self.long()?,
            planned: f64::from_le_bytes(self.take()?),
        };
        if !(pacer.spent.is_finite() && pacer.planned.is_finite()) {
            return None;
        }
        let features = self.list(Self::text)?;
        let arms = self.list(|reader| Some((reader.text()?, reader.arm()?)))?;
        let asked = self.list(|reader| {
            let (seed, settled) = (reader.long()?, u32::from_le_bytes(reader.take()?));
            let x = reader.list(|reader| Some(i8::from_le_bytes(reader.take()?)))?;
            let mut costs = [NOBODY; TOLD];
            for cost in &mut costs {
                *cost = (u32::from_le_bytes(reader.take()?), reader.number()?);
            }
            Some(Asked { seed, x, costs, settled })
        })?;
        Some(Known { decisions, judged, pacer, features, arms, asked })
    }

    fn arm(&mut self) -> Option<Kept> {
        let mut means = [Mean::default(); 4];
        for mean in &mut means {
            *mean = self.mean()?;
        }
        let varied = if self.before {
            None
        } else {
            let (variance, better, mut surprises) = (self.mean()?, self.mean()?, [Mean::default(); WINDOWS.len()]);
            for mean in &mut surprises {
                *mean = self.mean()?;
            }
            Some((variance, better, surprises))
        };
        let at = self.long()?;
        Some(Kept { means, varied, at, theta: self.list(Self::number)?, inverse: self.list(Self::number)? })
    }

    fn mean(&mut self) -> Option<Mean> {
        let mean = Mean { mean: self.number()?, count: self.number()? };
        (mean.mean.is_finite() && mean.count.is_finite() && mean.count >= 0.0).then_some(mean)
    }

    fn list<T>(&mut self, mut entry: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut list = Vec::new();
        for _ in 0..u32::from_le_bytes(self.take()?) {
            list.push(entry(self)?);
        }
        Some(list)
    }

    fn text(&mut self) -> Option<String> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        let (text, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    fn number(&mut self) -> Option<f32> {
        Some(f32::from_le_bytes(self.take()?))
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take()?))
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*bytes)
    }
}
