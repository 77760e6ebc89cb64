//! The `witgate` command.

fn main() {}
