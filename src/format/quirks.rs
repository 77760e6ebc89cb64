//! What a provider that imitates a format takes otherwise than the one it imitates, as data (`data/providers.json`).
//!
//! A field under another name is sent under that name. A field that is refused is left out, and reported where a client sent
//! it. Whoever imitates well has no quirks, and pays nothing for those who have.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::call_id::IdRule;
use crate::chat::Rest;

/// One provider's quirks.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// Fields of the request it refuses.
    refuses: BTreeSet<String>,
    /// Fields of the request it knows by another name: theirs, and its own.
    renames: BTreeMap<String, String>,
    /// Roles of messages it knows by another name.
    roles: BTreeMap<String, String>,
    /// Fields of a message, of its parts and of tools that it refuses.
    message_refuses: BTreeSet<String>,
    /// Fields of a message's parts and of tools that it takes from clients of any dialect.
    keeps: BTreeSet<String>,
    /// Which ids of tool calls it takes.
    call_ids: IdRule,
    /// What becomes of an assistant's thinking in a conversation.
    thought: Thought,
    /// How its models are asked to think.
    effort: Effort,
    /// Which budgets or levels of thinking its models take, where they are asked in such.
    thinking: Thinking,
    /// How files and recordings are said.
    attachments: Attachments,
    /// Whose body a request for vectors has, where each model has its own.
    vectors: VectorBody,
    /// What its models take of sampling.
    sampling: Sampling,
    /// How a reply that fits a schema is asked for.
    schemas: Schemas,
    /// Whether its models take no recordings.
    no_audio: bool,
    /// Whether its models cannot be told that they must call a tool.
    no_forced_calls: bool,
    /// Which names of tools and of end users it takes.
    names: Names,
    /// Whether it fetches no file that stands at an address where others have the id of one that is kept: other gateways do, and models may.
    no_file_addresses: bool,
    /// What the assistant is to have said before a user speaks after a tool's result, where the provider refuses that order.
    bridge: Option<String>,
    /// What it wants said that the one whose format it is lets go without saying.
    wants: BTreeSet<Want>,
    /// Where its models take marks of what is to be cached.
    cache_points: CachePoints,
    /// What its models know of what Anthropic tries out under a name, where they are asked in another format.
    betas: BTreeSet<String>,
}

/// What a provider wants said.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub(super) enum Want {
    /// That a last message of the assistant's is the beginning of the reply (`prefix`).
    Prefix,
    /// That a tool takes nothing.
    Parameters,
    /// Only the tools that may be called: it knows no choice among some of them.
    AllowedTools,
    /// A signature under the first call of each turn, or a word that there is none.
    Signatures,
    /// The last word by somebody else: its models take no beginning of the reply.
    LastWord,
    /// Instructions in one message before all others.
    InstructionsFirst,
    /// Words in each turn of the assistant's that calls nothing.
    Words,
}

/// Which names of tools and of end users are taken.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Names {
    /// Any, of clients that speak its format: it is not known to refuse any.
    #[default]
    Any,
    /// Those that the vendor takes whose format it is. Others are refused.
    Checked,
}

/// What models take of sampling.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sampling {
    /// All of it.
    #[default]
    Any,
    /// A temperature up to 1 or `top_p`, and `top_k`.
    One,
    /// None: it is fixed.
    Fixed,
    /// All of it where the model is told not to think, and none else.
    BesideNone,
    /// All of it unless the model is asked to think, which it does not by itself, and none then.
    UnlessAsked,
}

/// How a reply that fits a schema is asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Schemas {
    /// By the format's own field.
    #[default]
    Field,
    /// In words: the provider knows none, or none with these models (or none of these beside tools, where its format has a field).
    Words,
}

/// Where models take marks of what is to be cached.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum CachePoints {
    /// Wherever a client puts one.
    #[default]
    Anywhere,
    /// Among instructions and in the conversation, for the usual time, and not among tools.
    Said,
    /// Nowhere.
    Nowhere,
}

