//! `witgate spend`: what requests cost, out of the ledger.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::config::{self, LedgerSettings};
use crate::start;
use crate::store::{By, Period, Place, Spend};
use crate::virtual_key::VirtualKey;

use super::{SpendArgs, SpendBy, SpendFormat, environment, fail, say, serve};

/// Prints the sums.
pub(super) fn spend(arguments: SpendArgs) -> ExitCode {
    let by = match arguments.by {
        SpendBy::Day => By::Day,
        SpendBy::Deployment => By::Deployment,
        SpendBy::Key => By::Key,
        SpendBy::Model => By::Model,
        SpendBy::Provider => By::Provider,
        SpendBy::Tag => By::Tag,
        SpendBy::Team => By::Team,
    };
    let (format, period) = (arguments.format, Period { since: arguments.since, until: arguments.until });
    let told = place(arguments.config.as_deref(), arguments.ledger)
        .and_then(|(place, keys)| Ok((place.read()?.spend(by, &period)?, keys)));
    match told {
        Ok((mut lines, keys)) => {
            // Of two names that a key has, the configuration's is in force.
            for line in lines.iter_mut().filter(|_| by == By::Key) {
                let configured = keys.iter().find(|key| key.hash.id().as_str() == line.name);
                line.alias = configured.map(VirtualKey::label).or(line.alias.take());
            }
            print(&lines, format);
        }
        Err(problem) => {
            return fail(format!("{problem}\nhint: `witgate: {{ledger: {{}}}}` in the configuration keeps a ledger"));
        }
    }
    ExitCode::SUCCESS
}

/// The file that is named, else where a gateway with this configuration keeps it; and the keys it gives.
pub(super) fn place(config: Option<&Path>, ledger: Option<PathBuf>) -> Result<(Place, Vec<VirtualKey>), String> {
    let mut keys = Vec::new();
    let (mut told, mut state) = (LedgerSettings::default(), serve::state_folder(config));
    if let Some(path) = config {
        let settings = config::load(path, &environment).map_err(|problems| problems.to_string())?.settings;
        state = settings.state_dir.or(state);
        told = settings.ledger.unwrap_or_default();
        keys = settings.payers.keys;
    }
    let place = match ledger {
        Some(file) => Place::File(file),
        None => start::place(told, state)?,
    };
    Ok((place, keys))
}

fn print(lines: &[Spend], format: SpendFormat) {
    match format {
        SpendFormat::Json => {
            let list: Vec<_> = lines
                .iter()
                .map(|line| {
                    json!({
                        "name": line.name,
                        "alias": line.alias,
                        "requests": line.requests,
                        "input_tokens": line.input_tokens,
                        "output_tokens": line.output_tokens,
                        "cost_usd": line.cost_nano_usd.as_usd(),
                        "unpriced": line.unpriced,
                    })
                })
                .collect();
            say(json!(list));
        }
        SpendFormat::Csv => {
            say("name,requests,input_tokens,output_tokens,cost_usd,unpriced,alias");
            for line in lines {
                let Spend { name, alias, requests, input_tokens, output_tokens, cost_nano_usd, unpriced } = line;
                say(format_args!(
                    "{},{requests},{input_tokens},{output_tokens},{cost_nano_usd},{unpriced},{}",
                    field(name),
                    field(alias.as_deref().unwrap_or_default())
                ));
            }
        }
        SpendFormat::Table => {
            say(format_args!(
                "{:<32} {:>10} {:>14} {:>14} {:>14}",
                "NAME", "REQUESTS", "INPUT TOKENS", "OUTPUT TOKENS", "COST USD"
            ));
            for line in lines {
                let Spend { name, alias, requests, input_tokens, output_tokens, cost_nano_usd, unpriced } = line;
                let note = if *unpriced > 0 { format!("  {unpriced} at unknown prices") } else { String::new() };
                let name = if name.is_empty() { "(none)" } else { alias.as_ref().unwrap_or(name) };
                say(format_args!(
                    "{name:<32} {requests:>10} {input_tokens:>14} {output_tokens:>14} {:>14.6}{note}",
                    cost_nano_usd.as_usd()
                ));
            }
        }
    }
}

/// A field of CSV. Names are clients' words: one that a spreadsheet would take for a formula gets a quote before it.
fn field(name: &str) -> String {
    let formula = name.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let safe = if formula { format!("'{name}") } else { name.to_owned() };
    if safe.contains([',', '"', '\n', '\r']) { format!("\"{}\"", safe.replace('"', "\"\"")) } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_field_and_no_formula() {
        let cases = [("plain", "plain"), ("a,b", "\"a,b\""), ("say \"x\"", "\"say \"\"x\"\"\""), ("=1+1", "'=1+1")];
        for (name, expected) in cases {
            assert_eq!(field(name), expected);
        }
    }
}
