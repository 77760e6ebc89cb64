//! The lines of what a router is told, and of how it fails.

use serde::{Deserialize, Serialize};

use super::exact::{Exact, Hex};
use crate::fault::FaultKind;
use crate::policy::{Outcome, PolicyFault};

/// A router's fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FaultLine {
    kind: String,
    words: String,
}

impl FaultLine {
    pub(super) fn of(fault: &PolicyFault) -> Self {
        let words = match fault {
            PolicyFault::Trap(words) | PolicyFault::Contract(words) => words.clone(),
            _ => String::new(),
        };
        Self { kind: fault.kind().to_owned(), words }
    }

    pub(super) fn fault(self) -> Result<PolicyFault, String> {
        let plain = [
            PolicyFault::CpuBudget,
            PolicyFault::Memory,
            PolicyFault::StackOverflow,
            PolicyFault::Quarantined,
            PolicyFault::NoInstance,
        ];
        let worded = [PolicyFault::Trap(self.words.clone()), PolicyFault::Contract(self.words)];
        let mut all = plain.into_iter().chain(worded);
        all.find(|fault| fault.kind() == self.kind).ok_or_else(|| format!("`{}` is no fault of a policy", self.kind))
    }
}

/// An outcome.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OutcomeLine {
    seed: Hex,
    attempt: u32,
    deployment: u32,
    /// Why the attempt failed, where it did.
    fault: Option<String>,
    input_tokens: u32,
    output_tokens: u32,
    cost_usd: Exact<f64>,
    latency_ms: Exact<f32>,
    ttft_ms: Option<Exact<f32>>,
    quality: Option<Exact<f32>>,
    /// How the router failed when it was told, where it did.
    policy_fault: Option<FaultLine>,
}

impl OutcomeLine {
    pub(super) fn of(outcome: &Outcome, policy_fault: Option<FaultLine>) -> Self {
        Self {
            seed: Hex(outcome.seed),
            attempt: outcome.attempt,
            deployment: outcome.deployment,
            fault: outcome.fault.map(|fault| fault.as_str().to_owned()),
            input_tokens: outcome.input_tokens,
            output_tokens: outcome.output_tokens,
            cost_usd: Exact(outcome.cost_usd),
            latency_ms: Exact(outcome.latency_ms),
            ttft_ms: outcome.ttft_ms.map(Exact),
            quality: outcome.quality.map(Exact),
            policy_fault,
        }
    }

    pub(super) fn outcome(self) -> Result<(Outcome, Option<PolicyFault>), String> {
        let kind = |name: String| {
            let known = FaultKind::ALL.into_iter().find(|kind| kind.as_str() == name);
            known.ok_or_else(|| format!("`{name}` is no fault of an attempt"))
        };
        let outcome = Outcome {
            seed: self.seed.0,
            attempt: self.attempt,
            deployment: self.deployment,
            fault: self.fault.map(kind).transpose()?,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cost_usd: self.cost_usd.0,
            latency_ms: self.latency_ms.0,
            ttft_ms: self.ttft_ms.map(|value| value.0),
            quality: self.quality.map(|value| value.0),
        };
        Ok((outcome, self.policy_fault.map(FaultLine::fault).transpose()?))
    }
}
