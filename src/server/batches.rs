//! `/v1/batches`, in OpenAI's paths and shapes: made of a file that was kept before, told of, and cancelled, by the key that made them.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::batch::{BatchWanted, Batches};
use crate::fault::{Refusal, RefusalKind};
use crate::snapshot::Caller;

use super::files::{AboutOne, Asked, answer, lasts, listed, shown};
use super::{App, access};

/// Bytes of a body at most.
const BODY: usize = 64 << 10;
/// Notes of a batch, and letters of each one's name and text: OpenAI's bounds.
const NOTES: [usize; 3] = [16, 64, 512];
/// Batches of a page, unless asked for more, and at most.
const PAGE: [usize; 2] = [20, 100];

/// A batch that is asked for. What else OpenAI's has is ignored.
#[derive(Deserialize)]
struct Written {
    endpoint: String,
    input_file_id: String,
    completion_window: String,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    output_expires_after: Option<Lasts>,
}

#[derive(Deserialize)]
struct Lasts {
    seconds: u64,
}

impl Written {
    fn wanted(body: &[u8]) -> Result<BatchWanted, Refusal> {
        let wrong = |message: String| Refusal::new(RefusalKind::InvalidRequest, message);
        let written: Self = serde_json::from_slice(body).map_err(|fault| wrong(format!("the body: {fault}")))?;
        let Self { endpoint, input_file_id: input_file, completion_window, metadata, output_expires_after } = written;
        let [most, name, text] = NOTES;
        let fits = |(key, value): (&String, &Value)| {
            key.chars().count() <= name && value.as_str().is_some_and(|value| value.chars().count() <= text)
        };
        if metadata.as_ref().is_some_and(|notes| notes.len() > most || !notes.iter().all(fits)) {
            let message = format!("`metadata` has at most {most} texts of {text} letters, with names of {name}");
            return Err(wrong(message).at("metadata"));
        }
        let output_expires_after = output_expires_after.map(|after| lasts(&after.seconds.to_string())).transpose()?;
        Ok(BatchWanted { endpoint, input_file, completion_window, metadata, output_expires_after })
    }
}

/// `POST /v1/batches`.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request<Body>,
) -> Response {
    let (head, body) = request.into_parts();
    let read = async {
        access::is_json(&app.gateway.live.read(), &head.headers)?;
        let body = to_bytes(body, BODY).await.map_err(|_| {
            Refusal::new(RefusalKind::TooLarge, format!("the body could not be read, or has more than {BODY} bytes"))
        })?;
        Written::wanted(&body)
    };
    match read.await {
        Ok(wanted) => {
            let create = move |batches: &Batches| batches.create(caller.key.as_str(), wanted);
            answer(&app, &head.uri, &head.headers, create).await
        }
        Err(why) => shown(&app, &head.uri, &head.headers, Err(why)),
    }
}

/// `GET /v1/batches`: those of the key that asks.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let asked = Asked::of(&uri);
    let list = move |batches: &Batches| batches.batches(caller.key.as_str(), &listed(&asked, PAGE[0], PAGE[1])?);
    answer(&app, &uri, &headers, list).await
}

/// `GET /v1/batches/{id}`.
pub(super) async fn get((State(app), Extension(caller), Path(id), uri, headers): AboutOne) -> Response {
    answer(&app, &uri, &headers, move |batches| batches.batch(caller.key.as_str(), &id)).await
}

/// `POST /v1/batches/{id}/cancel`.
pub(super) async fn cancel((State(app), Extension(caller), Path(id), uri, headers): AboutOne) -> Response {
    answer(&app, &uri, &headers, move |batches| batches.cancel(caller.key.as_str(), &id)).await
}