impl CachePoints {
    /// The same among tools.
    pub(super) const fn among_tools(self) -> Self {
        match self {
            Self::Anywhere => Self::Anywhere,
            Self::Said | Self::Nowhere => Self::Nowhere,
        }
    }
}

/// Whose body a request for vectors has.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum VectorBody {
    /// None is asked for.
    #[default]
    None,
    /// One text, and vectors of one length.
    TitanText,
    /// One text, and a length.
    Titan,
    /// The same, beside pictures.
    TitanImage,
    /// One text with a purpose.
    Nova,
    /// Texts of one kind.
    Cohere,
}

/// How files and recordings are said.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Attachments {
    /// As objects of their own.
    #[default]
    Objects,
    /// As addresses, which may hold the data: `document_url`, and a recording as a text.
    Addresses,
}

/// What becomes of an assistant's thinking in a conversation.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Thought {
    /// Unsigned thinking of a client of the same dialect goes back the way it came, in chats as `reasoning_content`.
    #[default]
    Unsigned,
    /// It must come back as `reasoning_content`, whatever client had it told.
    Wanted,
    /// It goes back as a part of the content.
    Part,
    /// It goes back with its signatures, in `reasoning_details`.
    Details,
    /// It is left out: the provider refuses it.
    Refused,
    /// It goes back under the provider's own signature alone, which is verified.
    Signed,
}

/// How much thinking a model takes.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Thinking {
    /// The least tokens.
    pub(super) least: u32,
    /// The most, where that is known.
    pub(super) most: Option<u32>,
    /// It cannot be told not to think.
    pub(super) always: bool,
    /// It takes no budget of tokens: how much it thinks it finds out itself, at an effort.
    pub(super) no_budget: bool,
    /// It is told a level and no budget: these, the least first. It always thinks where `none` is not among them.
    pub(super) levels: Vec<Level>,
}

impl Thinking {
    /// The word that is sent for an effort: that of the next level which the model knows, or of its greatest. The effort as it is
    /// where nothing is known of either.
    pub(super) fn word<'a>(&self, effort: &'a str) -> &'a str {
        let Some(wanted) = Level::named(effort) else { return effort };
        let level = self.levels.iter().find(|level| **level >= wanted).or(self.levels.last());
        level.map_or(effort, |level| level.word())
    }
}

/// A level of thinking.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
    /// As much as it finds right, by a word of its own: that it thinks is all that it can be told.
    Default,
}

impl Level {
    /// The level that clients mean by a word.
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "none" => Self::None,
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" => Self::Xhigh,
            "max" => Self::Max,
            _ => return None,
        })
    }

    /// What it is called.
    const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
            Self::Default => "default",
        }
    }
}

/// How models are asked to think.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Effort {
    /// By the provider's own word for an effort.
    #[default]
    Word,
    /// By a budget of tokens.
    Budget,
    /// They find out themselves, at an effort.
    Adaptive,
    /// By a word within `reasoning`.
    Nested,
    /// By the greatest effort, within `reasoningConfig`.
    Greatest,
    /// Not at all.
    Never,
}

/// No quirks at all.
pub static NO_QUIRKS: Quirks = Quirks {
    refuses: BTreeSet::new(),
    renames: BTreeMap::new(),
    roles: BTreeMap::new(),
    message_refuses: BTreeSet::new(),
    keeps: BTreeSet::new(),
    call_ids: IdRule::Any,
    thought: Thought::Unsigned,
    effort: Effort::Word,
    thinking: Thinking { least: 0, most: None, always: false, no_budget: false, levels: Vec::new() },
    attachments: Attachments::Objects,
    sampling: Sampling::Any,
    schemas: Schemas::Field,
    no_audio: false,
    no_forced_calls: false,
    names: Names::Any,
    no_file_addresses: false,
    bridge: None,
    vectors: VectorBody::None,
    wants: BTreeSet::new(),
    cache_points: CachePoints::Anywhere,
    betas: BTreeSet::new(),
};

