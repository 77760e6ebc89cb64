//! Default parameters that a deployment's model cannot take. No client asked for them, so they refuse no request: they are left out of all,
//! and the report says so.

use super::endpoint::Endpoint;
use crate::catalog::Origin;
use crate::chat::ChatRequest;
use crate::config::report::Grade;
use crate::config::section::KeyPlaces;
use crate::format::{Target, lost};

/// More than formats refuse.
const MOST: usize = 16;
/// A bound that leaves room for any thinking.
const BOUND: u32 = 1 << 16;
const NOTE: &str =
    "this model cannot take it as it is: it is left out of requests, or cut to what the model takes, and reported";

/// Reports those of `defaults` that cannot be sent to `endpoint`. What a policy writes, and what is asked of models that are named only by a
/// pattern, is known when it is written.
pub(super) fn report(
    places: &KeyPlaces<'_, '_>,
    defaults: Option<&ChatRequest>,
    endpoint: &Endpoint,
    version: Option<&str>,
    as_written: &[String],
) {
    let Some(defaults) = defaults else { return };
    let is_known = endpoint.policy.is_none() && !endpoint.model.contains('*');
    if !is_known || matches!(endpoint.origin, Origin::Simulated(_)) {
        return;
    }
    let (model, api_version, quirks) = (endpoint.model.as_str(), version, endpoint.quirks);
    let target = Target { api_version, ..Target::plain(model, quirks, BOUND) };
    let note = |parameter: &str| {
        let key = parameter.split(['.', '[']).next().unwrap_or(parameter);
        if as_written.iter().any(|name| name == key) {
            return;
        }
        places.downgrade(
            if places.has(key) { key } else { "extra_body" },
            Grade::Approximate,
            format!("`{key}`: {NOTE}"),
        );
    };
    let mut taken = defaults.clone();
    for _ in 0..MOST {
        let blamed = match endpoint.format.encode(&taken, &target) {
            Ok(encoded) => {
                lost(&taken, &encoded).for_each(note);
                // Hints, and what servers take by names of their own.
                let said = |path: &&String| places.has(path.split(['.', '[']).next().unwrap_or(path));
                return encoded.dropped.iter().filter(said).for_each(|path| note(path));
            }
            Err(fault) => fault.param.unwrap_or_default(),
        };
        if !taken.leave_out(&blamed) {
            return;
        }
        note(&blamed);
    }
}
