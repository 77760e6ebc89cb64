//! What is fetched to authorise requests, kept until shortly before it ends.
//!
//! It is fetched by one request at a time, for all: those that come meanwhile wait for what comes of it. What could not be had
//! fails whoever asked, and the next one asks again.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use crate::moment::Moment;

/// It is fetched anew this long before it ends: no request is to carry what ends on its way.
pub(super) const EARLY: Duration = Duration::from_secs(120);

/// One thing and its end.
pub(super) struct Kept<T> {
    value: ArcSwapOption<(T, Moment)>,
    /// Who fetches; the others wait for what comes of it.
    turn: Mutex<()>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { value: ArcSwapOption::empty(), turn: Mutex::new(()) }
    }
}

impl<T: Clone> Kept<T> {
    /// What is kept, or what `fetch` gives and how long it holds from `now` on.
    ///
    /// # Errors
    /// Why it could not be fetched.
    pub(super) async fn get(
        &self,
        now: Moment,
        fetch: impl Future<Output = Result<(T, Duration), String>> + Send,
    ) -> Result<T, String> {
        if let Some(value) = self.at_hand(now) {
            return Ok(value);
        }
        let _turn = self.turn.lock().await;
        // Somebody else may have had the turn before.
        if let Some(value) = self.at_hand(now) {
            return Ok(value);
        }
        let (value, length) = fetch.await?;
        self.value.store(Some(Arc::new((value.clone(), now + length))));
        Ok(value)
    }

    fn at_hand(&self, now: Moment) -> Option<T> {
        let kept = self.value.load();
        kept.as_ref().filter(|kept| now + EARLY < kept.1).map(|kept| kept.0.clone())
    }
}
