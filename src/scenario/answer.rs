//! What comes of one question.

use std::fmt;
use std::time::Duration;

use crate::policy::{Choice, PolicyFault, RouteError, Router, Setup};

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

    /// The same in words, deployments by their ids.
    pub(super) const fn told<'a>(&'a self, setup: &'a Setup) -> Told<'a> {
        Told { answer: self, setup }
    }
}

/// An answer in words.
pub(super) struct Told<'a> {
    answer: &'a Answer,
    setup: &'a Setup,
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
            Answer::Fault(fault) => write!(f, "a fault: it {fault}"),
            Answer::Refused(words) => write!(f, "refused settings: {words}"),
        }
    }
}

/// The id of a deployment of an answer.
pub(super) fn id(setup: &Setup, deployment: u32) -> &str {
    setup.deployments.get(deployment as usize).map_or("?", |facts| facts.id.as_str())
}
