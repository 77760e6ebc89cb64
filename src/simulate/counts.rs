//! The client API of simulations: our own, with counts in the place of texts. It is behind no path of the server: from a client, counts
//! are never believed.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde_json::Value;

use crate::chat::{ChatRequest, Reply};
use crate::fault::Refusal;
use crate::format::{self, ClientApi, ClientRequest, Operation, StreamEncoder};
use crate::provider::simulated::INPUT_TOLD;

/// The API.
pub(super) struct Counts;

/// The one.
pub(super) static COUNTS: Counts = Counts;

fn own() -> &'static dyn ClientApi {
    format::own().1
}

impl ClientApi for Counts {
    fn name(&self) -> &'static str {
        own().name()
    }

    fn operation(&self, path: &str) -> Option<Operation> {
        own().operation(path)
    }

    fn speaks_at(&self, _path: &str, _headers: &HeaderMap) -> bool {
        false
    }

    fn id_header(&self) -> HeaderName {
        own().id_header()
    }

    fn model(&self, name: &str) -> Value {
        own().model(name)
    }

    fn models(&self, names: &[&str]) -> Value {
        own().models(names)
    }

    fn parse(&self, request: &ClientRequest) -> Result<ChatRequest, Refusal> {
        let mut request = own().parse(request)?;
        request.input_tokens = request.rest.get(INPUT_TOLD).and_then(Value::as_u64);
        Ok(request)
    }

    fn reply(&self, reply: &Reply) -> Bytes {
        own().reply(reply)
    }

    fn refusal(&self, refusal: &Refusal, request_id: &str) -> Bytes {
        own().refusal(refusal, request_id)
    }

    fn stream(&self, request: &ChatRequest) -> Box<dyn StreamEncoder> {
        own().stream(request)
    }
}
