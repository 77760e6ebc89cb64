//! Vectors of questions for routers that want them: looked for in memory, else asked for on another thread, and waited for no longer
//! than the group's source says.
//!
//! Whatever comes of it, the decision is made and the request goes on: a vector that is not there in time is all zeros. What is
//! remembered are vectors, found by a digest of source and text; no text is kept. A request for vectors itself asks for none.

use std::collections::HashMap;
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::{Gateway, Recorder, RequestContext};
use crate::id::GroupName;
use crate::moment::Moment;
use crate::policy::Router;
use crate::seed;
use crate::signal::Feature;
use crate::snapshot::Embedding;
use crate::tokens;

/// Numbers of a vector that is kept: as many as a router may ask for.
const WIDTH: usize = 64;
/// Vectors that are remembered at most: 7 MiB.
const REMEMBERED: usize = 16 << 10;
/// Texts that wait for their vectors at most.
const WAITING: usize = 256;
/// What the signs of the projection come from. They must not change: vectors are kept beyond the process.
const SIGNS: u64 = 0x0065_6D62_6564;

/// The vector of a text: 64 numbers, of length 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector(Box<[f32; WIDTH]>);

/// Where the vector of a question came from, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Embedded {
    /// It was remembered here.
    Remembered,
    /// Another gateway, or this one earlier, had left it with the server that gateways share.
    Shared,
    /// It was made.
    Made,
    /// There is none in time.
    Late,
    /// There is none: its source was not asked, for want of room or money.
    Skipped,
    /// There is none: its source failed.
    Failed,
}

/// What is told to whoever asked.
pub type Told = (Embedded, Option<Arc<Vector>>);

/// A text whose vector is wanted.
pub struct ToEmbed {
    /// The group whose router wants it.
    pub group: GroupName,
    /// What makes it.
    pub source: Arc<Embedding>,
    /// Of what.
    pub text: String,
    /// What it is remembered by.
    pub key: [u8; 32],
    /// When nobody waits for it any more.
    pub until: Moment,
    /// Is told what came of it, once.
    pub tell: Box<dyn FnOnce(Told) + Send>,
}

/// Where texts wait for their vectors, and vectors are remembered.
#[derive(Debug, Default)]
pub struct Embeddings {
    texts: OnceLock<mpsc::Sender<ToEmbed>>,
    remembered: Mutex<Remembered>,
}

impl Embedded {
    /// Its stable name, for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Remembered => "remembered",
            Self::Shared => "shared",
            Self::Made => "made",
            Self::Late => "late",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

impl Vector {
    /// What a model says of a text, in 64 numbers: each is the sum of the model's own, with signs that are drawn once and for
    /// all (a random projection: Achlioptas, 2003), so that texts that are alike stay so. `None` of what has no direction.
    #[must_use]
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let mut sums = [0.0_f64; WIDTH];
        for (number, place) in numbers.iter().zip(0..) {
            let signs = seed::derive(SIGNS, place);
            for (sum, bit) in sums.iter_mut().zip(0..) {
                *sum += if signs >> bit & 1 == 0 { *number } else { -*number };
            }
        }
        let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "features are f32")]
        let unit = sums.map(|sum| (sum / length) as f32);
        (length.is_normal() && unit.iter().all(|number| number.is_finite())).then(|| Self(Box::new(unit)))
    }

    /// As it is kept elsewhere: little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// What was kept elsewhere; `None` where that is no such vector.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<4>();
        let numbers: Vec<f32> = numbers.iter().map(|four| f32::from_le_bytes(*four)).collect();
        let sound = rest.is_empty() && numbers.iter().all(|number| number.is_finite() && number.abs() <= 1.0);
        <[f32; WIDTH]>::try_from(numbers).ok().filter(|_| sound).map(|numbers| Self(Box::new(numbers)))
    }

    /// Its numbers.
    #[must_use]
    pub fn numbers(&self) -> &[f32] {
        &*self.0
    }
}

impl Embeddings {
    /// Whoever makes vectors from now on; `None` where somebody does already.
    pub fn open(&self) -> Option<mpsc::Receiver<ToEmbed>> {
        let (sender, receiver) = mpsc::channel(WAITING);
        self.texts.set(sender).is_ok().then_some(receiver)
    }

