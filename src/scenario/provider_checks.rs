//! What every provider's policy is checked for, whatever it speaks: nothing that providers or clients send makes it fail, fresh instances
//! write the same, where a stream is cut makes no difference, and it does not grow. A fault it tells is a good answer to all of them.

use std::sync::Arc;

use http::{HeaderMap, Uri};
use serde_json::json;

use super::Asked;
use super::heard_reply::HeardReply;
use super::odd;
use super::provider_suite::spoken;
use super::report::SuiteReport;
use crate::format::{self, ClientRequest, NO_QUIRKS, ProviderFormat as _, Target};
use crate::policy::{Component, ComponentFormat, LogLine, ProviderPolicy, ProviderSetup};

/// Rounds over which memory must not grow, and after how many it is measured first.
const ROUNDS: usize = 2_000;
const WARM: usize = 200;

/// Runs every check on a component, with the settings of `setup`.
pub(super) fn all(component: &Arc<Component>, setup: &ProviderSetup, report: &mut SuiteReport) {
    let trial = Trial { component, setup };
    let started = trial.started();
    report.gate("starts as a provider, and answers", started.as_ref().map(drop).map_err(Clone::clone));
    // Every other check would say the same.
    let Ok(policy) = started else { return };
    report.asked(Asked::by_provider(policy.needs(), component.inspection().manifest));
    report.advice("requests of every sort, alike from another fresh instance", trial.requests());
    report.advice("replies and refusals that make no sense", trial.replies());
    report.advice("streams that make no sense, wherever they are cut", trial.streams());
    report.advice("settings that make no sense", trial.odd_settings());
    report.memory("memory does not grow over 2,000 requests and replies", trial.memory());
}

struct Trial<'a> {
    component: &'a Arc<Component>,
    setup: &'a ProviderSetup,
}

impl Trial<'_> {
    fn started(&self) -> Result<Arc<ProviderPolicy>, String> {
        let started = ProviderPolicy::start(Arc::clone(self.component), self.setup.clone(), None);
        started.map_err(|problem| problem.to_string())
    }

    fn requests(&self) -> Result<(), String> {
        let policies = [self.started()?, self.started()?];
        let [one, other] = [spoken(&policies[0]), spoken(&policies[1])];
        for request in requests() {
            let [first, second] = [self.encode(&one, &request)?, self.encode(&other, &request)?];
            if first != second {
                return Err(format!("two fresh instances write the request {request} differently"));
            }
        }
        policies.iter().try_for_each(|policy| fault_free(policy))
    }

    fn encode(&self, spoken: &ComponentFormat, request: &serde_json::Value) -> Result<Vec<u8>, String> {
        let target = Target::plain(&self.setup.model, &NO_QUIRKS, 100);
        let uri = Uri::from_static("/v1/chat/completions");
        let api = format::spoken_at(uri.path(), &HeaderMap::new());
        let parsed = api.parse(&ClientRequest::post(uri, request.to_string())).map_err(|refusal| refusal.message)?;
        Ok(spoken.encode(&parsed, &target).map_or_else(|fault| fault.message.into_bytes(), |sent| sent.body.to_vec()))
    }

    fn replies(&self) -> Result<(), String> {
        let policy = self.started()?;
        let spoken = spoken(&policy);
        for text in odd::TEXTS.into_iter().chain(["{}", "[]", "null", "{\"message\":3}", "{\"choices\":[{}]}"]) {
            // To be no reply is an answer.
            drop(spoken.decode(text.as_bytes()));
            for status in [400, 429, 500, 599] {
                drop(spoken.decode_error(status, &HeaderMap::new(), text.as_bytes()));
            }
        }
        drop(spoken.decode(&[0xff, 0xfe, 0x00]));
        fault_free(&policy)
    }

    fn streams(&self) -> Result<(), String> {
        let policy = self.started()?;
        let spoken = spoken(&policy);
        for text in odd::TEXTS.into_iter().chain(["{}", "[DONE]"]) {
            for stream in
                [format!("data: {text}\n\n"), format!("event: x\ndata: {text}\n\ndata: {{}}\n\n"), format!("{text}\n")]
            {
                let whole = HeardReply::streamed(&spoken, &[stream.as_bytes()]);
                if let Some(problem) = HeardReply::other_cut(&spoken, stream.as_bytes(), &whole) {
                    return Err(problem);
                }
            }
        }
        fault_free(&policy)
    }

    fn odd_settings(&self) -> Result<(), String> {
        odd::try_settings(|settings| {
            let setup = ProviderSetup { settings, ..self.setup.clone() };
            ProviderPolicy::start(Arc::clone(self.component), setup, None)
        })
    }

    fn memory(&self) -> Result<usize, String> {
        let policy = self.started()?;
        let spoken = spoken(&policy);
        let mut warm = 0;
        for (round, request) in requests().iter().cycle().take(ROUNDS).enumerate() {
            self.encode(&spoken, request)?;
            drop(spoken.decode(b"{\"id\":\"x\"}"));
            if round == WARM {
                warm = policy.memory_bytes();
            }
        }
        odd::without_growth(warm, policy.memory_bytes(), &format!("from request {WARM} to request {ROUNDS}"))
    }
}

/// Whether nothing it was asked made it fail.
fn fault_free(policy: &ProviderPolicy) -> Result<(), String> {
    let report = policy.report();
    let kinds = crate::policy::PolicyFault::KINDS.into_iter().zip(report.faults_by_kind);
    let failed: Vec<String> =
        kinds.filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{count} × {kind}")).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let log = policy.take_log();
    let said = LogLine::last_warning(&log).map_or_else(String::new, |said| format!("; it said: {said}"));
    Err(format!("it failed: {}{said}", failed.join(", ")))
}

/// Each odd text as what a client says, and requests with everything else there is.
fn requests() -> Vec<serde_json::Value> {
    let one = |text: &str| json!({"model": "m", "messages": [{"role": "user", "content": text}]});
    let mut requests: Vec<_> = odd::TEXTS.map(one).to_vec();
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let call = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":"}}]);
    requests.push(
        json!({"model": "m", "stream": true, "max_tokens": 5, "temperature": 0, "stop": ["x"], "tools": tools,
        "tool_choice": "auto", "messages": [
            {"role": "system", "content": "s"}, {"role": "user", "content": "u"},
            {"role": "assistant", "content": null, "tool_calls": call},
            {"role": "tool", "tool_call_id": "c", "content": "t"}]}),
    );
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    requests.push(json!({"model": "m", "n": 3, "response_format": {"type": "json_object"}, "logprobs": true,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, image]}]}));
    requests
}
