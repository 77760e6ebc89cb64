//! Putting a component that has passed where a gateway watches, and what whoever does so should know of it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::{fail, say};
use crate::kit::{self, Manifest};
use crate::policy::{Role, inspect};
use crate::reload::kept_out;
use crate::scenario::Report;

/// What stood where the component of a project is put.
pub(super) struct Before {
    roles: Vec<Role>,
}

impl Before {
    /// Looks; `None` where nothing stands there, or nothing that is a policy.
    pub(super) fn look(project: &Path, policies: &Path) -> Option<Self> {
        let name = Manifest::read(project).ok()?.name;
        let roles = roles(&policies.join(PathBuf::from(name).with_extension("wasm")))?;
        Some(Self { roles })
    }
}

/// Puts the component of a project that has passed, as `report` tells, where a gateway watches.
pub(super) fn place(project: &Path, policies: &Path, report: &Report, json: bool) -> ExitCode {
    let before = Before::look(project, policies);
    match kit::place(project, policies, report) {
        Ok(path) => {
            if !json {
                say(format_args!("-> {}", path.display()));
                warnings(&path, before.as_ref()).iter().for_each(say);
            }
            ExitCode::SUCCESS
        }
        Err(problem) => fail(problem),
    }
}

/// What is to be known of a component that stands at `path` now: that it is another thing than what stood there, and that the
/// folder's lock keeps it out.
pub(super) fn warnings(path: &Path, before: Option<&Before>) -> Vec<String> {
    let mut lines = Vec::new();
    let (shown, now) = (path.display(), roles(path).unwrap_or_default());
    if let Some(before) = before.filter(|before| before.roles != now) {
        lines.push(format!(
            "warning: {shown} was a {} and is a {} now: a group that names it as what it was cannot be served by it",
            words(&before.roles),
            words(&now)
        ));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    match kept_out(folder) {
        Ok(components) if components.contains_key(name) => lines.push(format!(
            "warning: {shown} is not in policies.lock as it is now, which a gateway that serves other machines, or has `--locked`, goes \
             by; once you trust it: `witgate policy lock {}`",
            folder.display()
        )),
        Ok(_) => {}
        Err(problem) => lines.push(format!("warning: {problem}")),
    }
    lines
}

/// Says that a project's sources are newer than its component, where they are. Not among what is told of the component, which programs may read.
pub(super) fn warn_of_newer(project: &Path) {
    if let Some((source, built)) = kit::newer_than_built(project) {
        let (source, built, project) = (source.display(), built.display(), project.display());
        let told = format!("warning: {source} is newer than {built}; `witgate policy build {project}` makes that anew");
        let _reader_left = writeln!(std::io::stderr().lock(), "{told}");
    }
}

/// The roles of a component; `None` where it is none, or nothing is there.
fn roles(path: &Path) -> Option<Vec<Role>> {
    let mut roles = inspect(&std::fs::read(path).ok()?, true).ok()?.roles;
    roles.sort();
    Some(roles)
}

fn words(roles: &[Role]) -> String {
    roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" and a ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin_policies::SHIPPED;

    #[test]
    fn another_role_and_a_lock_that_keeps_it_out_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.wasm");
        let shipped = |name: &str| SHIPPED.iter().find(|(known, _)| *known == name).unwrap().1;
        std::fs::write(&path, shipped("redact")).unwrap();
        let router = Before { roles: vec![Role::Router] };
        let told = warnings(&path, Some(&router));
        assert!(told.len() == 1 && told[0].contains("was a router and is a prompt-builder now"), "{told:?}");
        assert_eq!(warnings(&path, Some(&Before { roles: roles(&path).unwrap() })), [""; 0]);
        std::fs::write(folder.path().join("policies.lock"), "# nothing is let in\n").unwrap();
        let told = warnings(&path, None);
        let wanted = format!("`witgate policy lock {}`", folder.path().display());
        assert!(told.len() == 1 && told[0].ends_with(&wanted), "{told:?}");
    }
}
