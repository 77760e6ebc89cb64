//! `policy build`: each language's own tools, then a look at what they made.

mod tools;

mod c;
mod go;
mod javascript;
mod python;
pub(super) mod rust;

use std::fs;
use std::path::{Path, PathBuf};

use super::manifest::Manifest;
use super::{KitProblem, Language};
use crate::id::PolicyName;
use crate::policy::{PolicyProblem, SettingsSchema, inspect, tell_language};

/// The JSON schema of a policy's settings, beside its manifest; a project need not have one.
const SCHEMA: &str = "settings.schema.json";

/// A component that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: usize,
}

/// A project about to be built.
struct Project {
    folder: PathBuf,
    manifest: Manifest,
}

impl Project {
    /// Where what is made on the way is kept.
    fn work(&self) -> Result<PathBuf, KitProblem> {
        let folder = self.folder.join("build");
        fs::create_dir_all(&folder).map_err(|error| KitProblem::file(&folder, error))?;
        Ok(folder)
    }
}

/// Builds the project in `folder` into `NAME.wasm` there.
///
/// # Errors
/// It is no project, a tool is missing or fails, or what it made is no policy.
pub fn build(folder: &Path) -> Result<Built, KitProblem> {
    let manifest = Manifest::read(folder)?;
    let folder = fs::canonicalize(folder).map_err(|error| KitProblem::file(folder, error))?;
    let project = Project { folder, manifest };
    let (tool, component) = match project.manifest.language {
        Language::C => ("the C compiler", c::build(&project)?),
        Language::Go => ("go", go::build(&project)?),
        Language::JavaScript | Language::TypeScript => ("componentize-qjs", javascript::build(&project)?),
        Language::Python => ("componentize-py", python::build(&project)?),
        Language::Rust => ("cargo", rust::build(&project)?),
    };
    let needs = project.manifest.needs;
    let component = needs.embed(with_schema(&project.folder, component)?);
    let component = with_language(component, project.manifest.language);
    check(&component, tool, &project.folder, &project.manifest)?;
    let path = project.folder.join(&project.manifest.name).with_extension("wasm");
    put(&path, &component)?;
    Ok(Built { path, bytes: component.len() })
}

/// The component with its policy's language told in it, where an engine runs that: the engine is written in another one.
pub(super) fn with_language(component: Vec<u8>, language: Language) -> Vec<u8> {
    match language {
        Language::JavaScript | Language::Python | Language::TypeScript => tell_language(component, language.title()),
        Language::C | Language::Go | Language::Rust => component,
    }
}

/// The same look that the gateway takes first, where the operator grants what it needs.
pub(super) fn check(
    component: &[u8],
    tool: &'static str,
    folder: &Path,
    manifest: &Manifest,
) -> Result<(), KitProblem> {
    let cause = match inspect(component, manifest.needs.allow_wasi_stubs) {
        Ok(_) => return Ok(()),
        Err(PolicyProblem::Manifest(cause)) => return Err(Manifest::unfit_needs(folder, cause)),
        Err(cause @ PolicyProblem::Wasi { .. }) => {
            let cause = cause.about(&PolicyName::from(manifest.name.as_str()));
            format!("{cause}; it is built so where `policy.toml` says `allow_wasi_stubs = true` below `[needs]`")
        }
        Err(cause) => cause.to_string(),
    };
    Err(KitProblem::Component { tool, cause })
}

/// The component with the project's schema of its settings, where there is one.
pub(super) fn with_schema(folder: &Path, component: Vec<u8>) -> Result<Vec<u8>, KitProblem> {
    let path = folder.join(SCHEMA);
    if !path.exists() {
        return Ok(component);
    }
    SettingsSchema::embed(&read(&path)?, component).map_err(|cause| KitProblem::file(&path, cause))
}

/// Renamed into place: whoever watches the file never sees half of it.
pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<(), KitProblem> {
    let aside = path.with_extension("wasm.tmp");
    let put = fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, path));
    put.map_err(|error| KitProblem::file(path, error))
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, KitProblem> {
    fs::read(path).map_err(|error| KitProblem::file(path, error))
}
