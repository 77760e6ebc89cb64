//! Providers sometimes quote what they were sent; nobody else is to read the credentials among it, nor all of a long
//! prompt.

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};

use crate::catalog::Deployment;
use crate::fault::AttemptFault;
use crate::http::scrub;

/// A word of a header's value from this length on is a secret of its own; shorter ones are `Bearer` and the like.
const LONG: usize = 8;

/// Bytes of a message that are passed on, and of a code or a parameter's name.
const LONGEST: [usize; 2] = [4096, 256];

/// What is given in a query, as it is written and as it is meant. Which version of an API is asked is no secret.
fn values_of(query: &str) -> Vec<String> {
    let written = query.split('&').filter_map(|pair| pair.split_once('='));
    let written = written.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)));
    let all = written.chain(form_urlencoded::parse(query.as_bytes()));
    all.filter(|(name, _)| name != "api-version").map(|(_, value)| value.into_owned()).collect()
}

/// The same fault without the deployment's credential, header values and what is given in its query, and without what `sent` says was made for the one request, in
/// any of its words, each at a length that can be read.
pub(super) fn scrubbed(mut fault: AttemptFault, deployment: &Deployment, sent: &[SecretString]) -> AttemptFault {
    let headers = deployment.headers.values().filter_map(|value| value.to_str().ok());
    let query = values_of(deployment.query.as_deref().unwrap_or_default());
    let credential = deployment.credential.iter().map(ExposeSecret::expose_secret);
    let values = credential.chain(deployment.secrets()).chain(headers).chain(query.iter().map(String::as_str));
    // Who refuses `Bearer KEY` quotes the key alone; and what a dialect cuts short it cuts between words.
    let words = |value| str::split_whitespace(value).filter(|word| word.len() >= LONG).chain([value]);
    let secrets: Vec<SecretString> =
        values.flat_map(words).map(SecretString::from).chain(sent.iter().cloned()).collect();
    let clean = |text: &mut String, longest: usize| {
        if let Cow::Owned(scrubbed) = scrub(text, &secrets) {
            *text = scrubbed;
        }
        // Only now: half a secret would not have been found.
        if text.len() > longest {
            text.truncate(text.floor_char_boundary(longest));
            text.push('…');
        }
    };
    let [message, name] = LONGEST;
    clean(&mut fault.message, message);
    fault.code.iter_mut().chain(&mut fault.param).for_each(|text| clean(text, name));
    fault
}
