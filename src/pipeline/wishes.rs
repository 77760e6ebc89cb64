//! What a client wants done about its own request, in LiteLLM's words: retries, other groups, time, what is left out.
//!
//! These fields are ours to read: no provider gets them. What LiteLLM reads beside them and nothing here acts on is left out and told;
//! what would hold a request back there, and does not here, is refused.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use serde_json::Value;

use crate::catalog::LeftOut;
use crate::chat::{ChatRequest, check_path};
use crate::failover::{Fallbacks, Overrides, Target, is_litellms, steering_field};
use crate::fault::{Cause, Refusal, RefusalKind};
use crate::format;
use crate::id::GroupName;
use crate::snapshot::Snapshot;

use super::context;

/// Retries a client may ask for.
const MOST_RETRIES: u32 = 20;
/// Groups a client may name.
const MOST_TARGETS: usize = 20;

/// What a client wants done about its request.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    /// Retries within a group.
    pub(super) retries: Option<u32>,
    /// Its own lists: whatever failed; a prompt that is too long; what moderation refuses.
    generic: Option<Vec<Target>>,
    context_window: Option<Vec<Target>>,
    content_policy: Option<Vec<Target>>,
    /// The groups in them, each by the name that it wrote: a key may know no other.
    named: Vec<String>,
    /// The model that it asks for, where its key says which it may.
    pub(super) model: Option<String>,
    /// No other group.
    disabled: bool,
    /// How long it may take, and how long where it is streamed, by its headers.
    timeout: Option<Duration>,
    stream_timeout: Option<Duration>,
    /// What is to be left out of it, beside what its deployment leaves out.
    left_out: LeftOut,
}

// Looked up in every request: made when this is compiled.
const RETRIES: HeaderName = HeaderName::from_static("x-litellm-num-retries");
const TIMEOUT: HeaderName = HeaderName::from_static("x-litellm-timeout");
const STREAM_TIMEOUT: HeaderName = HeaderName::from_static("x-litellm-stream-timeout");

/// The groups that take over, whatever failed. A provider may have a field of this name, too.
const FALLBACKS: &str = "fallbacks";
/// What would hold a request back there, or ask another thing.
const NOT_DONE: [&str; 3] = ["guardrails", "litellm_system_prompt", "prompt_id"];
/// What an SDK would have put beside the other fields.
const EXTRA: &str = "extra_body";

impl Wishes {
    /// Reads the headers; a body may say more.
    pub(super) fn of_headers(headers: &HeaderMap) -> Self {
        let told = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
        let retries = told(&RETRIES).and_then(|told| told.parse::<u32>().ok());
        let time = |name: &HeaderName| positive(told(name)?.parse().ok()?);
        Self {
            retries: retries.map(|retries| retries.min(MOST_RETRIES)),
            timeout: time(&TIMEOUT),
            stream_timeout: time(&STREAM_TIMEOUT),
            ..Self::default()
        }
    }

    /// How long the request may take at most by its client's own word: a header, else the body's field, which is taken out.
    ///
    /// # Errors
    /// `InvalidRequest` where a field is no number of seconds.
    pub(super) fn own_timeout(&self, request: &mut ChatRequest) -> Result<Option<Duration>, Refusal> {
        let mut field = |name: &str| {
            let told = request.rest.shift_remove(name).filter(|value| !value.is_null());
            told.map(|value| seconds(&value).ok_or_else(|| wrong(name, "a number of seconds above 0"))).transpose()
        };
        let (whole, streamed) = (field("timeout")?, field("stream_timeout")?);
        let of_stream = self.stream_timeout.or(streamed).filter(|_| request.stream);
        Ok(of_stream.or(self.timeout).or(whole))
    }

    /// Takes its fields out of a request: they are ours to read, not the provider's.
    ///
    /// # Errors
    /// `InvalidRequest` where one of them is not what it must be, or names no group.
    pub(super) fn take(&mut self, snapshot: &Snapshot, request: &mut ChatRequest) -> Result<(), Refusal> {
        if request.rest.is_empty() {
            return Ok(());
        }
        // What steers is refused later, by the name it has here.
        if request.rest.get(EXTRA).and_then(Value::as_object).is_some_and(|extra| steering_field(extra).is_none())
            && let Some(Value::Object(extra)) = request.rest.shift_remove(EXTRA)
        {
            Overrides::say_too(request, extra)?;
        }
        let mut unwanted = Vec::new();
        let of_provider = request.rest.contains_key(FALLBACKS) && format::is_own(request, FALLBACKS);
        let mut taken = |name: &str| request.rest.shift_remove(name).filter(|value| !value.is_null());
        if let Some(retries) = taken("num_retries") {
            let number = retries.as_u64().ok_or_else(|| wrong("num_retries", "a whole number from 0"))?;
            self.retries = Some(u32::try_from(number).unwrap_or(u32::MAX).min(MOST_RETRIES));
        }
        if let Some(disabled) = taken("disable_fallbacks") {
            self.disabled = disabled.as_bool().ok_or_else(|| wrong("disable_fallbacks", "true or false"))?;
        }
        if let Some(allowed) = taken("allowed_openai_params") {
            self.left_out.never = names(allowed, "allowed_openai_params")?;
        }
        if let Some(more) = taken("additional_drop_params") {
            unwanted = names(more, "additional_drop_params")?;
        }
        match taken("drop_params") {
            None => {}
            Some(Value::Bool(all)) => self.left_out.unsupported = all,
            Some(some) => self.left_out.named = names(some, "drop_params")?,
        }
        let model = request.model.as_str();
        let named = &mut self.named;
        let mut list = |name| taken(name).map(|list| targets(snapshot, list, name, model, named)).transpose();
        self.generic = if of_provider { None } else { list(FALLBACKS)? };
        self.context_window = list("context_window_fallbacks")?;
        self.content_policy = list("content_policy_fallbacks")?;
        if let Some(name) = NOT_DONE.into_iter().find(|name| taken(name).is_some()) {
            let message = format!(
                "`{name}` is not supported here: the request would be served without what it says; leave it out"
            );
            return Err(Refusal::new(RefusalKind::InvalidRequest, message).at(name));
        }
        let without_effect: Vec<String> = request.rest.keys().filter(|name| is_litellms(name)).cloned().collect();
        for name in without_effect {
            request.rest.shift_remove(&name);
            request.untold.push(name);
        }
        // Before anything is reserved for it: what it is not to be sent with must not be counted on.
        for path in unwanted {
            check_path(&path)
                .map_err(|why| Refusal::new(RefusalKind::InvalidRequest, why).at("additional_drop_params"))?;
            if request.take_out(&path) {
                request.untold.push(path);
            }
        }
        Ok(())
    }

