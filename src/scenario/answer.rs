//! What comes of one question.

use std::fmt;
use std::time::Duration;

use crate::policy::{Choice, LogLine, PolicyFault, PolicyProblem, RouteError, Router, Setup};

use super::suite::Ask;

/// Everything a policy can answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Ranked(Vec<Choice>),
    Wait(Duration),
    Reject(String),
    Fault(PolicyFault),
    /// It would not take the case's settings, for these reasons.
    Refused(String),
    /// It failed when it was started for the case, so that nothing was asked: how.
    NotStarted(String),
}

impl Answer {
    /// Asks a router.
    pub(super) fn of(router: &Router, ask: &Ask) -> Self {
        let mut ranking = Vec::new();
        let attributes: Vec<&str> = ask.attributes.iter().map(String::as_str).collect();
        match router.route(&ask.question, &ask.signals, &ask.features, &attributes, &mut ranking) {
            Ok(()) => Self::Ranked(ranking),
            Err(RouteError::Wait(length)) => Self::Wait(length),
            Err(RouteError::Reject(words)) => Self::Reject(words),
            Err(RouteError::Fault(fault)) => Self::Fault(fault),
        }
    }

    /// What it is to a case that its router could not be started.
    ///
    /// # Errors
    /// No case could have one.
    pub(super) fn not_started(problem: &PolicyProblem) -> Result<Self, String> {
        match problem {
            PolicyProblem::Configure(refusal) => Ok(Self::Refused(refusal.to_string())),
            problem if problem.is_fault() => Ok(Self::NotStarted(problem.to_string())),
            problem => Err(problem.to_string()),
        }
    }

    /// The same in words, deployments by their ids, and a fault with what was said last in `log`.
    pub(super) const fn told<'a>(&'a self, setup: &'a Setup, log: &'a [LogLine]) -> Told<'a> {
        Told { answer: self, setup, log }
    }
}

/// An answer in words.
pub(super) struct Told<'a> {
    answer: &'a Answer,
    setup: &'a Setup,
    log: &'a [LogLine],
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.answer {
            Answer::Ranked(ranking) if ranking.is_empty() => f.write_str("none of them"),
            Answer::Ranked(ranking) => {
                f.write_str("the ranking")?;
                for choice in ranking {
                    write!(f, " {}", id(self.setup, choice.deployment))?;
                }
                Ok(())
            }
            Answer::Wait(length) => write!(f, "a wait of {} ms", length.as_millis()),
            Answer::Reject(words) => write!(f, "a rejection: {words}"),
            Answer::Fault(fault) => write!(f, "a fault: it {}", fault.clone().in_its_words(self.log)),
            Answer::Refused(words) => write!(f, "refused settings: {words}"),
            Answer::NotStarted(problem) => write!(f, "no router: it {problem}"),
        }
    }
}

/// The id of a deployment of an answer.
pub(super) fn id(setup: &Setup, deployment: u32) -> &str {
    setup.deployments.get(deployment as usize).map_or("?", |facts| facts.id.as_str())
}
