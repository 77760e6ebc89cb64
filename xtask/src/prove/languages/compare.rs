//! Components of one router side by side, in this process: what they answer, and what they cost.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use witgate::id::PolicyName;
use witgate::kit::Language;
use witgate::policy::{Component, Engine, EngineOptions, Router, Setup};
use witgate::seed;

use super::pace::Cost;
use crate::bench::decisions::{self, SIZES};

/// Questions in each size of group.
const QUESTIONS: u64 = 250;
/// Groups that are too small, or too large, for one way of sorting among them.
const GROUPS: [usize; 4] = [1, 7, 30, 100];

/// A component, loaded.
pub(super) struct Contender {
    pub(super) language: Language,
    pub(super) bytes: usize,
    component: Arc<Component>,
}

impl Contender {
    pub(super) fn load(root: &Path, language: Language, path: &Path) -> Result<Self, String> {
        let about = |problem: String| format!("{}: {problem}", path.display());
        let options = EngineOptions {
            // As the gateway has it: what it compiled is used.
            cache_dir: Some(root.join("target/languages/cache/witgate")),
            instances: 16,
            ..EngineOptions::default()
        };
        let engine = Engine::new(options).map_err(|problem| about(problem.to_string()))?;
        let bytes = fs::read(path).map_err(|problem| about(problem.to_string()))?;
        let component = engine.load(&PolicyName::from(language.as_str()), &bytes);
        Ok(Self { language, bytes: bytes.len(), component: component.map_err(|problem| about(problem.to_string()))? })
    }

    /// What a decision costs at 1, 10 and 100 deployments.
    pub(super) fn decisions(&self, name: &str) -> Result<[Cost; 3], String> {
        let mut costs = [Cost::default(); 3];
        for (cost, deployments) in costs.iter_mut().zip(SIZES) {
            let measured = Cost::of(&self.component, deployments);
            *cost = measured.map_err(|problem| format!("{name} in {}: {problem}", self.language.title()))?;
        }
        Ok(costs)
    }

    fn router(&self, deployments: usize) -> Result<Arc<Router>, String> {
        let setup = Setup {
            may_read: witgate::signal::Grants::All,
            group: None,
            settings: r#"{"penalty": 3.5}"#.into(),
            deployments: (0..deployments).map(decisions::facts).collect(),
            seed: 1,
        };
        Router::start(Arc::clone(&self.component), setup, None)
            .map_err(|problem| format!("{}: {problem}", self.language.title()))
    }
}

/// Asks all the same and says how often; the first difference is an error.
pub(super) fn alike(contenders: &[Contender]) -> Result<u64, String> {
    let mut asked = 0;
    for deployments in GROUPS {
        let routers: Vec<(&Contender, Arc<Router>)> =
            contenders.iter().map(|one| Ok((one, one.router(deployments)?))).collect::<Result<_, String>>()?;
        for question in 0..QUESTIONS {
            let signals: Vec<f32> = (0..2 * deployments).map(|cell| signal(asked, cell as u64)).collect();
            let mut first: Option<(&Contender, Vec<u32>)> = None;
            for (contender, router) in &routers {
                let mut ranking = Vec::new();
                let answer = router.route(&decisions::question(question), &signals, &[], &[], &mut ranking);
                answer.map_err(|end| format!("{}: {end:?}", contender.language.title()))?;
                let order: Vec<u32> = ranking.iter().map(|choice| choice.deployment).collect();
                match &first {
                    None => first = Some((contender, order)),
                    Some((other, theirs)) if *theirs != order => {
                        let [one, two] = [contender.language.title(), other.language.title()];
                        return Err(format!("{signals:?}\n{one} ranks {order:?}\n{two} ranks {theirs:?}"));
                    }
                    Some(_) => {}
                }
            }
            asked += 1;
        }
    }
    Ok(asked)
}

/// A number a signal could be, or never should: unknown, endless, negative, zero, one of few, any.
fn signal(question: u64, cell: u64) -> f32 {
    let draw = seed::derive(question, cell);
    let small = f32::from(u16::try_from(draw % 4096).unwrap_or_default());
    match draw >> 60 {
        0 => f32::NAN,
        1 => f32::INFINITY,
        2 => -small,
        3 => 0.0,
        4 => -0.0,
        5..=8 => (small % 4.0) / 4.0,
        _ => small / 4096.0,
    }
}
