//! Plays a scenario: one router, case after case, on a clock that moves only when a case says so.

use std::sync::Arc;
use std::time::Duration;

use crate::moment::Moment;
use crate::policy::{Component, LogLine, Needs, Outcome, PolicyFault, PolicyProblem, Router, Setup};
use crate::seed;

use super::answer::Answer;
use super::suite::{Case, Suite, Table};

/// What came of a case.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// One for each repetition.
    pub(super) answers: Vec<Answer>,
    /// The most fuel a call used.
    pub(super) fuel: u64,
    pub(super) log: Vec<LogLine>,
    /// What of that was logged up to the end of the first question that failed.
    pub(super) said: Vec<LogLine>,
    /// What a router started from what this one had saved answers to the first question, and what it logged.
    pub(super) restored: Option<(Answer, Vec<LogLine>)>,
    /// What the router wanted to be told with the questions; `None` where nothing was asked.
    pub(super) needs: Option<Needs>,
}

impl Run {
    /// Nothing was asked, for this reason.
    fn without_questions(answer: Answer, log: Vec<LogLine>) -> Self {
        Self { answers: vec![answer], fuel: 0, log, said: Vec::new(), restored: None, needs: None }
    }
}

/// Plays all cases on a fresh instance.
///
/// # Errors
/// The policy cannot be started, for another reason than that it fails then.
pub(super) fn play(component: &Arc<Component>, suite: &Suite) -> Result<Vec<Run>, String> {
    let router = match Router::start(Arc::clone(component), suite.setup.clone(), None) {
        Ok(router) => router,
        // Each case begins with it.
        Err(problem) if problem.is_fault() => {
            let answer = Answer::not_started(&problem)?;
            return Ok(suite.cases.iter().map(|_| Run::without_questions(answer.clone(), Vec::new())).collect());
        }
        Err(problem) => return Err(problem.to_string()),
    };
    let setup = suite.setup.clone();
    let mut player =
        Player { component, suite, router, setup, now: suite.start, table: suite.signals.clone(), asked: 0, last: 0 };
    suite.cases.iter().map(|case| player.case(case)).collect()
}

struct Player<'a> {
    component: &'a Arc<Component>,
    suite: &'a Suite,
    router: Arc<Router>,
    setup: Setup,
    now: Moment,
    table: Table,
    /// Questions so far: each has its own seed.
    asked: u64,
    /// The seed of the last question, to which outcomes belong.
    last: u64,
}

impl Player<'_> {
    fn case(&mut self, case: &Case) -> Result<Run, String> {
        self.now = self.now + Duration::from_millis(case.advance_ms);
        self.router.tick(self.now);
        let mut log = Vec::new();
        if let Some(settings) = &case.settings {
            let setup = Setup { settings: Arc::clone(settings), ..self.setup.clone() };
            match Router::succeed(Arc::clone(self.component), setup.clone(), &self.router) {
                Ok(successor) => {
                    log.append(&mut self.router.take_log());
                    (self.router, self.setup) = (successor, setup);
                }
                Err(problem) => return not_started(case, &problem, self.router.take_log()),
            }
        }
        // What it did in earlier cases is no fault of this one, unless that it is kept out is what the case is about.
        let kept_out =
            self.router.quarantined() && case.expect.fault.as_deref() != Some(PolicyFault::Quarantined.kind());
        if case.restart || kept_out {
            log.append(&mut self.router.take_log());
            match self.fresh() {
                Ok(router) => self.router = router,
                Err(problem) => return not_started(case, &problem, log),
            }
        }
        for &(deployment, signal, value) in &case.signals {
            self.table.set(deployment, signal, value);
        }
        for (attempt, outcome) in (0..).zip(&case.outcomes) {
            self.router.observe(&Outcome { seed: self.last, attempt, ..outcome.clone() });
        }
        let restored = if self.suite.forgets { None } else { Some(self.restored(case)?) };
        let (mut answers, mut said) = (Vec::new(), Vec::new());
        let mut fuel = 0;
        for _ in 0..case.repeat {
            let seed = seed::derive(self.setup.seed, self.asked);
            let ask = case.ask(self.now, seed, &self.table, &self.setup, self.router.needs());
            self.last = ask.question.seed;
            self.asked += 1;
            answers.push(Answer::of(&self.router, &ask));
            if said.is_empty() && matches!(answers.last(), Some(Answer::Fault(_))) {
                log.append(&mut self.router.take_log());
                said.clone_from(&log);
            }
            fuel = fuel.max(self.router.report().fuel.map_or(0, |(last, _)| last));
        }
        log.append(&mut self.router.take_log());
        Ok(Run { answers, fuel, log, said, restored, needs: Some(self.router.needs().clone()) })
    }

    /// Another router from what this one has saved.
    fn fresh(&self) -> Result<Arc<Router>, PolicyProblem> {
        Router::start(Arc::clone(self.component), self.setup.clone(), self.router.save())
    }

    fn restored(&self, case: &Case) -> Result<(Answer, Vec<LogLine>), String> {
        let fresh = match self.fresh() {
            Ok(fresh) => fresh,
            Err(problem) => {
                let answer = Answer::not_started(&problem);
                let answer = answer.map_err(|problem| format!("case `{}`, started again: {problem}", case.name))?;
                return Ok((answer, Vec::new()));
            }
        };
        let seed = seed::derive(self.setup.seed, self.asked);
        let answer = Answer::of(&fresh, &case.ask(self.now, seed, &self.table, &self.setup, fresh.needs()));
        Ok((answer, fresh.take_log()))
    }
}

/// What comes of a case whose router cannot be started.
fn not_started(case: &Case, problem: &PolicyProblem, log: Vec<LogLine>) -> Result<Run, String> {
    let answer = Answer::not_started(problem).map_err(|problem| format!("case `{}`: {problem}", case.name))?;
    Ok(Run::without_questions(answer, log))
}
