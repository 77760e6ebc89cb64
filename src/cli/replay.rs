//! `witgate policy replay` and `witgate explain`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::decisions::default_folder;
use crate::id::RequestId;
use crate::replay::{self, Options};

use super::{cache_folder, environment, fail, say, serve};

/// It could not be tried.
const NOT_TRIED: u8 = 2;

/// With this policy, or the one that decided, which is looked for in the folder `policies` and where gateways keep versions.
fn options(policy: Option<PathBuf>, policies: PathBuf) -> Options {
    Options { policy, policies, states: serve::states(), cache: cache_folder() }
}

/// Repeats runs and prints what came of it.
pub(super) fn replay(path: &Path, policy: Option<PathBuf>, policies: PathBuf, json: bool) -> ExitCode {
    let report = replay::replay(path, &options(policy, policies));
    if json {
        match report.to_json() {
            Ok(text) => say(text),
            Err(fault) => return fail(fault),
        }
    } else {
        say(&report);
    }
    ExitCode::from(report.exit_code())
}

/// Prints why a request was decided as it was.
pub(super) fn explain(request: &str, folder: Option<&PathBuf>, policies: PathBuf, json: bool) -> ExitCode {
    let Some(id) = RequestId::parse(request) else {
        fail(format!(
            "`{request}` is no request's id\nhint: it is the header `x-request-id` (or `request-id`) of a reply, and `id` in the log"
        ));
        return ExitCode::from(NOT_TRIED);
    };
    let Some(folder) = folder.cloned().or_else(|| default_folder(&environment)) else {
        fail("there is no home folder where decisions would be kept\nhint: name the folder with --dir");
        return ExitCode::from(NOT_TRIED);
    };
    match replay::explain(id, &folder, &options(None, policies)) {
        Ok(explained) if json => say(explained.0),
        Ok(explained) => say(explained),
        Err(why) => {
            fail(why);
            return ExitCode::from(NOT_TRIED);
        }
    }
    ExitCode::SUCCESS
}
