//! The report: one page with everything in it, readable without a network, its charts drawn in place.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::found::{Failures, Found, Measured};
use super::{Experiment, Plan, plan};

/// How pages look.
pub(crate) const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{text-align:right;padding:.25rem .6rem;border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}\
svg{width:100%;height:auto;background:#fafafa;border:1px solid #eee}text{font:11px system-ui,sans-serif;fill:#444}\
.end{text-anchor:end}.bar{fill:#3a6ea5}.limit{stroke:#b3261e;stroke-width:1.5;stroke-dasharray:5 3}.axis{stroke:#bbb}code{font-size:.85em;word-break:break-all}";

/// The page.
pub(super) fn page(
    experiment: &Experiment,
    found: &Found,
    done: &Plan,
    calibration: &Value,
    manifest: &Value,
) -> String {
    let mut out = String::new();
    let name = escaped(&experiment.file.name);
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{name}</title><style>{STYLE}</style></head><body><h1>{name}</h1><p>{} of {} items are answered, {} failed; {} tokens, {}. \
         Begun {}, as of {}.</p>",
        done.models.iter().map(|model| model.items).sum::<usize>(),
        experiment.items.len(),
        done.failing,
        done.total_estimated_tokens,
        done.cost_usd.map_or_else(|| "the cost is not known".to_owned(), |cost| format!("${:.4}", cost.expected)),
        escaped(text_of(manifest, "begun")),
        escaped(text_of(manifest, "ended")),
    );
    models(&mut out, done);
    quality(&mut out, &found.measured, done);
    for model in done.models.iter().filter(|model| !model.tokens_by_minute.is_empty()) {
        by_minute(&mut out, &model.model, &model.tokens_by_minute, model.tokens_per_minute);
    }
    waiting(&mut out, found);
    foretold(&mut out, calibration);
    failures(&mut out, experiment, &found.failures);
    let _ = writeln!(
        out,
        "<h2>What it was made of</h2><p>witgate {}, experiment <code>{}</code>, prompt <code>{}</code>. The rest is in <code>manifest.json</code>.</p></body></html>",
        escaped(text_of(manifest, "witgate")),
        escaped(text_of(manifest, "sha256")),
        escaped(text_of(manifest, "prompt_sha256")),
    );
    out
}

fn models(out: &mut String, done: &Plan) {
    out.push_str(
        "<h2>Models</h2><table><tr><th>model</th><th>answered</th><th>requests</th><th>input</th><th>output</th><th>USD</th>\
         <th>minutes</th><th>limit used</th><th>waited, min</th><th>429s</th></tr>",
    );
    for model in &done.models {
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.0}</td><td>{}</td><td>{:.1}</td><td>{:.0} %</td><td>{:.1}</td><td>{}</td></tr>",
            escaped(&model.model),
            model.items,
            model.calls,
            model.input_tokens,
            model.output_tokens.expected,
            model.cost_usd.map_or_else(|| "–".to_owned(), |cost| format!("{:.4}", cost.expected)),
            model.minutes,
            model.utilization * 100.0,
            model.waited_minutes,
            model.rate_limited,
        );
    }
    out.push_str("</table>");
}

