//! The tables people read, and the numbers held against goals and floors.

use super::decisions::{Decision, SIZES};
use super::load::{Case, Cell};
use super::roles::PerDelta;
use super::stats::median;
use super::upstream::CHUNKS;

/// The router whose decisions are held against the goals.
const JUDGED: &str = "tpm-aware";

/// One round of one case, all paths one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) direct: Cell,
    pub(crate) nginx: Cell,
    pub(crate) witgate: Cell,
    /// The gateway named by `--beside`.
    pub(crate) other: Option<Cell>,
    /// The group with a builder and a parser beside its router.
    pub(crate) dressed: Option<Cell>,
}

impl Row {
    /// Requests per second and CPU per request, as shares of the other gateway's.
    fn of_other(&self) -> Option<(f64, f64)> {
        self.other.map(|other| (self.witgate.per_second / other.per_second, self.witgate.cpu / other.cpu))
    }
}

/// One path's cell of a row.
type PathOf = fn(&Row) -> Cell;

/// Everything a run measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// Every round, by case.
    pub(crate) rounds: Vec<(Case, Row)>,
    pub(crate) decisions: Vec<Decision>,
    /// Microseconds of a request's reservations, all scopes.
    pub(crate) reserving: Option<f64>,
    pub(crate) deltas: Vec<PerDelta>,
    /// MiB after the first reply, and the most after any round.
    pub(crate) memory: Option<(f64, f64)>,
    /// The same of nginx, all its processes.
    pub(crate) nginx_memory: f64,
    /// Milliseconds from the start of the process to the first reply, with compiled policies kept, and without.
    pub(crate) starts: Option<(f64, f64)>,
}

/// Something with a goal, and sometimes a floor that must not be missed.
struct Judged {
    what: &'static str,
    value: f64,
    unit: &'static str,
    goal: f64,
    floor: Option<f64>,
    more_is_better: bool,
}

impl Judged {
    const fn at_most(what: &'static str, value: f64, unit: &'static str, goal: f64) -> Self {
        Self { what, value, unit, goal, floor: None, more_is_better: false }
    }

    const fn at_least(what: &'static str, value: f64, unit: &'static str, goal: f64) -> Self {
        Self { what, value, unit, goal, floor: None, more_is_better: true }
    }

    const fn floor(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }

    /// Whether the value is as good as `bound`. What is not a number is not.
    fn reaches(&self, bound: f64) -> bool {
        if self.more_is_better { self.value >= bound } else { self.value <= bound }
    }

    fn verdict(&self) -> &'static str {
        match self.floor {
            _ if self.reaches(self.goal) => "goal reached",
            Some(floor) if !self.reaches(floor) => "**below the floor**",
            _ => "goal missed",
        }
    }
}

impl Measured {
    /// The tables, in Markdown.
    pub(crate) fn tables(&self) -> String {
        let mut lines = Vec::new();
        if !self.rounds.is_empty() {
            lines.push(
                "| case | path | requests/s | of nginx | p50 µs | p99 µs | added p50 µs | first byte p50 µs | CPU µs/request |"
                    .to_owned(),
            );
            lines.push("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |".to_owned());
            lines.extend(Case::ALL.into_iter().flat_map(|case| self.case(case)));
            lines.push(String::new());
        }
        if self.rounds.iter().any(|(_, row)| row.other.is_some()) {
            lines.push(
                "| beside the other gateway, medians of the rounds' ratios | requests/s | CPU/request |".to_owned(),
            );
            lines.push("| --- | ---: | ---: |".to_owned());
            lines.extend(Case::ALL.into_iter().map(|case| {
                let of_case = self.rounds.iter().filter(|(of, _)| *of == case);
                let (speed, cpu): (Vec<f64>, Vec<f64>) = of_case.filter_map(|(_, row)| row.of_other()).unzip();
                format!("| {} | {:.3} | {:.3} |", case.name(), median(speed), median(cpu))
            }));
            lines.push(String::new());
        }
        if !self.decisions.is_empty() {
            lines.extend(self.decision_lines());
            lines.push(String::new());
        }
        if !self.deltas.is_empty() {
            lines.push("| streams read by | a delta, p50 / p99 µs |".to_owned());
            lines.push("| --- | ---: |".to_owned());
            lines.extend(self.deltas.iter().map(|one| format!("| {} | {:.2} / {:.2} |", one.policy, one.p50, one.p99)));
            lines.push(String::new());
        }
        lines.push("| what | measured | goal | floor | |".to_owned());
        lines.push("| --- | ---: | ---: | ---: | --- |".to_owned());
        lines.extend(self.judged().iter().map(|judged| {
            let sign = if judged.more_is_better { "≥" } else { "≤" };
            let shown = |value: f64| format!("{value:.2} {}", judged.unit).trim_end().to_owned();
            let floor = judged.floor.map_or("–".to_owned(), |floor| format!("{sign} {}", shown(floor)));
            let (value, goal) = (shown(judged.value), shown(judged.goal));
            format!("| {} | {value} | {sign} {goal} | {floor} | {} |", judged.what, judged.verdict())
        }));
        if self.memory.is_some() {
            lines.push(format!("\nnginx held {:.1} MiB in three processes.", self.nginx_memory));
        }
        lines.join("\n")
    }

