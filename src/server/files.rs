//! `/v1/files`: what clients keep for their batches, in OpenAI's paths and shapes. A file comes as a form and goes to the disk as it
//! comes; it is sent as it is read.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream::unfold;
use multer::{Field, Multipart};
use serde_json::Value;

use crate::batch::{Batches, FileWanted, Upload};
use crate::fault::{Refusal, RefusalKind};
use crate::format::spoken_at;
use crate::pipeline::BlockingPool;
use crate::snapshot::Caller;
use crate::store::Listed;

use super::{App, probe, refusal};

/// What a request about one file or batch is answered by: whose it is, which, and in whose dialect.
pub(super) type AboutOne = (State<Arc<App>>, Extension<Arc<Caller>>, Path<String>, Uri, HeaderMap);

/// How long a file may take to come.
const UPLOAD: Duration = Duration::from_secs(600);
/// Bytes that are written or read at once.
const PIECE: usize = 1 << 20;
/// Bytes of a field that is no file, and of a file's name.
const FIELD: usize = 1024;
/// Seconds after which a file may be gone.
const LASTS: std::ops::RangeInclusive<u64> = 3600..=2_592_000;

/// What a list is asked with: the page, and what OpenAI's bound of one is.
pub(super) fn listed(asked: &Asked, otherwise: usize, most: usize) -> Result<Listed<'_>, Refusal> {
    let wrong = |message: String, param| Refusal::new(RefusalKind::InvalidRequest, message).at(param);
    let limit = match asked.get("limit") {
        None => otherwise,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=most).contains(limit))
            .ok_or_else(|| wrong(format!("`limit` is 1 to {most}"), "limit"))?,
    };
    let oldest_first = match asked.get("order") {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(wrong("`order` is `asc` or `desc`".to_owned(), "order")),
    };
    Ok(Listed { after: asked.get("after"), limit, oldest_first })
}

/// The query of an address.
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    pub(super) fn of(uri: &Uri) -> Self {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(found, _)| found == name)?;
        Some(found.1.as_str()).filter(|value| !value.is_empty())
    }
}

/// Does something with what is kept, on another thread, and answers with what it comes to.
pub(super) async fn answer(
    app: &Arc<App>,
    uri: &Uri,
    headers: &HeaderMap,
    act: impl FnOnce(&Batches) -> Result<Value, Refusal> + Send + 'static,
) -> Response {
    let told = acted(app, act).await;
    shown(app, uri, headers, told)
}

pub(super) fn shown(app: &Arc<App>, uri: &Uri, headers: &HeaderMap, told: Result<Value, Refusal>) -> Response {
    match told {
        Ok(told) => probe::json_response(StatusCode::OK, &told),
        Err(why) => refusal::unrecorded(app, spoken_at(uri.path(), headers), &why),
    }
}

async fn acted<R: Send + 'static>(
    app: &Arc<App>,
    act: impl FnOnce(&Batches) -> Result<R, Refusal> + Send + 'static,
) -> Result<R, Refusal> {
    let batches = Arc::clone(&app.batches);
    let failed = || Err(Refusal::new(RefusalKind::Internal, "the work on stored files and batches failed"));
    app.gateway.blocking.run(move || act(&batches)).await.unwrap_or_else(failed)
}

/// `GET /v1/files`: those of the key that asks.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let asked = Asked::of(&uri);
    let list = move |batches: &Batches| {
        batches.files(caller.key.as_str(), asked.get("purpose"), &listed(&asked, 10_000, 10_000)?)
    };
    answer(&app, &uri, &headers, list).await
}

/// `GET /v1/files/{id}`.
pub(super) async fn get((State(app), Extension(caller), Path(id), uri, headers): AboutOne) -> Response {
    answer(&app, &uri, &headers, move |batches| batches.file(caller.key.as_str(), &id)).await
}

/// `DELETE /v1/files/{id}`.
pub(super) async fn delete((State(app), Extension(caller), Path(id), uri, headers): AboutOne) -> Response {
    answer(&app, &uri, &headers, move |batches| batches.delete_file(caller.key.as_str(), &id)).await
}

/// `GET /v1/files/{id}/content`: sent as it is read.
pub(super) async fn content((State(app), Extension(caller), Path(id), uri, headers): AboutOne) -> Response {
    let (file, length) = match acted(&app, move |batches| batches.content(caller.key.as_str(), &id)).await {
        Ok(found) => found,
        Err(why) => return shown(&app, &uri, &headers, Err(why)),
    };
    let pool = app.gateway.blocking.clone();
    let pieces = unfold(Some(file), move |file| piece(pool.clone(), file));
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, length.into());
    response
}

