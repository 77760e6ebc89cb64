//! The second pass: every default, and which of two places wins where both say something.
//!
//! Here among the sections; in `deployment` within one entry of `model_list`; in `groups` which router decides.

mod aws_profile;
mod aws_role;
mod azure;
mod azure_app;
mod bedrock;
mod deployment;
mod endpoint;
mod failures;
mod google_account;
mod google_federation;
mod groups;
mod oauth_client;
mod payers;
mod quota;
mod strategy;
mod untaken;
mod vertex;
mod wildcard;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::reader::Reader;
use super::settings::{
    BreakerSettings, DecisionSettings, LedgerSettings, PolicySettings, QueueSettings, ServerSettings, Settings,
    SharedLimitSettings,
};
use super::shape::{Decisions, Redis, RouterSettings, Shape};
use crate::catalog::{Catalog, TagFilter};
use crate::failover::RetryRule;
use crate::id::PolicyName;
use crate::limits::{Dimension, LimitSpec};

use deployment::{Defaults, by_organization, member};
use failures::Failures;
use groups::{Groups, Tags};

pub use wildcard::{Filled, filled, known_models};

/// LiteLLM's default of retries after the first attempt.
const RETRIES: u32 = 2;
/// LiteLLM's default of `max_fallbacks`.
const MAX_FALLBACKS: u32 = 5;
/// LiteLLM's default of `cooldown_time`.
const COOLDOWN: Duration = Duration::from_secs(5);
/// Room for a long conversation with images.
const MAX_REQUEST_BYTES: usize = 32 << 20;
/// How long requests are still taken at a stop where `witgate.server.shutdown_delay_seconds` does not say.
const SHUTDOWN_DELAY: Duration = Duration::from_millis(500);
/// How long a stop waits for requests where `witgate.server.shutdown_grace_seconds` does not say: as long as Kubernetes does.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);
/// How long a stream may be silent where `witgate.server.stream_ping_seconds` does not say: less than most clients and proxies wait.
const STREAM_QUIET: Duration = Duration::from_secs(15);
/// What replies that clients go on from may take where `witgate.server.stored_responses_mb` does not say.
const STORED_RESPONSES: usize = 64 << 20;
/// What requests under way may hold together where `witgate.server.max_memory_mb` does not say.
const MAX_MEMORY: usize = 1 << 30;
/// LiteLLM's default of `request_timeout`, which bounds a whole request here.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(6000);
/// How many may wait, unless configured.
const MAX_WAITING: usize = 1000;
/// As long as clients wait for a reply by default: the vendors' SDKs give up after ten minutes.
const MAX_WAIT: Duration = Duration::from_mins(10);
/// The share of runs of decisions that is kept, where decisions are kept.
const DECISIONS_SHARE: f64 = 0.01;
/// Decisions of a run: long enough to see a policy learn, short enough to repeat in a moment.
const DECISIONS_RUN: u32 = 1000;
/// Mebibytes of runs: about 100,000 decisions among ten deployments.
const DECISIONS_MB: u64 = 64;
/// LiteLLM's port.
const PORT: u16 = 4000;

/// What deployments share where they say nothing themselves.
fn deployment_defaults(shape: &Shape<'_, '_>) -> Defaults {
    let (window, margin) = window(shape);
    Defaults {
        timeout: shape.router.timeout.or(shape.litellm.request_timeout),
        stream_timeout: shape.router.stream_timeout,
        window,
        margin,
        in_flight: shape.router.default_max_parallel_requests,
        drop_params: shape.litellm.drop_params.unwrap_or(false),
    }
}

