//! What commands ask of a running gateway, and the event loop that they and others run on.

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::AskArgs;
use crate::http;

/// An event loop on this thread.
pub(super) fn event_loop() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|fault| format!("there is no event loop: {fault}"))
}

/// What the gateway answers; a body is posted. Where nobody answered it is said what to do: one that answers says itself what is wrong.
pub(super) fn ask(gateway: &AskArgs, path: &str, body: Option<Vec<u8>>) -> Result<Value, String> {
    let url = format!("{}{path}", gateway.url.trim_end_matches('/'));
    let (key, event_loop) = (gateway.key.as_deref(), event_loop()?);
    let answer = match body {
        Some(body) => event_loop.block_on(http::post_json(&url, key, body)),
        None => event_loop.block_on(http::get_json(&url, key)),
    };
    answer.map_err(|fault| {
        if fault.contains(": answered ") {
            return fault;
        }
        format!("{fault}\nhint: is `witgate serve` running there? Name another address with --url, its key with --key")
    })
}