    /// What is left out where a deployment has these rules.
    pub(super) fn left_out<'r>(&self, rules: &'r LeftOut) -> Cow<'r, LeftOut> {
        let own = &self.left_out;
        // Most requests wish nothing.
        if *own == LeftOut::default() {
            return Cow::Borrowed(rules);
        }
        Cow::Owned(LeftOut {
            unsupported: rules.unsupported || own.unsupported,
            named: own.named.clone(),
            always: rules.always.clone(),
            never: [&*rules.never, &own.never].concat(),
        })
    }

    /// The groups that take over after a fault about `cause`, where `lists` are the configured ones.
    pub(super) fn after<'a>(&'a self, lists: &'a Fallbacks, cause: Option<Cause>) -> &'a [Target] {
        if self.disabled {
            return &[];
        }
        let about = match cause {
            Some(Cause::ContextWindow) => &self.context_window,
            Some(Cause::ContentPolicy) => &self.content_policy,
            Some(Cause::Credential | Cause::Capability) | None => &None,
        };
        about.as_ref().or(self.generic.as_ref()).map_or_else(|| lists.after(cause), Vec::as_slice)
    }

    /// Whether any group takes over, whatever happens.
    pub(super) fn any(&self, lists: &Fallbacks) -> bool {
        let own = self.generic.as_ref().map_or(!lists.is_empty(), |own| !own.is_empty());
        !self.disabled && (own || !self.named.is_empty())
    }

    /// Whether another group would take over what moderation refuses, by a list that is there for it.
    pub(super) fn takes_held_back(&self, lists: &Fallbacks) -> bool {
        self.content_policy.as_ref().map_or(!lists.content_policy.is_empty(), |own| !own.is_empty())
    }

    /// All groups that the client names, as it names them.
    pub(super) fn named(&self) -> &[String] {
        &self.named
    }

    /// All names that its key must be let in by.
    pub(super) fn asked(&self) -> impl Iterator<Item = &str> {
        self.model.iter().chain(&self.named).map(String::as_str)
    }
}

fn names(value: Value, field: &str) -> Result<Vec<String>, Refusal> {
    serde_json::from_value(value).map_err(|_| wrong(field, "a list of names"))
}

fn wrong(name: &str, wanted: &str) -> Refusal {
    Refusal::new(RefusalKind::InvalidRequest, format!("`{name}` must be {wanted}")).at(name)
}

/// A list of groups; or LiteLLM's list of mappings from a group to such a list, of which those of the group that is asked count. Their
/// names are added to `named`.
fn targets(
    snapshot: &Snapshot,
    list: Value,
    name: &str,
    model: &str,
    named: &mut Vec<String>,
) -> Result<Vec<Target>, Refusal> {
    let Value::Array(list) = list else { return Err(wrong(name, "a list of model names")) };
    let mut found = Vec::new();
    for value in list {
        match value {
            Value::Object(mut lists) if !lists.contains_key("model") => {
                for (group, list) in &mut lists {
                    let Value::Array(list) = list.take() else {
                        return Err(wrong(name, "a list of model names, or of mappings from a model to such a list"));
                    };
                    if group == model || group == "*" {
                        found.extend(list);
                    }
                }
            }
            other => found.push(other),
        }
    }
    if found.len() > MOST_TARGETS {
        return Err(wrong(name, "a list of at most 20 model names"));
    }
    let mut targets = Vec::with_capacity(found.len());
    for value in found {
        let (written, target) = target(snapshot, value, name)?;
        named.push(written);
        targets.push(target);
    }
    Ok(targets)
}

/// A name, or a mapping with a `model` and what else is asked there; beside the name that was written, which may be an alias.
fn target(snapshot: &Snapshot, value: Value, list: &str) -> Result<(String, Target), Refusal> {
    let (name, overrides) = match value {
        Value::String(name) => (name, None),
        Value::Object(fields) => match fields.get("model") {
            Some(Value::String(name)) => {
                let name = name.clone();
                let overrides = Overrides::parse(fields).map_err(|refusal| refusal.at(list))?;
                (name, overrides.map(Arc::new))
            }
            _ => return Err(wrong(list, "a list of model names, or of objects with a `model`")),
        },
        _ => return Err(wrong(list, "a list of model names, or of objects with a `model`")),
    };
    let group = context::find(snapshot, &name).map_err(|refusal| refusal.at(list))?;
    // Of a group whose name is a pattern, the model that was asked for is what it serves.
    let group = if group.config.pattern.is_some() { GroupName::from(name.as_str()) } else { group.config.name.clone() };
    Ok((name, Target { group, overrides }))
}

fn seconds(value: &Value) -> Option<Duration> {
    positive(value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?)
}

fn positive(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero())
}
