//! What came of it all, for people and for programs.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::policy::{Component, LogLevel, LogLine, PolicyManifest};
use crate::signal::Attribute;

use super::{Asked, Coverage};

/// Everything that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Scenario files, or components checked, in the order they were run.
    pub suites: Vec<SuiteReport>,
}

/// One scenario file, or one component checked.
#[derive(Clone, Debug, Serialize)]
pub struct SuiteReport {
    /// The file.
    pub file: String,
    /// Why it could not be tried; nothing below is known then.
    pub broken: Option<String>,
    /// What was tried: a component's file, or what is built in.
    pub component: String,
    /// The policy's name.
    pub policy: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// The interface it exports.
    pub interface: String,
    /// Interfaces it imports.
    pub imports: Vec<String>,
    /// Bytes of the component.
    pub bytes: usize,
    /// Milliseconds it took to compile.
    pub compile_ms: u64,
    /// Bytes of memory an instance has after ten thousand calls; `None` where that was not tried.
    pub memory_bytes: Option<usize>,
    /// Columns it asks for.
    pub signals: Vec<&'static str>,
    /// Facts it reads as text.
    pub reads: Vec<String>,
    /// What it asked for when it started, role by role; a role in which it did not start is not there.
    pub asks: Vec<Asked>,
    /// What it says in its manifest that the operator must grant.
    pub needs: PolicyManifest,
    /// What was rewritten in the file before it was run, an expectation each: the case, what stands there now, and what did.
    pub updated: Vec<String>,
    /// What the cases of the file reach.
    pub coverage: Option<Coverage>,
    /// The cases of the file.
    pub cases: Vec<Check>,
    /// What every policy is checked for.
    pub general: Vec<Check>,
}

/// One thing that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// A problem here is a warning: it keeps nothing from being served.
    pub advice: bool,
    /// What is wrong; empty where it passed.
    pub problems: Vec<String>,
    /// The most fuel a call used.
    pub fuel: Option<u64>,
    /// What the policy logged; kept where something is wrong.
    pub log: Vec<String>,
}

impl Report {
    pub(super) const fn new(suites: Vec<SuiteReport>) -> Self {
        Self { suites }
    }

    /// 0: all passed. 1: something failed. 2: something could not be tried.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.suites.iter().any(|suite| suite.broken.is_some()) {
            return 2;
        }
        u8::from(self.count().1 > 0)
    }

    /// One line of counts.
    #[must_use]
    pub fn summary(&self) -> String {
        let (passed, failed) = self.count();
        let warned = match self.warnings() {
            0 => String::new(),
            1 => ", 1 warning (it is served all the same)".to_owned(),
            count => format!(", {count} warnings (it is served all the same)"),
        };
        let broken = self.suites.iter().filter(|suite| suite.broken.is_some()).count();
        let broken = if broken > 0 { format!(", {broken} could not be tried") } else { String::new() };
        format!("{passed} passed, {failed} failed{broken}{warned}")
    }

    /// All of it as JSON.
    ///
    /// # Errors
    /// Never in practice: it holds nothing that JSON cannot.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    fn count(&self) -> (usize, usize) {
        let checks = self.suites.iter().flat_map(|suite| suite.cases.iter().chain(&suite.general));
        let (mut passed, mut failed) = (0, 0);
        for check in checks {
            match (check.problems.is_empty(), check.advice) {
                (true, _) => passed += 1,
                (false, false) => failed += 1,
                (false, true) => {}
            }
        }
        (passed, failed)
    }

    /// Problems that keep nothing from being served.
    #[must_use]
    pub fn warnings(&self) -> usize {
        let checks = self.suites.iter().flat_map(|suite| &suite.general);
        checks.filter(|check| check.advice && !check.problems.is_empty()).count()
    }
}

impl SuiteReport {
    pub(super) fn new(file: &Path, component: &Component) -> Self {
        let inspection = component.inspection();
        Self {
            file: file.display().to_string(),
            broken: None,
            component: file.display().to_string(),
            policy: component.name().to_string(),
            digest: component.digest().to_string(),
            interface: format!("{}@{}", inspection.role_names(), inspection.version),
            imports: inspection.imports.clone(),
            bytes: component.bytes(),
            compile_ms: u64::try_from(component.load_time().as_millis()).unwrap_or(u64::MAX),
            memory_bytes: None,
            signals: Vec::new(),
            reads: Vec::new(),
            asks: Vec::new(),
            needs: inspection.manifest,
            coverage: None,
            updated: Vec::new(),
            cases: Vec::new(),
            general: Vec::new(),
        }
    }

    pub(super) fn broken(file: &Path, problem: String) -> Self {
        Self {
            file: file.display().to_string(),
            broken: Some(problem),
            component: String::new(),
            policy: String::new(),
            digest: String::new(),
            interface: String::new(),
            imports: Vec::new(),
            bytes: 0,
            compile_ms: 0,
            memory_bytes: None,
            signals: Vec::new(),
            reads: Vec::new(),
            asks: Vec::new(),
            needs: PolicyManifest::default(),
            coverage: None,
            updated: Vec::new(),
            cases: Vec::new(),
            general: Vec::new(),
        }
    }

