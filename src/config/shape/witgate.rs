//! `witgate`: our own section, in which an unknown key is a problem.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::allowance::{self, Named};
use super::embeddings::{self, EmbeddingEntry};
use super::judges::{self, JudgeEntry};
use super::keys::{self, KeyEntry};
use crate::catalog::{RollOut, WhenNone};
use crate::config::section::{Kind, Section};
use crate::config::yaml::{Entry, Place};
use crate::signal::{Attribute, AttributeError, Grant, Grants};

/// What it says.
pub(in crate::config) struct Witgate {
    pub(in crate::config) admin_key: Option<SecretString>,
    pub(in crate::config) token_usage_window: Option<Duration>,
    pub(in crate::config) margin: Option<f64>,
    pub(in crate::config) server: Server,
    pub(in crate::config) global: Global,
    pub(in crate::config) queue: Queue,
    /// Whether requests are refused while the server of shared limits does not answer.
    pub(in crate::config) refuse_unreachable: Option<bool>,
    pub(in crate::config) policies_dir: Option<PathBuf>,
    pub(in crate::config) state_dir: Option<PathBuf>,
    pub(in crate::config) ledger: Option<Ledger>,
    pub(in crate::config) decisions: Option<Decisions>,
    pub(in crate::config) keys: Vec<KeyEntry>,
    pub(in crate::config) teams: Vec<Named>,
    pub(in crate::config) tags: Vec<Named>,
    pub(in crate::config) groups: Vec<Named>,
    pub(in crate::config) unknown_price: Option<UnknownPriceRule>,
    pub(in crate::config) allow_wasi_stubs: Vec<String>,
    pub(in crate::config) routers: Vec<PolicyEntry<RouterGrants>>,
    pub(in crate::config) builders: Vec<PolicyEntry<BuilderGrants>>,
    pub(in crate::config) parsers: Vec<PolicyEntry<ParserGrants>>,
    pub(in crate::config) judges: Vec<JudgeEntry>,
    pub(in crate::config) embeddings: Vec<EmbeddingEntry>,
}

/// The policy of a group in one role, and what is particular to the role.
pub(in crate::config) struct PolicyEntry<G> {
    pub(in crate::config) at: Place,
    pub(in crate::config) group: String,
    pub(in crate::config) policy: Option<String>,
    /// JSON text.
    pub(in crate::config) settings: Option<super::PolicySettings>,
    /// What it may read of a request besides what every policy may.
    pub(in crate::config) may_read: Grants,
    pub(in crate::config) grants: G,
}

/// What one of `witgate.routers` may do.
pub(in crate::config) struct RouterGrants {
    pub(in crate::config) may_reject: Option<bool>,
    pub(in crate::config) when_none: Option<WhenNone>,
    pub(in crate::config) roll_out: Option<RollOut>,
    pub(in crate::config) asked_again: Option<Duration>,
}

/// What one of `witgate.prompt_builders` may do.
pub(in crate::config) struct BuilderGrants {
    pub(in crate::config) may_reject: Option<bool>,
    pub(in crate::config) pass_on_fault: Option<bool>,
    pub(in crate::config) roll_out: Option<RollOut>,
}

/// What one of `witgate.response_parsers` may do.
pub(in crate::config) struct ParserGrants {
    pub(in crate::config) hold: Option<bool>,
    pub(in crate::config) roll_out: Option<RollOut>,
}

/// `witgate.ledger`.
pub(in crate::config) struct Ledger {
    pub(in crate::config) file: Option<PathBuf>,
}

/// `witgate.decisions`.
pub(in crate::config) struct Decisions {
    pub(in crate::config) share: Option<f64>,
    pub(in crate::config) run: Option<u32>,
    pub(in crate::config) keep_mb: Option<u64>,
    pub(in crate::config) dir: Option<PathBuf>,
    pub(in crate::config) words: Option<bool>,
}

/// `witgate.server`.
pub(in crate::config) struct Server {
    pub(in crate::config) host: Option<IpAddr>,
    pub(in crate::config) port: Option<u16>,
    pub(in crate::config) request_timeout: Option<Duration>,
    pub(in crate::config) max_memory_mb: Option<u64>,
    pub(in crate::config) stored_responses_mb: Option<u64>,
    pub(in crate::config) stream_quiet: Option<Duration>,
    pub(in crate::config) cors_origins: Vec<String>,
    pub(in crate::config) shutdown_delay: Option<Duration>,
    pub(in crate::config) shutdown_grace: Option<Duration>,
}

/// `witgate.global`.
pub(in crate::config) struct Global {
    pub(in crate::config) rpm: Option<u64>,
    pub(in crate::config) tpm: Option<u64>,
    pub(in crate::config) itpm: Option<u64>,
    pub(in crate::config) otpm: Option<u64>,
    pub(in crate::config) max_parallel: Option<u32>,
}

