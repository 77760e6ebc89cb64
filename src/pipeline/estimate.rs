//! How large a request is, before it is sent.
//!
//! Counting tokens is dear, so the length in bytes, which no count can exceed, stands in for it until a
//! decision depends on more: a limit that is more than half used, a context window, a policy that asks; or a bill, where a provider
//! tells none.

use std::sync::Arc;

use crate::catalog::Deployment;
use crate::chat::{ChatRequest, Dialect, PartKind, ServiceTier, Surcharges};
use crate::limits::{Demand, Dimension, Excess, OutputCounting};
use crate::money::Asked;
use crate::snapshot::DeploymentRuntime;
use crate::tokens::{self, Count, Encoding, Precision};

use super::{Gateway, RequestContext};

/// Reserved for output where neither the client nor the catalogue knows a bound.
const UNKNOWN_OUTPUT: u64 = 4096;

/// Bytes of a request from which counting takes so long (about 50 µs a KiB) that it is done beside.
const LONG: u64 = 4 << 10;

/// What was counted of requests: another group that is asked the same need not count it again.
#[derive(Debug, Default)]
pub(super) struct Counted(Vec<(Arc<ChatRequest>, ByEncoding)>);

/// One body's tokens by each encoding, and by the fallback; those that were counted.
type ByEncoding = [Option<Count>; 3];

const fn place(encoding: Option<Encoding>) -> usize {
    match encoding {
        None => 0,
        Some(Encoding::O200k) => 1,
        Some(Encoding::Cl100k) => 2,
    }
}

impl Counted {
    /// What was counted of a request with the same words.
    fn of(&mut self, request: &ChatRequest) -> Option<&mut ByEncoding> {
        let same = |(other, _): &&mut (Arc<ChatRequest>, ByEncoding)| {
            Arc::ptr_eq(&other.messages, &request.messages)
                && other.tools == request.tools
                && other.output == request.output
                && other.input_tokens == request.input_tokens
        };
        self.0.iter_mut().find(same).map(|(_, counts)| counts)
    }

    /// Keeps what was counted of this one.
    pub(super) fn keep(&mut self, request: &Arc<ChatRequest>, estimate: &Estimate) {
        match self.of(request) {
            Some(counts) => *counts = estimate.known,
            None => self.0.push((Arc::clone(request), estimate.known)),
        }
    }
}

/// Whether a request that has at most `upper_bound` tokens is counted so soon that a thread which serves may do it.
pub(super) fn is_short(upper_bound: u64, model: &str) -> bool {
    upper_bound <= LONG && tokens::is_loaded(model)
}

/// Counts the tokens of a request that has at most `upper_bound`. `None` where the thread that was to do it ended.
pub(super) async fn count(
    gateway: &Gateway,
    request: &Arc<ChatRequest>,
    upper_bound: u64,
    model: &str,
) -> Option<Count> {
    if is_short(upper_bound, model) {
        return Some(tokens::count(request, model));
    }
    let (request, model) = (Arc::clone(request), model.to_owned());
    gateway.blocking.run(move || tokens::count(&request, &model)).await
}

/// The service tiers that a request may be served in by what it asks for, in OpenAI's and Anthropic's words or in Bedrock's; `None` where it
/// asks for none, not even for the usual one.
fn asked_tiers(request: &ChatRequest) -> Option<&'static [ServiceTier]> {
    let word = request.rest.get("service_tier").or_else(|| request.rest.get("serviceTier")?.get("type"));
    Some(ServiceTier::asked(word?.as_str()?))
}

/// What makes a request's tokens dearer by what it asks for, in Anthropic's words.
fn asked_surcharges(request: &ChatRequest) -> Surcharges {
    let word = |name: &str| request.rest.get(name)?.as_str();
    Surcharges::named(word("speed"), word("inference_geo"))
}

/// Whether recordings are among what is asked.
fn has_recordings(request: &ChatRequest) -> bool {
    let is_recording = |kind: &PartKind| matches!(kind, PartKind::Other(value) if value["type"] == "input_audio");
    request.messages.iter().flat_map(|message| &message.parts).any(|part| is_recording(&part.kind))
}

/// What a request is expected to use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    upper_bound: u64,
    counted: Option<u64>,
    precision: Precision,
    /// What was counted of it, here or in a group before.
    known: ByEncoding,
    max_tokens: Option<u32>,
    choices: u64,
    /// The service tiers that it may be served in, where it asks for any; and in whose words, which a default must have too.
    tiers: Option<&'static [ServiceTier]>,
    dialect: Dialect,
    surcharges: Surcharges,
    /// Whether it has recordings, and whether its reply is to be heard.
    audio_input: bool,
    audio_output: bool,
    /// The smallest whole limits that it met, of all tokens and of output: what nobody asked for is not expected beyond them.
    most_tokens: u64,
    most_output: u64,
}

