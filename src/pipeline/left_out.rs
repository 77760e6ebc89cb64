//! A request as a deployment's provider gets it: without the parameters that are not for it, each of which is reported.
//!
//! What a format cannot say and may not leave out refuses the request. Where the configuration wants it (`drop_params`), the parameter that
//! is blamed is left out instead; the conversation never is.

use crate::catalog::LeftOut;
use crate::chat::ChatRequest;
use crate::fault::{AttemptFault, FaultKind};
use crate::format::Encoded;

/// Parameters that one request may lose before it is refused: more than formats refuse.
const MOST: usize = 16;

/// Writes `request` with what is to be left out of it left out.
///
/// # Errors
/// What `encode` says of a request that must not lose more.
pub(super) fn encoded(
    request: &ChatRequest,
    rules: &LeftOut,
    encode: impl Fn(&ChatRequest) -> Result<Encoded, AttemptFault>,
) -> Result<Encoded, AttemptFault> {
    let mut left = Vec::new();
    // A copy only where something is left out; the conversation is shared.
    let mut less: Option<ChatRequest> = None;
    for name in &rules.always {
        if less.get_or_insert_with(|| request.clone()).leave_out(name) {
            left.push(name.clone());
        }
    }
    loop {
        let fault = match encode(less.as_ref().unwrap_or(request)) {
            Ok(mut encoded) => {
                encoded.dropped.splice(0..0, left);
                return Ok(encoded);
            }
            Err(fault) => fault,
        };
        let blamed = fault.param.as_ref().filter(|_| rules.unsupported && fault.kind == FaultKind::Rejected);
        let Some(blamed) = blamed.filter(|_| left.len() < MOST) else { return Err(fault) };
        if !less.get_or_insert_with(|| request.clone()).leave_out(blamed) {
            return Err(fault);
        }
        left.push(blamed.clone());
    }
}
