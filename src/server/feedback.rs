//! `POST /v1/feedback`: what a reply was worth, said when it is known, which may be days later.
//!
//! The request is found in the ledger by its id, and the judgement kept there, once for each source, before the router that decided
//! hears it: nothing is learned twice. Whoever's key made a request may judge its reply, and operators any.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::fault::{Refusal, RefusalKind};
use crate::format::spoken_at;
use crate::id::RequestId;
use crate::pipeline::{Listener, is_operator};
use crate::snapshot::Caller;
use crate::store::{Judgement, Ledger};

use super::{App, access, probe, refusal, shortened};

/// Bytes of a body at most.
const BODY: usize = 64 << 10;
/// Bytes of a source's name and of a comment at most.
const SOURCE: usize = 100;
const COMMENT: usize = 4096;
/// The source of feedback that names none.
const NOBODY: &str = "client";
/// How long after a request its reply may be judged. What a router has learned since outweighs older ones.
const WITHIN: Duration = Duration::from_hours(7 * 24);

/// The fields, LiteLLM's name of a request's id among them.
const FIELDS: [&str; 5] = ["request_id", "litellm_call_id", "score", "source", "comment"];

/// `POST /v1/feedback`.
pub(super) async fn give(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    let api = spoken_at(request.uri().path(), request.headers());
    match given(&app, request).await {
        Ok(told) => probe::json_response(StatusCode::OK, &told),
        Err(why) => refusal::unrecorded(&app, api, &why),
    }
}

async fn given(app: &Arc<App>, request: Request<Body>) -> Result<Value, Refusal> {
    let (head, body) = request.into_parts();
    access::is_json(&app.gateway.live.read(), &head.headers)?;
    let too_large = || format!("the body could not be read, or has more than {BODY} bytes");
    let body = to_bytes(body, BODY).await.map_err(|_| Refusal::new(RefusalKind::TooLarge, too_large()))?;
    let said = Said::read(&body)?;
    let Some(ledger) = app.gateway.ledger.clone() else {
        let why = "feedback is matched through the ledger, and none is kept; set `witgate.ledger` in the configuration and start again";
        return Err(Refusal::new(RefusalKind::InvalidRequest, why));
    };
    let snapshot = app.gateway.live.read();
    let caller = head.extensions.get::<Arc<Caller>>().unwrap_or(&snapshot.callers.anonymous);
    // An operator's word counts for any request.
    let of = (!is_operator(&snapshot, caller)).then(|| caller.key.as_str().to_owned());
    let acting = Arc::clone(app);
    let told = app.gateway.judgements.run(move || judged(&acting, &ledger, said, of.as_deref())).await;
    told.unwrap_or_else(|| Err(Refusal::new(RefusalKind::Internal, "the feedback could not be kept")))
}

/// Keeps it, and tells the router. Blocks.
fn judged(app: &App, ledger: &Ledger, said: Said, of: Option<&str>) -> Result<Value, Refusal> {
    let internal = |why: String| Refusal::new(RefusalKind::Internal, why);
    let now = app.gateway.clock.now();
    let id = said.request.to_string();
    let replied = ledger.replied(said.request).map_err(internal)?;
    // Whose key it is not made with learns nothing of a request, not even that it was made.
    let mine = |key: &Option<String>| of.is_none_or(|of| key.as_deref() == Some(of));
    let Some(replied) = replied.filter(|replied| mine(&replied.key)) else {
        let why = format!(
            "no request `{id}` has ended that was made with this key; a reply's id is in its header `x-request-id`, and the ledger must have been kept when it was given"
        );
        return Err(coded(RefusalKind::UnknownPath, 404, "request_not_found", why).at("request_id"));
    };
    if now.since(replied.arrived) > WITHIN {
        let days = WITHIN.as_secs() / 86_400;
        let why = format!("the request arrived at {}; replies are judged within {days} days", replied.arrived.iso());
        return Err(coded(RefusalKind::InvalidRequest, 410, "request_too_old", why).at("request_id"));
    }
    if !replied.has_reply() {
        let why = "the request ended without a reply: there is nothing to judge".to_owned();
        return Err(coded(RefusalKind::InvalidRequest, 409, "no_reply", why).at("request_id"));
    }
    let listener = Listener::of(&app.gateway.live.read(), &replied).map_err(|why| {
        coded(RefusalKind::InvalidRequest, 409, "router_gone", format!("nothing was kept: {why}")).at("request_id")
    })?;
    let Said { request, source, score, comment } = said;
    let judgement = Judgement { request, source, score, comment, given: now };
    let earlier = ledger.judge(&judgement).map_err(internal)?;
    let policy = listener.heard_by().map(str::to_owned);
    #[expect(clippy::float_cmp, reason = "the same number, said again")]
    let repeated = match earlier {
        Some(earlier) if earlier.score != score => {
            let why = format!(
                "`{}` gave {} for this reply at {}; a source judges a reply once, for what was learned is not unlearned",
                judgement.source,
                earlier.score,
                earlier.given.iso()
            );
            return Err(coded(RefusalKind::InvalidRequest, 409, "feedback_given", why).at("source"));
        }
        earlier => earlier.is_some(),
    };
    if !repeated {
        #[expect(clippy::cast_possible_truncation, reason = "a score of few digits")]
        listener.tell(&app.gateway, score as f32);
    }
    let deployment = replied.last.map(|last| last.deployment);
    Ok(json!({
        "request_id": id,
        "source": judgement.source,
        "score": score,
        "policy": policy,
        "deployment": deployment,
        "repeated": repeated,
    }))
}

