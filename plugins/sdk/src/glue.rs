//! Between the world's free functions and a [`Router`] value: holds the router from `start` on.

use std::cell::RefCell;

use crate::bindings::exports::witgate::policy::{lifecycle, routing::Ranking};
use crate::{Ask, Deployment, Needs, Outcome, Refusal, Request, Router, SavedState, Setup, Signals};

/// The router of this component instance, if any.
pub struct Held<R> {
    /// Configured and not started yet.
    setup: RefCell<Option<lifecycle::Setup>>,
    started: RefCell<Option<Started<R>>>,
}

struct Started<R> {
    router: R,
    columns: Vec<String>,
    rows: usize,
}

impl<R: Router> Held<R> {
    /// Nothing configured yet.
    #[must_use]
    pub const fn empty() -> Self {
        Self { setup: RefCell::new(None), started: RefCell::new(None) }
    }

    /// Keeps the setup until the deployments are known.
    pub fn configure(&self, setup: lifecycle::Setup) {
        crate::log::begin(crate::log_writer!(crate::bindings::witgate::policy::log));
        *self.setup.borrow_mut() = Some(setup);
    }

    /// Starts a router in the place of what was; one that refuses leaves it as it was.
    ///
    /// # Errors
    /// The router's own words.
    pub fn start(&self, deployments: Vec<Deployment>) -> Result<Needs, String> {
        let Some(setup) = self.setup.borrow_mut().take() else { return Err("it was not configured".to_owned()) };
        let lifecycle::Setup { settings, seed, state } = setup;
        let rows = deployments.len();
        let (router, needs) = R::configure(Setup { settings, deployments, seed, state })?;
        *self.started.borrow_mut() = Some(Started { router, columns: needs.signals.clone(), rows });
        Ok(needs)
    }

    /// Asks the router. Before `start` there is nobody to ask, which the gateway never does.
    ///
    /// # Errors
    /// The router's refusal.
    pub fn route(
        &self,
        request: Request,
        signals: &[f32],
        features: Vec<f32>,
        attributes: Vec<String>,
    ) -> Result<Ranking, Refusal> {
        match self.started.borrow_mut().as_mut() {
            Some(held) => {
                let table = Signals::new(&held.columns, signals, held.rows);
                held.router.route(&Ask { request, features, attributes }, table)
            }
            None => Err(Refusal::Reject("it was not started".to_owned())),
        }
    }

    /// Hands the outcome on.
    pub fn observe(&self, outcome: &Outcome) {
        if let Some(held) = self.started.borrow_mut().as_mut() {
            held.router.observe(outcome);
        }
    }

    /// Asks for what a successor should know.
    #[must_use]
    pub fn save(&self) -> Option<SavedState> {
        self.started.borrow().as_ref().and_then(|held| held.router.save())
    }
}