impl Quirks {
    /// Nothing is refused any more. Which levels of thinking there are stays: an effort is only spelled otherwise by them.
    pub(crate) fn refuse_nothing(&mut self) {
        self.refuses.clear();
        self.message_refuses.clear();
        (self.sampling, self.effort, self.names) = (Sampling::Any, Effort::Word, Names::Any);
        if self.thought == Thought::Refused {
            self.thought = Thought::Unsigned;
        }
    }

    /// Nobody verifies any more under whose signature thinking comes back.
    pub(crate) fn verify_nothing(&mut self) {
        if self.thought == Thought::Signed {
            self.thought = Thought::Unsigned;
        }
    }

    /// The name a field is sent under; `None` where it is left out.
    pub(super) fn field<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if self.refuses.contains(name) {
            return None;
        }
        Some(self.renames.get(name).map_or(name, String::as_str))
    }

    /// Which ids of tool calls it takes.
    pub(super) const fn call_ids(&self) -> IdRule {
        self.call_ids
    }

    /// What becomes of thinking.
    pub(super) const fn thought(&self) -> Thought {
        self.thought
    }

    /// How its models are asked to think.
    pub(super) const fn effort(&self) -> Effort {
        self.effort
    }

    /// Which budgets or levels of thinking its models take.
    pub(super) const fn thinking(&self) -> &Thinking {
        &self.thinking
    }

    /// How files and recordings are said.
    pub(super) const fn attachments(&self) -> Attachments {
        self.attachments
    }

    /// Whether it refuses names that are too long or hold other signs.
    pub(super) const fn checks_names(&self) -> bool {
        matches!(self.names, Names::Checked)
    }

    /// Whether it fetches no file that stands at an address.
    pub(super) const fn no_file_addresses(&self) -> bool {
        self.no_file_addresses
    }

    /// Whose body a request for vectors has.
    pub(super) const fn vectors(&self) -> VectorBody {
        self.vectors
    }

    /// Where its models take marks of what is to be cached.
    pub(super) const fn cache_points(&self) -> CachePoints {
        self.cache_points
    }

    /// What its models take of sampling.
    pub(super) const fn sampling(&self) -> Sampling {
        self.sampling
    }

    /// How a reply that fits a schema is asked for.
    pub(super) const fn schemas(&self) -> Schemas {
        self.schemas
    }

    /// Whether its models take no recordings.
    pub(super) const fn no_audio(&self) -> bool {
        self.no_audio
    }

    /// Whether its models cannot be told that they must call a tool.
    pub(super) const fn no_forced_calls(&self) -> bool {
        self.no_forced_calls
    }

    /// What the assistant is to have said before a user speaks after a tool's result.
    pub(super) fn bridge(&self) -> Option<&str> {
        self.bridge.as_deref()
    }

    /// Whether its models know what Anthropic tries out under this name.
    pub(super) fn knows_beta(&self, name: &str) -> bool {
        self.betas.contains(name)
    }

    /// Whether it wants this said.
    pub(super) fn wants(&self, want: Want) -> bool {
        self.wants.contains(&want)
    }

    /// What it takes otherwise, in short words, for documentation.
    #[cfg(test)]
    pub(crate) fn told(&self) -> Vec<String> {
        let mut told: Vec<String> = self.refuses.iter().map(|name| format!("-`{name}`")).collect();
        told.extend(self.message_refuses.iter().map(|name| format!("-`messages[].{name}`")));
        told.extend(self.keeps.iter().map(|name| format!("+`messages[].{name}` of every API's clients")));
        let renames = self.renames.iter().chain(&self.roles);
        told.extend(renames.map(|(name, theirs)| format!("`{name}`→`{theirs}`")));
        match self.call_ids {
            IdRule::Any => {}
            IdRule::Longest(most) | IdRule::Word(most) => told.push(format!("ids of calls up to {most}")),
            IdRule::Exactly(length) => told.push(format!("ids of calls of {length} letters")),
        }
        match self.thought {
            Thought::Unsigned => {}
            Thought::Wanted => told.push("wants thinking back".to_owned()),
            Thought::Part => told.push("takes thinking back as content".to_owned()),
            Thought::Details => told.push("takes thinking back with its signatures".to_owned()),
            Thought::Refused => told.push("takes no thinking back".to_owned()),
            Thought::Signed => told.push("takes no unsigned thinking back".to_owned()),
        }
        if self.checks_names() {
            told.push("names in its own letters, up to 64".to_owned());
        }
        if self.schemas == Schemas::Words {
            told.push("schemas in words".to_owned());
        }
        if self.effort == Effort::Never {
            told.push("takes no effort".to_owned());
        }
        if self.thinking.always {
            told.push("always thinks".to_owned());
        }
        if self.thinking.no_budget {
            told.push("takes no budget of thinking".to_owned());
        }
        if self.no_forced_calls {
            told.push("takes no call of a tool that is forced".to_owned());
        }
        if !self.thinking.levels.is_empty() {
            told.push(format!("thinks at the levels {:?}", self.thinking.levels).to_lowercase());
        }
        if self.thinking.least > 0 {
            told.push(format!("thinks with {} tokens or more", self.thinking.least));
        }
        if let Some(most) = self.thinking.most {
            told.push(format!("thinks with {most} tokens at most"));
        }
        if let Some(words) = &self.bridge {
            told.push(format!("the assistant says `{words}` between a tool's result and a user"));
        }
        told.extend(self.wants.iter().map(|want| {
            let words = match want {
                Want::Prefix => "+`prefix` where the assistant spoke last",
                Want::Parameters => "+`parameters` of tools",
                Want::AllowedTools => "-tools that are not allowed",
                Want::Signatures => "+a word that a call has no signature",
                Want::LastWord => "takes no beginning of the reply",
                Want::InstructionsFirst => "instructions in one message before all others",
                Want::Words => "-turns in which the assistant says nothing",
            };
            words.to_owned()
        }));
        told.extend(self.betas.iter().map(|name| format!("+`{name}`")));
        if self.attachments == Attachments::Addresses {
            told.push("`file`→`document_url`".to_owned());
        }
        told
    }

    /// Whether it refuses this field of a message.
    pub(super) fn refuses_of_messages(&self, name: &str) -> bool {
        self.message_refuses.contains(name)
    }

    /// Whether it takes any of these fields of a part or a tool, whatever client wrote them.
    pub(super) fn keeps_any(&self, rest: &Rest) -> bool {
        self.keeps.iter().any(|name| rest.get(name).is_some_and(|value| !value.is_null()))
    }

    /// Whether it takes this field of a part or a tool, whatever client wrote it.
    pub(super) fn keeps(&self, name: &str) -> bool {
        self.keeps.contains(name)
    }

    /// The name of a role.
    pub(super) fn role<'a>(&'a self, name: &'a str) -> &'a str {
        self.roles.get(name).map_or(name, String::as_str)
    }

    /// The same fields but those `without`, as this provider takes them; `None` where that makes no difference. Refused ones
    /// are named in `dropped`.
    pub(super) fn fields(&self, rest: &Rest, without: &[&str], dropped: &mut Vec<String>) -> Option<Rest> {
        let unknown = |name: &String| !self.refuses.contains(name) && !self.renames.contains_key(name);
        if rest.keys().all(unknown) {
            return None;
        }
        let mut taken = Rest::new();
        for (name, value) in rest.iter().filter(|(name, _)| !without.contains(&name.as_str())) {
            match self.field(name) {
                Some(name) => drop(taken.insert(name.to_owned(), value.clone())),
                None if !value.is_null() => dropped.push(name.clone()),
                None => {}
            }
        }
        Some(taken)
    }
}
