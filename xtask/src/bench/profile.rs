//! Both programs, this one and the gateway, in the profile that is asked for: how the load and the policy host are
//! compiled is measured too.

use std::path::{Path, PathBuf};
use std::process::Command;

/// How programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// Built programs.
pub(crate) struct Programs {
    pub(crate) xtask: PathBuf,
    pub(crate) witgate: PathBuf,
}

impl Profile {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
        }
    }

    /// Builds them. Chosen together, the two packages agree on the features of what they share, so nothing is
    /// compiled twice.
    pub(crate) fn build(self, root: &Path) -> Result<Programs, String> {
        let built = cargo()
            .current_dir(root)
            .args(["build", "--quiet", "--package", "witgate", "--package", "xtask", "--bins"])
            .args(["--profile", self.name()])
            .status()
            .map_err(|problem| format!("cargo could not be run: {problem}"))?;
        if !built.success() {
            return Err(format!("the {} build failed", self.name()));
        }
        // This program stands in TARGET/PROFILE.
        let here = std::env::current_exe().map_err(|problem| problem.to_string())?;
        let target = here.parent().and_then(Path::parent).ok_or("this program does not stand in a target folder")?;
        let folder = target.join(match self {
            Self::Dev => "debug",
            Self::Release => "release",
        });
        Ok(Programs { xtask: folder.join("xtask"), witgate: folder.join("witgate") })
    }
}

/// A cargo that does not know it was started by another: what `cargo run` tells about this package are reasons for build
/// scripts (ring's, for one) to run again, and then half of the world is compiled again.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let about_us = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(about_us) {
            command.env_remove(name);
        }
    }
    command
}

impl Programs {
    /// Whether this process is the built `xtask`.
    pub(crate) fn are_running(&self) -> bool {
        std::env::current_exe().is_ok_and(|here| here == self.xtask)
    }

    /// Runs `xtask bench` with these arguments instead of this process.
    pub(crate) fn bench(&self, arguments: &[String]) -> Result<(), String> {
        let shown = self.xtask.display();
        let ended = Command::new(&self.xtask).arg("bench").args(arguments).status();
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{shown}: {status}")),
            Err(problem) => Err(format!("{shown} could not be run: {problem}")),
        }
    }
}