/// The whole configuration. LiteLLM's order holds among its sections: `router_settings` wins over `litellm_settings`. What
/// `witgate` says wins over both.
pub(super) fn settings(reader: &Reader<'_>, mut shape: Shape<'_, '_>) -> Settings {
    let retries = shape.router.num_retries.or(shape.litellm.num_retries).unwrap_or(RETRIES);
    let defaults = deployment_defaults(&shape);
    let models = std::mem::take(&mut shape.models);
    let mut unusable = Vec::new();
    let entries = models.into_iter().flat_map(by_organization).flat_map(wildcard::entries);
    let members = entries.filter_map(|entry| {
        let named = (entry.model_name.clone(), entry.at);
        let member = member(entry, &defaults);
        if member.is_none() {
            unusable.push(named);
        }
        member
    });
    let mut members: Vec<_> = members.collect();
    payers::assume(&mut members, shape.own.unknown_price);
    let mut groups = Groups::new(reader, members, strategy::router(&shape.router.strategy), tags(&shape.router));
    groups.check_emptied(reader, unusable);
    groups.routing_groups(&shape.router.routing_groups);
    groups.routers(reader, &shape.own.routers);
    groups.builders(reader, &shape.own.builders);
    groups.parsers(reader, &shape.own.parsers);
    let aliases = groups.aliases(reader, std::mem::take(&mut shape.router.model_group_alias));
    groups.judges(reader, &shape.own.judges, &aliases);
    groups.embeddings(reader, &shape.own.embeddings, &aliases);
    let lists = std::mem::take(&mut shape.router.fallbacks).or(std::mem::take(&mut shape.litellm.fallbacks));
    let max_fallbacks = lists.max.unwrap_or(MAX_FALLBACKS);
    let retry = RetryRule { retries, by_class: shape.router.retry_policy };
    let failures = Failures::new(lists, retry, std::mem::take(&mut shape.router.group_retry_policies));
    let failures = failures.resolve(reader, &groups, &aliases);
    let payers = payers::payers(reader, &mut shape, &groups);
    Settings {
        payers,
        catalog: Catalog { groups: groups.finish(failures) },
        aliases,
        global_limits: global_limits(&shape),
        queue: queue(&shape),
        shared_limits: shared_limits(&mut shape),
        ledger: ledger(&mut shape),
        decisions: shape.own.decisions.take().map(decisions),
        breaker: breaker(&shape.router, shape.litellm.allowed_fails),
        max_fallbacks,
        retries_per_request: shape.litellm.num_retries_per_request,
        retry_after: shape.router.retry_after.unwrap_or_default(),
        policies: PolicySettings {
            dir: shape.own.policies_dir.clone(),
            allow_wasi_stubs: shape.own.allow_wasi_stubs.iter().map(|name| PolicyName::from(name.as_str())).collect(),
        },
        state_dir: shape.own.state_dir.clone(),
        server: server(shape),
    }
}

/// The one exception: a window in `router_settings` wins, because it stands beside the limits it is for.
fn window(shape: &Shape<'_, '_>) -> (Duration, f64) {
    let window = shape.router.token_usage_window.or(shape.own.token_usage_window);
    (window.unwrap_or(LimitSpec::default().window), shape.own.margin.unwrap_or(1.0))
}

fn tags(router: &RouterSettings<'_, '_>) -> Tags {
    Tags {
        on: router.enable_tag_filtering.unwrap_or(false),
        filter: TagFilter {
            match_any: router.tag_filtering_match_any.unwrap_or(true),
            prefix: router.tag_routing_prefix.clone().filter(|prefix| !prefix.is_empty()),
        },
    }
}

fn server(shape: Shape<'_, '_>) -> ServerSettings {
    let Shape { own, general, .. } = shape;
    let mebibytes = |mb: u64| usize::try_from(mb.saturating_mul(1 << 20)).unwrap_or(usize::MAX);
    let bytes = general.max_request_size_mb.map(mebibytes);
    ServerSettings {
        host: own.server.host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: own.server.port.unwrap_or(PORT),
        max_request_bytes: bytes.unwrap_or(MAX_REQUEST_BYTES),
        max_memory: own.server.max_memory_mb.map_or(MAX_MEMORY, mebibytes),
        stream_quiet: Some(own.server.stream_quiet.unwrap_or(STREAM_QUIET)).filter(|quiet| !quiet.is_zero()),
        cors_origins: own.server.cors_origins,
        stored_responses: own.server.stored_responses_mb.map_or(STORED_RESPONSES, mebibytes),
        request_timeout: own.server.request_timeout.unwrap_or(REQUEST_TIMEOUT),
        shutdown_delay: own.server.shutdown_delay.unwrap_or(SHUTDOWN_DELAY),
        shutdown_grace: own.server.shutdown_grace.unwrap_or(SHUTDOWN_GRACE),
        master_key: general.master_key.or(general.environment_master_key),
        admin_key: own.admin_key,
    }
}

