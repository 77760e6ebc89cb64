//! Chores of this repository, as `cargo xtask VERB`. One module per verb.

#[cfg(feature = "gateway")]
mod bench;
mod policies;
#[cfg(feature = "gateway")]
mod prove;
#[cfg(feature = "gateway")]
mod release;

use std::io::Write as _;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask VERB

  bench              measure the gateway beside the bare upstream and nginx; `bench decisions`, --quick, --check, --profile, --gateway, --beside
  prove reload       swap policies and configurations under load and count everything; --swaps N
  prove hardening    what one request, probe, connection and provider may cost; --minutes N
  prove fuzz         changed fixtures through everything that reads strangers' bytes; --seconds N --seed N --keep
  prove limits       the token limits held and used to the full, on virtual time
  prove languages    one router in every language, from `witgate policy new` to deciding a request
  release            build the gateway twice, the second time by what the first was seen doing; a fifth faster
  policies           build the shipped policies into policies/ and write policies.lock
  policies --check   verify the lock; rebuild aside and compare behaviour, where a wasm target is installed
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (verb, rest) = match arguments.split_first() {
        Some((verb, rest)) => (verb.as_str(), rest),
        None => ("", [].as_slice()),
    };
    let done = match verb {
        #[cfg(feature = "gateway")]
        "bench" => bench::run(rest),
        #[cfg(feature = "gateway")]
        "prove" => prove::run(rest),
        #[cfg(feature = "gateway")]
        "release" => release::run(rest),
        "policies" => policies::run(rest),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            // Nobody is left to tell if the terminal is gone.
            let _ = writeln!(std::io::stderr(), "{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Tells the person at the terminal.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
