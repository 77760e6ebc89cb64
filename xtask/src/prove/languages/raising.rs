//! One line in each project's idea that raises, throws or panics, as its language does.

use std::fs;
use std::path::{Path, PathBuf};

use witgate::kit::Language;

/// The priority of requests on which it happens.
pub(super) const PRIORITY: i32 = 666;
/// What it says.
pub(super) const WORDS: &str = "on purpose";

/// A source that has the line; dropping this takes it out again.
pub(super) struct Raising {
    path: PathBuf,
    text: String,
}

impl Drop for Raising {
    fn drop(&mut self) {
        if let Err(problem) = fs::write(&self.path, &self.text) {
            crate::say(&format!("{}: {problem}", self.path.display()));
        }
    }
}

/// Puts it into the project in `folder`.
pub(super) fn put(folder: &Path, language: Language) -> Result<Raising, String> {
    let (file, before, after) = match language {
        Language::C => (
            "policy.c",
            "  (void)request;\n",
            "  if (request->priority == 666) { witgate_log(WITGATE_LOG_WARN, \"on purpose\"); __builtin_trap(); }\n",
        ),
        Language::Go => (
            "thrifty.go",
            "Route(_ *witgate.Request, signals witgate.Signals, ranking *witgate.Ranking) error {\n",
            "Route(request *witgate.Request, signals witgate.Signals, ranking *witgate.Ranking) error {\n\tif request.Priority == 666 {\n\t\tpanic(\"on purpose\")\n\t}\n",
        ),
        Language::JavaScript => (
            "thrifty.js",
            "  route(_ask, { values, rows }) {\n",
            "  route(ask, { values, rows }) {\n    if (ask.priority === 666) throw new Error('on purpose');\n",
        ),
        Language::TypeScript => (
            "thrifty.ts",
            "  route(_ask: Ask, { values, rows }: Signals): number[] {\n",
            "  route(ask: Ask, { values, rows }: Signals): number[] {\n    if (ask.priority === 666) throw new Error('on purpose');\n",
        ),
        Language::Python => (
            "thrifty.py",
            "    def route(self, request, signals, features, attributes):\n",
            "    def route(self, request, signals, features, attributes):\n        if request.priority == 666:\n            raise ValueError(\"on purpose\")\n",
        ),
        Language::Rust => (
            "src/lib.rs",
            "    fn route(&mut self, _: &Ask, table: Signals<'_>) -> Result<Ranking, Refusal> {\n",
            "    fn route(&mut self, ask: &Ask, table: Signals<'_>) -> Result<Ranking, Refusal> {\n        assert!(ask.priority != 666, \"on purpose\");\n",
        ),
    };
    let path = folder.join(file);
    let about = |problem: std::io::Error| format!("{}: {problem}", path.display());
    let text = fs::read_to_string(&path).map_err(about)?;
    if !text.contains(before) {
        return Err(format!("{} is not as this expects", path.display()));
    }
    fs::write(&path, text.replacen(before, after, 1)).map_err(about)?;
    Ok(Raising { path, text })
}
