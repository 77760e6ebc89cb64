//! `witgate check FILE --connections`: asks every deployment of a configuration for one token, and tells which answered.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config;
use crate::http::HttpUpstream;
use crate::pipeline::{BlockingPool, ConnectionTest};
use crate::policy::EngineOptions;
use crate::reload::{ConfigSource, PolicySource, Sources};
use crate::start::{self, Options};

use super::ask::event_loop;
use super::{environment, fail, say};

/// Letters of a provider's words in the table.
const WORDS: usize = 160;

/// Prints a table by provider; fails where the file cannot be served or any deployment does not answer, and with `strict` where
/// one is left out.
pub(super) fn check(file: &Path, strict: bool) -> ExitCode {
    let left_out = match config::load(file, &environment) {
        Ok(loaded) => loaded.left_out,
        Err(problems) => return fail(problems),
    };
    for problem in &left_out {
        say(format_args!("left out: {problem}"));
    }
    let tests = match asked(file) {
        Ok(tests) => tests,
        Err(problem) => return fail(problem),
    };
    say(table(&tests));
    let failed = tests.iter().filter(|test| test.fault.is_some()).count();
    match failed + if strict { left_out.len() } else { 0 } {
        0 => ExitCode::SUCCESS,
        _ => fail(format!("{}: {failed} of {} do not answer", file.display(), tests.len())),
    }
}

fn asked(file: &Path) -> Result<Vec<ConnectionTest>, String> {
    let runtime = event_loop()?;
    let _entered = runtime.enter();
    let sources = Sources {
        config: ConfigSource::File(file.to_owned()),
        policies: PolicySource::Configured,
        ..Sources::default()
    };
    let options = Options {
        sources,
        engine: EngineOptions { instances: super::serve::instances(Some(file)), ..EngineOptions::default() },
        environment: Arc::new(environment),
        clock: Clock::system(),
        seed: 0,
        dropped_lines: crate::telemetry::DroppedLines::default(),
    };
    let pool = BlockingPool::on_threads(NonZeroUsize::MIN);
    let assembled =
        start::assemble(options, Arc::new(HttpUpstream::through(&environment)), pool).map_err(|all| all.join("\n"))?;
    Ok(runtime.block_on(assembled.gateway.test_connections(None)))
}

/// By provider, then as the configuration has them.
fn table(tests: &[ConnectionTest]) -> String {
    let mut sorted: Vec<&ConnectionTest> = tests.iter().collect();
    sorted.sort_by_key(|test| &test.provider);
    let width = |of: fn(&ConnectionTest) -> &str, title: &str| {
        sorted.iter().map(|test| of(test).chars().count()).chain([title.len()]).max().unwrap_or_default()
    };
    let (provider, group) = (width(|test| &test.provider, "provider"), width(|test| test.group.as_str(), "group"));
    let deployment = width(|test| test.deployment.as_str(), "deployment");
    let title = ["provider", "group", "deployment", "answer"];
    let mut out = format!("{:<provider$}  {:<group$}  {:<deployment$}  {}\n", title[0], title[1], title[2], title[3]);
    for test in sorted {
        let took = test.took.as_millis();
        let answer = match &test.fault {
            None => format!("ok      {took} ms"),
            Some(fault) => {
                let words: String =
                    fault.message.chars().take(WORDS).map(|one| if one.is_control() { ' ' } else { one }).collect();
                format!("failed  {took} ms  {}: {words}", fault.kind.as_str())
            }
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{:<provider$}  {:<group$}  {:<deployment$}  {answer}",
            test.provider,
            test.group.as_str(),
            test.deployment.as_str()
        );
    }
    out
}
