//! Why a policy is not taken into service. Every message says what is wrong and what to do about it; the
//! caller adds the policy's name and file.

use std::time::Duration;

use super::fault::PolicyFault;
use super::settings_schema::SettingsRefusal;
use super::store::LogLine;
use crate::id::PolicyName;

/// Why a component was refused, or the engine could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyProblem {
    /// wasmtime refused our configuration, or the machine cannot run it.
    #[error(
        "the WebAssembly engine cannot be set up on this machine: {0}; it reserves two TiB of address space, without \
         using it, so a limit on that (`ulimit -v`) must be lifted"
    )]
    Engine(String),
    /// The folder for compiled policies cannot be used.
    #[error("the folder for compiled policies, `{folder}`, cannot be used: {cause}; {hint}")]
    CacheFolder {
        /// The folder.
        folder: String,
        /// What is wrong with it.
        cause: String,
        /// What to do.
        hint: &'static str,
    },
    /// The file is larger than a component may be.
    #[error("the component has {bytes} bytes, {limit} are allowed; strip it, or raise the limit")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not WebAssembly, or damaged.
    #[error("not a WebAssembly component: {0}; build it anew, or copy it again where it was not copied whole")]
    NotWasm(String),
    /// A core module, which has no interface types.
    #[error(
        "a core WebAssembly module, as compilers leave it, and not a component; `witgate policy build FOLDER` makes a component of a \
         policy's project, FOLDER/NAME.wasm"
    )]
    CoreModule,
    /// It exports none of our interfaces.
    #[error(
        "exports no interface of a policy (found: {found}); a router exports `witgate:policy/routing@0.1.0`, a prompt builder `prompting`, a response parser `parsing`, a provider `providing`"
    )]
    NoRole {
        /// The exports it has.
        found: String,
    },
    /// One of our interfaces in a version we do not serve.
    #[error("exports `{found}`, and this gateway serves {served}; rebuild it against the files in wit/")]
    Version {
        /// The export.
        found: String,
        /// The versions served, as a list.
        served: &'static str,
    },
    /// The schema of its settings cannot be used.
    #[error("carries a schema of its settings that cannot be used: {0}; wit/README.md says what a schema may hold")]
    Schema(String),
    /// Its manifest cannot be used.
    #[error("carries a manifest that cannot be used: {0}; wit/README.md says what a manifest may hold")]
    Manifest(String),
    /// It needs what the configuration does not grant.
    #[error(
        "says in its manifest that it needs `{key}`, which the configuration does not grant; add `{key}: true` beside the policy's \
         name (`witgate.{section}.{group}.{key}: true`)"
    )]
    NotGranted {
        /// The grant, as the configuration names it.
        key: &'static str,
        /// The section of the configuration that has it.
        section: &'static str,
        /// The group whose entry it belongs to.
        group: String,
    },
    /// It imports something no policy is given.
    #[error(
        "imports `{0}`, which no policy is given; only `witgate:policy/log@0.1.0` and `tokens@0.1.0` may be imported"
    )]
    Import(String),
    /// It imports WASI.
    #[error(
        "imports {}, and policies get no WASI; build for wasm32-unknown-unknown, or let it in with every such call a trap: \
         `witgate.policies.allow_wasi_stubs: [{policy}]` in the configuration, `--allow-wasi-stubs` on the command line",
        imports.join(", ")
    )]
    Wasi {
        /// What it imports of it.
        imports: Vec<String>,
        /// The policy's name, where it is known.
        policy: String,
    },
    /// The compiler refused it.
    #[error("does not compile: {0}")]
    Compile(String),
    /// The compiler was stopped.
    #[error("was still compiling after {} s and was stopped; make it smaller, or raise the limit", .0.as_secs_f32())]
    CompileTimeout(Duration),
    /// It compiled but its exports or imports are not those of the interface.
    #[error("does not fit the interface: {0}")]
    Interface(String),
    /// `configure` said no, or its schema of them.
    #[error("refused its configuration: {0}")]
    Configure(SettingsRefusal),
    /// A call failed while it was set up.
    #[error("failed in `{call}` while it was set up: it {fault}")]
    Setup {
        /// Which call.
        call: &'static str,
        /// How.
        fault: PolicyFault,
    },
    /// It takes a state without a word and leaves it out.
    #[error("knows no more with it than without one")]
    StateLeftOut,
    /// It fails on what every policy is put to.
    #[error("fails on {what}: it {fault}")]
    Trial {
        /// What it was put to.
        what: &'static str,
        /// How it failed.
        fault: PolicyFault,
    },
    /// It wants an attribute that takes a grant, and has none.
    #[error(
        "wants the attribute `{0}`, which the configuration does not let it read; add it to `may_read` beside the policy's name \
         (a router's is `witgate.routers.GROUP.may_read: [\"{0}\"]`)"
    )]
    Ungranted(String),
    /// It wants what no policy is told.
    #[error("wants what it is not told: {0}")]
    NeverTold(String),
    /// It wants a signal, a feature or an attribute there is not.
    #[error("wants the {kind} `{name}`, which this gateway does not have; it has {known}")]
    UnknownNeed {
        /// "signal", "feature" or "attribute".
        kind: &'static str,
        /// The name it gave.
        name: String,
        /// All there are.
        known: String,
    },
    /// It is asked to do what it has no exports for.
    #[error(
        "is a {found}, and no {wanted}; each role is named under a key of its own: `routers`, `prompt_builders`, `response_parsers`, \
         a deployment's `provider_policy`"
    )]
    WrongRole {
        /// The roles it has.
        found: String,
        /// The one that is wanted of it.
        wanted: &'static str,
    },
    /// It wants more than a policy may ask for.
    #[error("wants {asked} {kind}s, at most {limit} may be asked for")]
    TooManyNeeds {
        /// "signal", "feature" or "attribute".
        kind: &'static str,
        /// How many.
        asked: usize,
        /// How many may be.
        limit: usize,
    },
    /// The policy it is to succeed is already replaced, or being replaced.
    #[error("the policy it is to succeed is already replaced or being replaced; prepare from the newest one")]
    AlreadySucceeded,
}

impl PolicyProblem {
    /// The policy's own refusal of its settings.
    pub(in crate::policy) fn refused(words: String) -> Self {
        Self::Configure(words.into())
    }

    /// The same, with what the policy said last where a call of it failed and says nothing itself.
    #[must_use]
    pub(super) fn in_its_words(self, log: &[LogLine]) -> Self {
        match self {
            Self::Setup { call, fault } => Self::Setup { call, fault: fault.in_its_words(log) },
            Self::Trial { what, fault } => Self::Trial { what, fault: fault.in_its_words(log) },
            other => other,
        }
    }

    /// Whether it is a call that failed, with one set of settings or one state, while all else about the component is well.
    pub(crate) const fn is_fault(&self) -> bool {
        matches!(self, Self::Setup { .. } | Self::Trial { .. })
    }

    /// The same, with the policy's name where what to do about it depends on that.
    #[must_use]
    pub fn about(self, name: &PolicyName) -> Self {
        match self {
            Self::Wasi { imports, .. } => Self::Wasi { imports, policy: name.to_string() },
            other => other,
        }
    }
}
