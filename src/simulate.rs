//! The same load through several configurations or routers, side by side, before any of them meets it.
//!
//! The rule: nothing of the gateway is here a second time. Each contender is a gateway, assembled as one that serves is, on virtual time;
//! the load's requests go through its pipeline one by one, as they arrived or are said to arrive, and its recorder tells what became of
//! them. A load has counts in the place of texts, so that a day of it takes seconds; what depends on texts (prompt builders, parsers,
//! the features that routers may ask for) is not simulated. Providers are the simulated one: as fast as is expected of each model, and as
//! strict as the lowest limit that any contender's configuration gives for the account, so that a configuration that leaves a limit out
//! meets what it would meet.
//!
//! Memory does not grow with the load but by four bytes for each reply's time, and by what waits at once.

mod adjust;
mod arrivals;
mod counts;
mod figures;
mod page;
mod show;

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use http::Uri;
use serde_json::{Map, Value, json};
use tokio::runtime::Builder;

use crate::clock::Clock;
use crate::config::Settings;
use crate::experiment::{Assemble, Expectations, Wanted};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::ClientRequest;
use crate::id::{KeyId, PolicyName};
use crate::pipeline::{Gateway, Recorder, RequestGuard};
use crate::provider::simulated::{INPUT_TOLD, OUTPUT_TOLD};
use crate::snapshot::{Caller, Snapshot};
use crate::upstream::{Upstream, UpstreamRequest, UpstreamResponse};
use crate::virtual_key::KeyHash;

pub use adjust::ProviderLimits;
pub use arrivals::{Arrival, Load, Survey};
pub use figures::{DeploymentOutcome, GroupOutcome, Outcome, Quantiles};
pub use page::page;
pub use show::Table;

use counts::COUNTS;
use figures::Tally;

/// One that takes the load: a configuration, and the router that decides in it where another one than its own is tried.
pub struct Contender<'a> {
    /// What it is called.
    pub name: String,
    /// The router of every group; `None`: the configuration's.
    pub router: Option<PolicyName>,
    /// Assembles its gateway.
    pub assemble: Box<Assemble<'a>>,
}

/// What contenders have in common.
pub struct Trial<'a> {
    /// The load.
    pub load: &'a Load,
    /// What the load comes to.
    pub survey: &'a Survey,
    /// What providers allow.
    pub limits: Arc<ProviderLimits>,
    /// How long replies are and take.
    pub expectations: Arc<Expectations>,
}

impl Trial<'_> {
    /// Sends the load through a contender.
    ///
    /// # Errors
    /// Its gateway cannot be assembled, it serves a model not that a file of the load asks for, or the load cannot be read.
    pub fn run(&self, contender: &Contender<'_>) -> Result<Outcome, Vec<String>> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.map_err(|fault| vec![format!("no runtime: {fault}")])?;
        runtime.block_on(async {
            let clock = Clock::starting_at(self.survey.first);
            let adjust = adjust::for_trial(contender.router.as_ref(), &self.limits, &self.expectations);
            let upstream = Some(Arc::new(NoNetwork) as Arc<dyn Upstream>);
            let mut gateway = (contender.assemble)(Wanted { adjust, upstream, clock })?;
            let tally = Arc::new(Tally::new(self.survey.first, self.survey.requests));
            gateway.recorder = Arc::clone(&tally) as Arc<dyn Recorder>;
            let gateway = Arc::new(gateway);
            let snapshot = gateway.live.read();
            let left_out = self.unserved(&snapshot)?;
            self.send_all(&gateway, &snapshot, &left_out).await.map_err(|why| vec![why])?;
            Ok(tally.outcome(&contender.name, &snapshot, left_out))
        })
    }

    /// The models that nobody serves here, and how often they were asked for.
    fn unserved(&self, snapshot: &Snapshot) -> Result<BTreeMap<String, u64>, Vec<String>> {
        let unserved = self.survey.models.iter().filter(|(model, _)| snapshot.group(model).is_none());
        let known: Vec<&str> = snapshot.groups.keys().map(crate::id::GroupName::as_str).take(20).collect();
        let (mut problems, mut left_out) = (Vec::new(), BTreeMap::new());
        for (model, asked) in unserved {
            match &asked.place {
                Some(place) => {
                    problems.push(format!("{place}: no model is named `{model}` here; known: {}", known.join(", ")));
                }
                // What was served once need not be served now.
                None => _ = left_out.insert(model.clone(), asked.requests),
            }
        }
        if problems.is_empty() { Ok(left_out) } else { Err(problems) }
    }

    async fn send_all(
        &self,
        gateway: &Arc<Gateway>,
        snapshot: &Arc<Snapshot>,
        left_out: &BTreeMap<String, u64>,
    ) -> Result<(), String> {
        let mut callers = Callers { snapshot, known: HashMap::new() };
        let mut under_way = FuturesUnordered::new();
        for arrival in self.load.arrivals() {
            let arrival = arrival?;
            if left_out.contains_key(&arrival.model) {
                continue;
            }
            let mut due = pin!(gateway.clock.sleep_until(arrival.at));
            loop {
                tokio::select! {
                    biased;
                    () = &mut due => break,
                    Some(()) = under_way.next(), if !under_way.is_empty() => {}
                }
            }
            let mut guard = gateway.arrive(&COUNTS);
            guard.set_caller(Some(callers.find(arrival.key.as_deref())));
            under_way.push(serve(gateway, guard, body(&arrival)));
        }
        while under_way.next().await.is_some() {}
        Ok(())
    }
}

