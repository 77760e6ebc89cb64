//! Builds guests to core modules with cargo and wraps them as components.

use std::path::Path;
use std::process::Command;

use wit_component::ComponentEncoder;

#[path = "../../../src/policy/host/custom_section.rs"]
mod custom_section;

/// Nothing of WASI, so nothing to stub.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// What a component decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Router,
    PromptBuilder,
    ResponseParser,
    Provider,
}

impl Role {
    /// The role and its interface, as the lock has them.
    pub(crate) const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Router => ("router", "witgate:policy/routing@0.1.0"),
            Self::PromptBuilder => ("prompt-builder", "witgate:policy/prompting@0.1.0"),
            Self::ResponseParser => ("response-parser", "witgate:policy/parsing@0.1.0"),
            Self::Provider => ("provider", "witgate:policy/providing@0.1.0"),
        }
    }

    /// What the names of its crates begin with.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::PromptBuilder => "prompt",
            Self::ResponseParser => "parser",
            Self::Provider => "provider",
        }
    }
}

impl Guest {
    /// One that is shipped: the policy's name is the crate's without its role.
    pub(crate) fn shipped(name: &str, role: Role) -> Self {
        let crate_name = format!("{}-{name}", role.prefix());
        Self { crate_name, name: name.to_owned(), role, features: "", manifest: None }
    }
}

/// A guest crate and what its component is called.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) crate_name: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) features: &'static str,
    /// The manifest of a crate outside the workspace, which has no profile for guests.
    pub(crate) manifest: Option<&'static str>,
}

/// A component.
pub(crate) struct Built {
    pub(crate) guest: Guest,
    pub(crate) bytes: Vec<u8>,
}

/// Whether the compiler can build for [`TARGET`].
pub(crate) fn target_is_there() -> Result<bool, String> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("rustc: {error}"))?;
    let folder = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(folder.trim()).is_dir())
}

pub(crate) fn all(root: &Path, guests: &[Guest]) -> Result<Vec<Built>, String> {
    guests.iter().map(|guest| one(root, guest)).collect()
}

fn one(root: &Path, guest: &Guest) -> Result<Built, String> {
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    let home = home.map_err(|error| format!("neither CARGO_HOME nor HOME is set: {error}"))?;
    // A component must not tell where it was built.
    let flags = format!("--remap-path-prefix={home}=cargo --remap-path-prefix={}=.", root.display());
    let (manifest, profile) = guest.manifest.map_or(("Cargo.toml", "guest"), |manifest| (manifest, "release"));
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .env("RUSTFLAGS", flags)
        .args(["build", "--quiet", "--locked", "--manifest-path", manifest, "--profile", profile, "--target", TARGET])
        .args(["--target-dir", "target/guest", "--package", &guest.crate_name, "--features", guest.features])
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err(format!("building `{}` failed", guest.crate_name));
    }
    let file = format!("target/guest/{TARGET}/{profile}/{}.wasm", guest.crate_name.replace('-', "_"));
    let module = std::fs::read(root.join(&file)).map_err(|error| format!("{file}: {error}"))?;
    let bytes = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("`{}` is no component: {error:#}", guest.crate_name))?;
    let bytes = with_schema(root, guest, bytes)?;
    Ok(Built { guest: guest.clone(), bytes })
}

/// The component with the JSON schema of its settings, where `plugins/` has one. The gateway's tests load what is built, and with
/// it the schema.
fn with_schema(root: &Path, guest: &Guest, mut bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let file = format!("plugins/{}/settings.schema.json", guest.crate_name);
    let path = root.join(&file);
    if path.exists() {
        let schema = std::fs::read(path).map_err(|error| format!("{file}: {error}"))?;
        custom_section::append(&mut bytes, custom_section::SETTINGS_SCHEMA, &schema);
    }
    Ok(bytes)
}
