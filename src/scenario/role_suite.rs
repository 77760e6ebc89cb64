//! What scenario files of prompt builders, response parsers and providers have alike: a head, case after case, and an `expect` that is
//! judged, or written anew.
//!
//! A role says what a case is, what comes of it, and how its `expect` would say that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::coverage::{self, Coverage, Touched};
use super::report::SuiteReport;
use super::rewrite::{self, Edit, Rewritten};
use super::suite::{SEED, START_MS, settings_text};
use crate::config::yaml;
use crate::moment::Moment;
use crate::policy::{Component, LogLine, PolicyProblem, PolicySetup, ProviderSetup, SettingsSchema};
use crate::seed;
use crate::signal::{Attribute, Grants};

/// Keys of `expect` that are limits: decisions, which are never moved to fit.
const LIMITS: [&str; 2] = ["max_fuel", "log"];

/// A scenario file of one role, whose head may have keys of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SuiteFile<H, C> {
    #[serde(rename = "policy")]
    _policy: String,
    /// A mapping; or text, handed on as it is.
    #[serde(default)]
    settings: Option<Value>,
    #[serde(default)]
    seed: Option<u64>,
    /// Milliseconds since the Unix epoch.
    #[serde(default)]
    start_ms: Option<u64>,
    /// The model whose way of counting tokens counts; to a provider, the one that is asked for.
    #[serde(default)]
    model: Option<String>,
    #[serde(flatten)]
    own: H,
    cases: Vec<C>,
}

/// A head that has no more keys.
#[derive(Debug, Deserialize)]
pub(super) struct NoMore {}

/// A case of one role.
pub(super) trait RoleCase: DeserializeOwned {
    /// What the head of its files has besides.
    type Head: DeserializeOwned;

    /// What its cases may be about, all together.
    const ABOUT: &'static str;

    /// What every role's cases have.
    fn common(&self) -> Common<'_>;

    /// What comes of it.
    ///
    /// # Errors
    /// It makes no sense, or the policy cannot be started for another reason than its settings or a failure.
    fn play(&self, component: &Arc<Component>, begin: &Begin, head: &Self::Head) -> Result<Played, String>;

    /// What every policy of the role is checked for, with what a file begins with.
    fn check(component: &Arc<Component>, begin: &Begin, report: &mut SuiteReport);
}

/// What every role's cases have.
pub(super) struct Common<'a> {
    pub(super) name: &'a str,
    /// For this case alone.
    pub(super) settings: Option<&'a Value>,
    pub(super) max_fuel: Option<u64>,
    /// Words in a line it logs.
    pub(super) log: Option<&'a str>,
}

/// What a policy of a case is started with.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    settings: Arc<str>,
    model: Arc<str>,
    seed: u64,
    pub(super) now: Moment,
    /// The case's own seed.
    pub(super) case_seed: u64,
}

impl Begin {
    pub(super) fn policy(&self) -> PolicySetup {
        PolicySetup {
            may_read: Grants::All,
            group: None,
            settings: Arc::clone(&self.settings),
            model: Arc::clone(&self.model),
            seed: self.seed,
        }
    }

    pub(super) fn provider(&self) -> ProviderSetup {
        let model = if self.model.is_empty() { Arc::from("model") } else { Arc::clone(&self.model) };
        ProviderSetup { group: None, settings: Arc::clone(&self.settings), model, seed: self.seed }
    }
}

/// What came of a case.
#[derive(Default)]
pub(super) struct Played {
    /// What is not as expected.
    pub(super) problems: Vec<String>,
    /// All of it, as `expect` would say it; `None` where no expectation could hold.
    pub(super) found: Option<Vec<Found>>,
    pub(super) fuel: u64,
    pub(super) log: Vec<LogLine>,
    /// How it ended, in a word.
    pub(super) end: &'static str,
    /// What a case of this policy may be about, and whether this one is.
    pub(super) touched: Vec<Touched>,
    /// What this case sets and the policy does not ask for.
    pub(super) unasked: Vec<String>,
}

/// One thing that came of a case.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The key that says it.
    key: &'static str,
    value: Value,
    /// Whether what the file says of it holds.
    met: bool,
    /// Whether it must be said: what comes to this end is no other.
    is_end: bool,
}

