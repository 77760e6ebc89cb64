//! Configuration: LiteLLM's file format with sections of our own, read whole or not at all.
//!
//! A file becomes [`Settings`] in which every default is filled in, and a report that grades every key of it
//! (exact, approximate, not yet, unsupported): nothing is passed over in silence. Where anything is wrong, all
//! problems of the file are told together, with line, column and what to do.
//!
//! What is ours stands under the one top-level key `witgate`, which LiteLLM passes over. An unknown key there is
//! a problem; in LiteLLM's own sections it is reported only, since its newer versions have keys we do not know.
//!
//! The environment is an argument. Secrets are wrapped as soon as they are read and never told.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

mod builtin;
mod deployment;
mod groups;
mod models;
mod problem;
mod providers;
mod reader;
pub mod report;
mod settings;
pub mod yaml;

pub use problem::{Problem, Problems};
pub use report::{Grade, KeyReport};
pub use settings::{Alias, BreakerSettings, PolicySettings, QueueSettings, ServerSettings, Settings};

use crate::catalog::Catalog;
use crate::limits::{Dimension, LimitSpec};
use deployment::Defaults;
use groups::Groups;
use reader::{Reader, Section};

/// LiteLLM's default of retries after the first attempt.
const RETRIES: u32 = 2;
/// LiteLLM's default of `cooldown_time`.
const COOLDOWN: Duration = Duration::from_secs(5);
/// Room for a long conversation with images.
const MAX_REQUEST_BYTES: usize = 32 << 20;
/// LiteLLM's default of `request_timeout`, which bounds a whole request here.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(6000);
/// How many may wait, unless configured.
const MAX_WAITING: usize = 1000;
/// A little more than one window and one of its slices: what is full now has room by then.
const MAX_WAIT: Duration = Duration::from_secs(75);
/// LiteLLM's port.
const PORT: u16 = 4000;

/// A configuration that can be served, and what became of its keys.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it comes to.
    pub settings: Settings,
    /// Every key of the file, in its order.
    pub report: Vec<KeyReport>,
}

/// Reads the configuration file at `path`; `env` answers for the environment.
///
/// # Errors
/// Everything that is wrong with it, in its order; or that it cannot be read.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot be read: {error}");
        Problems::one(Problem { file: file.clone(), line: 0, column: 0, message, hint: None })
    })?;
    parse(&text, &file, env)
}

/// The same for text that is at hand. `file` is what problems call it.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, file: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    let root = yaml::tree(text, file)?;
    let reader = Reader::new(file, env);
    let settings = read(&reader, &root);
    let (mut problems, report) = reader.finish();
    if problems.is_empty() && settings.catalog.groups.is_empty() {
        let message = "nothing can be called: `model_list` has no deployment".to_owned();
        let hint = Some("add one; examples/quickstart.yaml needs no key".to_owned());
        problems.push(Problem { file: file.to_owned(), line: 0, column: 0, message, hint });
    }
    match Problems::collect(problems) {
        Some(problems) => Err(problems),
        None => Ok(Loaded { settings, report }),
    }
}

/// What is served without a file: the group `simulated`, and a group for each main model of OpenAI and Anthropic
/// where `OPENAI_API_KEY` or `ANTHROPIC_API_KEY` is set.
///
/// # Errors
/// Where a variable it goes by cannot be used, such as an `OPENAI_BASE_URL` that is no address.
pub fn builtin(env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    parse(&builtin::text(env), builtin::FILE, env)
}

/// What the sections say that more than one place needs.
struct Sections<'r, 'e> {
    router: Section<'r, 'e>,
    litellm: Section<'r, 'e>,
    general: Section<'r, 'e>,
    own: Section<'r, 'e>,
}

fn read(reader: &Reader<'_>, root: &yaml::Node) -> Settings {
    let mut doubled = Vec::new();
    yaml::duplicates(root, &mut doubled);
    for (at, key, first) in doubled {
        let message = format!("`{key}` is written twice; first in line {}", first.line);
        reader.problem(at, message, "YAML tools take the last one in silence: remove one");
    }
    let mut top = reader.section(root, "top", "");
    if let Some(node) = top.descend("environment_variables") {
        for entry in reader.map(node, "environment_variables") {
            if let Some(value) = reader.text(&entry.node, &entry.key) {
                reader.set_variable(&entry.key, value);
            }
        }
    }
    if top.has("include") {
        top.error_at("include", "other files are not merged yet", "put their content into this file");
    }
    let list = top.descend("model_list");
    let mut sections = Sections {
        router: top.inner("router_settings", "router_settings"),
        litellm: top.inner("litellm_settings", "litellm_settings"),
        general: top.inner("general_settings", "general_settings"),
        own: top.inner("witgate", "witgate").strict(),
    };
    top.finish();
    let settings = assemble(reader, list, &mut sections);
    let Sections { router, litellm, general, own } = sections;
    for section in [router, litellm, general, own] {
        section.finish();
    }
    settings
}

