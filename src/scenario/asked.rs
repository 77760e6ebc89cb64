//! What a component asks for and needs, role by role, and the lines of a configuration that grant it.

use serde::Serialize;

use crate::policy::{BuilderNeeds, Needs, ParserNeeds, PolicyManifest, ProviderNeeds, Role};
use crate::signal::{Attribute, Feature, Signal};

/// What a policy asked for in one of its roles when it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The role.
    pub role: &'static str,
    /// Columns of numbers, one for each deployment.
    pub signals: Vec<&'static str>,
    /// Facts about the prompt.
    pub features: Vec<String>,
    /// Facts as text.
    pub attributes: Vec<String>,
    /// Kinds of what a model says, for a response parser.
    pub deltas: Vec<&'static str>,
    /// Whether tokens must be counted.
    pub exact_tokens: bool,
    /// Whether nothing of one call is remembered at the next.
    pub pure: bool,
    /// What the policy's entry in the configuration must say beside its name.
    pub grants: Vec<String>,
    /// The section of the configuration whose entries those are; a provider has none.
    #[serde(skip)]
    section: Option<&'static str>,
}

/// The name it asked for: a vector once.
fn asked_as(feature: Feature) -> Option<String> {
    match feature {
        Feature::Embedding { place: 0, of } => Some(format!("embedding/{of}")),
        Feature::Embedding { .. } => None,
        single => Some(single.name().into_owned()),
    }
}

impl Asked {
    pub(super) fn by_router(needs: &Needs, manifest: PolicyManifest) -> Self {
        Self {
            signals: needs.signals.iter().copied().map(Signal::as_str).collect(),
            features: needs.features.iter().copied().filter_map(asked_as).collect(),
            exact_tokens: needs.exact_tokens,
            ..Self::new(Role::Router, &needs.attributes, needs.pure, manifest)
        }
    }

    pub(super) fn by_builder(needs: &BuilderNeeds, manifest: PolicyManifest) -> Self {
        Self::new(Role::PromptBuilder, &needs.attributes, needs.pure, manifest)
    }

    pub(super) fn by_parser(needs: &ParserNeeds, manifest: PolicyManifest) -> Self {
        Self {
            deltas: needs.kinds().collect(),
            ..Self::new(Role::ResponseParser, &needs.attributes, needs.pure, manifest)
        }
    }

    pub(super) fn by_provider(needs: &ProviderNeeds, manifest: PolicyManifest) -> Self {
        Self::new(Role::Provider, &[], needs.pure, manifest)
    }

    fn new(role: Role, attributes: &[Attribute], pure: bool, manifest: PolicyManifest) -> Self {
        let granted = attributes.iter().filter(|attribute| attribute.needs_grant());
        // As JSON writes them, which is YAML too whatever a name holds.
        let granted: Vec<String> = granted.map(|attribute| quoted(&attribute.to_string())).collect();
        let may_read = (!granted.is_empty()).then(|| format!("may_read: [{}]", granted.join(", ")));
        let declared = manifest.needs(role).map(|key| format!("{key}: true"));
        Self {
            role: role.as_str(),
            signals: Vec::new(),
            features: Vec::new(),
            attributes: attributes.iter().map(ToString::to_string).collect(),
            deltas: Vec::new(),
            exact_tokens: false,
            pure,
            grants: may_read.into_iter().chain(declared).collect(),
            section: role.section(),
        }
    }

    /// In one line.
    pub(super) fn told(&self) -> String {
        let lists = [
            ("signals", self.signals.join(", ")),
            ("features", self.features.join(", ")),
            ("attributes", self.attributes.join(", ")),
            ("deltas", self.deltas.join(", ")),
        ];
        let lists =
            lists.into_iter().filter(|(_, names)| !names.is_empty()).map(|(kind, names)| format!("{kind} {names}"));
        let flags = [(self.exact_tokens, "exact tokens"), (self.pure, "pure")];
        let flags = flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag.to_owned());
        let all: Vec<String> = lists.chain(flags).collect();
        if all.is_empty() { "nothing".to_owned() } else { all.join("; ") }
    }
}

/// The lines of a configuration that grant all of it to the policy `name`, for a group to be named; empty where nothing has to be
/// granted.
pub(super) fn grant_lines(name: &str, asked: &[Asked], manifest: PolicyManifest) -> Vec<String> {
    let mut lines = Vec::new();
    for Asked { grants, section, .. } in asked {
        if let (Some(section), false) = (section, grants.is_empty()) {
            lines.push(format!("  {section}:"));
            lines.push(format!("    GROUP: {{policy: {}, {}}}", quoted(name), grants.join(", ")));
        }
    }
    if manifest.allow_wasi_stubs {
        lines.push(format!("  policies: {{allow_wasi_stubs: [{}]}}", quoted(name)));
    }
    if !lines.is_empty() {
        lines.insert(0, "witgate:".to_owned());
    }
    lines
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
