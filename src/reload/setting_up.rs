//! Setting a policy up at its place of the configuration. What is wrong is told at once, as far as it can be known: what it needs and is not
//! granted, what its settings should be, what it may not read. Whoever mends one of these is not to learn of the next by starting again.

use std::sync::Arc;

use serde_json::Value;

use super::policies::PolicyChange;
use crate::catalog::{Group, PolicyPlaces};
use crate::policy::{
    Component, Contract, Offers, PolicyProblem, PolicyRuntime, PolicySetup, ProviderSetup, Role, SettingMistake, Setup,
};
use crate::signal::{Grant, Grants};

/// Problems of one policy that are looked for: each costs a start of it.
const MOST_TOLD: usize = 10;

/// A setup that can be tried otherwise than it is configured, to learn what else is wrong.
pub(super) trait Mendable: Clone + PartialEq {
    /// The policy's settings.
    fn settings(&mut self) -> &mut Arc<str>;

    /// What it may read, where it is told of requests.
    fn may_read(&mut self) -> Option<&mut Grants>;
}

impl Mendable for Setup {
    fn settings(&mut self) -> &mut Arc<str> {
        &mut self.settings
    }

    fn may_read(&mut self) -> Option<&mut Grants> {
        Some(&mut self.may_read)
    }
}

impl Mendable for PolicySetup {
    fn settings(&mut self) -> &mut Arc<str> {
        &mut self.settings
    }

    fn may_read(&mut self) -> Option<&mut Grants> {
        Some(&mut self.may_read)
    }
}

impl Mendable for ProviderSetup {
    fn settings(&mut self) -> &mut Arc<str> {
        &mut self.settings
    }

    fn may_read(&mut self) -> Option<&mut Grants> {
        None
    }
}

/// Where the configuration says so, in front of what is wrong with it.
pub(super) fn placed(at: Option<&str>, problem: &str) -> String {
    at.map_or_else(|| problem.to_owned(), |at| format!("{at}: {problem}"))
}

/// Prepares a policy that stands at these places of the configuration. Where it follows another one, that and whether it is another
/// policy's are told in `follows`; `offers` as in [`PolicyChange::prepare`].
///
/// # Errors
/// Everything that is wrong with it, each for itself.
pub(super) fn prepare<C: Contract<Setup: Mendable>>(
    (group, at): (&Group, &PolicyPlaces),
    component: &Arc<Component>,
    setup: C::Setup,
    follows: (Option<&Arc<PolicyRuntime<C>>>, bool),
    offers: impl FnOnce(bool) -> Offers,
) -> Result<PolicyChange<C>, Vec<String>> {
    let missing = granted(C::ROLE, group, component).err();
    let prepared = PolicyChange::<C>::prepare(component, setup.clone(), follows, offers);
    let problems: Vec<PolicyProblem> = match (missing, prepared) {
        (None, Ok(change)) => return Ok(change),
        (missing, Ok(_)) => missing.into_iter().collect(),
        (missing, Err(problem)) => missing.into_iter().chain(and_more::<C>(component, setup, problem)).collect(),
    };
    let who = format!("group `{}`, policy `{}` ({})", group.name, component.name(), component.digest().short());
    let told = problems.iter().flat_map(|problem| match problem {
        // Each at its own place.
        PolicyProblem::Configure(refusal) if !refusal.mistakes().is_empty() => {
            let mistakes = refusal.mistakes().iter();
            mistakes.map(|one| placed(at.setting(&one.pointer), &format!("{who}: {}", one.words))).collect::<Vec<_>>()
        }
        problem => vec![placed(at.entry.as_deref(), &format!("{who}: {problem}"))],
    });
    Err(told.collect())
}

