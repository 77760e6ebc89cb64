//! Where the routers of a group get the vectors of questions from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::payers;
use crate::budgets::Change;
use crate::catalog::{Deployment, EmbeddingSource, Group, Origin};
use crate::config::Settings;
use crate::id::GroupName;
use crate::limits::ScopeId;
use crate::moment::Moment;
use crate::sentences::Sentences;
use crate::snapshot::{Embedding, EmbeddingMaker};

/// The models of a configuration, by folder.
pub(super) type Models = BTreeMap<PathBuf, Arc<Sentences>>;

/// Models that are loaded already. One is loaded anew where its weights' file is another.
#[derive(Debug, Default)]
pub(super) struct Loaded(BTreeMap<PathBuf, (Stamp, Arc<Sentences>)>);

/// By what a file of weights is told from another: its size, and when it was written.
type Stamp = Option<(u64, SystemTime)>;

impl Loaded {
    /// The models that `settings` name. Blocks while one is read.
    ///
    /// # Errors
    /// Every folder that cannot be used.
    pub(super) fn of(&mut self, settings: &Settings) -> Result<Models, Vec<String>> {
        let (mut models, mut problems) = (Models::new(), Vec::new());
        for group in settings.catalog.groups.values() {
            let Some(EmbeddingSource::Folder(folder)) = group.embedding.as_ref().map(|choice| &choice.source) else {
                continue;
            };
            match self.model(folder) {
                Ok(model) => drop(models.insert(folder.clone(), model)),
                Err(why) => problems.push(format!("the vectors of `{}`: {why}", group.name)),
            }
        }
        self.0.retain(|folder, _| models.contains_key(folder));
        if problems.is_empty() { Ok(models) } else { Err(problems) }
    }

    fn model(&mut self, folder: &Path) -> Result<Arc<Sentences>, String> {
        let facts = std::fs::metadata(folder.join("model.safetensors")).ok();
        let stamp = facts.and_then(|facts| Some((facts.len(), facts.modified().ok()?)));
        if let Some((_, model)) = self.0.get(folder).filter(|(known, _)| *known == stamp) {
            return Ok(Arc::clone(model));
        }
        let model = Arc::new(Sentences::load(folder)?);
        self.0.insert(folder.to_owned(), (stamp, Arc::clone(&model)));
        Ok(model)
    }
}

/// The source of this group's vectors, where it has one.
pub(super) fn of_group(
    change: &Change<'_>,
    (settings, models): (&Settings, &Models),
    group: &Group,
    global: ScopeId,
    now: Moment,
) -> Option<Arc<Embedding>> {
    let account = Arc::new(payers::of_embedding(change, group, global, now));
    let choice = group.embedding.as_ref()?;
    let (maker, fingerprint) = match &choice.source {
        EmbeddingSource::Group(maker) => {
            (EmbeddingMaker::Group { group: maker.clone(), account }, of_models(settings, maker))
        }
        EmbeddingSource::Folder(folder) => {
            let model = models.get(folder)?;
            (EmbeddingMaker::Folder(Arc::clone(model)), model.fingerprint())
        }
    };
    Some(Arc::new(Embedding { maker, timeout: choice.timeout, fingerprint }))
}

/// What is the same as long as the models behind `name` are.
fn of_models(settings: &Settings, name: &GroupName) -> [u8; 32] {
    let alias = settings.aliases.get(name);
    let named = alias.map_or(name, |alias| &alias.group);
    let deployments = settings.catalog.groups.get(named).map_or(&[][..], |group| &group.deployments);
    // The same name at another address is another model, and with other parameters its vectors are others.
    let model = |deployment: &Arc<Deployment>| {
        let Deployment { provider, model, origin, defaults, .. } = &**deployment;
        let place = if let Origin::Http(address) = origin { address } else { "" };
        format!("{provider}/{model} at {place} {defaults:?}")
    };
    let mut models: Vec<String> = deployments.iter().map(model).collect();
    models.sort();
    models.dedup();
    let mut hash = Sha256::new();
    for word in std::iter::once(named.as_str()).chain(models.iter().map(String::as_str)) {
        hash.update(word.as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}