impl Estimate {
    /// The cheap estimate.
    pub(super) fn of(request: &ChatRequest) -> Self {
        Self {
            upper_bound: tokens::upper_bound(request),
            counted: None,
            precision: Precision::UpperBound,
            known: ByEncoding::default(),
            max_tokens: request.max_tokens,
            choices: u64::from(request.choices.max(1)),
            tiers: asked_tiers(request),
            dialect: request.dialect,
            surcharges: asked_surcharges(request),
            audio_input: has_recordings(request),
            audio_output: request.rest.get("audio").is_some_and(|audio| !audio.is_null()),
            most_tokens: u64::MAX,
            most_output: u64::MAX,
        }
    }

    /// The same of a request of which another group may have counted the same words.
    pub(super) fn knowing(request: &ChatRequest, counted: &mut Counted) -> Self {
        Self { known: counted.of(request).copied().unwrap_or_default(), ..Self::of(request) }
    }

    /// Counts, once; not at all where the same words were counted by the same encoding.
    pub(super) async fn count(&mut self, context: &RequestContext<'_>, model: &str) {
        if self.counted.is_some() {
            return;
        }
        let by = place(Encoding::of(model));
        let count = match self.known[by] {
            Some(known) => Some(known),
            None => count(context.gateway, &context.request, self.upper_bound, model).await,
        };
        self.known[by] = count;
        // What could not be counted is taken to be as large as it may be.
        self.counted = Some(count.map_or(self.upper_bound, |count| count.tokens));
        self.precision = match count {
            None => Precision::UpperBound,
            Some(count) if count.exact => Precision::Exact,
            Some(_) => Precision::Estimate,
        };
    }

    /// Somebody has counted it by the encoding of `model`.
    pub(super) fn learn(&mut self, model: &str, count: Count) {
        self.known[place(Encoding::of(model))] = Some(count);
    }

    /// What was counted of it by the encoding of `model`, though nothing was decided by that.
    fn known(&self, model: &str) -> Option<u64> {
        // Mostly nothing was, and no name has to be looked up.
        let any = self.known.iter().any(Option::is_some);
        any.then(|| self.known[place(Encoding::of(model))])?.map(|count| count.tokens)
    }

    /// Input tokens: counted, else the upper bound.
    pub(super) fn input(&self) -> u64 {
        self.counted.unwrap_or(self.upper_bound)
    }

    /// Whether tokens were counted.
    pub(super) const fn is_counted(&self) -> bool {
        self.counted.is_some()
    }

    /// Whether [`Estimate::input`] is the provider's own way of counting.
    pub(super) fn is_exact(&self) -> bool {
        self.precision == Precision::Exact
    }

    /// What [`Estimate::input`] is.
    pub(super) const fn precision(&self) -> Precision {
        self.precision
    }

    /// What one deployment would be asked for: the input as its provider is known to count it, and the output: what the client
    /// allows where its provider counts that on arrival, else what its replies usually are. Its cost is the most it may be, however
    /// output is counted: that much is held of budgets.
    pub(super) fn demand(&self, deployment: &DeploymentRuntime) -> Demand {
        let (config, expected) = (&*deployment.config, deployment.learned.expected());
        let input_tokens = match self.counted {
            Some(counted) => corrected(counted, expected.input),
            None => corrected(self.upper_bound, expected.input.max(1.0)),
        };
        let bound = self.client_bound(config);
        let output_tokens = match (bound, config.counting.output) {
            (Some(bound), OutputCounting::Bound) => bound,
            (bound, _) => {
                let choices = self.choices(config);
                let usual = expected
                    .output
                    .or_else(|| deployment.learned_of_model.expected().output)
                    .map_or_else(|| self.default_bound(config), |usual| usual * choices);
                // What nobody asked for is no reason to refuse what fits.
                let limits = &config.limits.limits;
                let tokens = limits[Dimension::Tokens].unwrap_or(u64::MAX).min(self.most_tokens);
                let output = limits[Dimension::OutputTokens].unwrap_or(u64::MAX).min(self.most_output);
                usual.min(bound.unwrap_or(u64::MAX)).min(tokens.saturating_sub(input_tokens)).min(output)
            }
        };
        let most = bound.unwrap_or_else(|| self.most_output(config)).max(output_tokens);
        let cost = config.charged_prices().map(|prices| prices.most(&self.asked(config), input_tokens, most));
        Demand { input_tokens, output_tokens, cost: cost.unwrap_or_default() }
    }

    /// It is larger than this whole limit. Says whether less may be expected of it, as where the output is nobody's wish.
    pub(super) fn lessen(&mut self, excess: &Excess) -> bool {
        let most = match excess.dimension {
            Dimension::Tokens => &mut self.most_tokens,
            Dimension::OutputTokens => &mut self.most_output,
            Dimension::Requests | Dimension::InputTokens | Dimension::Cost | Dimension::InFlight => return false,
        };
        let before = std::mem::replace(most, excess.limit.min(*most));
        excess.limit < before
    }

    /// What is known of an attempt at this deployment before it is made.
    pub(super) fn attempt(&self, deployment: &DeploymentRuntime) -> AttemptEstimate {
        let config = &*deployment.config;
        let demand = self.demand(deployment);
        let counted_input = self.counted.or_else(|| self.known(&config.model));
        AttemptEstimate {
            demand,
            counted_input,
            assumed_input: counted_input.map_or(demand.input_tokens, |counted| provider_count(deployment, counted)),
            upper_bound: self.upper_bound,
            bound: self.client_bound(config),
            default_bound: u32::try_from(self.sent_bound(config)).unwrap_or(u32::MAX).max(1),
            tier: if let [tier] = self.tiers(config) { Some(*tier) } else { None },
            surcharges: self.surcharges(config),
        }
    }