    /// Remembers one.
    pub fn remember(&self, key: [u8; 32], vector: Arc<Vector>) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).put(key, vector);
    }

    /// One that is remembered.
    pub fn recall(&self, key: &[u8; 32]) -> Option<Arc<Vector>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(key)
    }

    fn hand_over(&self, text: ToEmbed) -> bool {
        self.texts.get().is_some_and(|to| to.try_send(text).is_ok())
    }
}

/// Vectors by key, of which those are forgotten that were not asked for while as many others came: two halves, of which the older
/// one goes when the newer is full.
#[derive(Debug, Default)]
struct Remembered {
    newer: HashMap<[u8; 32], Arc<Vector>>,
    older: HashMap<[u8; 32], Arc<Vector>>,
}

impl Remembered {
    fn put(&mut self, key: [u8; 32], vector: Arc<Vector>) {
        if self.newer.len() >= REMEMBERED / 2 {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, vector);
    }

    fn get(&mut self, key: &[u8; 32]) -> Option<Arc<Vector>> {
        if let Some(found) = self.newer.get(key) {
            return Some(Arc::clone(found));
        }
        let found = self.older.remove(key)?;
        self.put(*key, Arc::clone(&found));
        Some(found)
    }
}

/// A vector that is to be waited for on a thread that may block.
pub(super) struct Beside {
    told: blocking::Receiver<Told>,
    timeout: Duration,
    group: GroupName,
    recorder: Arc<dyn Recorder>,
}

impl Beside {
    /// Puts it among the values of `wanted`, if it comes in time. Blocks.
    pub(super) fn fill(self, wanted: &[Feature], values: &mut [f32]) {
        let (what, vector) = self.told.recv_timeout(self.timeout).unwrap_or_else(|fault| match fault {
            blocking::RecvTimeoutError::Timeout => (Embedded::Late, None),
            blocking::RecvTimeoutError::Disconnected => (Embedded::Skipped, None),
        });
        self.recorder.embedded(&self.group, what);
        if let Some(vector) = vector {
            tokens::embed(wanted, values, vector.numbers());
        }
    }
}

impl RequestContext<'_> {
    /// Waits for the vector of the question, where `router` wants one of the group's source: once for each group that is tried.
    pub(super) async fn embed_for(&self, router: &Router) {
        if let Some(source) = self.embedding_for(router) {
            self.vector.get_or_init(|| self.embed(source)).await;
        }
    }

    /// The same without waiting, where nobody has asked yet: for a version that is asked beside.
    pub(super) fn embed_beside(&self, router: &Router) -> Option<Beside> {
        let source = self.embedding_for(router).filter(|_| self.vector.get().is_none())?;
        let text = self.text()?;
        let (tell, told) = blocking::channel();
        let (recorder, group) = (Arc::clone(&self.gateway.recorder), self.group.config.name.clone());
        let key = key(source, &text);
        if let Some(found) = self.gateway.embeddings.recall(&key) {
            drop(tell.send((Embedded::Remembered, Some(found))));
        } else {
            self.ask(source, text, key, Box::new(move |answer| drop(tell.send(answer))));
        }
        Some(Beside { told, timeout: source.timeout, group, recorder })
    }

    /// What the numbers of vectors are made of.
    pub(super) fn embedded(&self) -> tokens::Embedded<'_> {
        match (&self.group.embedding, self.vector.get()) {
            (None, _) => tokens::Embedded::Hashed,
            (Some(_), Some(Some(vector))) => tokens::Embedded::Given(vector.numbers()),
            (Some(_), _) => tokens::Embedded::Unknown,
        }
    }

    fn embedding_for(&self, router: &Router) -> Option<&Arc<Embedding>> {
        let source = self.group.embedding.as_ref()?;
        let wants = router.needs().features.iter().any(|feature| matches!(feature, Feature::Embedding { .. }));
        // Who makes vectors would wait for itself.
        (wants && self.request.vectors.is_none()).then_some(source)
    }

    /// What is said, where anything is.
    fn text(&self) -> Option<String> {
        Some(tokens::embedded_text(&self.request)).filter(|text| !text.trim().is_empty())
    }

    async fn embed(&self, source: &Arc<Embedding>) -> Option<Arc<Vector>> {
        let text = self.text()?;
        let (gateway, key) = (self.gateway, key(source, &text));
        let (what, vector) = if let Some(found) = gateway.embeddings.recall(&key) {
            (Embedded::Remembered, Some(found))
        } else {
            let (tell, told) = oneshot::channel();
            let until = self.ask(source, text, key, Box::new(move |answer| drop(tell.send(answer))));
            let told = tokio::time::timeout_at(gateway.clock.instant(until), told).await;
            told.map_or((Embedded::Late, None), |told| told.unwrap_or((Embedded::Skipped, None)))
        };
        gateway.recorder.embedded(&self.group.config.name, what);
        vector
    }

    /// Hands a text over; where there is no room for it, whoever waits hears that.
    fn ask(&self, source: &Arc<Embedding>, text: String, key: [u8; 32], tell: Box<dyn FnOnce(Told) + Send>) -> Moment {
        let Gateway { embeddings, clock, .. } = self.gateway;
        let (group, source) = (self.group.config.name.clone(), Arc::clone(source));
        let until = clock.now() + source.timeout;
        embeddings.hand_over(ToEmbed { group, source, text, key, until, tell });
        until
    }
}