/// Cost of an item against the mean of the measured field.
fn quality(out: &mut String, measured: &Measured, done: &Plan) {
    const WIDE: f64 = 600.0;
    const HIGH: f64 = 240.0;
    let Some(field) = measured.field() else { return };
    let points: Vec<(&str, f64, f64)> = done
        .models
        .iter()
        .filter_map(|model| {
            #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
            let cost = model.cost_usd?.expected / model.items.max(1) as f64;
            Some((model.model.as_str(), cost, measured.mean(&model.model)?))
        })
        .collect();
    let most = |of: fn(&(&str, f64, f64)) -> f64| points.iter().map(of).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let (dearest, best) = (most(|point| point.1), most(|point| point.2));
    let _ = write!(
        out,
        "<h2>Cost against <code>{}</code></h2><svg viewBox=\"0 0 700 300\" role=\"img\"><line class=\"axis\" x1=\"60\" y1=\"270\" x2=\"680\" y2=\"270\"/>\
         <line class=\"axis\" x1=\"60\" y1=\"20\" x2=\"60\" y2=\"270\"/><text class=\"end\" x=\"680\" y=\"290\">USD an item, to {dearest:.5}</text>\
         <text x=\"6\" y=\"16\">mean {}, to {best:.2}</text>",
        escaped(field),
        escaped(field),
    );
    let place = |cost: f64, mean: f64| (60.0 + cost / dearest * (WIDE - 20.0), 270.0 - mean.max(0.0) / best * HIGH);
    let mut taken: Vec<Taken> = points.iter().map(|(_, cost, mean)| Taken::dot(place(*cost, *mean))).collect();
    for (model, cost, mean) in points {
        let (x, y) = place(cost, mean);
        let name = format!("{model} ({mean:.2})");
        let _ = write!(out, "<circle class=\"bar\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>");
        let (label, left) = Taken::label(&name, (x, y), &taken);
        let (class, at) = if left { (" class=\"end\"", x - 9.0) } else { ("", x + 9.0) };
        let _ = write!(out, "<text{class} x=\"{at:.1}\" y=\"{:.1}\">{}</text>", label.bottom - 3.0, escaped(&name));
        taken.push(label);
    }
    out.push_str("</svg>");
}

/// What is drawn already of a chart, where no name may be written.
struct Taken {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Taken {
    const LINE: f64 = 15.0;

    fn dot((x, y): (f64, f64)) -> Self {
        Self { left: x - 6.0, right: x + 6.0, top: y - 6.0, bottom: y + 6.0 }
    }

    /// Beside its dot, on the side with the room, and as many lines further down (or up, in the lower half) as others need; and
    /// whether it is on the left.
    fn label(name: &str, (x, y): (f64, f64), taken: &[Self]) -> (Self, bool) {
        #[expect(clippy::cast_precision_loss, reason = "the width of a name")]
        let wide = name.chars().count() as f64 * 6.6;
        let on_left = x + 9.0 + wide > 695.0;
        let left = if on_left { x - 9.0 - wide } else { x + 9.0 };
        let step = if y < 150.0 { Self::LINE } else { -Self::LINE };
        let mut label = Self { left, right: left + wide, top: y - 8.0, bottom: y + 7.0 };
        while taken.iter().any(|other| label.meets(other)) && label.top > Self::LINE && label.bottom < 255.0 {
            label.top += step;
            label.bottom += step;
        }
        (label, on_left)
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }
}

/// Tokens of each minute against the limit; of many minutes, the mean of several in one bar.
pub(crate) fn by_minute(out: &mut String, title: &str, tokens: &[u64], limit: Option<u64>) {
    const WIDE: f64 = 620.0;
    const HIGH: f64 = 130.0;
    const MOST_BARS: usize = 310;
    let number = plan::number;
    let together = tokens.len().div_ceil(MOST_BARS).max(1);
    let mean = |minutes: &[u64]| number(minutes.iter().sum()) / number(minutes.len() as u64);
    let bars: Vec<f64> = tokens.chunks(together).map(mean).collect();
    let most = bars.iter().copied().chain(limit.map(number)).fold(1.0, f64::max);
    let each = WIDE / number(bars.len().max(1) as u64);
    let _ = write!(
        out,
        "<h2>Tokens by minute: {}</h2><svg viewBox=\"0 0 700 170\" role=\"img\"><line class=\"axis\" x1=\"60\" y1=\"150\" x2=\"680\" y2=\"150\"/>\
         <text x=\"6\" y=\"24\">{most:.0}</text><text x=\"6\" y=\"152\">0</text><text class=\"end\" x=\"680\" y=\"165\">minute {}</text>",
        escaped(title),
        tokens.len(),
    );
    for (bar, tokens) in bars.iter().enumerate() {
        let high = tokens / most * HIGH;
        let x = 60.0 + number(bar as u64) * each;
        let _ = write!(
            out,
            "<rect class=\"bar\" x=\"{x:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{high:.2}\"><title>minute {}: {tokens:.0} tokens</title></rect>",
            150.0 - high,
            (each * 0.9).max(0.3),
            bar * together + 1,
        );
    }
    if let Some(limit) = limit {
        let y = 150.0 - number(limit) / most * HIGH;
        let _ = write!(
            out,
            "<line class=\"limit\" x1=\"60\" y1=\"{y:.2}\" x2=\"680\" y2=\"{y:.2}\"/><text class=\"end\" x=\"680\" y=\"{:.2}\">limit {limit}</text>",
            y - 4.0
        );
    }
    out.push_str("</svg>");
}

/// Lines of a chart that can be told apart; the next ones begin anew.
const COLOURS: [&str; 8] = ["#3a6ea5", "#b3261e", "#2e7d32", "#8e5bb5", "#c77700", "#00838f", "#6d4c41", "#546e7a"];

/// One line of a chart.
pub(crate) struct Curve<'c> {
    /// What it is called.
    pub(crate) name: &'c str,
    /// Its points, in the order of their first number.
    pub(crate) points: Vec<(f64, f64)>,
}

