//! From a core module to a component, in this process. A module's own description of its interfaces is used where its
//! tools left one; else it is that of the project's world.

use std::fmt::Display;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{KitProblem, World};

/// Answers what language runtimes ask of WASI: an empty environment, a clock of its own, numbers of one seed, and output
/// that goes nowhere. Only what a module imports of it ends up in the component.
const STAND_IN: &str = include_str!("stand_in.wat");
const WASI: &str = "wasi_snapshot_preview1";

/// Wraps a module that says itself what its interfaces are. `tool` is what made it.
pub(super) fn described(module: &[u8], tool: &'static str) -> Result<Vec<u8>, KitProblem> {
    let encoder = ComponentEncoder::default().validate(true);
    let component = encoder.module(module).and_then(|mut encoder| encoder.encode());
    component.map_err(|error| no_policy(tool, format_args!("{error:#}")))
}

/// Wraps a module whose exports are named as the canonical ABI names those of `world` in the folder `wit`, and which may
/// ask for WASI.
pub(super) fn plain(mut module: Vec<u8>, wit: &Path, world: World, tool: &'static str) -> Result<Vec<u8>, KitProblem> {
    let stand_in = wat::parse_str(STAND_IN).map_err(|error| no_policy("the stand-in for WASI", error))?;
    let mut resolve = Resolve::default();
    let described = resolve.push_dir(wit).and_then(|(package, _)| {
        let world = resolve.select_world(&[package], Some(world.as_str()))?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
    });
    let encoder = ComponentEncoder::default().validate(true);
    let component = described
        .and_then(|()| encoder.module(&module)?.adapter(WASI, &stand_in))
        .and_then(|mut encoder| encoder.encode());
    component.map_err(|error| no_policy(tool, format_args!("{error:#}")))
}

fn no_policy(tool: &'static str, cause: impl Display) -> KitProblem {
    KitProblem::Component { tool, cause: cause.to_string() }
}
