//! What a policy learned, as it is kept for it and offered to the policies that follow.

use serde::{Deserialize, Serialize};

use super::problem::PolicyProblem;
use super::store::LogLine;

/// What a policy learned, in a shape only it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    /// The policy's name for the shape of `bytes`.
    pub schema: String,
    /// The state.
    pub bytes: Vec<u8>,
}

/// What a policy may begin with: it is offered one state after another, until it takes one.
#[derive(Debug, Default)]
pub struct Offers {
    /// What it knew when it decided before. Where there is nothing, what its predecessor knows comes first.
    pub own: Option<SavedState>,
    /// What is kept for whoever takes it, the newest first.
    pub kept: Vec<SavedState>,
    /// Whether the policy is gone back to. What a newer version saved in another schema than its own may be read by it and is not meant for
    /// it: what is kept in its own schema comes before that.
    pub gone_back_to: bool,
}

impl Offers {
    /// The same, where what the predecessor knows comes first unless there is something of its own.
    pub(super) fn or(self, predecessor: Option<SavedState>) -> Self {
        Self { own: self.own.or(predecessor), ..self }
    }

    /// All of them, in the order in which they are offered to a policy that saves in the schema that `saves_in` finds out.
    pub(super) fn in_order(self, saves_in: impl FnOnce() -> Option<String>) -> Vec<SavedState> {
        let Self { own, mut kept, gone_back_to } = self;
        let Some(own) = own else { return kept };
        let mut first = None;
        if gone_back_to
            && !kept.is_empty()
            && let Some(schema) = saves_in().filter(|schema| *schema != own.schema)
        {
            first = kept.iter().position(|state| state.schema == schema).map(|at| kept.remove(at));
        }
        first.into_iter().chain([own]).chain(kept).collect()
    }
}

/// A state that a policy did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untaken {
    /// Its schema.
    pub schema: String,
    /// Why.
    pub problem: PolicyProblem,
}

impl Untaken {
    /// It said nothing against it, and begins without it.
    pub(super) fn left_out(state: &SavedState) -> Self {
        Self { schema: state.schema.clone(), problem: PolicyProblem::StateLeftOut }
    }

    /// The same, with what the policy said last where it failed over it.
    pub(super) fn in_its_words(self, log: &[LogLine]) -> Self {
        Self { problem: self.problem.in_its_words(log), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(schema: &str) -> SavedState {
        SavedState { schema: schema.to_owned(), bytes: Vec::new() }
    }

    fn order(own: Option<&str>, kept: &[&str], gone_back_to: bool, saves_in: Option<&str>) -> Vec<String> {
        let kept = kept.iter().map(|schema| state(schema)).collect();
        let offers = Offers { own: None, kept, gone_back_to }.or(own.map(state));
        offers.in_order(|| saves_in.map(str::to_owned)).into_iter().map(|state| state.schema).collect()
    }

    #[test]
    fn a_predecessors_state_comes_first_but_for_one_in_the_own_schema_of_what_is_gone_back_to() {
        assert_eq!(order(None, &[], true, Some("a")), [""; 0]);
        assert_eq!(order(Some("b"), &["c", "a"], false, Some("a")), ["b", "c", "a"]);
        assert_eq!(order(Some("b"), &["c", "a"], true, Some("a")), ["a", "b", "c"]);
        assert_eq!(order(Some("a"), &["c", "a"], true, Some("a")), ["a", "c", "a"], "the predecessor's is the newer");
        assert_eq!(order(Some("b"), &["c"], true, Some("a")), ["b", "c"]);
        assert_eq!(order(Some("b"), &["c"], true, None), ["b", "c"], "it saves nothing");
        assert_eq!(order(None, &["c", "a"], true, Some("a")), ["c", "a"]);
    }
}
