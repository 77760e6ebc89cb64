//! What a project says about itself: `policy.toml`.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::{KitProblem, Language, World};
use crate::id::PolicyName;
use crate::policy::PolicyManifest;

const FILE: &str = "policy.toml";

/// A project's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The policy's name, and the component's without its ending.
    pub name: String,
    /// Its role.
    pub world: World,
    /// What it is written in.
    pub language: Language,
    /// What it needs of the operator, which `build` writes into the component.
    #[serde(default)]
    pub needs: PolicyManifest,
}

impl Manifest {
    /// Reads the manifest of the project in `folder`.
    ///
    /// # Errors
    /// There is none, or it makes no sense.
    pub fn read(folder: &Path) -> Result<Self, KitProblem> {
        let path = folder.join(FILE);
        let wrong = |cause: String| KitProblem::Manifest { path: path.display().to_string(), cause };
        let text = fs::read_to_string(&path)
            .map_err(|error| wrong(format!("{error}; name the folder that `witgate policy new` made")))?;
        let manifest: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        check_name(&manifest.name)?;
        Ok(manifest)
    }
}

/// Whether a policy can have this name.
pub(super) fn check_name(name: &str) -> Result<(), KitProblem> {
    if PolicyName::is_fit(name) { Ok(()) } else { Err(KitProblem::Name(name.to_owned())) }
}