    /// Output tokens the request allows, over all of its choices; `None` where it says nothing, or what it says is not sent.
    fn client_bound(&self, config: &Deployment) -> Option<u64> {
        if config.left_out.unbounds() {
            return None;
        }
        let defaults = config.defaults.as_deref();
        let bound = self.max_tokens.or_else(|| defaults?.max_tokens)?;
        Some(u64::from(bound).saturating_mul(self.choices(config)))
    }

    fn tiers(&self, config: &Deployment) -> &'static [ServiceTier] {
        let default = || {
            let defaults = config.defaults.as_deref().filter(|defaults| defaults.dialect == self.dialect);
            defaults.and_then(asked_tiers)
        };
        self.tiers.or_else(default).unwrap_or_default()
    }

    /// What it asks for, or the deployment for it, whatever the words they do it in.
    fn surcharges(&self, config: &Deployment) -> Surcharges {
        self.surcharges.or(config.defaults.as_deref().map(asked_surcharges).unwrap_or_default())
    }

    /// What may make it dearer than others.
    fn asked(&self, config: &Deployment) -> Asked {
        Asked {
            tiers: self.tiers(config),
            surcharges: self.surcharges(config),
            audio_input: self.audio_input,
            audio_output: self.audio_output,
        }
    }

    fn choices(&self, config: &Deployment) -> u64 {
        let defaults = config.defaults.as_deref().filter(|_| self.choices == 1);
        defaults.map_or(self.choices, |defaults| defaults.choices.into())
    }

    /// The output that is allowed where a bound must be given and nobody gave one, and expected where nothing is known: the
    /// model's own bound, and no more than a quarter of the deployment's token limit where that counts on arrival.
    fn default_bound(&self, config: &Deployment) -> u64 {
        let model = config.max_output_tokens.map_or(UNKNOWN_OUTPUT, u64::from).min(UNKNOWN_OUTPUT);
        let limit = token_limit(config).map_or(u64::MAX, |limit| limit / 4);
        model.min(limit).saturating_mul(self.choices(config))
    }

    /// The bound that is sent where one must be given and nobody gave one: all that the model may write beside the prompt, or a reply
    /// would be cut for no wish of the client's. Where a limit counts it on arrival, no more than is expected.
    fn sent_bound(&self, config: &Deployment) -> u64 {
        let expected = self.default_bound(config);
        let counts = config.counting.output == OutputCounting::Bound && token_limit(config).is_some();
        let Some(most) = config.max_output_tokens.filter(|_| !counts) else { return expected };
        let window = config.context_window.map_or(u64::MAX, u64::from);
        u64::from(most).min(window.saturating_sub(self.input())).max(expected)
    }

    /// The longest that the reply may be where the client gave no bound, as far as it is known.
    fn most_output(&self, config: &Deployment) -> u64 {
        let known = config.max_output_tokens.map(|most| u64::from(most).saturating_mul(self.choices(config)));
        known.unwrap_or_else(|| self.default_bound(config))
    }

    /// Whether the request certainly does not fit into a context window of so many tokens.
    pub(super) fn overflows(&self, window: u32) -> bool {
        self.is_exact() && self.input() > u64::from(window)
    }

    /// Whether it takes a count to tell if the request fits.
    pub(super) fn may_overflow(&self, window: u32) -> bool {
        self.input() > u64::from(window)
    }
}

/// What is known of one attempt before it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptEstimate {
    /// What is reserved for it.
    pub(super) demand: Demand,
    /// Input tokens as counted here, uncorrected.
    pub(super) counted_input: Option<u64>,
    /// Input tokens where its provider tells none.
    pub(super) assumed_input: u64,
    /// The most input tokens that there can be.
    pub(super) upper_bound: u64,
    /// Output tokens the request allows.
    pub(super) bound: Option<u64>,
    /// The bound it is sent with where its format must have one and it says nothing.
    pub(super) default_bound: u32,
    /// The service tier it asks for, where it is one.
    pub(super) tier: Option<ServiceTier>,
    /// What else it asks for that makes it dearer.
    pub(super) surcharges: Surcharges,
}

/// So many input tokens as they are counted here, in its provider's way of counting as far as that is known.
pub(super) fn provider_count(deployment: &DeploymentRuntime, counted: u64) -> u64 {
    corrected(counted, deployment.learned.expected().input)
}

fn token_limit(config: &Deployment) -> Option<u64> {
    let limits = &config.limits.limits;
    limits[Dimension::Tokens].into_iter().chain(limits[Dimension::OutputTokens]).min()
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tokens are far below 2^52, and the factor is from 0.25 to 4"
)]
fn corrected(tokens: u64, factor: f64) -> u64 {
    if (factor - 1.0).abs() < f64::EPSILON { tokens } else { (tokens as f64 * factor).ceil() as u64 }
}
