//! The `witgate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    witgate::cli::run()
}