/// What stands at a chart's axes.
pub(crate) struct Axes<'a> {
    /// Left, middle and right below it.
    pub(crate) ticks: [&'a str; 3],
    /// What follows the numbers beside it.
    pub(crate) unit: &'a str,
    /// Whether it begins at 0 whatever the points are.
    pub(crate) from_zero: bool,
}

/// Several lines in one chart; nothing where there is nothing to draw.
pub(crate) fn curves(out: &mut String, title: &str, lines: &[Curve<'_>], axes: &Axes<'_>) {
    let all = || lines.iter().flat_map(|line| &line.points).copied();
    let most = |of: fn((f64, f64)) -> f64| all().map(of).fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = (if axes.from_zero { 0.0 } else { -most(|point| -point.1) }, most(|point| point.1));
    let (left, right) = (-most(|point| -point.0), most(|point| point.0));
    if high <= low || !high.is_finite() {
        return;
    }
    let tall = 290 + 18 * lines.len();
    let Axes { ticks: [first, middle, last], unit, .. } = axes;
    let digits = if high - low < 2.0 { 3 } else { 1 };
    let _ = write!(
        out,
        "<h2>{}</h2><svg viewBox=\"0 0 700 {tall}\" role=\"img\"><line class=\"axis\" x1=\"60\" y1=\"250\" x2=\"680\" y2=\"250\"/>\
         <line class=\"axis\" x1=\"60\" y1=\"20\" x2=\"60\" y2=\"250\"/><text x=\"6\" y=\"24\">{high:.digits$}{unit}</text>\
         <text x=\"6\" y=\"254\">{low:.digits$}{unit}</text><text x=\"60\" y=\"268\">{first}</text><text x=\"340\" y=\"268\">{middle}</text>\
         <text x=\"612\" y=\"268\">{last}</text>",
        escaped(title),
    );
    let wide = (right - left).max(f64::MIN_POSITIVE);
    for (place, line) in lines.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        let point = |(x, y): &(f64, f64)| {
            format!("{:.1},{:.1}", 60.0 + (x - left) / wide * 620.0, 250.0 - (y - low) / (high - low) * 230.0)
        };
        let points = line.points.iter().map(point).collect::<Vec<_>>().join(" ");
        let y = 290 + 18 * place;
        let _ = write!(
            out,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <rect x=\"60\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/><text x=\"82\" y=\"{y}\">{}</text>",
            y - 6,
            escaped(line.name),
        );
    }
    out.push_str("</svg>");
}