/// `witgate.queue`.
pub(in crate::config) struct Queue {
    pub(in crate::config) max_waiting: Option<u32>,
    pub(in crate::config) max_wait: Option<Duration>,
    pub(in crate::config) strict: Option<bool>,
}

impl Witgate {
    pub(in crate::config) fn read(mut section: Section<'_, '_>) -> Self {
        let margin = section.share("margin");
        if margin.is_some_and(|margin| margin <= 0.0) {
            section.places.error_at("margin", "`margin` must be above 0", "0.8 uses 80 % of every limit");
        }
        let mut policies = section.inner("policies", "policies");
        let policies_dir = policies.text("dir").map(PathBuf::from);
        let allow_wasi_stubs = policies.texts("allow_wasi_stubs");
        policies.finish();
        let read = Self {
            admin_key: section.secret("admin_key").map(|(key, _)| key),
            token_usage_window: section.seconds("token_usage_window"),
            margin,
            server: Server::read(section.inner("server", "server")),
            global: Global::read(section.inner("global", "global")),
            queue: Queue::read(section.inner("queue", "queue")),
            refuse_unreachable: when_unreachable(section.inner("shared_limits", "shared_limits")),
            policies_dir,
            state_dir: section.text("state_dir").map(PathBuf::from),
            ledger: Ledger::read(&mut section),
            decisions: Decisions::read(&mut section),
            keys: keys::read_all(&mut section),
            teams: allowance::named(&mut section, "teams"),
            tags: allowance::named(&mut section, "tags"),
            groups: allowance::named(&mut section, "groups"),
            unknown_price: unknown_price(&mut section),
            allow_wasi_stubs,
            routers: PolicyEntry::read_all(&mut section, "routers", |section| RouterGrants {
                may_reject: section.flag("may_reject"),
                when_none: when_none(section),
                roll_out: super::roll_out::read(section),
                asked_again: section.seconds("asked_again_seconds"),
            }),
            builders: PolicyEntry::read_all(&mut section, "prompt_builders", |section| BuilderGrants {
                may_reject: section.flag("may_reject"),
                pass_on_fault: on_fault(section),
                roll_out: super::roll_out::read(section),
            }),
            parsers: PolicyEntry::read_all(&mut section, "response_parsers", |section| ParserGrants {
                hold: section.flag("hold"),
                roll_out: super::roll_out::read_without_shadow(section),
            }),
            judges: judges::read_all(&mut section),
            embeddings: embeddings::read_all(&mut section),
        };
        section.finish();
        read
    }
}

/// `witgate.shared_limits`.
fn when_unreachable(mut section: Section<'_, '_>) -> Option<bool> {
    let hint =
        "degrade: each gateway takes its share of every limit; refuse: requests that a limit concerns are refused";
    let refuse = section.word("when_unreachable", &["degrade", "refuse"], &[false, true], hint);
    section.finish();
    refuse
}

impl Ledger {
    /// `None` where the section is not there: nothing is kept then.
    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let written = section.places.has("ledger");
        let mut section = section.inner("ledger", "ledger");
        let file = section.text("file").map(PathBuf::from);
        section.finish();
        written.then_some(Self { file })
    }
}

impl Decisions {
    /// `None` where the section is not there: nothing is kept then.
    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let written = section.places.has("decisions");
        let mut section = section.inner("decisions", "decisions");
        let read = Self {
            share: section.share("share"),
            run: section.small("run"),
            keep_mb: section.count("keep_mb"),
            dir: section.text("dir").map(PathBuf::from),
            words: section.flag("words"),
        };
        for (key, zero) in [("run", read.run == Some(0)), ("keep_mb", read.keep_mb == Some(0))] {
            if zero {
                section.places.error_at(key, format!("`{key}` must be above 0"), "`share: 0` keeps no decisions");
            }
        }
        section.finish();
        written.then_some(read)
    }
}

impl Server {
    fn read(mut section: Section<'_, '_>) -> Self {
        let host = match section.text("host").as_deref() {
            None => None,
            Some("localhost") => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Some(text) => {
                let host = text.parse().ok();
                if host.is_none() {
                    let hint = "127.0.0.1 for this machine alone, 0.0.0.0 for every network";
                    section.places.error_at("host", "`host` is not an IP address", hint);
                }
                host
            }
        };
        let port = section.count("port").and_then(|port| {
            let port = u16::try_from(port).ok();
            if port.is_none() {
                section.places.error_at("port", "`port` must be from 0 to 65535", "0 takes any free port");
            }
            port
        });
        let request_timeout = section.seconds("request_timeout_seconds");
        let max_memory_mb = section.count("max_memory_mb");
        if max_memory_mb == Some(0) {
            section.places.error_at("max_memory_mb", "`max_memory_mb` must be above 0", "1024 is the default");
        }
        let stored_responses_mb = section.count("stored_responses_mb");
        let stream_quiet = section.seconds_or_none("stream_ping_seconds");
        let cors_origins = section.texts("cors_origins");
        for origin in &cors_origins {
            let told = origin == "*"
                || origin == "null"
                || origin.split_once("://").is_some_and(|(_, host)| !host.contains('/'));
            if !told {
                let hint =
                    "as browsers send it: `https://app.example.com`, `app://obsidian.md`, `null`, or `*` for any";
                section.places.error_at("cors_origins", format!("`{origin}` is not an origin"), hint);
            }
        }
        let shutdown_delay = section.seconds_or_none("shutdown_delay_seconds");
        let shutdown_grace = section.seconds_or_none("shutdown_grace_seconds");
        section.finish();
        Self {
            host,
            port,
            request_timeout,
            max_memory_mb,
            stored_responses_mb,
            stream_quiet,
            cors_origins,
            shutdown_delay,
            shutdown_grace,
        }
    }
}

