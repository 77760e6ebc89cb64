//! How a call of a policy fails, whatever its role.

use super::store::LogLine;

/// What a fault says that the policy told of itself, instead of an answer.
const OF_ITS_OWN: &str = "it failed; the policy's own line in the log says how";

/// How a policy failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// It trapped: the reason.
    #[error("trapped: {0}")]
    Trap(String),
    /// It used up the CPU time (or fuel) of one call.
    #[error("used up the CPU time of one call")]
    CpuBudget,
    /// It was refused memory or table space and gave up.
    #[error("asked for more memory than a policy may have")]
    Memory,
    /// It ran out of stack.
    #[error("ran out of stack")]
    StackOverflow,
    /// Its answer breaks the contract: how.
    #[error("gave an answer that breaks the contract: {0}")]
    Contract(String),
    /// It failed too often and is asked once a minute only, until it answers or is replaced.
    #[error(
        "is quarantined after repeated faults, until it answers the one call a minute that it is given, or is replaced"
    )]
    Quarantined,
    /// The host has no instance left to give it, which is not its fault.
    #[error(
        "could not be called: as many instances of policies live as there is room for (on Linux: `vm.max_map_count`)"
    )]
    NoInstance,
}

impl PolicyFault {
    /// Every kind's stable name, in the order of [`Self::index`]: metric labels.
    pub const KINDS: [&'static str; 7] =
        ["trap", "cpu-budget", "memory", "stack-overflow", "contract", "quarantined", "no-instance"];

    /// The thread that called it ended within the call, which is a trap.
    pub(crate) fn thread_ended() -> Self {
        Self::Trap("its thread ended".to_owned())
    }

    /// The policy answered that it failed: how, its own line in the log says.
    pub(in crate::policy) fn of_its_own() -> Self {
        Self::Contract(OF_ITS_OWN.to_owned())
    }

    /// The same for somebody who does not see the log, with what the policy said last in `log`: one that fails without an answer says why
    /// there, whether it traps then or answers that it failed.
    #[must_use]
    pub(crate) fn in_its_words(self, log: &[LogLine]) -> Self {
        let Some(said) = LogLine::last_warning(log) else { return self };
        match self {
            Self::Trap(words) => Self::Trap(format!("{words}; it said: {said}")),
            Self::Contract(words) if words == OF_ITS_OWN => Self::Contract(format!("it failed; it said: {said}")),
            other => other,
        }
    }

    /// The stable name: metric label.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        Self::KINDS[self.index()]
    }

    /// Whether the policy did something wrong.
    #[must_use]
    pub const fn is_the_policys(&self) -> bool {
        !matches!(self, Self::Quarantined | Self::NoInstance)
    }

    /// The place of its kind in [`Self::KINDS`].
    #[must_use]
    pub const fn index(&self) -> usize {
        match self {
            Self::Trap(_) => 0,
            Self::CpuBudget => 1,
            Self::Memory => 2,
            Self::StackOverflow => 3,
            Self::Contract(_) => 4,
            Self::Quarantined => 5,
            Self::NoInstance => 6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::host::LogLevel;

    #[test]
    fn a_fault_that_tells_nothing_itself_is_told_in_the_policys_last_warning() {
        let line = |level, message: &str| LogLine { level, message: message.to_owned() };
        let log =
            [line(LogLevel::Warn, "before"), line(LogLevel::Warn, "KeyError: 'oops'"), line(LogLevel::Info, "after")];
        let told = |fault: PolicyFault, log: &[LogLine]| fault.in_its_words(log).to_string();
        let trap = || PolicyFault::Trap("unreachable".to_owned());
        assert_eq!(told(trap(), &log), "trapped: unreachable; it said: KeyError: 'oops'");
        let words = "gave an answer that breaks the contract: it failed; it said: KeyError: 'oops'";
        assert_eq!(told(PolicyFault::of_its_own(), &log), words);
        // What says itself what is wrong, and what the policy did not say anything of.
        let again = || PolicyFault::Contract("place 1 names deployment 0 again".to_owned());
        assert_eq!(told(again(), &log), again().to_string());
        assert_eq!(told(PolicyFault::CpuBudget, &log), PolicyFault::CpuBudget.to_string());
        for silent in [&log[2..], &[]] {
            assert_eq!(told(trap(), silent), "trapped: unreachable");
            assert!(told(PolicyFault::of_its_own(), silent).ends_with("the policy's own line in the log says how"));
        }
    }
}
