"""anthropic-python against the gateway, over both vendors' providers."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic
import pytest

from vendors import CACHED_TOKENS, INPUT_TOKENS, OUTPUT_TOKENS, TEXT, TOOL_ARGUMENTS, anthropic_stream

FORECAST = {
    "name": "forecast",
    "description": "The weather to come",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}


def ask(group, scenario, **more):
    messages = [{"role": "user", "content": f"scenario:{scenario}"}]
    return {"model": group, "max_tokens": 50, "system": "Be brief.", "messages": messages, **more}


def check_usage(usage):
    assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == INPUT_TOKENS
    assert (usage.cache_read_input_tokens, usage.output_tokens) == (CACHED_TOKENS, OUTPUT_TOKENS)


def test_plain(anthropic_client, group, provider):
    raw = anthropic_client.messages.with_raw_response.create(**ask(group, "text", stop_sequences=["END"]))
    reply = raw.parse()
    assert (reply.type, reply.role, reply.stop_reason) == ("message", "assistant", "end_turn")
    assert [block.text for block in reply.content] == [TEXT]
    check_usage(reply.usage)
    assert raw.headers["x-witgate-deployment"]
    asked = provider.asked.get(timeout=5)
    assert asked["body"]["model"] == "upstream-model"
    assert asked["body"].get("max_tokens", asked["body"].get("max_completion_tokens")) == 50
    assert asked["body"].get("stop", asked["body"].get("stop_sequences")) == ["END"]
    assert "Be brief." in json.dumps(asked["body"])
    assert "sk-clients" not in json.dumps(asked), "the caller's key goes no further"
    assert f"sk-{group.removeprefix('via-')}-upstream" in json.dumps(asked["headers"])


def test_streamed(anthropic_client, group):
    with anthropic_client.messages.stream(**ask(group, "text")) as stream:
        assert "".join(stream.text_stream) == TEXT
        message = stream.get_final_message()
    assert message.stop_reason == "end_turn"
    check_usage(message.usage)


def test_signs_of_life_may_come_before_a_message():
    """What the gateway sends while nothing of the reply is there, to the SDK as it is."""
    events = ['event: ping\ndata: {"type": "ping"}\n\n'] * 2 + anthropic_stream("text")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write("".join(events).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{server.server_address[1]}"
        with anthropic.Anthropic(base_url=origin, api_key="k", max_retries=0) as client:
            with client.messages.stream(**ask("m", "text")) as stream:
                assert next(iter(stream)).type == "message_start"
                assert "".join(block.text for block in stream.get_final_message().content) == TEXT
            assert next(iter(client.messages.create(**ask("m", "text"), stream=True))).type == "message_start"
        server.shutdown()


def test_events_are_the_vendors(anthropic_client, group):
    kinds = [event.type for event in anthropic_client.messages.create(**ask(group, "text"), stream=True)]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_go_round(anthropic_client, group, provider, streamed):
    request = ask(group, "tools", tools=[FORECAST])
    if streamed:
        with anthropic_client.messages.stream(**request) as stream:
            message = stream.get_final_message()
    else:
        message = anthropic_client.messages.create(**request)
    assert message.stop_reason == "tool_use"
    call = message.content[0]
    assert (call.type, call.name, call.input) == ("tool_use", "forecast", json.loads(TOOL_ARGUMENTS))
    tool = provider.asked.get(timeout=5)["body"]["tools"][0]
    schema = tool["function"]["parameters"] if "function" in tool else tool["input_schema"]
    assert schema == FORECAST["input_schema"]

    result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    request["messages"] += [
        {"role": "assistant", "content": [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}]},
        {"role": "user", "content": [result]},
    ]
    assert anthropic_client.messages.create(**request).content[0].text == TEXT
    sent = provider.asked.get(timeout=5)["body"]["messages"]
    assert call.id in json.dumps(sent[-2]) and call.id in json.dumps(sent[-1])
    assert "rain" in json.dumps(sent[-1])


def test_images(anthropic_client, group, provider):
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    content = [{"type": "text", "text": "scenario:text"}, {"type": "image", "source": source}]
    anthropic_client.messages.create(**ask(group, "text", messages=[{"role": "user", "content": content}]))
    part = provider.asked.get(timeout=5)["body"]["messages"][-1]["content"][1]
    if group == "via-anthropic":
        assert part["source"] == source
    else:
        assert part["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="


# What is about the request passes through; what is between the gateway and its provider becomes a gateway's fault.
FAULTS = [
    (400, anthropic.BadRequestError, 400),
    (401, anthropic.InternalServerError, 502),
    (404, anthropic.InternalServerError, 502),
    (429, anthropic.RateLimitError, 429),
    (500, anthropic.InternalServerError, 502),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("status", "error", "seen"), FAULTS)
def test_faults_of_the_provider(anthropic_client, group, status, error, seen, streamed):
    with pytest.raises(error) as raised:
        anthropic_client.messages.create(**ask(group, f"error-{status}"), stream=streamed)
    assert raised.value.status_code == seen
    assert f"upstream says {status}" in str(raised.value)
    assert raised.value.body["type"] == "error"
    if status == 429:
        assert raised.value.response.headers["retry-after"] == "7"


def test_faults_of_the_caller(anthropic_client, group):
    with pytest.raises(anthropic.NotFoundError) as raised:
        anthropic_client.messages.create(**ask("no-such-group", "text"))
    assert raised.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as raised:
        anthropic_client.messages.create(**ask(group, "text", messages=[{"role": "user", "content": 7}]))
    assert "messages[0].content" in str(raised.value)
    with pytest.raises(anthropic.AuthenticationError) as raised:
        anthropic_client.with_options(api_key="sk-wrong-key").messages.create(**ask(group, "text"))
    assert "sk-wrong-key" not in str(raised.value)


def test_going_away_cancels_the_provider(anthropic_client, group, provider):
    stream = anthropic_client.messages.create(**ask(group, "hang"), stream=True)
    assert any(event.type == "content_block_delta" for event in stream)
    stream.close()
    assert provider.gone.get(timeout=20)


def test_going_away_before_the_reply_cancels_the_provider(anthropic_client, group, provider):
    with pytest.raises(anthropic.APITimeoutError):
        anthropic_client.with_options(timeout=1).messages.create(**ask(group, "hang"))
    assert provider.gone.get(timeout=20)


@pytest.mark.parametrize("scenario", ["cut", "broken"])
def test_a_stream_without_its_end_raises(anthropic_client, group, scenario):
    text, kinds = "", []
    with pytest.raises(anthropic.APIError):
        for event in anthropic_client.messages.create(**ask(group, scenario), stream=True):
            kinds.append(event.type)
            if event.type == "content_block_delta":
                text += event.delta.text
    assert text and TEXT.startswith(text)
    assert "message_stop" not in kinds


def test_models(anthropic_client):
    assert {"via-anthropic", "via-openai"} <= {model.id for model in anthropic_client.models.list()}
    assert anthropic_client.models.retrieve("via-openai").display_name == "via-openai"
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.models.retrieve("nobody")
