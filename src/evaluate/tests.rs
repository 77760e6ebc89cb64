use std::io::BufReader;

use serde_json::{Map, json};

use super::*;
use crate::pipeline::Vector;
use crate::policy::Needs;
use crate::signal::Feature;

/// Two models: one good at sums and dear, one good at poems and cheap.
fn lines(count: usize) -> String {
    let line = |place: usize| {
        let (prompt, sums, poems) = match place % 2 {
            0 => ("Compute the sum of the numbers in this list, step by step, and explain why.", 0.9, 0.2),
            _ => ("Write a short poem about a river in the evening.", 0.5, 0.9),
        };
        format!(
            "{}\n",
            json!({"prompt": prompt, "models": {"sums": {"reward": sums, "cost": 0.001}, "poems": {"reward": poems, "cost": 0.0001}}})
        )
    };
    (0..count).map(line).collect()
}

fn data(count: usize) -> DataSet {
    data::read_lines("data.jsonl", BufReader::new(lines(count).as_bytes())).expect("data")
}

fn comparison() -> Comparison {
    Comparison { router: None, settings: Map::new(), seeds: 2, seed: 7, in_order: false }
}

#[test]
fn the_learner_learns_by_the_question_what_means_cannot() {
    let evaluation = compare(&data(400), &comparison()).expect("compared");
    let of = |name: &str| evaluation.contenders.iter().find(|one| one.name == name).expect(name);
    let (oracle, random) = (of("oracle"), of("random"));
    assert!(oracle.regret.mean.abs() < 1e-9 && random.regret.mean > 60.0, "{:?}", random.regret);
    assert!(of("linucb").regret.mean < 0.2 * random.regret.mean, "{:?}", of("linucb").regret);
    assert!(of("ucb1-linucb").worth.mean > of("ucb1").worth.mean + 0.05, "{:?}", of("ucb1-linucb").worth);
    assert!((of("always-best").shares[1] - 1.0).abs() < 1e-9 || of("always-best").quality.mean > 0.69);
    for one in &evaluation.contenders {
        assert!((one.shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{}", one.name);
    }
    let page = page(&evaluation);
    assert!(page.contains("<polyline") && page.contains("ucb1-linucb"), "{page}");
}

#[test]
fn any_router_is_compared_and_a_wrong_setting_is_named() {
    let other = Comparison { router: Some("cost-based".to_owned()), seeds: 1, ..comparison() };
    let evaluation = compare(&data(40), &other).expect("compared");
    let last = evaluation.contenders.last().expect("some");
    let again = compare(&data(40), &other).expect("compared");
    assert_eq!(Table(&again).to_string(), Table(&evaluation).to_string());
    // Played once, nothing is known of how far it is off.
    assert!(Table(&again).to_string().contains(" ± – ") && page(&again).contains(" ± –</td>"), "{}", Table(&again));
    assert!(last.worth.margin.is_none() && json!(last)["worth"]["margin"].is_null(), "{:?}", last.worth);
    assert!(last.name == "cost-based" && last.shares[0] > 0.99, "{:?} {:?}", evaluation.models, last.shares);
    let settings = json!({"exploration": "much"}).as_object().cloned().expect("an object");
    let why = compare(&data(40), &Comparison { settings, ..comparison() }).expect_err("wrong");
    assert!(why.contains("exploration"), "{why}");
    let why = compare(&data(40), &Comparison { router: Some("nobody".to_owned()), ..comparison() }).expect_err("none");
    assert!(why.contains("hint: "), "{why}");
}

#[test]
fn what_is_wrong_with_data_is_named_with_its_place() {
    let good = r#"{"models": {"a": {"reward": 1, "cost": 0}, "b": {"reward": 0, "cost": 0}}}"#;
    for (line, place, word) in [
        ("", "1:1", "prompt"),
        (r#"{"models": {"a": {"reward": 1, "cost": 0}}}"#, "1:1", "two models"),
        (r#"{"models": {"a": {"reward": 1, "cost": 0}, "b": {"reward": 2, "cost": 0}}}"#, "1:44", "`reward`"),
        (r#"{"models": {"a": {"reward": 1, "cost": -1}, "b": {"reward": 1, "cost": 0}}}"#, "1:13", "`cost`"),
        (r#"{"models": {"a": {"reward": 1, "cots": 1}}}"#, "1:37", "cots"),
    ] {
        let problems = data::read_lines("d", BufReader::new(line.to_owned().as_bytes())).map(drop);
        let why = problems.map_err(|problems| problems.join("\n"));
        let why = if line.is_empty() {
            data::read_lines("d", BufReader::new("\n".as_bytes())).map_err(|all| all.join("\n")).expect_err("empty")
        } else {
            why.expect_err(line)
        };
        assert!(why.starts_with(&format!("d:{place}: ")) && why.contains(word), "{line}: {why}");
    }
    let twice = format!("{good}\n{}\n", good.replace("\"b\"", "\"a\""));
    let problems = data::read_lines("d", BufReader::new(twice.as_bytes())).expect_err("a model twice");
    assert!(problems.len() == 1 && problems[0].starts_with("d:2:"), "{problems:?}");
    assert!(problems[0].contains("the model `a` stands here twice\nhint: "), "{problems:?}");
    let text = format!("{good}\n{}\n", good.replace("\"b\"", "\"c\""));
    let problems = data::read_lines("d", BufReader::new(text.as_bytes())).expect_err("other models");
    assert!(problems.len() == 1 && problems[0].starts_with("d:2:1: "), "{problems:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_told_once_and_without_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let problems = DataSet::read(folder.path()).expect_err("a folder is no file");
    let name = folder.path().display().to_string();
    assert!(problems.len() == 1 && problems[0].starts_with(&format!("{name}: ")), "{problems:?}");
    assert!(!problems[0].contains(":1:"), "{problems:?}");
}

#[test]
fn intervals_are_students() {
    let one = Interval::of(&[1.0, 2.0, 3.0]);
    assert!(
        (one.mean - 2.0).abs() < 1e-12 && (one.margin.expect("a margin") - 4.303 / 3.0_f64.sqrt()).abs() < 1e-9,
        "{one:?}"
    );
    let many: Vec<f64> = (0..21).map(f64::from).collect();
    // 2.086 at 20 degrees of freedom.
    let deviation = (many.iter().map(|value| (value - 10.0).powi(2)).sum::<f64>() / 20.0 / 21.0).sqrt();
    assert!((Interval::of(&many).margin.expect("a margin") / deviation - 2.086).abs() < 0.005);
}

#[test]
fn a_line_may_hold_the_vector_of_its_prompt_and_all_do_or_none() {
    let line = |embedding: Value| {
        json!({"prompt": "Hi", "embedding": embedding, "models": {"a": {"reward": 1, "cost": 0}, "b": {"reward": 0, "cost": 0}}}).to_string()
    };
    let read = |lines: &[String]| data::read_lines("d", BufReader::new(lines.join("\n").as_bytes()));
    let numbers = [0.1, -0.7, 0.2, 0.5];
    let data = read(&[line(json!(numbers)), line(json!(numbers.map(|number| number * 3.0)))]).expect("data");
    let features = (0..2).map(|place| Feature::Embedding { place, of: 2 }).collect();
    let needs = Needs { signals: Vec::new(), features, attributes: Vec::new(), exact_tokens: false, pure: false };
    let made = Vector::of(&numbers).expect("a direction");
    let [one, other] = [made.numbers()[0], made.numbers()[1]].map(f64::from);
    let length = one.hypot(other);
    for example in &data.examples {
        let told = example.features(&needs);
        assert!(
            (f64::from(told[0]) - one / length).abs() < 1e-5 && (f64::from(told[1]) - other / length).abs() < 1e-5,
            "{told:?}"
        );
    }
    for (lines, place, word) in [
        ([line(json!(numbers)), line(Value::Null)], "d:2:1: ", "or none has"),
        ([line(Value::Null), line(json!(numbers))], "d:2:1: ", "or none has"),
        ([line(json!([0, 0])), line(json!([]))], "d:1:1: ", "no direction"),
        ([line(json!(numbers)), line(json!([0.1, 0.2]))], "d:2:1: ", "has 2 numbers, and that of the first line 4"),
    ] {
        let problems = read(&lines).expect_err("a problem");
        assert!(problems[0].starts_with(place) && problems[0].contains(word), "{problems:?}");
    }
    let mut data = data;
    let why = data.embed(Path::new("none")).expect_err("it has vectors");
    assert!(why.contains("hint: "), "{why}");
    let mut plain = read(&[line(Value::Null)]).expect("data");
    assert!(plain.embed(Path::new("none")).expect_err("no folder").contains("none"));
}