impl Found {
    /// Something that a file may say, or leave out.
    pub(super) fn new(key: &'static str, value: impl Into<Value>, met: bool) -> Self {
        Self { key, value: value.into(), met, is_end: false }
    }

    /// An end that no other is.
    pub(super) fn end(key: &'static str, value: impl Into<Value>, met: bool) -> Self {
        Self { is_end: true, ..Self::new(key, value, met) }
    }

    /// Whether this key says it.
    pub(super) fn is(&self, key: &str) -> bool {
        self.key == key
    }

    fn says_nothing(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        }
    }
}

/// The policy of a case; `None` where it refused its settings or failed when it was started, which is judged then.
///
/// # Errors
/// It cannot be started for another reason.
pub(super) fn started<P>(
    started: Result<P, PolicyProblem>,
    config_error: Option<&str>,
    played: &mut Played,
) -> Result<Option<P>, String> {
    match (started, config_error) {
        (Ok(policy), wanted) => {
            let problem = wanted.map(|words| format!("expected refused settings with `{words}`, and it started"));
            played.problems.extend(problem);
            played.end = "started";
            Ok(Some(policy))
        }
        (Err(PolicyProblem::Configure(refusal)), wanted) => {
            let found = refusal.to_string();
            let met = wanted.is_some_and(|wanted| found.contains(wanted));
            if !met {
                played.problems.push(format!("it refused its settings: {found}"));
            }
            played.found = Some(vec![Found::end("config_error", found, met)]);
            played.end = "settings refused";
            Ok(None)
        }
        (Err(problem), _) if problem.is_fault() => {
            played.problems.push(format!("it {problem}"));
            played.end = "not started";
            Ok(None)
        }
        (Err(problem), _) => Err(problem.to_string()),
    }
}

/// Plays every case of a file and checks the policy; where `update` is set, tells the file with what came of failed cases, if that is
/// another. Then the policy is not checked: it is when that file is run.
///
/// # Errors
/// The file makes no sense, or the policy cannot be started for another reason than its settings or a failure.
pub(super) fn run<C: RoleCase>(
    component: &Arc<Component>,
    (text, name): (&str, &str),
    update: bool,
    report: &mut SuiteReport,
) -> Result<Option<Rewritten>, String> {
    let file: SuiteFile<C::Head, C> = yaml::read(text, name).map_err(|problems| problems.to_string())?;
    if file.cases.is_empty() {
        return Err("`cases` is empty".to_owned());
    }
    let seed = file.seed.unwrap_or(SEED);
    let begin = Begin {
        settings: file.settings.as_ref().map_or_else(|| Arc::from("{}"), settings_text),
        model: Arc::from(file.model.as_deref().unwrap_or_default()),
        seed,
        now: Moment::from_millis(file.start_ms.unwrap_or(START_MS)),
        case_seed: seed,
    };
    let (mut failed, mut reached) = (Vec::new(), Reached::default());
    for (number, (index, case)) in (0..).zip(file.cases.iter().enumerate()) {
        let common = case.common();
        let settings = common.settings.map_or_else(|| Arc::clone(&begin.settings), settings_text);
        reached.settings.push(Arc::clone(&settings));
        let own = Begin { settings, case_seed: seed::derive(seed, number), ..begin.clone() };
        let played = case.play(component, &own, &file.own);
        let mut played = played.map_err(|problem| format!("case `{}`: {problem}", common.name))?;
        reached.add(&mut played);
        if let Some(found) = played.found.take().filter(|_| !played.problems.is_empty()) {
            failed.push((index, common.name, found));
        }
        played.problems.extend(over_limits(&common, &played));
        report.case(common.name, played.fuel, played.problems, &played.log);
    }
    let rewritten = if update { rewritten(text, name, &failed)? } else { None };
    report.coverage = Some(reached.coverage(component.inspection().schema.as_ref(), C::ABOUT));
    if rewritten.is_none() {
        C::check(component, &begin, report);
    }
    Ok(rewritten)
}

/// What the cases so far reach.
#[derive(Default)]
struct Reached {
    ends: BTreeMap<&'static str, usize>,
    touched: BTreeMap<String, bool>,
    unasked: BTreeSet<String>,
    settings: Vec<Arc<str>>,
}

impl Reached {
    fn add(&mut self, played: &mut Played) {
        *self.ends.entry(played.end).or_default() += 1;
        for (what, touched) in std::mem::take(&mut played.touched) {
            *self.touched.entry(what).or_default() |= touched;
        }
        self.unasked.extend(std::mem::take(&mut played.unasked));
    }

