//! `cargo xtask prove learning`: the learning router on data that say what every model's reply was worth, beside another learner and
//! rules that know more or less than it; in worlds that change; and live, with simulated models and a judge.
//!
//! A goal that is missed is said with its figures. What is played and measured is what `witgate evaluate` plays and measures.

mod live;
mod package;
mod worlds;

use std::path::Path;

use serde_json::{Map, Value, json};
use witgate::evaluate::{
    Comparison, Contender, DataSet, Figures, Interval, LEARNER, Objective, Played, Players, Rule, figures, order,
    play_rule,
};

use crate::say;
use package::Package;

/// US dollars a request, those of the package's own experiments.
const BUDGETS: [f64; 3] = [0.000_3, 0.000_662, 0.001_87];
/// Of the best model's quality, so much is to be had,
const QUALITY: f64 = 0.98;
/// for so much of what random choice costs.
const COST: f64 = 0.6;
/// Requests to 95 % of the final gain, of those that `LinUCB` alone takes.
const CONVERGENCE: f64 = 0.7;
/// What may be spent over a budget, or left of it.
const PACING: f64 = 0.02;

/// What everything is played with.
struct Bench {
    data: DataSet,
    /// By times played: the parent of draws, and the order of the prompts.
    orders: Vec<(u64, Vec<usize>)>,
    players: Players,
    objective: Objective,
    wrong: Vec<String>,
}

/// Proves it.
///
/// # Errors
/// The package cannot be had, or a goal is missed.
pub(super) fn prove(root: &Path, quick: bool) -> Result<(), String> {
    let package = Package::get(root)?;
    let data = package.data()?;
    let seeds = if quick { 2 } else { 20 };
    let comparison = Comparison { router: None, settings: Map::new(), seeds, seed: 0, in_order: false };
    let orders = (0..seeds).map(|n| order(&data, &comparison, n)).collect();
    let mut bench =
        Bench { data, orders, players: Players::new()?, objective: Objective::default(), wrong: Vec::new() };
    bench.compare(&package)?;
    bench.wrong.extend(worlds::prove(&bench.data, &bench.orders, &mut bench.players)?);
    if !quick {
        say("the example, live:");
        bench.wrong.extend(live::prove(root, &mut bench.players)?);
    }
    if bench.wrong.is_empty() { Ok(()) } else { Err(format!("goals missed:\n{}", bench.wrong.join("\n"))) }
}

impl Bench {
    /// Ours, theirs and rules, with no budget and with each.
    fn compare(&mut self, package: &Package) -> Result<(), String> {
        let Self { data, orders, players, .. } = &*self;
        let told: Vec<Vec<f32>> =
            players.features(data)?.iter().map(|row| row.iter().copied().map(scaled).collect()).collect();
        let places: Vec<Vec<usize>> = orders.iter().map(|(_, order)| order.clone()).collect();
        let theirs = package.play(data, &told, &places, &BUDGETS)?;
        say(&format!(
            "{} prompts, {} models, played {} times; ± is the interval at 95 %. A reply is worth its quality − 0.2 · the logarithm of its cost",
            data.examples.len(),
            data.models.len(),
            orders.len()
        ));
        say(&format!(
            "{:<26} {:>17} {:>23} {:>10} {:>17} {:>15} {:>15}",
            "no budget", "quality", "USD a request", "of random", "worth", "converged", "gain converged"
        ));
        let mut rows: Vec<Figures> = Rule::ALL.into_iter().map(|rule| self.rule(rule)).collect();
        let textbook = json!({"algorithm": "linucb", "exploration": 1, "ridge": 1, "uniform": 0, "memory": 1});
        for (name, settings) in [
            ("bandit", json!({})),
            ("ucb1", json!({"algorithm": "ucb1"})),
            ("linucb", json!({"algorithm": "linucb"})),
            ("thompson", json!({"algorithm": "thompson"})),
            ("linucb of the textbook", textbook),
        ] {
            let runs = self.play(name, settings)?;
            rows.push(self.figures(name, &runs));
        }
        for one in theirs.iter().filter(|one| one.budget.is_none()) {
            rows.push(self.figures(&one.name, &one.runs));
        }
        let named = |name: &str| rows.iter().find(|row| row.name == name).cloned().ok_or(name.to_owned());
        let random = named(Rule::Random.as_str())?;
        for row in &rows {
            say(&line(row, random.cost_usd.mean));
        }
        let best = named(Rule::AlwaysBest.as_str())?;
        let alone = [named("linucb of the textbook")?, named("linucb")?];
        self.judge(&named("bandit")?, &alone, &best, &random);
        for budget in BUDGETS {
            self.paced(budget, &theirs)?;
        }
        Ok(())
    }

    fn judge(&mut self, ours: &Figures, alone: &[Figures], best: &Figures, random: &Figures) {
        let (quality, cost) = (ours.quality.mean / best.quality.mean, ours.cost_usd.mean / random.cost_usd.mean);
        self.goal(
            quality >= QUALITY,
            format!("{:.1} % of the best model's quality, {:.0} % wanted", quality * 100.0, QUALITY * 100.0),
        );
        self.goal(cost <= COST, format!("{cost:.3} of what random choice costs, {COST} at most wanted"));
        for alone in alone {
            match (ours.gain_converged, alone.gain_converged) {
                (Some(own), Some(other)) => {
                    let share = own.mean / other.mean;
                    self.goal(
                        share <= CONVERGENCE,
                        format!(
                            "converged after {share:.2} of the requests that {} takes, {CONVERGENCE} at most wanted",
                            alone.name
                        ),
                    );
                }
                _ => self.goal(false, format!("bandit or {} gains nothing over random choice", alone.name)),
            }
        }
    }

