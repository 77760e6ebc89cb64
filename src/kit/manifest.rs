//! What a project says about itself: `policy.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::{KitProblem, Language, World};
use crate::config::closest;
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
        let text = fs::read_to_string(&path).map_err(|error| {
            problem_at(&path, "", None, format!("{error}; name the folder that `witgate policy new` made"))
        })?;
        let wrong = |error: toml::de::Error| {
            problem_at(&path, &text, error.span().map(|span| span.start), in_one_line(error.message()))
        };
        let manifest: Self = toml::from_str(&text).map_err(wrong)?;
        check_name(&manifest.name).map_err(|problem| problem_at(&path, &text, None, problem.to_string()))?;
        Ok(manifest)
    }

    /// What is wrong with the needs that the manifest in `folder` says, where it says them. `cause` names the key first.
    pub(super) fn unfit_needs(folder: &Path, cause: String) -> KitProblem {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let places: Option<Places> = toml::from_str(&text).ok();
        let place = cause.split('`').nth(1).and_then(|key| Some(places?.needs.get(key)?.span().start));
        problem_at(&path, &text, place, cause)
    }
}

/// Where a manifest says what is needed.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    needs: BTreeMap<String, Spanned<bool>>,
}

/// What is wrong with the manifest at `path`, with its line and column where the place in its text is known.
fn problem_at(path: &Path, text: &str, place: Option<usize>, cause: String) -> KitProblem {
    let before = place.and_then(|place| text.get(..place));
    let place = before.map_or_else(String::new, |before| {
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
        format!(":{}:{column}", before.matches('\n').count() + 1)
    });
    KitProblem::Manifest { path: format!("{}{place}", path.display()), cause }
}

/// What is said of a text that does not fit; of an unknown name with the one that was meant.
fn in_one_line(said: &str) -> String {
    let said = said.lines().collect::<Vec<_>>().join(", ");
    let mut names = said.split('`').skip(1).step_by(2);
    let unknown = if said.starts_with("unknown ") { names.next() } else { None };
    match unknown.and_then(|unknown| closest(unknown, names)) {
        Some(meant) => format!("{said}; did you mean `{meant}`?"),
        None => said,
    }
}

/// Whether a policy can have this name.
pub(super) fn check_name(name: &str) -> Result<(), KitProblem> {
    if PolicyName::is_fit(name) { Ok(()) } else { Err(KitProblem::Name(name.to_owned())) }
}