    /// Floors that are missed.
    pub(crate) fn missed(&self) -> Vec<String> {
        let below = |judged: &Judged| judged.floor.filter(|floor| !judged.reaches(*floor));
        let judged = self.judged();
        let missed = judged.iter().filter_map(|judged| Some((judged, below(judged)?)));
        missed
            .map(|(judged, floor)| format!("{}: {:.2} {}, floor {floor}", judged.what, judged.value, judged.unit))
            .collect()
    }

    fn case(&self, case: Case) -> Vec<String> {
        let paths: [(&str, PathOf); 3] =
            [("direct", |row| row.direct), ("nginx", |row| row.nginx), ("witgate", |row| row.witgate)];
        let line = |(name, path): (&str, PathOf)| {
            let of = |value: fn(&Cell) -> f64| self.middle(case, |row| value(&path(row)));
            let share = self.middle(case, |row| path(row).per_second / row.nginx.per_second);
            let added = self.middle(case, |row| path(row).p50 - row.direct.p50);
            let cpu = if name == "direct" { "–".to_owned() } else { format!("{:.1}", of(|cell| cell.cpu)) };
            format!(
                "| {} | {name} | {:.0} | {share:.2} | {:.0} | {:.0} | {added:.0} | {:.0} | {cpu} |",
                case.name(),
                of(|cell| cell.per_second),
                of(|cell| cell.p50),
                of(|cell| cell.p99),
                of(|cell| cell.first),
            )
        };
        paths.into_iter().map(line).collect()
    }

    fn decision_lines(&self) -> Vec<String> {
        let sizes = SIZES.map(|size| format!("{size} deployments p50 / p99 µs")).join(" | ");
        let mut lines = vec![format!("| decided by | {sizes} |"), "| --- | ---: | ---: | ---: |".to_owned()];
        for group in self.decisions.chunk_by(|left, right| left.policy == right.policy) {
            let cells: Vec<String> =
                group.iter().map(|decision| format!("{:.2} / {:.2}", decision.p50, decision.p99)).collect();
            let name = group.first().map(|decision| decision.policy.as_str()).unwrap_or_default();
            lines.push(format!("| {name} | {} |", cells.join(" | ")));
        }
        lines
    }

