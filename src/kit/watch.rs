//! `policy watch`: build, test and put into service whenever a source is saved. A component that fails its scenarios is never
//! put anywhere.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::build::{Built, build, put, read};
use super::{KitProblem, Manifest};
use crate::policy::Digest;
use crate::scenario::{self, Options, Report, SuiteReport};

/// What tools write into a project.
const MADE: [&str; 6] = ["Cargo.lock", "__pycache__", "build", "node_modules", "policy_test", "target"];
/// How the names of files end that they write: components, objects, what was covered.
const MADE_ENDINGS: [&str; 6] = ["gcda", "gcno", "gcov", "o", "tmp", "wasm"];

/// The sources of a project as they are at some moment. Equal ones are taken for unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources(Vec<(PathBuf, u64, Option<SystemTime>)>);

impl Sources {
    /// Looks at the project in `folder`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(folder: &Path) -> Result<Self, KitProblem> {
        let mut sources = Vec::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(next) = folders.pop() {
            for entry in listed(&next, folder)?.into_iter().flatten() {
                let entry = entry.map_err(|error| KitProblem::file(&next, error))?;
                let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
                let is_made = path.extension().is_some_and(|ending| MADE_ENDINGS.iter().any(|made| ending == *made));
                if name.starts_with('.') || MADE.contains(&name.as_str()) || is_made {
                    continue;
                }
                // Editors write aside and rename: what is gone by now is not there.
                let Ok(about) = entry.metadata() else { continue };
                if about.is_dir() {
                    folders.push(path);
                } else {
                    sources.push((path, about.len(), about.modified().ok()));
                }
            }
        }
        sources.sort();
        Ok(Self(sources))
    }
}

/// What stands in a folder of the project in `project`; nothing where it is gone since it was found.
pub(super) fn listed(folder: &Path, project: &Path) -> Result<Option<fs::ReadDir>, KitProblem> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if error.kind() == ErrorKind::NotFound && folder != project => Ok(None),
        Err(error) => Err(KitProblem::file(folder, error)),
    }
}

/// A source of the project in `folder` that is newer than the component it was built into, and that component: what is tested there is another thing
/// than the sources say. Nothing where `folder` is no project, was not built, or has no such source.
#[must_use]
pub fn newer_than_built(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let built = folder.join(Manifest::read(folder).ok()?.name).with_extension("wasm");
    let made = fs::metadata(&built).ok()?.modified().ok()?;
    let Sources(sources) = Sources::of(folder).ok()?;
    let mut newer = sources.into_iter().filter(|(_, _, changed)| changed.is_some_and(|changed| changed > made));
    let (source, ..) = newer.find(|(path, ..)| is_built_in(path))?;
    Some((source, built))
}

/// Whether a source becomes a part of the component: pages, scenarios, tests and what installers write do not.
fn is_built_in(source: &Path) -> bool {
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    let beside = source.extension().is_some_and(|ending| ["md", "yaml", "yml", "xml"].iter().any(|one| ending == *one));
    !beside && !name.contains("test") && name != "package-lock.json"
}

/// What one round came to.
#[derive(Debug)]
pub struct Round {
    /// The component.
    pub built: Built,
    /// How it did.
    pub report: Report,
    /// Where it was put, if it did well and there is such a place.
    pub put: Option<PathBuf>,
}

/// Builds the project in `folder`, runs its scenarios, and puts a component that passes into the folder `policies`, where a
/// gateway may be watching.
///
/// # Errors
/// It does not build, or cannot be put there. Scenarios that fail are in the report.
pub fn round(folder: &Path, policies: Option<&Path>, options: &Options) -> Result<Round, KitProblem> {
    let built = build(folder)?;
    let report = scenario::run(folder, options);
    let policies = policies.filter(|_| report.exit_code() == 0);
    let put = policies.map(|policies| place(folder, policies, &report)).transpose()?;
    Ok(Round { built, report, put })
}

/// Puts the component that the project in `folder` was built into in the folder `policies`, which is made where there is none, and
/// says where it is. It is the one that passed as `report` tells: scenarios test the file that they name, which may be another.
///
/// # Errors
/// It is no project, was not built, is not what the scenarios tested, or cannot be put there.
pub fn place(folder: &Path, policies: &Path, report: &Report) -> Result<PathBuf, KitProblem> {
    let file = PathBuf::from(Manifest::read(folder)?.name).with_extension("wasm");
    let built = folder.join(&file);
    let component = read(&built)?;
    let digest = Digest::of(&component);
    let others = report.suites.iter().filter(|suite| suite.digest != digest.to_string());
    let told = |suite: &SuiteReport| format!("{} names {} ({:.12})", suite.file, suite.component, suite.digest);
    let tested: Vec<String> = others.map(told).collect();
    if !tested.is_empty() {
        return Err(KitProblem::Untested {
            component: built.display().to_string(),
            digest: digest.short(),
            tested: tested.join(", "),
            name: file.display().to_string(),
        });
    }
    fs::create_dir_all(policies).map_err(|error| KitProblem::file(policies, error))?;
    let path = policies.join(file);
    put(&path, &component)?;
    Ok(path)
}
