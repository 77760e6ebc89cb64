//! How a call of a policy fails, whatever its role.

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
