//! Fields of a request's body that would tell the gateway where to send it, with which key or headers, or what to answer.
//!
//! They are the operator's to say. LiteLLM takes them from clients; here they are refused, because a provider would get them
//! as fields of its own where they were passed on, and a client would believe that they acted.

use crate::chat::ChatRequest;
use crate::failover::steering_field;
use crate::fault::{Refusal, RefusalKind};

/// Refuses a request that steers.
///
/// # Errors
/// `InvalidRequest`, naming the first such field.
pub(super) fn refuse(request: &ChatRequest) -> Result<(), Refusal> {
    match steering_field(&request.rest) {
        None => Ok(()),
        Some(name) => {
            let message = format!(
                "`{name}` cannot be set by a request: address, credentials, headers and answers are the gateway's configuration; \
                 leave it out"
            );
            Err(Refusal::new(RefusalKind::InvalidRequest, message).at(name))
        }
    }
}