/// Whether the configuration grants what a component says it needs in this role.
fn granted(role: Role, group: &Group, component: &Component) -> Result<(), PolicyProblem> {
    let granted = match role {
        Role::Router => group.router.may_reject,
        Role::PromptBuilder => group.builder.as_ref().is_some_and(|choice| choice.may_reject),
        Role::ResponseParser => group.parser.as_ref().is_some_and(|choice| choice.hold),
        Role::Provider => true,
    };
    match (component.inspection().manifest.needs(role), role.section()) {
        (Some(key), Some(section)) if !granted => {
            Err(PolicyProblem::NotGranted { key, section, group: group.name.to_string() })
        }
        _ => Ok(()),
    }
}

/// This problem, and those that would be told next once it is mended: it is tried with what it lacks, until nothing is wrong or what is
/// cannot be mended here.
fn and_more<C: Contract<Setup: Mendable>>(
    component: &Arc<Component>,
    mut setup: C::Setup,
    problem: PolicyProblem,
) -> Vec<PolicyProblem> {
    let mut problems = vec![problem];
    let mut left_out = false;
    while problems.len() < MOST_TOLD {
        let mended = match problems.last() {
            Some(PolicyProblem::Ungranted(name)) => grant(&mut setup, name),
            Some(PolicyProblem::Configure(refusal)) if !left_out => {
                left_out = true;
                leave_out(setup.settings(), refusal.mistakes())
            }
            _ => false,
        };
        if !mended {
            break;
        }
        let Err(next) = PolicyRuntime::<C>::start(Arc::clone(component), setup.clone(), None) else { break };
        let is_need = matches!(
            next,
            PolicyProblem::Ungranted(_)
                | PolicyProblem::NeverTold(_)
                | PolicyProblem::UnknownNeed { .. }
                | PolicyProblem::TooManyNeeds { .. }
        );
        // Of how it fares with settings that are not the configuration's nothing is told.
        if problems.contains(&next) || (left_out && !is_need) {
            break;
        }
        problems.push(next);
    }
    problems
}

/// Grants one attribute more; whether that was done.
fn grant(setup: &mut impl Mendable, name: &str) -> bool {
    let (Some(Grants::These(grants)), Ok(granted)) = (setup.may_read(), Grant::parse(name)) else { return false };
    *grants = grants.iter().cloned().chain([granted]).collect();
    true
}

/// Leaves out the settings in which there are mistakes; whether any was.
fn leave_out(settings: &mut Arc<str>, mistakes: &[SettingMistake]) -> bool {
    let Ok(Value::Object(mut members)) = serde_json::from_str(settings) else { return false };
    let before = members.len();
    for mistake in mistakes {
        if let Some(member) = mistake.pointer.split('/').nth(1) {
            members.remove(&member.replace("~1", "/").replace("~0", "~"));
        }
    }
    if members.len() == before {
        return false;
    }
    *settings = Value::Object(members).to_string().into();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_in_settings_is_left_out_with_all_that_it_stands_in() {
        let mistake = |pointer: &str| SettingMistake { pointer: pointer.to_owned(), words: String::new() };
        let mut settings: Arc<str> = r#"{"a": 1, "b/c": {"d": [2]}, "e": 3}"#.into();
        assert!(!leave_out(&mut settings, &[mistake(""), mistake("/f")]), "nothing of it is there");
        assert!(leave_out(&mut settings, &[mistake("/b~1c/d/0"), mistake("/a")]));
        assert_eq!(&*settings, r#"{"e":3}"#);
        let mut none: Arc<str> = "none".into();
        assert!(!leave_out(&mut none, &[mistake("/a")]));
    }

    #[test]
    fn one_attribute_is_granted_beside_the_others() {
        let may_read = Grants::These(Arc::new([Grant::AnyTag]));
        let mut setup = PolicySetup { group: None, settings: "{}".into(), model: "m".into(), seed: 0, may_read };
        assert!(grant(&mut setup, "prompt") && !grant(&mut setup, "no such thing"));
        let both = [Grant::AnyTag, Grant::parse("prompt").unwrap()];
        assert_eq!(setup.may_read, Grants::These(both.into()));
    }
}
