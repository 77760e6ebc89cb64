//! Providers sometimes quote the key they were sent; nobody else is to read it.

use crate::catalog::Deployment;
use crate::fault::AttemptFault;
use crate::http::scrub;

/// The same fault without the deployment's credential in any of its words.
pub(super) fn scrubbed(mut fault: AttemptFault, deployment: &Deployment) -> AttemptFault {
    let Some(key) = &deployment.credential else { return fault };
    let secrets = std::slice::from_ref(key);
    let clean = |text: &mut String| {
        if let std::borrow::Cow::Owned(scrubbed) = scrub(text, secrets) {
            *text = scrubbed;
        }
    };
    clean(&mut fault.message);
    fault.code.iter_mut().for_each(clean);
    fault.param.iter_mut().for_each(clean);
    fault
}
