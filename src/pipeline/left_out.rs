//! A request as a deployment's provider gets it: without the parameters that are not for it, each of which is reported.
//!
//! What a format cannot say and may not leave out refuses the request. Where the configuration wants it (`drop_params`), the parameter that
//! is blamed is left out instead; the conversation never is. Before that, the other deployments of the group are asked. What no client asked
//! for but the deployment's own defaults is left out in any case: the report on the configuration says so.

use serde_json::{Map, Value};

use super::defaulting::fill_in;
use crate::catalog::LeftOut;
use crate::chat::{ChatRequest, IN_BACKGROUND};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::{self, Encoded, NO_QUIRKS, Target, in_common_words};

/// Parameters that one request may lose before it is refused: more than formats refuse.
const MOST: usize = 16;

/// A request without a deployment's defaults, and these.
#[derive(Clone, Copy)]
pub(super) struct Defaulted<'r>(pub(super) &'r ChatRequest, pub(super) &'r ChatRequest);

impl Defaulted<'_> {
    /// Whether the defaults say a parameter, and the client does not.
    fn says(self, name: &str) -> bool {
        self.1.says(name) && !self.0.says(name)
    }
}

/// Writes `request` with what is to be left out of it left out (what refuses it, only if `may_lose`), and no longer a reply asked for than
/// `longest` tokens, the most the model gives, where parameters are left out at all. What the rules never want left out is sent under
/// its own name, where the provider has no other. `defaulted` tells what of the request are defaults, where there are any, and `tells` what
/// is told of those fields that most formats know nothing of.
///
/// # Errors
/// What `encode` says of a request that must not lose more.
pub(super) fn encoded(
    request: &ChatRequest,
    defaulted: Option<Defaulted<'_>>,
    rules: &LeftOut,
    may_lose: bool,
    longest: Option<u32>,
    encode: impl Fn(&ChatRequest) -> Result<Encoded, AttemptFault>,
    tells: impl Fn(&str) -> bool,
) -> Result<Encoded, AttemptFault> {
    let may_lose =
        |name: &str| may_lose && rules.may_lose(name) || defaulted.is_some_and(|defaulted| defaulted.says(name));
    let mut left = Vec::new();
    // A copy only where something is left out; the conversation is shared.
    let mut less: Option<ChatRequest> = None;
    for name in &rules.always {
        if less.get_or_insert_with(|| request.clone()).take_out(name) {
            left.push(name.clone());
        }
    }
    let longest = longest.filter(|_| rules.unsupported && request.vectors.is_none());
    if let Some(longest) = longest.filter(|longest| less.as_ref().unwrap_or(request).max_tokens > Some(*longest)) {
        less.get_or_insert_with(|| request.clone()).max_tokens = Some(longest);
        left.push("max_tokens".to_owned());
    }
    loop {
        let asked = less.as_ref().unwrap_or(request);
        let fault = match encode(asked) {
            Ok(mut encoded) => {
                if !rules.never.is_empty() {
                    let dropped = |name: &&String| encoded.dropped.iter().any(|path| is_of(path, name));
                    let kept = rules.never.iter().filter(dropped).collect();
                    keep(kept, request, &mut encoded);
                }
                if let Some(name) = format::lost(asked, &encoded).find(|name| !may_lose(name)) {
                    return Err(cannot_take(name, &encoded));
                }
                encoded.dropped.extend(asked.echo.contains_key(IN_BACKGROUND).then(|| "background".to_owned()));
                if !left.is_empty() {
                    encoded.dropped.splice(0..0, left);
                }
                encoded.dropped.extend(request.untold.iter().filter(|path| !tells(path)).cloned());
                return Ok(encoded);
            }
            Err(fault) => fault,
        };
        let blamed = fault.param.as_ref().filter(|_| left.len() < MOST && fault.kind == FaultKind::Rejected);
        let Some(blamed) = blamed.filter(|blamed| may_lose(blamed)) else { return Err(fault) };
        if !less.get_or_insert_with(|| request.clone()).leave_out(blamed) {
            return Err(fault);
        }
        left.push(blamed.clone());
    }
}

/// What was written in its place, if anything, is as far as it goes there.
fn cannot_take(name: &str, encoded: &Encoded) -> AttemptFault {
    if name == "background" {
        let message = "`background`: replies are not made in the background here; leave it out and stream, or have it left out by \
                       `drop_params: true`";
        return AttemptFault { param: Some(name.to_owned()), ..AttemptFault::new(FaultKind::Rejected, message) };
    }
    let written = serde_json::from_slice::<Map<String, Value>>(&encoded.body).ok();
    let message = match written.as_ref().and_then(|body| body.get(name)).filter(|value| value.is_number()) {
        Some(end) => format!(
            "`{name}`: it ends at {end} at every provider of this model, and with that the reply would be another one; ask for no more, or \
             have it cut by `drop_params: true`"
        ),
        None => format!(
            "`{name}`: no provider of this model takes it, and without it the reply would be another one; leave it out, or have it left out \
             by `drop_params: true`"
        ),
    };
    AttemptFault { param: Some(name.to_owned()), ..AttemptFault::new(FaultKind::Rejected, message) }
}

/// Whether a path is a parameter, or leads into it.
fn is_of(path: &str, parameter: &str) -> bool {
    path.strip_prefix(parameter).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Adds parameters to a body, as the client wrote them.
fn keep(names: Vec<&String>, request: &ChatRequest, encoded: &mut Encoded) {
    let target = Target {
        model: &request.model,
        api_version: None,
        quirks: &NO_QUIRKS,
        default_max_tokens: 1,
        bare_stream: true,
        unsealed: false,
    };
    let fields = |body: &[u8]| serde_json::from_slice::<Map<String, Value>>(body).ok();
    let common = in_common_words(request, &target).ok().and_then(|common| fields(&common.body));
    let (false, Some(common), Some(mut body)) = (names.is_empty(), common, fields(&encoded.body)) else { return };
    for name in names {
        if let Some(value) = common.get(name) {
            fill_in(&mut body, Map::from_iter([(name.clone(), value.clone())]));
            encoded.dropped.retain(|path| !is_of(path, name));
            encoded.lost.retain(|lost| lost != name);
        }
    }
    encoded.body = Value::Object(body).to_string().into();
}