/// One request to its end, of which the recorder tells. Boxed: thousands may wait.
fn serve(gateway: &Arc<Gateway>, guard: Box<RequestGuard>, request: ClientRequest) -> BoxFuture<'static, ()> {
    let gateway = Arc::clone(gateway);
    Box::pin(async move {
        // A reply is whole, and a refusal is recorded.
        let _told = gateway.serve(guard, Box::new(request)).await;
    })
}

/// The request of an arrival: counts, and nothing said.
fn body(arrival: &Arrival) -> ClientRequest {
    let mut body = Map::new();
    body.insert("model".to_owned(), arrival.model.as_str().into());
    body.insert("messages".to_owned(), json!([{ "role": "user", "content": "" }]));
    body.insert(INPUT_TOLD.to_owned(), arrival.input_tokens.into());
    let mut also = |name: &str, value: Option<Value>| _ = value.map(|value| body.insert(name.to_owned(), value));
    also(OUTPUT_TOLD, arrival.output_tokens.map(Value::from));
    also("max_tokens", arrival.max_tokens.map(Value::from));
    also("priority", (arrival.priority != 0).then(|| arrival.priority.into()));
    also("tags", (!arrival.tags.is_empty()).then(|| json!(arrival.tags)));
    ClientRequest::post(Uri::from_static("/v1/chat/completions"), Value::Object(body).to_string())
}

/// Who asks: a key of the configuration by its alias or its digest, else somebody who is told from others and limited by nothing.
struct Callers<'s> {
    snapshot: &'s Snapshot,
    known: HashMap<String, Arc<Caller>>,
}

impl Callers<'_> {
    fn find(&mut self, name: Option<&str>) -> Arc<Caller> {
        let callers = &self.snapshot.callers;
        let Some(name) = name else { return Arc::clone(&callers.master) };
        if let Some(caller) = self.known.get(name) {
            return Arc::clone(caller);
        }
        let by_digest = KeyHash::parse(name).and_then(|hash| callers.keys.get(hash));
        let by_alias = || callers.keys.all().into_iter().find(|known| known.key.label() == name);
        let caller = by_digest.or_else(by_alias).map_or_else(
            || {
                let master = &callers.master;
                Arc::new(Caller {
                    key: KeyId::from(name),
                    name: name.into(),
                    team: None,
                    scopes: master.scopes.clone(),
                    budgets: Vec::new(),
                    virtual_key: None,
                })
            },
            |known| known.caller,
        );
        self.known.insert(name.to_owned(), Arc::clone(&caller));
        caller
    }
}

/// What carries calls to providers on the network: nothing.
struct NoNetwork;

impl Upstream for NoNetwork {
    fn send(&self, _call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        let message = "a simulation calls no provider on the network";
        Box::pin(async move { Err(AttemptFault::new(FaultKind::Misconfigured, message).before_sending()) })
    }
}

/// What providers allow, as far as these configurations know it.
#[must_use]
pub fn provider_limits<'s>(settings: impl IntoIterator<Item = &'s Settings>) -> ProviderLimits {
    ProviderLimits::of(settings)
}