fn foretold(out: &mut String, calibration: &Value) {
    let models = calibration.get("models").and_then(Value::as_array);
    out.push_str("<h2>The plan against the run</h2><table><tr><th>model</th><th>input tokens</th><th>output tokens</th><th>USD</th><th>minutes</th></tr>");
    for model in models.into_iter().flatten() {
        let _ = write!(out, "<tr><td>{}</td>", escaped(text_of(model, "model")));
        for (name, digits) in [("input_tokens", 0), ("output_tokens", 0), ("cost_usd", 4), ("minutes", 1)] {
            let number = |which: &str| model.get(name)?.get(which)?.as_f64();
            let _ = match (number("planned"), number("done"), number("ratio")) {
                (Some(planned), Some(done), ratio) => write!(
                    out,
                    "<td>{planned:.digits$} → {done:.digits$}{}</td>",
                    ratio.map_or_else(String::new, |ratio| format!(" ({:+.1} %)", (ratio - 1.0) * 100.0))
                ),
                _ => write!(out, "<td>–</td>"),
            };
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
}

/// How long calls waited for limits, by the minute in which they were sent.
fn waiting(out: &mut String, found: &Found) {
    let by_minute = found.waits.by_minute();
    // Milliseconds are no waiting for a limit.
    if !by_minute.values().flatten().flatten().any(|seconds| *seconds >= 1.0) {
        return;
    }
    let minutes = by_minute.values().map(Vec::len).max().unwrap_or_default();
    let curve = |(name, waits): (&'_ String, &'_ Vec<Option<f64>>)| {
        let points = waits.iter().zip(1_u64..).filter_map(|(wait, minute)| Some((plan::number(minute), (*wait)?)));
        (name.clone(), points.collect::<Vec<_>>())
    };
    let drawn: Vec<(String, Vec<(f64, f64)>)> = by_minute.iter().map(curve).collect();
    let lines: Vec<Curve<'_>> =
        drawn.iter().map(|(name, points)| Curve { name: name.as_str(), points: points.clone() }).collect();
    let axes = Axes { ticks: ["minute 1", "", &format!("minute {minutes}")], unit: " s", from_zero: true };
    curves(out, "Waiting for limits, on average, by the minute of sending", &lines, &axes);
}

/// A bar for each name.
fn bars(out: &mut String, title: &str, counts: &BTreeMap<String, usize>) {
    let most = counts.values().copied().max().unwrap_or_default().max(1) as u64;
    let tall = 20 + 22 * counts.len();
    let _ = write!(out, "<h2>{}</h2><svg viewBox=\"0 0 700 {tall}\" role=\"img\">", escaped(title));
    for (place, (name, count)) in counts.iter().enumerate() {
        let (y, wide) = (10 + 22 * place, plan::number(*count as u64) / plan::number(most) * 420.0);
        let _ = write!(
            out,
            "<text x=\"6\" y=\"{}\">{}</text><rect class=\"bar\" x=\"190\" y=\"{y}\" width=\"{wide:.1}\" height=\"16\"/>\
             <text x=\"{:.1}\" y=\"{}\">{count}</text>",
            y + 13,
            escaped(name),
            wide + 198.0,
            y + 13,
        );
    }
    out.push_str("</svg>");
}

fn failures(out: &mut String, experiment: &Experiment, failures: &Failures) {
    if failures.told().is_empty() {
        return;
    }
    bars(out, "Failures by kind", failures.kinds());
    out.push_str("<h2>Failures, one by one</h2><table><tr><th>text</th><th>run</th><th>kind</th><th>reason</th></tr>");
    for (item, failure) in failures.told() {
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&experiment.texts[experiment.items[*item].text].id),
            escaped(&experiment.run_of(*item).id),
            escaped(&failure.kind),
            escaped(&failure.reason)
        );
    }
    out.push_str("</table>");
    let all: usize = failures.kinds().values().sum();
    if let Some(more) = all.checked_sub(failures.told().len()).filter(|more| *more > 0) {
        let _ = write!(out, "<p>{more} more are in <code>dead-letter.jsonl</code>.</p>");
    }
}

fn text_of<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Text as a page may hold it: names and reasons are others' words.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