    /// What it asked for in one of its roles.
    pub(super) fn asked(&mut self, asked: Asked) {
        self.signals.extend(asked.signals.iter().copied());
        self.reads.extend(asked.attributes.iter().cloned());
        self.asks.push(asked);
    }

    pub(super) fn case(&mut self, name: &str, fuel: u64, problems: Vec<String>, log: &[LogLine]) {
        let line = |line: &LogLine| {
            let level = match line.level {
                LogLevel::Debug => "debug",
                LogLevel::Info => "info",
                LogLevel::Warn => "warn",
            };
            format!("{level}: {}", line.message)
        };
        let log = if problems.is_empty() { Vec::new() } else { log.iter().map(line).collect() };
        self.cases.push(Check { name: name.to_owned(), advice: false, problems, fuel: Some(fuel), log });
    }

    /// What decides whether it is served.
    pub(super) fn gate(&mut self, name: &str, result: Result<(), String>) {
        self.general(name, result, false);
    }

    /// What does not, and is worth knowing.
    pub(super) fn advice(&mut self, name: &str, result: Result<(), String>) {
        self.general(name, result, true);
    }

    /// The advice on memory, and the most that an instance had in any role.
    pub(super) fn memory(&mut self, name: &str, bytes: Result<usize, String>) {
        self.memory_bytes = bytes.as_ref().ok().copied().max(self.memory_bytes);
        self.advice(name, bytes.map(drop));
    }

    fn general(&mut self, name: &str, result: Result<(), String>, advice: bool) {
        let problems = result.err().into_iter().collect();
        self.general.push(Check { name: name.to_owned(), advice, problems, fuel: None, log: Vec::new() });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for suite in &self.suites {
            suite.fmt(f)?;
        }
        writeln!(f, "{}", self.summary())
    }
}

impl fmt::Display for SuiteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = &self.broken {
            // A problem of the file itself begins with its name already.
            let file = if problem.starts_with(&self.file) { String::new() } else { format!("{}: ", self.file) };
            return writeln!(f, "{file}{problem}");
        }
        let Self { file, policy, interface, bytes, compile_ms, .. } = self;
        let digest: String = self.digest.chars().take(12).collect();
        writeln!(f, "{file}: {policy}@{digest}, {interface}, {bytes} bytes, compiled in {compile_ms} ms")?;
        let imports = if self.imports.is_empty() { "nothing".to_owned() } else { self.imports.join(", ") };
        // What was not tried is not known, and left out.
        let memory = self.memory_bytes.map_or_else(String::new, |bytes| format!("; memory {} KiB", bytes / 1024));
        writeln!(f, "  imports {imports}{memory}")?;
        for asked in &self.asks {
            let role = if self.asks.len() > 1 { format!(" ({})", asked.role) } else { String::new() };
            writeln!(f, "  asks for {}{role}", asked.told())?;
        }
        let needs_grant = |name: &&str| Attribute::parse(name).is_ok_and(|attribute| attribute.needs_grant());
        let granted: Vec<&str> = self.reads.iter().map(String::as_str).filter(needs_grant).collect();
        if !granted.is_empty() {
            writeln!(f, "  reads {}, as far as `may_read` grants it", granted.join(", "))?;
        }
        let PolicyManifest { may_reject, hold, allow_wasi_stubs } = self.needs;
        let needs = [(may_reject, "may_reject"), (hold, "hold"), (allow_wasi_stubs, "allow_wasi_stubs")];
        let needs: Vec<&str> = needs.into_iter().filter(|(set, _)| *set).map(|(_, key)| key).collect();
        if !needs.is_empty() {
            writeln!(f, "  needs {}, which the configuration grants", needs.join(", "))?;
        }
        if !self.updated.is_empty() {
            writeln!(f, "  {} expectations rewritten; look at them before you keep them:", self.updated.len())?;
        }
        for change in &self.updated {
            writeln!(f, "        {change}")?;
        }
        if let Some(coverage) = &self.coverage {
            writeln!(f, "  {coverage}")?;
            if !coverage.unasked.is_empty() {
                let asked: Vec<String> = self.asks.iter().map(Asked::told).collect();
                let asked =
                    if asked.is_empty() { String::new() } else { format!(": it asks for {}", asked.join("; ")) };
                writeln!(f, "  note: the policy is told nothing of {}{asked}", coverage.unasked.join(", "))?;
            }
        }
        for check in self.cases.iter().chain(&self.general) {
            let fuel = check.fuel.filter(|fuel| *fuel > 0).map_or_else(String::new, |fuel| format!("  ({fuel} fuel)"));
            let verdict = match (check.problems.is_empty(), check.advice) {
                (true, _) => "ok  ",
                (false, true) => "warn",
                (false, false) => "FAIL",
            };
            writeln!(f, "  {verdict}  {}{fuel}", check.name)?;
            for problem in &check.problems {
                writeln!(f, "        {problem}")?;
            }
            for line in &check.log {
                writeln!(f, "        log {line}")?;
            }
        }
        Ok(())
    }
}