fn assemble(reader: &Reader<'_>, list: Option<&yaml::Node>, sections: &mut Sections<'_, '_>) -> Settings {
    let server = server(sections);
    let window = sections.own.seconds("token_usage_window");
    let window = sections.router.seconds("token_usage_window").or(window).unwrap_or(LimitSpec::default().window);
    let margin = sections.own.share("margin").unwrap_or(1.0);
    if margin <= 0.0 {
        sections.own.error_at("margin", "`margin` must be above 0", "0.8 uses 80 % of every limit");
    }
    let (wait, other) = (sections.router.seconds("timeout"), sections.litellm.seconds("request_timeout"));
    let defaults = Defaults {
        timeout: wait.or(other),
        stream_timeout: sections.router.seconds("stream_timeout"),
        window,
        margin,
        in_flight: sections.router.small("default_max_parallel_requests"),
    };
    // Read so that a value that is neither true nor false is told; all are as if they were always on.
    for key in ["enable_pre_call_checks", "enable_pre_call_check", "tpm_budget_management"] {
        let _always = sections.router.flag(key);
    }
    let _always = sections.litellm.flag("drop_params");
    let deployments = groups::deployments(reader, list, &defaults);
    let mut groups = Groups::new(groups::default_router(&mut sections.router), deployments);
    groups.routing_groups(&mut sections.router);
    let routers = sections.own.descend("routers");
    groups.routers(&mut sections.own, routers);
    let aliases = groups.aliases(&mut sections.router);
    let (own, other) = (sections.router.small("num_retries"), sections.litellm.small("num_retries"));
    let mut policies = sections.own.inner("policies", "witgate");
    let dir = policies.text("dir").map(PathBuf::from);
    policies.finish();
    Settings {
        catalog: Catalog { groups: groups.finish(own.or(other).unwrap_or(RETRIES)) },
        aliases,
        server,
        global_limits: global_limits(sections, window, margin),
        queue: queue(sections),
        policies: PolicySettings { dir },
        breaker: breaker(sections),
        retry_after: sections.router.seconds_or_none("retry_after").unwrap_or_default(),
    }
}

fn server(sections: &mut Sections<'_, '_>) -> ServerSettings {
    let mut own = sections.own.inner("server", "witgate");
    let host = match own.text("host").as_deref() {
        None | Some("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(text) => text.parse().unwrap_or_else(|_| {
            let hint = "127.0.0.1 for this machine alone, 0.0.0.0 for every network";
            own.error_at("host", "`host` is not an IP address", hint);
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        }),
    };
    let port = own.count("port").map_or(PORT, |port| {
        u16::try_from(port).unwrap_or_else(|_| {
            own.error_at("port", "`port` must be from 0 to 65535", "0 takes any free port");
            PORT
        })
    });
    let request_timeout = own.seconds("request_timeout_seconds").unwrap_or(REQUEST_TIMEOUT);
    own.finish();
    let megabytes = sections.general.count("max_request_size_mb");
    if megabytes == Some(0) {
        sections.general.error_at("max_request_size_mb", "`max_request_size_mb` must be at least 1", "");
    }
    let bytes = megabytes.map(|mb| usize::try_from(mb.saturating_mul(1 << 20)).unwrap_or(usize::MAX));
    let master_key = match sections.general.secret("master_key") {
        Some((key, _)) => Some(key),
        None => sections.general.reader.variable("LITELLM_MASTER_KEY").map(SecretString::from),
    };
    let admin_key = sections.own.secret("admin_key").map(|(key, _)| key);
    let max_request_bytes = bytes.unwrap_or(MAX_REQUEST_BYTES);
    ServerSettings { host, port, max_request_bytes, request_timeout, master_key, admin_key }
}

fn global_limits(sections: &mut Sections<'_, '_>, window: Duration, margin: f64) -> LimitSpec {
    let mut global = sections.own.inner("global", "witgate");
    let own = global.small("max_parallel");
    let limits = LimitSpec { window, margin, ..LimitSpec::default() }
        .with(Dimension::Requests, global.count("rpm"))
        .with(Dimension::Tokens, global.count("tpm").or(sections.router.count("max_tokens_per_minute")))
        .with(Dimension::InputTokens, global.count("itpm"))
        .with(Dimension::OutputTokens, global.count("otpm"));
    global.finish();
    let general = &mut sections.general;
    let others = [general.small("global_max_parallel_requests"), general.small("max_in_flight_requests_per_worker")];
    // Each is a bound of its own there, so the lowest holds.
    let in_flight = own.or_else(|| others.into_iter().flatten().min());
    limits.with(Dimension::InFlight, in_flight.map(u64::from))
}

fn queue(sections: &mut Sections<'_, '_>) -> QueueSettings {
    let mut own = sections.own.inner("queue", "witgate");
    let (waiting, wait) = (own.small("max_waiting"), own.seconds_or_none("max_wait_seconds"));
    own.finish();
    let general = &mut sections.general;
    let (other_waiting, other_wait) =
        (general.small("max_queued_requests_per_worker"), general.seconds("admission_queue_timeout_seconds"));
    let waiting = waiting.or(other_waiting).and_then(|count| usize::try_from(count).ok());
    let never_waits = sections.router.flag("queue_on_tpm_limit") == Some(false);
    let wait = wait.or(never_waits.then_some(Duration::ZERO));
    QueueSettings { max_waiting: waiting.unwrap_or(MAX_WAITING), max_wait: wait.or(other_wait).unwrap_or(MAX_WAIT) }
}

fn breaker(sections: &mut Sections<'_, '_>) -> BreakerSettings {
    let (own, other) = (sections.router.small("allowed_fails"), sections.litellm.small("allowed_fails"));
    let cooldown = sections.router.seconds_or_none("cooldown_time").unwrap_or(COOLDOWN);
    BreakerSettings {
        allowed_fails: own.or(other),
        cooldown,
        // A cooldown of nothing is none, as in LiteLLM.
        disabled: sections.router.flag("disable_cooldowns").unwrap_or(false) || cooldown.is_zero(),
    }
}

#[cfg(test)]
mod tests;
