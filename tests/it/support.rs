//! What several tests share.

pub(crate) mod gateway;
pub(crate) mod postgres;
pub(crate) mod upstream;
pub(crate) mod virtual_time;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use tempfile::TempDir;
use witgate::clock::Clock;
use witgate::policy::{Compiler, EngineOptions};
use witgate::reload::{ConfigSource, PolicySource, Sources};
use witgate::start::Options;
use witgate::telemetry::DroppedLines;

/// A configuration and a policies folder of the test's own.
pub(crate) fn files(config: &Path, policies: &Path) -> Sources {
    let (config, policies) = (ConfigSource::File(config.to_owned()), PolicySource::Folder(policies.to_owned()));
    Sources { config, policies, ..Sources::default() }
}

/// Options over sources of the test's own. Compiled policies are shared by all tests.
pub(crate) fn options(sources: Sources, clock: Clock) -> Options {
    static CACHE: OnceLock<TempDir> = OnceLock::new();
    let cache = CACHE.get_or_init(|| TempDir::new().expect("a folder for compiled policies"));
    Options {
        sources,
        // A folder the host makes itself, for itself alone.
        engine: EngineOptions {
            cache_dir: Some(cache.path().join("compiled")),
            compiler: Compiler::InProcess,
            ..EngineOptions::default()
        },
        environment: Arc::new(|_| None),
        clock,
        seed: 7,
        dropped_lines: DroppedLines::default(),
    }
}

/// Lets others work until `done` holds; fails the test if that takes longer than a loaded machine can explain.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::task::yield_now().await;
            // What is waited for may need this processor.
            std::thread::yield_now();
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), waiting)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// A fixture of this repository.
pub(crate) fn fixture(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}
