//! The package `paretobandit` from its registry, in a folder below `target/`: its data, and its own router.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use witgate::evaluate::{Chosen, DataSet, Played};

/// A folder with an environment in which the package is.
pub(super) struct Package {
    folder: PathBuf,
    script: PathBuf,
}

/// What their router chose with one budget, told one way.
pub(super) struct Theirs {
    pub(super) name: String,
    pub(super) budget: Option<f64>,
    pub(super) runs: Vec<Played>,
}

impl Package {
    /// Gets it, where it is not there yet.
    pub(super) fn get(root: &Path) -> Result<Self, String> {
        let folder = root.join("target/learning");
        let sources = root.join("xtask/src/prove/learning");
        let venv = folder.join("venv");
        if !venv.join("bin/pip").is_file() {
            ended(Command::new("python3").args(["-m", "venv"]).arg(&venv), "python3 -m venv")?;
        }
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.args(["install", "-q", "--no-compile", "--disable-pip-version-check", "-r"]);
        ended(pip.arg(sources.join("requirements.txt")), "pip install")?;
        Ok(Self { folder, script: sources.join("theirs.py") })
    }

    /// Its prompts, each with what every model's reply was worth and cost.
    pub(super) fn data(&self) -> Result<DataSet, String> {
        let file = self.folder.join("paretobandit.jsonl");
        if !file.is_file() || !self.folder.join("LICENSE").is_file() {
            self.run("export")?;
        }
        DataSet::read(&file).map_err(|problems| problems.join("\n"))
    }

    /// Plays its router over the orders, with no budget and with each.
    pub(super) fn play(
        &self,
        data: &DataSet,
        features: &[Vec<f32>],
        orders: &[Vec<usize>],
        budgets: &[f64],
    ) -> Result<Vec<Theirs>, String> {
        let question = json!({"features": features, "orders": orders, "budgets": budgets});
        let write = std::fs::write(self.folder.join("question.json"), question.to_string());
        write.map_err(|problem| problem.to_string())?;
        self.run("play")?;
        let text = std::fs::read_to_string(self.folder.join("theirs.json")).map_err(|problem| problem.to_string())?;
        let told: Vec<Value> = serde_json::from_str(&text).map_err(|problem| problem.to_string())?;
        told.iter().map(|one| theirs(one, data, orders).ok_or_else(|| format!("no runs: {one:.200}"))).collect()
    }

    fn run(&self, verb: &str) -> Result<(), String> {
        let mut python = Command::new(self.folder.join("venv/bin/python"));
        ended(python.arg(&self.script).arg(verb).arg(&self.folder).env("OMP_NUM_THREADS", "1"), verb)
    }
}

fn theirs(one: &Value, data: &DataSet, orders: &[Vec<usize>]) -> Option<Theirs> {
    let model = |name: &Value| data.models.iter().position(|model| Some(model.as_str()) == name.as_str());
    let run = |(chosen, order): (&Value, &Vec<usize>)| {
        let steps = chosen.as_array()?.iter().zip(order);
        let steps =
            steps.map(|(name, example)| Some(Chosen { example: *example, model: model(name)?, propensity: 1.0 }));
        Some(Played { steps: steps.collect::<Option<_>>()? })
    };
    let runs = one["runs"].as_array()?.iter().zip(orders).map(run).collect::<Option<_>>()?;
    Some(Theirs { name: one["name"].as_str()?.to_owned(), budget: one["budget"].as_f64(), runs })
}

/// Runs a command to its end.
fn ended(command: &mut Command, what: &str) -> Result<(), String> {
    let status = command.status().map_err(|problem| format!("{what}: {problem}"))?;
    if status.success() { Ok(()) } else { Err(format!("{what} failed: {status}")) }
}
