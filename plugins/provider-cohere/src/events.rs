//! Cohere's replies, whole and streamed, as events.

use serde_json::Value;
use witgate_provider::{Beginning, Event, Fault, Finish, ToolArguments, ToolCall, Usage};

/// A stream under way.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    begun: bool,
    ended: bool,
}

fn parsed(data: &[u8]) -> Result<Value, Fault> {
    serde_json::from_slice(data).map_err(|fault| Fault::new(format!("what the provider sent is no JSON: {fault}")))
}

/// A whole reply.
pub(crate) fn whole(body: &[u8]) -> Result<Vec<Event>, Fault> {
    let reply = parsed(body)?;
    let message = &reply["message"];
    if !message.is_object() {
        return Err(Fault::new("the provider's reply has no message"));
    }
    let mut events = vec![beginning(&reply)];
    plan(&message["tool_plan"], &mut events);
    for part in message["content"].as_array().into_iter().flatten() {
        content(part, &mut events);
    }
    for (index, call) in (0..).zip(message["tool_calls"].as_array().into_iter().flatten()) {
        events.push(tool_call(index, call));
        arguments(index, call, &mut events);
    }
    events.push(Event::Finish(finish(&reply["finish_reason"])?));
    events.extend(usage(&reply["usage"]));
    events.push(Event::End);
    Ok(events)
}

impl Stream {
    pub(crate) fn event(&mut self, data: &[u8]) -> Result<Vec<Event>, Fault> {
        if self.ended || data == b"[DONE]" {
            return Ok(Vec::new());
        }
        let event = parsed(data)?;
        let delta = &event["delta"];
        let message = &delta["message"];
        let mut events = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            events.push(beginning(&event));
        }
        let index = || u32::try_from(event["index"].as_u64().unwrap_or_default()).unwrap_or(u32::MAX);
        match event["type"].as_str().unwrap_or_default() {
            "content-start" | "content-delta" => content(&message["content"], &mut events),
            "tool-plan-delta" => plan(&message["tool_plan"], &mut events),
            "tool-call-start" => {
                events.push(tool_call(index(), &message["tool_calls"]));
                arguments(index(), &message["tool_calls"], &mut events);
            }
            "tool-call-delta" => arguments(index(), &message["tool_calls"], &mut events),
            "message-end" => {
                if let Some(why) = delta["error"].as_str() {
                    return Err(Fault::new(why));
                }
                events.push(Event::Finish(finish(&delta["finish_reason"])?));
                events.extend(usage(&delta["usage"]));
                events.push(Event::End);
                self.ended = true;
            }
            "" if event["message"].is_string() => {
                return Err(Fault::new(event["message"].as_str().unwrap_or_default()));
            }
            // The beginning is told; ends of parts and citations say nothing that clients have a place for.
            _ => {}
        }
        Ok(events)
    }
}

/// The provider does not say which model answers.
fn beginning(event: &Value) -> Event {
    Event::Beginning(Beginning { id: event["id"].as_str().unwrap_or_default().to_owned(), model: String::new() })
}

fn content(part: &Value, events: &mut Vec<Event>) {
    for (name, event) in [("thinking", Event::Reasoning as fn(String) -> Event), ("text", Event::Text)] {
        if let Some(text) = part[name].as_str().filter(|text| !text.is_empty()) {
            events.push(event(text.to_owned()));
        }
    }
}

/// What the model means to do with its tools is thinking.
fn plan(plan: &Value, events: &mut Vec<Event>) {
    if let Some(text) = plan.as_str().filter(|text| !text.is_empty()) {
        events.push(Event::Reasoning(text.to_owned()));
    }
}

fn tool_call(index: u32, call: &Value) -> Event {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Event::ToolCall(ToolCall { index, id: text(&call["id"]), name: text(&call["function"]["name"]) })
}

fn arguments(index: u32, call: &Value, events: &mut Vec<Event>) {
    if let Some(fragment) = call["function"]["arguments"].as_str().filter(|fragment| !fragment.is_empty()) {
        events.push(Event::ToolArguments(ToolArguments { index, fragment: fragment.to_owned() }));
    }
}

fn finish(reason: &Value) -> Result<Finish, Fault> {
    Ok(match reason.as_str().unwrap_or_default() {
        "COMPLETE" | "STOP_SEQUENCE" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "TOOL_CALL" => Finish::ToolCalls,
        "ERROR" | "TIMEOUT" => return Err(Fault::new(format!("the provider ended its reply with {reason}"))),
        _ => Finish::Other,
    })
}