    fn coverage(self, schema: Option<&SettingsSchema>, about: &'static str) -> Coverage {
        let settings = coverage::settings(schema, self.settings.iter().map(|text| &**text));
        Coverage::of_role(self.ends, self.unasked, self.touched.into_iter().chain(settings), about)
    }
}

/// The attributes that a policy asks for, and whether a case that gives these says any of them.
pub(super) fn attributes_touched<'a>(
    asked: &'a [Attribute],
    given: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = Touched> + 'a {
    asked.iter().map(|name| (format!("attribute `{name}`"), given.contains_key(&name.to_string())))
}

/// The attributes that a case gives and the policy does not ask for.
pub(super) fn attributes_unasked(asked: &[Attribute], given: &BTreeMap<String, String>) -> Vec<String> {
    let is_asked = |name: &str| asked.iter().any(|asked| asked.to_string() == name);
    given.keys().filter(|name| !is_asked(name)).map(|name| format!("attribute `{name}`")).collect()
}

fn over_limits(common: &Common<'_>, played: &Played) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(most) = common.max_fuel.filter(|most| played.fuel > *most) {
        problems.push(format!("expected at most {most} fuel, a call used {}", played.fuel));
    }
    if let Some(words) = common.log.filter(|words| !played.log.iter().any(|line| line.message.contains(words))) {
        problems.push(format!("expected a log line with `{words}`, got {}", played.log.len()));
    }
    problems
}

/// Where the expectations of a file stand.
#[derive(Deserialize)]
struct Places {
    cases: Vec<CasePlaces>,
}

#[derive(Deserialize)]
struct CasePlaces {
    expect: Spanned<BTreeMap<String, Value>>,
}

/// The file with these cases, by their places, expecting what came of them; `None` where nothing is to be said otherwise.
fn rewritten(text: &str, name: &str, failed: &[(usize, &str, Vec<Found>)]) -> Result<Option<Rewritten>, String> {
    let places: Places = yaml::read_part(text, name).map_err(|problems| problems.to_string())?;
    let (mut edits, mut changes) = (Vec::new(), Vec::new());
    for (index, case, found) in failed {
        let Spanned { value: keys, referenced: at, .. } = &places.cases[*index].expect;
        let Some(start) = rewrite::offset(text, at.line(), at.column()) else { continue };
        let said: Vec<&str> = keys.keys().map(String::as_str).filter(|key| !LIMITS.contains(key)).collect();
        for edit in edits_of(text, start, &said, found) {
            changes.push(rewrite::told(case, text, &edit));
            edits.push(edit);
        }
    }
    Ok((!edits.is_empty()).then(|| Rewritten { text: rewrite::apply(text, edits), changes }))
}

/// Where a case comes to the end that the file expects, what of it is not so; else all of the expectation but its limits.
fn edits_of(text: &str, start: usize, said: &[&str], found: &[Found]) -> Vec<Edit> {
    let is_found = |key: &&str| found.iter().any(|found| found.key == *key);
    let is_said = |found: &Found| said.contains(&found.key);
    let is_flow = text[start..].starts_with('{');
    let indent = (!is_flow).then(|| rewrite::column(text, start));
    if !said.is_empty() && said.iter().all(is_found) && found.iter().filter(|found| found.is_end).all(is_said) {
        let unmet = found.iter().filter(|found| is_said(found) && !found.met);
        let edit = |found: &Found| {
            let range = rewrite::entry(text, start, found.key)?;
            Some(Edit { range, text: rewrite::written(found.key, &found.value, indent) })
        };
        return unmet.filter_map(edit).collect();
    }
    let told = found.iter().filter(|found| found.is_end || is_said(found) || !found.says_nothing());
    let told = told.map(|found| rewrite::written(found.key, &found.value, indent));
    let limits = LIMITS.iter().filter_map(|key| rewrite::entry(text, start, key).map(|range| text[range].to_owned()));
    let entries: Vec<String> = told.chain(limits).collect();
    let range = rewrite::mapping(text, start);
    let written = match indent {
        None => format!("{{{}}}", entries.join(", ")),
        Some(indent) => entries.join(&format!("\n{}", " ".repeat(indent))),
    };
    vec![Edit { range, text: written }]
}