impl Global {
    fn read(mut section: Section<'_, '_>) -> Self {
        let read = Self {
            rpm: section.count("rpm"),
            tpm: section.count("tpm"),
            itpm: section.count("itpm"),
            otpm: section.count("otpm"),
            max_parallel: section.small("max_parallel"),
        };
        section.finish();
        read
    }
}

impl Queue {
    fn read(mut section: Section<'_, '_>) -> Self {
        let hint = "packed (the default: the fullest use of the limits) or strict (first come, first served)";
        let strict = section.word("order", &["packed", "strict"], &[false, true], hint);
        let max_waiting = section.small("max_waiting");
        let read = Self { max_waiting, max_wait: section.seconds_or_none("max_wait_seconds"), strict };
        section.finish();
        read
    }
}

impl<G> PolicyEntry<G> {
    fn read_all(
        section: &mut Section<'_, '_>,
        role: &'static str,
        grants: impl Fn(&mut Section<'_, '_>) -> G,
    ) -> Vec<Self> {
        let (reader, node) = (section.reader(), section.descend(role, Kind::SectionByName(role)));
        let entries = node.map_or(&[] as &[Entry], |node| reader.map(node, &format!("witgate.{role}")));
        let read = |entry: &Entry| {
            let path = format!("witgate.{role}.{}", entry.key);
            let mut section = reader.section(&entry.node, role, &path).strict();
            let read = Self {
                at: entry.at,
                group: entry.key.clone(),
                policy: section.text("policy"),
                settings: super::settings(&mut section, "settings"),
                may_read: may_read(&mut section),
                grants: grants(&mut section),
            };
            if read.policy.is_none() {
                let hint = "the stem of its file: tpm-aware for tpm-aware.wasm";
                section.places.error_at("policy", "it needs a `policy`", hint);
            }
            section.finish();
            read
        };
        entries.iter().map(read).collect()
    }
}

/// `unknown_price`: what a budget does with a call of which nobody knows what it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::config) enum UnknownPriceRule {
    Refuse,
    #[default]
    Estimate,
    Allow,
}

fn unknown_price(section: &mut Section<'_, '_>) -> Option<UnknownPriceRule> {
    let rules = [UnknownPriceRule::Estimate, UnknownPriceRule::Refuse, UnknownPriceRule::Allow];
    let hint =
        "estimate (the default: by the dearest price of its group, else of all), refuse, or allow (it counts nothing)";
    section.word("unknown_price", &["estimate", "refuse", "allow"], &rules, hint)
}

/// `on_fault`: whether a prompt passes as the client wrote it.
fn on_fault(section: &mut Section<'_, '_>) -> Option<bool> {
    let hint = "refuse (the default) or pass, which sends what the client wrote";
    section.word("on_fault", &["refuse", "pass"], &[false, true], hint)
}

/// What a policy is let read: names of attributes.
fn may_read(section: &mut Section<'_, '_>) -> Grants {
    let Some(node) = section.get("may_read", Kind::Texts) else { return Grants::default() };
    let reader = section.reader();
    let mut grants = Vec::new();
    for item in reader.list(node, "may_read") {
        let Some(written) = reader.text(item, "may_read") else { continue };
        match Grant::parse(&written) {
            Ok(grant) => grants.push(grant),
            Err(error @ AttributeError::Unknown(_)) => {
                reader.problem(item.at, error.to_string(), format!("there are {}", Attribute::KNOWN));
            }
            Err(error @ AttributeError::Credential(_)) => {
                reader.problem(
                    item.at,
                    error.to_string(),
                    "have the client say it in another header, or in `metadata`",
                );
            }
        }
    }
    Grants::These(grants.into())
}

fn when_none(section: &mut Section<'_, '_>) -> Option<WhenNone> {
    let hint = "what becomes of a request for which the policy finds no deployment fit";
    section.word("when_none", &["refuse", "wait"], &[WhenNone::Refuse, WhenNone::Wait], hint)
}
