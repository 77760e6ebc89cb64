//! Holds the policy of a component instance in the roles that learn nothing: prompt builders, response parsers, providers. Their crates
//! say what a policy is and how it is asked.

use std::cell::RefCell;

/// What such a policy begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The policy's settings, a JSON object.
    pub settings: String,
    /// The policy's own seed.
    pub seed: u64,
}

/// The policy of this component instance, if any.
pub struct Held<P> {
    /// Configured and not started yet.
    setup: RefCell<Option<Setup>>,
    policy: RefCell<Option<P>>,
}

impl<P> Held<P> {
    /// Nothing configured yet.
    #[must_use]
    pub const fn empty() -> Self {
        Self { setup: RefCell::new(None), policy: RefCell::new(None) }
    }

    /// Keeps the setup until the role begins.
    pub fn configure(&self, settings: String, seed: u64) {
        *self.setup.borrow_mut() = Some(Setup { settings, seed });
    }

    /// Starts a policy in the place of what was; tells what it needs.
    ///
    /// # Errors
    /// The policy's own words.
    pub fn start<N>(&self, configure: impl FnOnce(Setup) -> Result<(P, N), String>) -> Result<N, String> {
        let Some(setup) = self.setup.borrow_mut().take() else { return Err("it was not configured".to_owned()) };
        let (policy, needs) = configure(setup)?;
        *self.policy.borrow_mut() = Some(policy);
        Ok(needs)
    }

    /// Asks the policy; `None` before one was started, which the gateway never does.
    pub fn ask<A>(&self, ask: impl FnOnce(&mut P) -> A) -> Option<A> {
        self.policy.borrow_mut().as_mut().map(ask)
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, Setup};

    #[test]
    fn a_policy_is_configured_started_and_asked() {
        let held = Held::empty();
        let configure = |setup: Setup| {
            if setup.settings.is_empty() { Err("no settings".to_owned()) } else { Ok((setup, "needs")) }
        };
        assert_eq!(held.start(configure), Err("it was not configured".to_owned()));
        held.configure("{}".to_owned(), 3);
        assert_eq!((held.ask(|setup| setup.seed), held.start(configure)), (None, Ok("needs")));
        held.configure(String::new(), 4);
        // One that refuses leaves what was.
        assert_eq!((held.start(configure), held.ask(|setup| setup.seed)), (Err("no settings".to_owned()), Some(3)));
    }
}
