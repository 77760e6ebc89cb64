use witgate_policy::{Ask, Request, Router, Setup, Signals, Traits};

use super::Thrifty;

fn configure(settings: &str) -> Result<Thrifty, String> {
    let setup = Setup { settings: settings.to_owned(), deployments: Vec::new(), seed: 1, state: None };
    Thrifty::configure(setup).map(|(thrifty, _)| thrifty)
}

/// The order of deployments that cost and fail so much.
fn order(settings: &str, costs: &[f32], failures: &[f32]) -> Vec<u32> {
    let names = ["cost-usd", "failure-rate"].map(str::to_owned);
    let values = [costs, failures].concat();
    let request = Request {
        now_ms: 0,
        seed: 1,
        input_tokens: 100,
        expected_output_tokens: 100,
        max_output_tokens: None,
        priority: 0,
        deadline_ms: None,
        traits: Traits::empty(),
    };
    let ask = Ask { request, features: Vec::new(), attributes: Vec::new() };
    let ranking = configure(settings).unwrap().route(&ask, Signals::new(&names, &values, costs.len())).unwrap();
    ranking.deployments
}

#[test]
fn the_cheapest_comes_first_and_an_unknown_price_last() {
    assert_eq!(order("{}", &[f32::NAN, 0.03, 0.01], &[0.0, 0.0, f32::NAN]), [2, 1, 0]);
}

#[test]
fn failures_make_it_dearer() {
    assert_eq!(order("{}", &[0.01, 0.02], &[0.5, 0.0]), [1, 0]);
    assert_eq!(order(r#"{"penalty": 0}"#, &[0.01, 0.02], &[0.5, 0.0]), [0, 1]);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    assert_eq!(configure(r#"{"penalty": -1}"#).err().unwrap(), "setting `penalty` must be a number, 0 to 1000");
    assert_eq!(configure(r#"{"limit": 1}"#).err().unwrap(), "unknown setting `limit`; this policy knows: penalty");
}
