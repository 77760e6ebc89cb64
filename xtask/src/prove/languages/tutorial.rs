//! A page of docs/policies: its blocks of shell, and the configuration between them.

use std::fs;
use std::path::Path;

use witgate::kit::Language;

/// What a language's page has its reader do.
pub(super) struct Tutorial {
    pub(super) language: Language,
    /// What ends, line by line.
    pub(super) commands: Vec<String>,
    /// What its reader writes to `config.yaml`.
    pub(super) config: String,
    /// How a gateway is started.
    pub(super) serve: String,
    /// How it is asked.
    pub(super) ask: String,
}

impl Tutorial {
    pub(super) fn read(root: &Path, language: Language) -> Result<Self, String> {
        let path = root.join("docs/policies").join(language.as_str()).with_extension("md");
        let page = fs::read_to_string(&path).map_err(|problem| format!("{}: {problem}", path.display()))?;
        let blocks = |fence: &str| -> Vec<String> {
            let blocks = page.split(fence).skip(1).filter_map(|rest| rest.split("```").next());
            blocks.map(str::to_owned).collect()
        };
        let lines = blocks("```sh\n").concat();
        let (mut commands, mut serve, mut ask) = (Vec::new(), String::new(), String::new());
        for line in lines.lines().map(str::to_owned) {
            if line.starts_with("witgate serve ") {
                serve = line;
            } else if line.starts_with("curl ") {
                ask = line;
            } else if !line.starts_with("witgate policy watch ") {
                // That one is run by `watched`, which saves a source meanwhile.
                commands.push(line);
            }
        }
        let config = blocks("```yaml\n").concat();
        if config.is_empty() || serve.is_empty() || ask.is_empty() {
            return Err(format!("{} is not as this expects", path.display()));
        }
        Ok(Self { language, commands, config, serve, ask })
    }
}
