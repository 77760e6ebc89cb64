//! What a client wrote is kept where the operator asks for words, and nowhere else.
//!
//! A router that reads what takes a grant (the prompt, tags, metadata, headers) may repeat it: in the words it refuses or fails
//! with, and in its state. Of such a router the values and the words are kept as digests, and the state is left out. The digests
//! have a key that is never written and ends with the process: equal values look equal, and no value is found by trying.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use crate::policy::{Decision, Needs, PolicyFault, RouteError};
use crate::signal::Attribute;

/// Makes the digests of one gateway.
#[derive(Clone, Debug, Default)]
pub(super) struct Withheld(RandomState);

/// Whether a router with these needs is shown what a client wrote.
pub(super) fn reads_what_was_said(needs: &Needs) -> bool {
    needs.attributes.iter().any(Attribute::needs_grant)
}

impl Withheld {
    /// A decision without what was said.
    pub(super) fn decision<'a>(&self, needs: &Needs, decision: &'a Decision) -> Cow<'a, Decision> {
        if !reads_what_was_said(needs) {
            return Cow::Borrowed(decision);
        }
        let Decision { request, signals, features, attributes, answer } = decision;
        let value = |(place, value): (usize, &String)| {
            let plain = needs.attributes.get(place).is_some_and(|attribute| !attribute.needs_grant());
            if plain { value.clone() } else { self.digest(value) }
        };
        let answer = match answer {
            Err(RouteError::Reject(words)) => Err(RouteError::Reject(self.digest(words))),
            Err(RouteError::Fault(fault)) => Err(RouteError::Fault(self.fault(fault))),
            other => other.clone(),
        };
        Cow::Owned(Decision {
            request: request.clone(),
            signals: signals.clone(),
            features: features.clone(),
            attributes: attributes.iter().enumerate().map(value).collect(),
            answer,
        })
    }

    /// A fault without a router's words.
    pub(super) fn fault(&self, fault: &PolicyFault) -> PolicyFault {
        match fault {
            PolicyFault::Trap(words) => PolicyFault::Trap(self.digest(words)),
            PolicyFault::Contract(words) => PolicyFault::Contract(self.digest(words)),
            other => other.clone(),
        }
    }

    /// What stands for a text; nothing for none.
    fn digest(&self, text: &str) -> String {
        if text.is_empty() { String::new() } else { format!("withheld:{:016x}", self.0.hash_one(text)) }
    }
}
