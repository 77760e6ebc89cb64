//! What a component is, read from its bytes before anything is compiled: the role and version from the name
//! of the interface it exports (a built component keeps no world name), what it wants imported, the schema of its
//! settings, and what it needs of the operator.

use wasmparser::{Encoding, Parser, Payload};

use super::custom_section::SETTINGS_SCHEMA;
use super::manifest::{MANIFEST, PolicyManifest};
use super::problem::PolicyProblem;
use super::settings_schema::SettingsSchema;

/// What a policy may import.
const GIVEN: [&str; 2] = ["witgate:policy/log@0.1.0", "witgate:policy/tokens@0.1.0"];
const NAMESPACE: &str = "witgate:policy/";
const SERVED: &str = "0.1.0";

/// What a policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Which deployments serve a request.
    Router,
    /// What the model is told.
    PromptBuilder,
    /// What the client reads of a reply.
    ResponseParser,
    /// How a provider is spoken to.
    Provider,
}

impl Role {
    /// Every role, with the interface that a component exports in it.
    const INTERFACES: [(&'static str, Self); 4] = [
        ("routing", Self::Router),
        ("prompting", Self::PromptBuilder),
        ("parsing", Self::ResponseParser),
        ("providing", Self::Provider),
    ];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::PromptBuilder => "prompt-builder",
            Self::ResponseParser => "response-parser",
            Self::Provider => "provider",
        }
    }

    /// The section of the configuration that names a group's policy of this role; deployments name their provider's.
    #[must_use]
    pub const fn section(self) -> Option<&'static str> {
        match self {
            Self::Router => Some("routers"),
            Self::PromptBuilder => Some("prompt_builders"),
            Self::ResponseParser => Some("response_parsers"),
            Self::Provider => None,
        }
    }

    /// The interface that a component exports in it, without its version.
    #[must_use]
    pub fn interface(self) -> &'static str {
        Self::INTERFACES.into_iter().find(|(_, role)| *role == self).map_or("", |(interface, _)| interface)
    }

    fn of_interface(name: &str) -> Option<Self> {
        Self::INTERFACES.into_iter().find(|(interface, _)| *interface == name).map(|(_, role)| role)
    }
}

/// What a component says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Its roles, at least one: a component may build prompts and read the replies to them.
    pub roles: Vec<Role>,
    /// The version of the roles' interfaces it was built against.
    pub version: String,
    /// What it imports, in the component's order.
    pub imports: Vec<String>,
    /// What its settings must be, where it says so.
    pub schema: Option<SettingsSchema>,
    /// What it needs of the operator; nothing where it does not say.
    pub manifest: PolicyManifest,
}

impl Inspection {
    /// Its roles, as a list in words.
    #[must_use]
    pub fn role_names(&self) -> String {
        self.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Reads a component's roles, version and imports, and refuses what no policy may be. Nothing is compiled.
///
/// # Errors
/// Not a component, no or an unknown interface of ours, a version not served, an import no policy is given, a schema or a
/// manifest that cannot be used.
pub fn inspect(bytes: &[u8], allow_wasi_stubs: bool) -> Result<Inspection, PolicyProblem> {
    let Outside { imports, exports, schema, manifest } = outside(bytes)?;
    let (roles, version) = roles(&exports)?;
    check_imports(&imports, allow_wasi_stubs)?;
    let manifest = manifest.unwrap_or_default();
    manifest.suits(&roles).map_err(PolicyProblem::Manifest)?;
    Ok(Inspection { roles, version, imports, schema, manifest })
}

/// What the outermost component has: names of imports and exports, the schema of its settings, its manifest.
#[derive(Default)]
struct Outside {
    imports: Vec<String>,
    exports: Vec<String>,
    schema: Option<SettingsSchema>,
    manifest: Option<PolicyManifest>,
}

fn outside(bytes: &[u8]) -> Result<Outside, PolicyProblem> {
    let damaged = |error: wasmparser::BinaryReaderError| PolicyProblem::NotWasm(error.to_string());
    let (mut found, mut depth) = (Outside::default(), 0_usize);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(damaged)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(PolicyProblem::CoreModule),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    found.imports.push(import.map_err(damaged)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    found.exports.push(export.map_err(damaged)?.name.name.to_owned());
                }
            }
            Payload::CustomSection(section) if depth == 0 && section.name() == SETTINGS_SCHEMA => {
                if found.schema.is_some() {
                    return Err(PolicyProblem::Schema("there are two".to_owned()));
                }
                found.schema = Some(SettingsSchema::read(section.data()).map_err(PolicyProblem::Schema)?);
            }
            Payload::CustomSection(section) if depth == 0 && section.name() == MANIFEST => {
                if found.manifest.is_some() {
                    return Err(PolicyProblem::Manifest("there are two".to_owned()));
                }
                found.manifest = Some(PolicyManifest::read(section.data()).map_err(PolicyProblem::Manifest)?);
            }
            _ => {}
        }
    }
    Ok(found)
}

fn roles(exports: &[String]) -> Result<(Vec<Role>, String), PolicyProblem> {
    let ours = exports.iter().filter_map(|export| export.strip_prefix(NAMESPACE).map(|rest| (export, rest)));
    let mut roles = Vec::new();
    for (export, rest) in ours {
        let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
        let Some(role) = Role::of_interface(interface) else { continue };
        if version != SERVED {
            return Err(PolicyProblem::Version { found: export.clone(), served: SERVED });
        }
        roles.push(role);
    }
    if !roles.is_empty() {
        return Ok((roles, SERVED.to_owned()));
    }
    let found = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
    Err(PolicyProblem::NoRole { found })
}

fn check_imports(imports: &[String], allow_wasi_stubs: bool) -> Result<(), PolicyProblem> {
    let (wasi, others): (Vec<_>, Vec<_>) = imports.iter().partition(|import| import.starts_with("wasi:"));
    if !wasi.is_empty() && !allow_wasi_stubs {
        let imports = wasi.into_iter().cloned().collect();
        return Err(PolicyProblem::Wasi { imports, policy: "NAME".to_owned() });
    }
    match others.into_iter().find(|import| !GIVEN.contains(&import.as_str())) {
        Some(import) => Err(PolicyProblem::Import(import.clone())),
        None => Ok(()),
    }
}
