//! Providers sometimes quote what they were sent; nobody else is to read the credentials among it.

use std::borrow::Cow;

use secrecy::SecretString;

use crate::catalog::Deployment;
use crate::fault::AttemptFault;
use crate::http::scrub;

/// The same fault without the deployment's credential and header values in any of its words.
pub(super) fn scrubbed(mut fault: AttemptFault, deployment: &Deployment) -> AttemptFault {
    let headers = deployment.headers.values().filter_map(|value| value.to_str().ok()).map(SecretString::from);
    let secrets: Vec<SecretString> = deployment.credential.iter().cloned().chain(headers).collect();
    let clean = |text: &mut String| {
        if let Cow::Owned(scrubbed) = scrub(text, &secrets) {
            *text = scrubbed;
        }
    };
    clean(&mut fault.message);
    fault.code.iter_mut().for_each(clean);
    fault.param.iter_mut().for_each(clean);
    fault
}
