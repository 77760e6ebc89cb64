//! `cargo xtask prove`: claims about the running gateway that a test is too short for.

use std::path::Path;

mod crowd;
mod folder;
mod reload;

const USAGE: &str = "\
cargo xtask prove reload [--swaps N]

  Swaps a policy and the configuration under load, bad files in between: no request fails, every outcome is counted.
  300 swaps unless told otherwise.
";

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let swaps = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["reload"] => 300,
        ["reload", "--swaps", swaps] => swaps.parse().map_err(|_| USAGE.to_owned())?,
        _ => return Err(USAGE.to_owned()),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("this crate has no workspace")?;
    reload::prove(root, swaps)
}
