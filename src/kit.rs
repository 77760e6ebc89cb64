//! The policy kit: from an idea to a component. `new` writes a project in one of several languages, `build` makes its
//! component with that language's own tools, `watch` does so at every change, tests it and puts it into service.
//!
//! The rules kept here:
//! - A project builds as it was written, needs nothing of this repository, and holds the SDK it was written with.
//! - What `new` writes is what `examples/policies/` holds: the examples are the templates.
//! - A missing tool is named with the one line that installs it. Core modules are wrapped in this process.
//! - What `build` makes imports nothing that no policy is given; a language's runtime that asks for WASI gets a stand-in
//!   inside the component.

mod build;
mod manifest;
mod template;
mod watch;
mod wrap;

pub use build::{Built, build};
pub use manifest::Manifest;
pub use template::new;
pub use watch::{Round, Sources, newer_than_built, place, round};

use serde::Deserialize;

use crate::id::PolicyName;

/// A language that a policy can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// C, by zig or the WASI SDK.
    C,
    /// Go, by its standard toolchain.
    Go,
    /// JavaScript, run by `QuickJS` inside the component.
    JavaScript,
    /// Python, run by `CPython` inside the component.
    Python,
    /// Rust.
    Rust,
    /// TypeScript, bundled to JavaScript.
    TypeScript,
}

impl Language {
    /// All there are.
    pub const ALL: [Self; 6] = [Self::C, Self::Go, Self::JavaScript, Self::Python, Self::Rust, Self::TypeScript];

    /// The stable name: on the command line, in a manifest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Go => "go",
            Self::JavaScript => "javascript",
            Self::Python => "python",
            Self::Rust => "rust",
            Self::TypeScript => "typescript",
        }
    }

    /// The name as people write it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::C => "C",
            Self::Go => "Go",
            Self::JavaScript => "JavaScript",
            Self::Python => "Python",
            Self::Rust => "Rust",
            Self::TypeScript => "TypeScript",
        }
    }
}

/// A role that projects can be written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// Which deployments serve a request.
    Router,
    /// What the model is told.
    PromptBuilder,
    /// What the client reads of a reply.
    ResponseParser,
    /// How a provider is spoken to.
    Provider,
}

impl World {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Router, Self::PromptBuilder, Self::ResponseParser, Self::Provider];

    /// The world's name in `wit/`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::PromptBuilder => "prompt-builder",
            Self::ResponseParser => "response-parser",
            Self::Provider => "provider",
        }
    }
}

/// Why a project was not written or built: what, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KitProblem {
    /// The name is none for a policy.
    #[error("`{0}` cannot be a policy's name: {rule}", rule = PolicyName::RULE)]
    Name(String),
    /// There is something already.
    #[error("`{0}` is there already; choose another name, or another folder to work in")]
    Exists(String),
    /// A file cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        cause: String,
    },
    /// The folder has no manifest, or one that makes no sense.
    #[error("{path}: {cause}")]
    Manifest {
        /// The manifest.
        path: String,
        /// What is wrong, and what to do.
        cause: String,
    },
    /// A tool is not installed.
    #[error("{what} is not here, and a policy in {language} is built with it; install it: {install}")]
    Missing {
        /// The tool.
        what: &'static str,
        /// The language.
        language: &'static str,
        /// The command.
        install: String,
    },
    /// A tool is too old.
    #[error("{what} here is {found}, and a policy in {language} wants {least} or newer; install it: {install}")]
    Old {
        /// The tool.
        what: &'static str,
        /// Its version.
        found: String,
        /// The oldest that will do.
        least: String,
        /// The language.
        language: &'static str,
        /// The command.
        install: String,
    },
    /// A tool ran and failed; what it said is already on the terminal or stands here.
    #[error("`{command}` failed{said}")]
    Tool {
        /// What was run.
        command: String,
        /// What it said, after a colon, if that was kept.
        said: String,
    },
    /// What the tools made is no policy.
    #[error("what {tool} made is no policy: {cause}")]
    Component {
        /// The tool.
        tool: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// What would be put into service is not what the scenarios tested.
    #[error(
        "{component} ({digest}) is not put into service, because the scenarios tested something else: {tested}; write `policy: {name}` \
         there, and test again"
    )]
    Untested {
        /// The component that would be put there.
        component: String,
        /// The first digits of its digest.
        digest: String,
        /// Each scenario file that tested another one, and what that was.
        tested: String,
        /// How a scenario file of the project names the component.
        name: String,
    },
}

impl KitProblem {
    fn file(path: &std::path::Path, cause: impl std::fmt::Display) -> Self {
        Self::File { path: path.display().to_string(), cause: cause.to_string() }
    }
}

#[cfg(test)]
mod tests;