    /// Ours and theirs at one budget.
    fn paced(&mut self, budget: f64, theirs: &[package::Theirs]) -> Result<(), String> {
        let count = u32::try_from(self.data.examples.len()).unwrap_or(u32::MAX);
        say(&format!(
            "{:<26} {:>17} {:>23} {:>10} {:>17}",
            format!("USD {budget} a request"),
            "quality",
            "USD a request",
            "of budget",
            "ours better by"
        ));
        let reward = json!({"quality": 1, "cost": 0});
        let each = self.play("bandit, a mean", json!({"reward": reward, "max_cost_usd_per_request": budget}))?;
        let whole = json!({"reward": reward, "budget_usd": budget * f64::from(count), "budget_requests": count});
        let whole = self.play("bandit, a whole budget", whole)?;
        let own = [("bandit, a mean", &each, false), ("bandit, a whole budget", &whole, true)];
        let mut rows: Vec<_> = own.iter().map(|(name, runs, _)| (self.figures(name, runs), None)).collect();
        for one in theirs.iter().filter(|one| one.budget == Some(budget)) {
            let difference = self.better_by(&each, &one.runs);
            rows.push((self.figures(&one.name, &one.runs), Some(difference)));
        }
        for (place, (row, difference)) in rows.iter().enumerate() {
            let (spent, better) =
                (row.cost_usd.mean / budget, difference.map_or_else(String::new, |one| shown(one, 4)));
            let (quality, cost) = (shown(row.quality, 4), shown(row.cost_usd, 7));
            say(&format!("{:<26} {quality:>17} {cost:>23} {spent:>10.3} {better:>17}", row.name));
            match difference {
                Some(difference) => self.goal(
                    difference.mean + difference.margin.unwrap_or_default() >= 0.0,
                    format!("USD {budget} a request: better than {} by {better}, no less than 0 wanted", row.name),
                ),
                None => self.within((row, own[place].1), budget, own[place].2),
            }
        }
        Ok(())
    }

    /// What may be spent is a bound; a whole budget is spent to its end. Each time it is played.
    fn within(&mut self, (row, runs): (&Figures, &[Played]), budget: f64, whole: bool) {
        let spent = |run: &Played| {
            let costs = run.steps.iter().map(|step| self.data.examples[step.example].replies[step.model].cost);
            Interval::of(&costs.collect::<Vec<_>>()).mean / budget - 1.0
        };
        let off: Vec<f64> = runs.iter().map(spent).map(|off| if whole { off.abs() } else { off }).collect();
        let worst = off.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (percent, most) = (worst * 100.0, PACING * 100.0);
        let words = if whole { "off at worst" } else { "over at worst" };
        self.goal(
            worst <= PACING,
            format!("USD {budget} a request: {} is {percent:+.1} % {words}, {most} % at most wanted", row.name),
        );
    }

    fn rule(&self, rule: Rule) -> Figures {
        let runs = self.orders.iter().map(|(seed, order)| play_rule(rule, &self.data, order, &self.objective, *seed));
        self.figures(rule.as_str(), &runs.collect::<Vec<_>>())
    }

    fn play(&mut self, name: &str, settings: Value) -> Result<Vec<Played>, String> {
        let contender = Contender { name: name.to_owned(), router: LEARNER.to_owned(), settings };
        let Self { data, orders, players, .. } = self;
        orders.iter().map(|(seed, order)| players.play(&contender, data, order, *seed)).collect()
    }

    fn figures(&self, name: &str, runs: &[Played]) -> Figures {
        figures(name, runs, &self.data, &self.objective)
    }

    /// By how much the quality of the first is better, order by order.
    fn better_by(&self, ours: &[Played], theirs: &[Played]) -> Interval {
        let quality = |run: &Played| {
            let rewards = run.steps.iter().map(|step| self.data.examples[step.example].replies[step.model].reward);
            Interval::of(&rewards.collect::<Vec<_>>()).mean
        };
        let differences = ours.iter().zip(theirs).map(|(own, other)| quality(own) - quality(other));
        Interval::of(&differences.collect::<Vec<_>>())
    }

    fn goal(&mut self, reached: bool, what: String) {
        say(&format!("  {}: {what}", if reached { "reached" } else { "MISSED" }));
        if !reached {
            self.wrong.push(what);
        }
    }
}

fn line(row: &Figures, random: f64) -> String {
    let Figures { name, quality, cost_usd, worth, converged, gain_converged, .. } = row;
    let gain = gain_converged.map_or_else(|| "–".to_owned(), |gain| shown(gain, 0));
    let (of_random, quality, cost) = (cost_usd.mean / random, shown(*quality, 4), shown(*cost_usd, 7));
    let (worth, converged) = (shown(*worth, 4), shown(*converged, 0));
    format!("{name:<26} {quality:>17} {cost:>23} {of_random:>10.3} {worth:>17} {converged:>15} {gain:>15}")
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn shown(interval: Interval, digits: usize) -> String {
    format!("{:.digits$} ± {:.digits$}", interval.mean, interval.margin.unwrap_or_default())
}

/// A number as our router takes it: sizes by their logarithm.
fn scaled(number: f32) -> f32 {
    match number {
        number if !number.is_finite() => 0.0,
        number if number.abs() <= 1.0 => number,
        number => number.signum() * number.abs().ln_1p() / 14.0,
    }
}
