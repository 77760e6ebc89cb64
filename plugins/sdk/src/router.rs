//! Routers: which deployments serve a request, best first.

use std::ops::Deref;

use crate::bindings::exports::witgate::policy::lifecycle::SavedState;
use crate::bindings::exports::witgate::policy::routing::{
    Deployment, Needs, Outcome, Ranking, Refusal, Request, Traits,
};
use crate::signals::Signals;

/// Ranks the deployments of one group, request by request. One instance serves one group; calls never overlap.
pub trait Router: Sized + 'static {
    /// Starts with the settings, the group's deployments and what a predecessor saved, and says what it needs
    /// to know at each decision.
    ///
    /// # Errors
    /// One sentence about a setting that makes no sense; the gateway then keeps what it had.
    fn configure(setup: Setup) -> Result<(Self, Needs), String>;

    /// Answers deployments, best first, as indices into the setup's list. Name as many as could serve: the
    /// gateway takes the first that its limits and breakers allow. Those left out are not called; an empty answer says that none
    /// is fit, and the request waits or is refused, as the group is configured (`when_none`).
    ///
    /// # Errors
    /// [`Refusal::Wait`] to be asked again later, [`Refusal::Reject`] (needs a grant) to end the request.
    fn route(&mut self, ask: &Ask, table: Signals<'_>) -> Result<Ranking, Refusal>;

    /// Learns how an attempt ended.
    fn observe(&mut self, outcome: &Outcome) {
        let _ = outcome;
    }

    /// What a successor or the next start should know.
    fn save(&self) -> Option<SavedState> {
        None
    }
}

/// What a router begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The policy's settings, a JSON object.
    pub settings: String,
    /// The group's deployments, in the order in which all else names them.
    pub deployments: Vec<Deployment>,
    /// The instance's own seed.
    pub seed: u64,
    /// What this policy, or the one it replaces, saved last. A schema it does not know is to be ignored.
    pub state: Option<SavedState>,
}

/// A deployment that could serve, and how it came to its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Its index in the setup's list.
    pub deployment: u32,
    /// The probability with which it was drawn for its place; 1.0 where nothing was drawn.
    pub propensity: f32,
}

/// Where nothing was drawn.
impl FromIterator<u32> for Ranking {
    fn from_iter<I: IntoIterator<Item = u32>>(deployments: I) -> Self {
        Self { deployments: deployments.into_iter().collect(), propensities: Vec::new() }
    }
}

impl FromIterator<Choice> for Ranking {
    fn from_iter<I: IntoIterator<Item = Choice>>(choices: I) -> Self {
        let (deployments, propensities): (Vec<u32>, Vec<f32>) =
            choices.into_iter().map(|choice| (choice.deployment, choice.propensity)).unzip();
        // Whole numbers compare quicker, and there is only one 1.0.
        let drawn = propensities.iter().fold(0, |drawn, share| drawn | (share.to_bits() ^ 1.0_f32.to_bits()));
        Self { deployments, propensities: if drawn == 0 { Vec::new() } else { propensities } }
    }
}

impl Ranking {
    /// Its deployments, best first, each with its propensity.
    pub fn choices(&self) -> impl Iterator<Item = Choice> + Clone + '_ {
        let propensities = self.propensities.iter().copied().chain(std::iter::repeat(1.0));
        let choices = self.deployments.iter().zip(propensities);
        choices.map(|(&deployment, propensity)| Choice { deployment, propensity })
    }
}

/// One question: the request, and the facts about it the router asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The request; its fields can be read on the `Ask` itself.
    pub request: Request,
    /// One number per wanted feature, in the order of [`Needs::features`]; NaN where unknown.
    pub features: Vec<f32>,
    /// One text per wanted attribute, in the order of [`Needs::attributes`]; empty where absent.
    pub attributes: Vec<String>,
}

impl Deref for Ask {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

/// What [`Request::input_tokens`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputCount {
    /// Counted as the group's first model counts.
    Exact,
    /// Counted, with something approximated.
    Estimate,
    /// As many as the request's bytes allow, often four times as many as there are: nothing was counted. Say
    /// [`Needs::exact_tokens`] where a rule depends on the number.
    UpperBound,
}

impl Request {
    /// What [`Request::input_tokens`] is.
    #[must_use]
    pub const fn input_count(&self) -> InputCount {
        if self.traits.contains(Traits::INPUT_EXACT) {
            InputCount::Exact
        } else if self.traits.contains(Traits::INPUT_BOUND) {
            InputCount::UpperBound
        } else {
            InputCount::Estimate
        }
    }
}

impl Needs {
    /// Asks for these columns and nothing else. Chain with struct update syntax for the rest.
    #[must_use]
    pub fn signals(names: &[&str]) -> Self {
        Self {
            signals: names.iter().map(|name| (*name).to_owned()).collect(),
            features: Vec::new(),
            attributes: Vec::new(),
            exact_tokens: false,
            pure: false,
        }
    }
}

/// Makes a type that implements [`Router`] the component's router. Once per crate.
#[macro_export]
macro_rules! export_router {
    ($router:ty) => {
        const _: () = {
            use $crate::bindings::exports::witgate::policy::{lifecycle, routing};

            thread_local! {
                static HELD: $crate::Held<$router> = const { $crate::Held::empty() };
            }

            struct Component;

            impl lifecycle::Guest for Component {
                fn configure(setup: lifecycle::Setup) -> Result<(), String> {
                    HELD.with(|held| held.configure(setup));
                    Ok(())
                }

                fn save() -> Option<lifecycle::SavedState> {
                    HELD.with(|held| held.save())
                }
            }

            impl routing::Guest for Component {
                fn start(deployments: Vec<routing::Deployment>) -> Result<routing::Needs, String> {
                    HELD.with(|held| held.start(deployments))
                }

                fn route(
                    request: routing::Request,
                    signals: Vec<f32>,
                    features: Vec<f32>,
                    attributes: Vec<String>,
                ) -> Result<routing::Ranking, routing::Refusal> {
                    HELD.with(|held| held.route(request, &signals, features, attributes))
                }

                fn observe(outcome: routing::Outcome) {
                    HELD.with(|held| held.observe(&outcome));
                }
            }

    $crate::bindings::__export_router_world!(Component with_types_in $crate::bindings);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::{Choice, Ranking};

    #[test]
    fn propensities_cross_only_where_something_was_drawn() {
        let choices = [1.0, 0.5].map(|propensity| Choice { deployment: 7, propensity });
        let [sure, drawn]: [Ranking; 2] = [&choices[..1], &choices].map(|choices| choices.iter().copied().collect());
        assert_eq!((sure.propensities.len(), sure), (0, Ranking::from_iter([7])));
        assert_eq!((&*drawn.deployments, &*drawn.propensities), (&[7, 7][..], &[1.0, 0.5][..]));
        assert_eq!(drawn.choices().collect::<Vec<_>>(), choices);
    }
}