/// What the vector of `text` is remembered by.
fn key(source: &Embedding, text: &str) -> [u8; 32] {
    Sha256::new().chain_update(source.fingerprint).chain_update(text.as_bytes()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that hang together by nothing.
    fn drawn(seed: u64, count: usize) -> Vec<f64> {
        let mut draw = fastrand::Rng::with_seed(seed);
        (0..count).map(|_| draw.f64() - 0.5).collect()
    }

    fn alike(one: &[f64], other: &[f64]) -> f64 {
        let (one, other) = (Vector::of(one).unwrap(), Vector::of(other).unwrap());
        one.numbers().iter().zip(other.numbers()).map(|(a, b)| f64::from(a * b)).sum()
    }

    #[test]
    fn texts_that_are_alike_stay_so_in_fewer_numbers() {
        for seed in 0..20 {
            let (one, other) = (drawn(seed, 1536), drawn(seed + 100, 1536));
            let near: Vec<f64> = one.iter().zip(&other).map(|(a, b)| a + 0.5 * b).collect();
            assert!((alike(&one, &one) - 1.0).abs() < 1e-6);
            let longer: Vec<f64> = one.iter().map(|number| number * 7.0).collect();
            assert!((alike(&one, &longer) - 1.0).abs() < 1e-6, "length says nothing");
            // The cosines are 1 / sqrt(1.25) and 0; of 64 signs the deviation is an eighth at most.
            let (near, far) = (alike(&one, &near), alike(&one, &other));
            assert!(near > 0.65 && far.abs() < 0.5 && near > far + 0.3, "{near} {far}");
        }
    }

    #[test]
    fn vectors_are_the_same_tomorrow_and_what_is_none_is_refused() {
        let vector = Vector::of(&[1.0, 0.0, -2.0]).unwrap();
        // Whoever changes the signs makes of all vectors that are kept others, and of what routers learned nothing.
        let expected = [-0.0552, -0.0552, 0.0552, 0.1656, 0.1656, -0.0552];
        assert!(vector.numbers().iter().zip(expected).all(|(number, known)| (number - known).abs() < 1e-4));
        assert_eq!(Vector::from_bytes(&vector.to_bytes()).unwrap(), vector);
        let mut strange = vector.to_bytes();
        strange[3] = 0x7F;
        for bytes in [&strange[..], &strange[..252], b"", &[vector.to_bytes(), vec![0]].concat()[..]] {
            assert_eq!(Vector::from_bytes(bytes), None);
        }
        for none in [&[][..], &[0.0, 0.0], &[f64::NAN], &[f64::INFINITY, 1.0], &[1e-320]] {
            assert_eq!(Vector::of(none), None, "{none:?}");
        }
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten_first() {
        let (mut remembered, vector) = (Remembered::default(), Arc::new(Vector::of(&[1.0]).unwrap()));
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            key
        };
        for number in 0..3 * REMEMBERED {
            remembered.put(key(number), Arc::clone(&vector));
            assert!(remembered.get(&key(0)).is_some(), "it is asked for all the time");
        }
        let kept = remembered.newer.len() + remembered.older.len();
        assert!(kept <= REMEMBERED, "{kept}");
        assert!(remembered.get(&key(1)).is_none() && remembered.get(&key(3 * REMEMBERED - 1)).is_some());
    }
}
