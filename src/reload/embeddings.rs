//! Where the routers of a group get the vectors of questions from.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::payers;
use crate::budgets::Budgets;
use crate::catalog::{EmbeddingSource, Group};
use crate::config::Settings;
use crate::id::GroupName;
use crate::limits::ScopeId;
use crate::moment::Moment;
use crate::snapshot::{Embedding, EmbeddingMaker};

/// The source of this group's vectors, where it has one.
pub(super) fn of_group(
    budgets: &Budgets,
    settings: &Settings,
    group: &Group,
    global: ScopeId,
    now: Moment,
) -> Option<Arc<Embedding>> {
    let account = Arc::new(payers::of_embedding(budgets, group, global, now));
    let choice = group.embedding.as_ref()?;
    let (maker, fingerprint) = match &choice.source {
        EmbeddingSource::Group(maker) => {
            (EmbeddingMaker::Group { group: maker.clone(), account }, of_models(settings, maker))
        }
    };
    Some(Arc::new(Embedding { maker, timeout: choice.timeout, fingerprint }))
}

/// What is the same as long as the models behind `name` are.
fn of_models(settings: &Settings, name: &GroupName) -> [u8; 32] {
    let named = settings.aliases.get(name).map_or(name, |alias| &alias.group);
    let deployments = settings.catalog.groups.get(named).map_or(&[][..], |group| &group.deployments);
    let mut models: Vec<String> =
        deployments.iter().map(|deployment| format!("{}/{}", deployment.provider, deployment.model)).collect();
    models.sort();
    models.dedup();
    let mut hash = Sha256::new();
    for word in std::iter::once(named.as_str()).chain(models.iter().map(String::as_str)) {
        hash.update(word.as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}