    fn judged(&self) -> Vec<Judged> {
        let mut judged = Vec::new();
        if !self.rounds.is_empty() {
            let share = self.middle(Case::ManyPlain, |row| row.witgate.per_second / row.nginx.per_second);
            let cpu = self.middle(Case::ManyPlain, |row| row.witgate.cpu);
            let streamed = self.middle(Case::ManyPaced, |row| row.witgate.cpu);
            let added = self.middle(Case::OnePlain, |row| row.witgate.p50 - row.direct.p50);
            let first = self.middle(Case::OneStreamed, |row| row.witgate.first - row.direct.first);
            judged.extend([
                Judged::at_least("throughput, 64 at once, of nginx's", share, "", 0.7).floor(0.35),
                Judged::at_most("CPU per request, 64 at once", cpu, "µs", 50.0).floor(100.0),
                Judged::at_most("added latency, one at a time, p50", added, "µs", 60.0),
                Judged::at_most("added time to the first byte, streamed, p50", first, "µs", 100.0),
                Judged::at_most("CPU per chunk, paced", (streamed - cpu) / f64::from(CHUNKS), "µs", 5.0),
            ]);
        }
        let (speed, cpu): (Vec<f64>, Vec<f64>) = self.rounds.iter().filter_map(|(_, row)| row.of_other()).unzip();
        if !speed.is_empty() {
            judged.extend([
                Judged::at_least("requests/s, of the other gateway's, all cases", median(speed), "", 1.0).floor(0.97),
                Judged::at_most("CPU per request, of the other gateway's, all cases", median(cpu), "", 1.0).floor(1.03),
            ]);
        }
        let decision = |size| {
            let found = self.decisions.iter().find(|one| one.policy == JUDGED && one.deployments == size);
            found.map(|decision| decision.p50)
        };
        judged.extend(
            decision(10)
                .map(|p50| Judged::at_most("one decision, tpm-aware, 10 deployments, p50", p50, "µs", 1.0).floor(2.0)),
        );
        judged.extend(
            decision(100).map(|p50| Judged::at_most("one decision, tpm-aware, 100 deployments, p50", p50, "µs", 2.0)),
        );
        if let Some(cycle) = self.reserving {
            let what = "a request's reservations, five scopes, ten deployments, five budgets, p50";
            judged.push(Judged::at_most(what, cycle, "µs", 0.5).floor(2.0));
        }
        if let Some(most) = self.deltas.iter().map(|one| one.p50).reduce(f64::max) {
            judged.push(Judged::at_most("a delta read by a parser, p50", most, "µs", 5.0).floor(10.0));
        }
        for (case, what) in [
            (Case::ManyPlain, "requests/s with builder and parser, of the router's alone, whole"),
            (Case::ManyStreamed, "requests/s with builder and parser, of the router's alone, streamed"),
        ] {
            let of_case = self.rounds.iter().filter(|(of, _)| *of == case);
            let shares: Vec<f64> = of_case
                .filter_map(|(_, row)| row.dressed.map(|dressed| dressed.per_second / row.witgate.per_second))
                .collect();
            if !shares.is_empty() {
                judged.push(Judged::at_least(what, median(shares), "", 0.85).floor(0.7));
            }
        }
        if let Some((idle, loaded)) = self.memory {
            judged.push(Judged::at_most("memory, idle", idle, "MiB", 40.0));
            judged.push(Judged::at_most("memory, under load", loaded, "MiB", 100.0));
        }
        if let Some((kept, cold)) = self.starts {
            judged.push(Judged::at_most("start to first reply, compiled policies kept", kept, "ms", 150.0));
            judged.push(Judged::at_most("start to first reply, nothing compiled", cold, "ms", 1000.0));
        }
        judged
    }

    /// The median of a value over all rounds of a case.
    fn middle(&self, case: Case, value: impl Fn(&Row) -> f64) -> f64 {
        median(self.rounds.iter().filter(|(of, _)| *of == case).map(|(_, row)| value(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(per_second: f64, cpu: f64) -> Cell {
        Cell { per_second, p50: 1e6 / per_second, p99: 2e6 / per_second, first: 1.0, cpu }
    }

    fn measured(per_second: f64, cpu: f64, p50: f64) -> Measured {
        let row = Row {
            direct: cell(4000.0, 0.0),
            nginx: cell(1000.0, 20.0),
            witgate: cell(per_second, cpu),
            other: None,
            dressed: None,
        };
        let decision = Decision { policy: JUDGED.to_owned(), deployments: 10, p50, p99: p50 };
        let rounds = Case::ALL.map(|case| (case, row)).to_vec();
        Measured { rounds, decisions: vec![decision], ..Measured::default() }
    }

    #[test]
    fn floors_are_missed_by_what_is_too_slow_and_by_what_is_no_number() {
        assert_eq!(measured(350.0, 100.0, 2.0).missed(), Vec::<String>::new());
        assert_eq!(measured(349.0, 100.1, 2.1).missed().len(), 3);
        assert_eq!(measured(f64::NAN, f64::NAN, f64::NAN).missed().len(), 3);
    }

    #[test]
    fn a_gateway_beside_is_a_floor_of_its_own() {
        let mut measured = measured(400.0, 90.0, 1.0);
        for (_, row) in &mut measured.rounds {
            row.other = Some(cell(400.0, 90.0));
        }
        assert_eq!(measured.missed(), Vec::<String>::new());
        assert!(measured.tables().contains("| 64 at once, whole | 1.000 | 1.000 |"));
        for (_, row) in &mut measured.rounds {
            row.other = Some(cell(420.0, 85.0));
        }
        assert_eq!(measured.missed().len(), 2);
    }

    #[test]
    fn a_table_tells_the_share_of_nginx() {
        let tables = measured(500.0, 60.0, 0.8).tables();
        assert!(tables.contains("| 64 at once, whole | witgate | 500 | 0.50 |"), "{tables}");
        assert!(
            tables.contains("| throughput, 64 at once, of nginx's | 0.50 | ≥ 0.70 | ≥ 0.35 | goal missed |"),
            "{tables}"
        );
    }
}
