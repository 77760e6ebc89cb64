//! Between the world's free functions and a [`Router`] value: holds the router from `configure` on.

use std::cell::RefCell;

use crate::{Ask, Choice, Needs, Outcome, Refusal, Request, Router, SavedState, Setup, Signals};

/// The configured router of this component instance, if any.
pub struct Held<R>(RefCell<Option<Configured<R>>>);

struct Configured<R> {
    router: R,
    columns: Vec<String>,
    rows: usize,
}

impl<R: Router> Held<R> {
    /// Nothing configured yet.
    #[must_use]
    pub const fn empty() -> Self {
        Self(RefCell::new(None))
    }

    /// Replaces what was configured; a refused setup leaves it as it was.
    ///
    /// # Errors
    /// The router's own words.
    pub fn configure(&self, setup: Setup) -> Result<Needs, String> {
        crate::log::tell_of_panics();
        let rows = setup.deployments.len();
        let (router, needs) = R::configure(setup)?;
        *self.0.borrow_mut() = Some(Configured { router, columns: needs.signals.clone(), rows });
        Ok(needs)
    }

    /// Asks the router. Before `configure` there is nobody to ask: the empty answer, which the gateway
    /// counts as a fault.
    ///
    /// # Errors
    /// The router's refusal.
    pub fn route(
        &self,
        request: Request,
        signals: &[f32],
        features: Vec<f32>,
        attributes: Vec<String>,
    ) -> Result<Vec<Choice>, Refusal> {
        match self.0.borrow_mut().as_mut() {
            Some(held) => {
                let table = Signals::new(&held.columns, signals, held.rows);
                held.router.route(&Ask { request, features, attributes }, table)
            }
            None => Ok(Vec::new()),
        }
    }

    /// Hands the outcome on.
    pub fn observe(&self, outcome: &Outcome) {
        if let Some(held) = self.0.borrow_mut().as_mut() {
            held.router.observe(outcome);
        }
    }

    /// Asks for what a successor should know.
    #[must_use]
    pub fn save(&self) -> Option<SavedState> {
        self.0.borrow().as_ref().and_then(|held| held.router.save())
    }
}
