//! Cohere's chat API, version 2 (`POST /v2/chat`): text, pictures, tools, thinking, JSON, streams.
//!
//! Field names are those of the provider's own client (`cohere` 7.3.1 on `PyPI`, its `v2`). Input and output are counted as the
//! provider bills them (`billed_units`). No settings.

mod encode;
mod events;

use std::rc::Rc;

use serde_json::Value;
use witgate_provider::{
    Decoder, Encoded, Event, Fault, Framing, Needs, Provider, Settings, Setup, Target, export_provider,
};

use events::Stream;

struct Cohere;

impl Provider for Cohere {
    type Decoder = Stream;

    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        Settings::parse(&setup.settings)?.finish()?;
        Ok((Self, Needs { framing: Framing::ServerSentEvents, pure: true }))
    }

    fn encode(&self, request: &[u8], target: &Target) -> Result<Encoded, Fault> {
        encode::request(request, target)
    }

    fn decode(&self, body: &[u8]) -> Result<Vec<Event>, Fault> {
        events::whole(body)
    }

    fn decode_error(&self, _status: u16, body: &[u8]) -> Fault {
        let body = serde_json::from_slice::<Value>(body).unwrap_or_default();
        Fault::new(body["message"].as_str().unwrap_or_default())
    }

    fn open(self: &Rc<Self>) -> Stream {
        Stream::default()
    }
}

impl Decoder for Stream {
    fn push(&mut self, _name: &str, data: &[u8]) -> Result<Vec<Event>, Fault> {
        self.event(data)
    }
}

export_provider!(Cohere);