fn global_limits(shape: &Shape<'_, '_>) -> LimitSpec {
    let (global, general) = (&shape.own.global, &shape.general);
    let others = [general.global_max_parallel_requests, general.max_in_flight_requests_per_worker];
    // Each is a bound of its own there, so the lowest holds.
    let in_flight = global.max_parallel.or_else(|| others.into_iter().flatten().min());
    let (window, margin) = window(shape);
    LimitSpec { window, margin, ..LimitSpec::default() }
        .with(Dimension::Requests, global.rpm)
        .with(Dimension::Tokens, global.tpm.or(shape.router.max_tokens_per_minute))
        .with(Dimension::InputTokens, global.itpm)
        .with(Dimension::OutputTokens, global.otpm)
        .with(Dimension::InFlight, in_flight.map(u64::from))
}

fn queue(shape: &Shape<'_, '_>) -> QueueSettings {
    let (own, general) = (&shape.own.queue, &shape.general);
    let waiting = own.max_waiting.or(general.max_queued_requests_per_worker);
    let never = (shape.router.queue_on_tpm_limit == Some(false)).then_some(Duration::ZERO);
    QueueSettings {
        max_waiting: waiting.and_then(|count| usize::try_from(count).ok()).unwrap_or(MAX_WAITING),
        strict: own.strict.unwrap_or(false),
        max_wait: own.max_wait.or(never).or(general.admission_queue_timeout).unwrap_or(MAX_WAIT),
    }
}

/// One is kept where it is asked for, or where a database is named.
fn ledger(shape: &mut Shape<'_, '_>) -> Option<LedgerSettings> {
    let (own, server) = (shape.own.ledger.take(), shape.general.database_url.take());
    let asked = own.is_some() || server.is_some();
    asked.then(|| LedgerSettings {
        file: own.and_then(|own| own.file),
        server,
        may_be_away: shape.general.database_may_be_away,
    })
}

fn shared_limits(shape: &mut Shape<'_, '_>) -> Option<SharedLimitSettings> {
    let refuse = shape.own.refuse_unreachable.or(shape.general.fail_closed).unwrap_or(false);
    let said = [std::mem::take(&mut shape.router.redis), std::mem::take(&mut shape.general.redis)];
    let redis = said.into_iter().find(Redis::is_named)?;
    Some(SharedLimitSettings {
        url: redis.url,
        host: redis.host,
        port: redis.port,
        username: redis.username,
        password: redis.password,
        database: redis.database,
        tls: redis.tls.unwrap_or(false),
        refuse,
    })
}

fn decisions(written: Decisions) -> DecisionSettings {
    DecisionSettings {
        share: written.share.unwrap_or(DECISIONS_SHARE),
        run: written.run.unwrap_or(DECISIONS_RUN),
        keep_bytes: written.keep_mb.unwrap_or(DECISIONS_MB).saturating_mul(1 << 20),
        dir: written.dir,
        words: written.words.unwrap_or(false),
    }
}

fn breaker(router: &RouterSettings<'_, '_>, allowed_fails: Option<u32>) -> BreakerSettings {
    let cooldown = router.cooldown_time.unwrap_or(COOLDOWN);
    BreakerSettings {
        allowed_fails: router.allowed_fails.or(allowed_fails),
        allowed_fails_policy: router.allowed_fails_policy,
        cooldown,
        cooldown_grows: router.cooldown_time.is_none(),
        // A cooldown of nothing is none, as in LiteLLM.
        disabled: router.disable_cooldowns.unwrap_or(false) || cooldown.is_zero(),
    }
}
