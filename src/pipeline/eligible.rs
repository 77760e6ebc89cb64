//! Which deployments of its group a request may go to at all: those that serve the model it names, whose tags fit where
//! tags are a filter, and whose models do what it asks for beside text. What a policy ranks is cut down to these.

use crate::catalog::{Capability, Support, asked};
use crate::chat::ChatRequest;
use crate::fault::{Cause, Refusal, RefusalKind};
use crate::snapshot::GroupRuntime;

/// Tags that a refusal repeats.
const TAGS_TOLD: usize = 10;
/// Letters of each.
const TAG_LETTERS: usize = 60;

/// By index. `None` is every one, which costs nothing to say.
pub(super) struct Eligible(Option<Vec<bool>>);

impl Eligible {
    /// Those of `group` for a request with `tags`.
    ///
    /// # Errors
    /// The tags fit none of them.
    pub(super) fn of(group: &GroupRuntime, tags: &[String]) -> Result<Self, Refusal> {
        let serving = || group.deployments.iter().map(|deployment| deployment.config.serves);
        let Some(filter) = &group.config.tag_filter else {
            let all = group.config.pattern.is_none() || serving().all(|serves| serves);
            return Ok(Self((!all).then(|| serving().collect())));
        };
        // One that does not serve the model has no tag that fits; a star and a filter together are rare.
        let own = group.deployments.iter().filter(|deployment| deployment.config.serves);
        let own: Vec<&[String]> = own.map(|deployment| deployment.config.tags.as_slice()).collect();
        let mut fitting = filter.fitting(&own, tags).ok_or_else(|| refusal(group, tags))?.into_iter();
        Ok(Self(Some(serving().map(|serves| serves && fitting.next() == Some(true)).collect())))
    }

    /// Those of them whose models can take this request, as it is sent. Of what the table of models does not name, it is asked where
    /// nobody is known to do it.
    ///
    /// # Errors
    /// All of them are known not to.
    pub(super) fn taking(self, group: &GroupRuntime, request: &ChatRequest) -> Result<Self, Refusal> {
        let deployments = &group.deployments;
        if request.vectors.is_some() || deployments.iter().all(|deployment| deployment.config.supports.has_no_gaps()) {
            return Ok(self);
        }
        let asked = asked(request);
        if asked.is_empty() {
            return Ok(self);
        }
        let mut left: Vec<bool> = (0..deployments.len()).map(|index| self.has(index)).collect();
        for capability in asked {
            let support = |index: usize| deployments.get(index).map(|one| one.config.supports.of(capability));
            let is = |index: usize, of: Support| support(index) == Some(of);
            let known = (0..left.len()).any(|index| left[index] && is(index, Support::Yes));
            let fits = |index: usize| !(is(index, Support::No) || known && is(index, Support::Unlisted));
            let fitting: Vec<bool> = left.iter().enumerate().map(|(index, one)| *one && fits(index)).collect();
            if !fitting.contains(&true) {
                return Err(none_takes(group, capability));
            }
            left = fitting;
        }
        Ok(Self(Some(left)))
    }

    /// Whether the deployment at `index` is one.
    pub(super) fn has(&self, index: usize) -> bool {
        self.0.as_ref().is_none_or(|eligible| eligible.get(index) == Some(&true))
    }

    /// The first of them.
    pub(super) fn first(&self) -> usize {
        self.0.as_ref().and_then(|eligible| eligible.iter().position(|one| *one)).unwrap_or_default()
    }
}

fn none_takes(group: &GroupRuntime, capability: Capability) -> Refusal {
    let message = format!(
        "this request has {}, which no deployment of `{}` takes that it may go to; send it to a model that does, or say that \
         one does by `model_info.{}: true`",
        capability.words(),
        group.config.name,
        capability.key()
    );
    let mut refusal = Refusal::new(RefusalKind::InvalidRequest, message).at(capability.field());
    refusal.code = Some("unsupported_by_model".to_owned());
    // Another group's models may.
    refusal.cause = Some(Cause::Capability);
    refusal
}

fn refusal(group: &GroupRuntime, tags: &[String]) -> Refusal {
    let cut = |tag: &String| tag.chars().take(TAG_LETTERS).collect::<String>();
    let told: Vec<String> = tags.iter().take(TAGS_TOLD).map(cut).collect();
    let message = if told.is_empty() {
        format!("no deployment of `{}` is for requests without tags", group.config.name)
    } else {
        format!("no deployment of `{}` has the tags this request asks for: {}", group.config.name, told.join(", "))
    };
    Refusal::new(RefusalKind::InvalidRequest, message).at("tags")
}
