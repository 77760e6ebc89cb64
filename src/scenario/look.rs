//! One component looked at from outside and started once: what it is, what it exports, what it takes.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::policy::{Anatomy, Bounds, Digest, Engine, PolicyManifest, SettingsSchema, anatomy, inspect, stopwatch};

use super::asked::grant_lines;
use super::{Asked, Options, as_served, load, read, started, with_way};

/// What there is to know of a component.
#[derive(Clone, Debug, Serialize)]
pub struct Look {
    /// The file.
    pub file: String,
    /// SHA-256 of its bytes.
    pub digest: String,
    /// Its size.
    pub bytes: usize,
    /// Its roles with the version of the interface; empty where it is no policy.
    pub interface: String,
    /// Why no gateway would serve it over a plain group.
    pub refused: Option<String>,
    /// What it imports.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Languages and tools it was made with.
    pub producers: Vec<String>,
    /// Custom sections, by name, with their bytes.
    pub sections: Vec<(String, usize)>,
    /// The JSON schema of its settings, where it carries one that can be used.
    pub schema: Option<SettingsSchema>,
    /// What it says it needs of the operator.
    pub manifest: PolicyManifest,
    /// What it asked for when it started, role by role; what that is may hang on its settings.
    pub asks: Vec<Asked>,
    /// The lines of a configuration that grant what has to be granted.
    pub grants: Vec<String>,
    /// What it may use.
    pub bounds: Option<Bounds>,
    /// Core modules in it.
    pub modules: usize,
    /// Milliseconds to check, compile and link it, nothing being kept from before.
    pub load_ms: Option<f64>,
    /// Milliseconds to start it over a plain group, what it is put to before service included.
    pub start_ms: Option<f64>,
    /// Bytes of linear memory it then has.
    pub memory_bytes: Option<usize>,
    /// Its world and interfaces as WIT.
    pub wit: String,
}

/// Looks at a component. One that no gateway would serve is told with the reason.
///
/// # Errors
/// It cannot be read, or is no component.
pub fn look(file: &Path, options: &Options) -> Result<Look, String> {
    let bytes = read(file)?;
    let found = anatomy(&bytes).map_err(|problem| format!("{}: {problem}", file.display()))?;
    let Anatomy { imports, exports, wit, producers, sections, modules } = found;
    let mut look = Look {
        file: file.display().to_string(),
        digest: Digest::of(&bytes).to_string(),
        bytes: bytes.len(),
        interface: String::new(),
        refused: None,
        imports,
        exports,
        producers,
        sections,
        schema: None,
        // What is not let in is told with what it needs all the same.
        manifest: inspect(&bytes, true).map(|found| found.manifest).unwrap_or_default(),
        asks: Vec::new(),
        grants: Vec::new(),
        bounds: None,
        modules,
        load_ms: None,
        start_ms: None,
        memory_bytes: None,
        wit,
    };
    if let Err(problem) = as_served(options).and_then(|engine| look.started(&engine, file, options)) {
        look.refused = Some(with_way(problem, options));
    }
    let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    look.grants = grant_lines(&name, &look.asks, look.manifest);
    Ok(look)
}

impl Look {
    fn started(&mut self, engine: &Engine, file: &Path, options: &Options) -> Result<(), String> {
        let component = load(engine, file)?;
        let inspection = component.inspection();
        self.interface = format!("{}@{}", inspection.role_names(), inspection.version);
        self.schema.clone_from(&inspection.schema);
        self.bounds = Some(engine.bounds(&inspection.roles, component.bytes()));
        self.load_ms = Some(component.load_time().as_secs_f64() * 1e3);
        let began = stopwatch();
        let mut memory = 0;
        for role in &inspection.roles {
            let (bytes, asked) = started(&component, *role, options)?;
            memory = memory.max(bytes);
            self.asks.push(asked);
        }
        self.start_ms = Some(stopwatch().saturating_sub(began).as_secs_f64() * 1e3);
        self.memory_bytes = Some(memory);
        Ok(())
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        let milliseconds = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1} ms"));
        let interface = if self.interface.is_empty() { "no policy" } else { &self.interface };
        writeln!(f, "{}: {interface}", self.file)?;
        writeln!(f, "  digest    {}", self.digest)?;
        writeln!(f, "  size      {} bytes, {} core modules", self.bytes, self.modules)?;
        writeln!(f, "  imports   {}", listed(&self.imports))?;
        writeln!(f, "  exports   {}", listed(&self.exports))?;
        writeln!(f, "  made with {}", listed(&self.producers))?;
        let sections: Vec<String> = self.sections.iter().map(|(name, bytes)| format!("{name} ({bytes})")).collect();
        writeln!(f, "  sections  {}", listed(&sections))?;
        if let Some(schema) = &self.schema {
            writeln!(f, "  settings  {}", listed(&schema.keys()))?;
        }
        for asked in &self.asks {
            writeln!(f, "  asks for  {} ({})", asked.told(), asked.role)?;
        }
        if let Some(bounds) = &self.bounds {
            writeln!(f, "  may take  {bounds}")?;
        }
        writeln!(f, "  load      {}", milliseconds(self.load_ms))?;
        writeln!(f, "  start     {}", milliseconds(self.start_ms))?;
        let memory = self.memory_bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{} KiB", bytes / 1024));
        writeln!(f, "  memory    {memory}")?;
        if let Some(problem) = &self.refused {
            writeln!(f, "  refused   {problem}")?;
        }
        if !self.grants.is_empty() {
            writeln!(f, "  needs what these lines of a configuration grant:")?;
        }
        for line in &self.grants {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}
