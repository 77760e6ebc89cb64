//! What is told of a line that has ended: a line of the output.

use std::io::Write;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::line::Line;
use crate::fault::Refusal;
use crate::store::BatchStore;

#[derive(Serialize)]
struct Outcome<'a> {
    id: String,
    custom_id: &'a str,
    response: Option<Response<'a>>,
    error: Option<LineError<'a>>,
}

#[derive(Serialize)]
struct Response<'a> {
    status_code: u16,
    request_id: &'a str,
    body: &'a RawValue,
}

#[derive(Serialize)]
struct LineError<'a> {
    code: &'a str,
    message: &'a str,
}

/// Of a line with a reply.
pub(super) fn answered(line: &Line, request: &str, body: &Bytes) -> Option<String> {
    response(&line.custom_id, request, 200, body)
}

/// Of a line that was refused: in the words of its API.
pub(super) fn refused(line: &Line, request: &str, refusal: &Refusal) -> String {
    let told = response(&line.custom_id, request, refusal.status, &line.api.refusal(refusal, request));
    told.unwrap_or_else(|| unsent(&line.custom_id, request, refusal.kind.as_str(), &refusal.message))
}

/// Of a line that no request was made of: `number` tells it from others.
pub(super) fn unsent(custom_id: &str, number: &str, code: &str, message: &str) -> String {
    written(&Outcome { id: id(number), custom_id, response: None, error: Some(LineError { code, message }) })
}

fn response(custom_id: &str, request: &str, status: u16, body: &[u8]) -> Option<String> {
    // A line must hold no end of one.
    let flat = body.contains(&b'\n').then(|| {
        let value: serde_json::Value = serde_json::from_slice(body).ok()?;
        serde_json::to_vec(&value).ok()
    });
    let body: &RawValue = match &flat {
        None => serde_json::from_slice(body).ok()?,
        Some(flat) => serde_json::from_slice(flat.as_deref()?).ok()?,
    };
    let response = Response { status_code: status, request_id: request, body };
    Some(written(&Outcome { id: id(request), custom_id, response: Some(response), error: None }))
}

fn id(request: &str) -> String {
    format!("batch_req_{}", request.replace('-', ""))
}

fn written(outcome: &Outcome<'_>) -> String {
    serde_json::to_string(outcome).unwrap_or_default()
}

/// Writes what is told of lines that have ended, in their order: of those with an answer, or those without, where `answered` says so.
/// Returns how many there are. Blocks.
///
/// # Errors
/// The store cannot be read, or `out` not written.
pub fn write_outcomes(
    store: &BatchStore,
    batch: &str,
    answered: Option<bool>,
    out: &mut impl Write,
) -> Result<u64, String> {
    each_outcome(store, batch, answered, out, |_| {})
}

/// The same, and tells each.
pub(super) fn each_outcome(
    store: &BatchStore,
    batch: &str,
    answered: Option<bool>,
    out: &mut impl Write,
    mut each: impl FnMut(&str),
) -> Result<u64, String> {
    let (mut after, mut lines) = (0, 0);
    loop {
        let page = store.outcomes(batch, answered, after)?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        lines += page.len() as u64;
        for (_, outcome) in &page {
            each(outcome);
            out.write_all(outcome.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(|fault| fault.to_string())?;
        }
    }
    out.flush().map_err(|fault| fault.to_string())?;
    Ok(lines)
}