fn usage(usage: &Value) -> Option<Event> {
    // Numbers have a fraction there.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of f64 saturates; tokens are whole"
    )]
    let whole = |value: &Value| value.as_f64().map(|tokens| tokens as u64);
    let count = |name: &str| whole(&usage["billed_units"][name]).or_else(|| whole(&usage["tokens"][name]));
    let input_tokens = count("input_tokens")?;
    Some(Event::Usage(Usage {
        input_tokens,
        // Part of the prompt, of which less may be billed.
        cache_read_tokens: whole(&usage["cached_tokens"]).unwrap_or(0).min(input_tokens),
        cache_write_tokens: 0,
        output_tokens: count("output_tokens")?,
        reasoning_tokens: 0,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn used(input_tokens: u64, output_tokens: u64) -> Event {
        Event::Usage(Usage {
            input_tokens,
            output_tokens,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            reasoning_tokens: 0,
        })
    }

    #[test]
    fn a_whole_reply() {
        let body = json!({
            "id": "r", "finish_reason": "TOOL_CALL",
            "message": {"role": "assistant", "tool_plan": "look it up", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes"}],
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            "usage": {"billed_units": {"input_tokens": 5.0, "output_tokens": 2.0}, "tokens": {"input_tokens": 71.0, "output_tokens": 2.0}},
        });
        assert_eq!(
            whole(body.to_string().as_bytes()).unwrap(),
            [
                Event::Beginning(Beginning { id: "r".into(), model: String::new() }),
                Event::Reasoning("look it up".into()),
                Event::Reasoning("hm".into()),
                Event::Text("Yes".into()),
                Event::ToolCall(ToolCall { index: 0, id: "c".into(), name: "f".into() }),
                Event::ToolArguments(ToolArguments { index: 0, fragment: "{}".into() }),
                Event::Finish(Finish::ToolCalls),
                used(5, 2),
                Event::End,
            ]
        );
        assert!(whole(b"{}").is_err() && whole(b"<html>").is_err());
    }

    #[test]
    fn a_stream_of_every_event() {
        let mut stream = Stream::default();
        let mut events = Vec::new();
        for event in [
            json!({"type": "message-start", "id": "r", "delta": {"message": {"role": "assistant", "content": [], "tool_calls": []}}}),
            json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will"}}}),
            json!({"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}}}}),
            json!({"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}}}),
            json!({"type": "tool-call-end", "index": 0}),
            json!({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}),
            json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hi"}}}}),
            json!({"type": "content-end", "index": 0}),
            json!({"type": "citation-start", "index": 0, "delta": {"message": {"citations": {}}}}),
            json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 3, "output_tokens": 1}}}}),
        ] {
            events.extend(stream.event(event.to_string().as_bytes()).unwrap());
        }
        events.extend(stream.event(b"[DONE]").unwrap());
        assert_eq!(
            events,
            [
                Event::Beginning(Beginning { id: "r".into(), model: String::new() }),
                Event::Reasoning("I will".into()),
                Event::ToolCall(ToolCall { index: 0, id: "c".into(), name: "f".into() }),
                Event::ToolArguments(ToolArguments { index: 0, fragment: "{}".into() }),
                Event::Text("Hi".into()),
                Event::Finish(Finish::Stop),
                used(3, 1),
                Event::End,
            ]
        );
    }

    #[test]
    fn what_was_read_from_a_cache_is_part_of_the_input() {
        for (cached, told) in [(3.0, 3), (9.0, 5)] {
            let counted = json!({"billed_units": {"input_tokens": 5.0, "output_tokens": 2.0}, "cached_tokens": cached});
            let Some(Event::Usage(counted)) = usage(&counted) else { panic!("it is told") };
            assert_eq!((counted.input_tokens, counted.cache_read_tokens), (5, told));
        }
    }

    #[test]
    fn faults_inside_a_stream_are_told() {
        for event in [
            json!({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "out of order"}}),
            json!({"type": "message-end", "delta": {"finish_reason": "TIMEOUT"}}),
            json!({"message": "internal error"}),
        ] {
            assert!(Stream::default().event(event.to_string().as_bytes()).is_err(), "{event}");
        }
    }
}