/// The next piece of a file; after a fault nothing follows.
async fn piece(pool: BlockingPool, file: Option<File>) -> Option<(std::io::Result<Bytes>, Option<File>)> {
    let mut file = file?;
    let read = move || {
        let mut piece = Vec::with_capacity(PIECE);
        file.by_ref().take(PIECE as u64).read_to_end(&mut piece).map(|_| (piece, file))
    };
    match pool.run(read).await {
        Some(Ok((piece, _))) if piece.is_empty() => None,
        Some(Ok((piece, file))) => Some((Ok(piece.into()), Some(file))),
        Some(Err(fault)) => Some((Err(fault), None)),
        None => Some((Err(std::io::Error::other("the file could not be read")), None)),
    }
}

/// `POST /v1/files`: a form with `purpose`, `file`, and perhaps `expires_after[seconds]`.
pub(super) async fn upload(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request<Body>,
) -> Response {
    let (head, body) = request.into_parts();
    let read = tokio::time::timeout(UPLOAD, form(&app, &caller, &head.headers, body));
    let read = read.await.unwrap_or_else(|_elapsed| {
        let message = format!("the file did not arrive within {} s", UPLOAD.as_secs());
        Err(Refusal::new(RefusalKind::SlowRequest, message))
    });
    let (upload, wanted) = match read {
        Ok(read) => read,
        Err(why) => return shown(&app, &head.uri, &head.headers, Err(why)),
    };
    let keep = move |batches: &Batches| batches.keep_upload(caller.key.as_str(), upload, wanted);
    answer(&app, &head.uri, &head.headers, keep).await
}

fn unreadable(fault: &multer::Error) -> Refusal {
    Refusal::new(RefusalKind::InvalidRequest, format!("the form could not be read: {fault}"))
}

async fn form(
    app: &Arc<App>,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Upload, FileWanted), Refusal> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(|_| {
        let message = "a file is sent as a form: `Content-Type: multipart/form-data` with `purpose` and `file`";
        Refusal::new(RefusalKind::InvalidRequest, message)
    })?;
    let mut form = Multipart::new(body.into_data_stream(), boundary);
    let (mut upload, mut wanted) = (None, FileWanted::default());
    while let Some(field) = form.next_field().await.map_err(|fault| unreadable(&fault))? {
        match field.name().unwrap_or_default() {
            "file" if upload.is_none() => {
                let name = field.file_name().unwrap_or("file.jsonl");
                name[..name.floor_char_boundary(FIELD)].clone_into(&mut wanted.name);
                upload = Some(file(app, caller, field).await?);
            }
            "purpose" => wanted.purpose = text(field).await?,
            "expires_after[seconds]" => wanted.expires_after = Some(lasts(&text(field).await?)?),
            _ => drop(text(field).await?),
        }
    }
    let upload =
        upload.ok_or_else(|| Refusal::new(RefusalKind::InvalidRequest, "the form has no field `file`").at("file"))?;
    Ok((upload, wanted))
}

/// Seconds after which a file is gone.
pub(super) fn lasts(text: &str) -> Result<u64, Refusal> {
    text.parse().ok().filter(|seconds| LASTS.contains(seconds)).ok_or_else(|| {
        let message = format!("a file lasts {} to {} seconds", LASTS.start(), LASTS.end());
        Refusal::new(RefusalKind::InvalidRequest, message).at("expires_after")
    })
}

async fn text(mut field: Field<'_>) -> Result<String, Refusal> {
    let mut whole = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|fault| unreadable(&fault))? {
        if whole.len() + piece.len() > FIELD {
            let message = format!("a field that is no file has at most {FIELD} bytes");
            return Err(Refusal::new(RefusalKind::InvalidRequest, message));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(String::from_utf8_lossy(&whole).into_owned())
}

/// Takes a file to the disk as it comes.
async fn file(app: &Arc<App>, caller: &Caller, mut field: Field<'_>) -> Result<Upload, Refusal> {
    let owner = caller.key.clone();
    let mut upload = acted(app, move |batches| batches.begin_upload(owner.as_str())).await?;
    let mut pieces = BytesMut::new();
    loop {
        let piece = field.chunk().await.map_err(|fault| unreadable(&fault))?;
        pieces.extend_from_slice(piece.as_deref().unwrap_or_default());
        if pieces.len() >= PIECE || (piece.is_none() && !pieces.is_empty()) {
            let written = pieces.split().freeze();
            let write = move |_: &Batches| upload.write(&written).map(|()| upload);
            upload = acted(app, write).await?;
        }
        if piece.is_none() {
            return Ok(upload);
        }
    }
}