fn coded(kind: RefusalKind, status: u16, code: &str, why: String) -> Refusal {
    let mut refusal = Refusal::new(kind, why);
    (refusal.status, refusal.code) = (status, Some(code.to_owned()));
    refusal
}

/// Whether two values say the same: numbers and ids by what they mean, however they are written.
fn alike(one: &Value, other: &Value) -> bool {
    let id = |value: &Value| value.as_str().and_then(RequestId::parse);
    let number = |value: &Value| value.as_f64().map(f64::to_bits);
    one == other
        || id(one).is_some_and(|one| id(other) == Some(one))
        || number(one).is_some_and(|one| number(other) == Some(one))
}

/// What a body says.
#[derive(Debug, PartialEq)]
struct Said {
    request: RequestId,
    source: String,
    score: f64,
    comment: Option<String>,
}

impl Said {
    /// Each field stands in the object itself or, as clients of LiteLLM write, in its `metadata`, whose other fields are anybody's.
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        let wrong = |field: &str, why: String| Refusal::new(RefusalKind::InvalidRequest, why).at(field);
        let mut fields: Map<String, Value> = serde_json::from_slice(body).map_err(|fault| {
            let why = format!(
                "the body is an object with `request_id` and `score`, and may have `source` and `comment`: {fault}"
            );
            Refusal::new(RefusalKind::InvalidRequest, why)
        })?;
        let metadata = match fields.remove("metadata") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(metadata)) => metadata,
            Some(_) => return Err(wrong("metadata", "`metadata` must be an object".to_owned())),
        };
        if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            let why = format!("there is no field `{}`; known: {}, metadata", shortened(unknown), FIELDS.join(", "));
            return Err(wrong(shortened(unknown), why));
        }
        let value =
            |name: &str| [&fields, &metadata].into_iter().find_map(|of| of.get(name)).filter(|one| !one.is_null());
        let text = |name: &str, most: usize| match value(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= most && !text.is_empty() && !text.contains('\0') => {
                Ok(Some(text.clone()))
            }
            Some(_) => Err(wrong(name, format!("`{name}` must be a text of 1 to {most} bytes"))),
        };
        // Of two that differ nobody knows which is meant, and what is learned is not unlearned.
        let agreed = |names: &[&str]| {
            let everywhere = names.iter().flat_map(|name| [fields.get(*name), metadata.get(*name)]);
            let mut said = everywhere.flatten().filter(|one| !one.is_null());
            let first = said.next();
            first.is_none_or(|first| said.all(|other| alike(first, other)))
        };
        let id = match text("request_id", SOURCE)? {
            Some(id) => id,
            None => text("litellm_call_id", SOURCE)?
                .ok_or_else(|| wrong("request_id", "`request_id` is missing".to_owned()))?,
        };
        let request = RequestId::parse(&id).ok_or_else(|| {
            wrong("request_id", format!("`{id}` is no request's id; a reply's is in its header `x-request-id`"))
        })?;
        if !agreed(&["request_id", "litellm_call_id"]) {
            let why = "`request_id` and `litellm_call_id` name different requests, here or in `metadata`: give one";
            return Err(wrong("request_id", why.to_owned()));
        }
        let score = value("score").ok_or_else(|| wrong("score", "`score` is missing".to_owned()))?;
        let score = score.as_f64().filter(|score| (0.0..=1.0).contains(score)).ok_or_else(|| {
            wrong("score", "`score` must be a number from 0, useless, to 1, as good as can be".to_owned())
        })?;
        if !agreed(&["score"]) {
            return Err(wrong("score", "`score` and `metadata.score` differ: give one".to_owned()));
        }
        // Blanks around it make no other name of it, the judges' least of all.
        let source = text("source", SOURCE)?.map_or_else(|| NOBODY.to_owned(), |source| source.trim().to_owned());
        if source.is_empty() {
            return Err(wrong("source", format!("`source` must be a text of 1 to {SOURCE} bytes")));
        }
        if source == Judgement::JUDGE {
            let why =
                format!("`{source}` is the source of the gateway's own judges (`witgate.judges`); take another name");
            return Err(wrong("source", why));
        }
        Ok(Self { request, source, score, comment: text("comment", COMMENT)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01a217d5-f008-72c1-ac2a-30e9ce99bf78";
    const OTHER: &str = "01a217d5-f008-72c1-ac2a-30e9ce99bf79";

    fn read(body: &Value) -> Result<Said, Refusal> {
        Said::read(body.to_string().as_bytes())
    }

    #[test]
    fn fields_stand_in_the_body_or_in_its_metadata_as_litellm_has_it() {
        let plain = read(&json!({"request_id": ID, "score": 0.5})).unwrap();
        assert_eq!((plain.source.as_str(), plain.comment), (NOBODY, None));
        let whole = json!({"request_id": ID, "score": 1, "source": "editor", "comment": "good", "metadata": null});
        let metadata = json!({"metadata": {"litellm_call_id": ID, "score": 1.0, "source": "editor", "comment": "good", "user": 3}});
        assert_eq!(read(&whole).unwrap(), read(&metadata).unwrap());
        // What stands in the body counts; what is said twice in the same way is no contradiction.
        let both = json!({"request_id": ID, "litellm_call_id": ID.to_uppercase(), "score": 1, "source": " editor ",
            "metadata": {"score": 1.0, "request_id": ID, "source": "mine"}});
        let both = read(&both).unwrap();
        assert!((both.score - 1.0).abs() < f64::EPSILON && both.source == "editor", "{both:?}");
    }

    #[test]
    fn each_mistake_is_told_with_its_field() {
        for (body, field) in [
            (json!({"score": 0.5}), "request_id"),
            (json!({"request_id": "chatcmpl-7", "score": 0.5}), "request_id"),
            (json!({"request_id": ID}), "score"),
            (json!({"request_id": ID, "score": "good"}), "score"),
            (json!({"request_id": ID, "score": 1.01}), "score"),
            (json!({"request_id": ID, "score": -0.1}), "score"),
            (json!({"request_id": ID, "score": 1, "source": ""}), "source"),
            (json!({"request_id": ID, "score": 1, "source": "judge"}), "source"),
            (json!({"request_id": ID, "score": 1, "source": "  judge "}), "source"),
            (json!({"request_id": ID, "score": 1, "source": "  "}), "source"),
            (json!({"request_id": ID, "litellm_call_id": OTHER, "score": 1}), "request_id"),
            (json!({"request_id": ID, "score": 1, "metadata": {"litellm_call_id": OTHER}}), "request_id"),
            (json!({"request_id": ID, "score": 1, "metadata": {"score": 0}}), "score"),
            (json!({"request_id": ID, "score": 1, "source": "a".repeat(SOURCE + 1)}), "source"),
            (json!({"request_id": ID, "score": 1, "comment": "a".repeat(COMMENT + 1)}), "comment"),
            (json!({"request_id": ID, "score": 1, "metadata": []}), "metadata"),
            (json!({"request_id": ID, "score": 1, "rating": 5}), "rating"),
        ] {
            let why = read(&body).unwrap_err();
            assert_eq!((why.status, why.param.as_deref()), (400, Some(field)), "{body}: {why}");
        }
        assert_eq!(read(&json!([])).unwrap_err().status, 400);
    }
}
