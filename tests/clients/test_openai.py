"""openai-python against the gateway, over both vendors' providers."""

import json

import openai
import pytest

from vendors import CACHED_TOKENS, INPUT_TOKENS, OUTPUT_TOKENS, TEXT, TOOL_ARGUMENTS

FORECAST = {
    "type": "function",
    "function": {
        "name": "forecast",
        "description": "The weather to come",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


def say(scenario):
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"scenario:{scenario}"}]


def check_usage(usage):
    assert (usage.prompt_tokens, usage.completion_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS)
    assert usage.total_tokens == INPUT_TOKENS + OUTPUT_TOKENS
    assert usage.prompt_tokens_details.cached_tokens == CACHED_TOKENS


def test_plain(openai_client, group, provider):
    raw = openai_client.chat.completions.with_raw_response.create(
        model=group, messages=say("text"), max_tokens=50, stop=["END"]
    )
    reply = raw.parse()
    assert reply.object == "chat.completion"
    assert reply.choices[0].message.content == TEXT
    assert reply.choices[0].finish_reason == "stop"
    check_usage(reply.usage)
    assert raw.headers["x-witgate-deployment"]
    assert raw.headers["x-witgate-policy"]
    asked = provider.asked.get(timeout=5)
    assert asked["body"]["model"] == "upstream-model"
    assert asked["body"].get("max_tokens", asked["body"].get("max_completion_tokens")) == 50
    assert asked["body"].get("stop", asked["body"].get("stop_sequences")) == ["END"]
    assert "Be brief." in json.dumps(asked["body"])
    assert "sk-clients" not in json.dumps(asked), "the caller's key goes no further"
    assert f"sk-{group.removeprefix('via-')}-upstream" in json.dumps(asked["headers"])


@pytest.mark.parametrize("with_usage", [True, False])
def test_streamed(openai_client, group, with_usage):
    options = {"stream_options": {"include_usage": True}} if with_usage else {}
    chunks = list(openai_client.chat.completions.create(model=group, messages=say("text"), stream=True, **options))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(usages) == with_usage
    for usage in usages:
        check_usage(usage)
        assert chunks[-1].choices == []


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_go_round(openai_client, group, provider, streamed):
    messages = say("tools")
    if streamed:
        with openai_client.chat.completions.stream(model=group, messages=messages, tools=[FORECAST]) as stream:
            stream.until_done()
            choice = stream.get_final_completion().choices[0]
    else:
        choice = openai_client.chat.completions.create(model=group, messages=messages, tools=[FORECAST]).choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    assert call.function.name == "forecast"
    assert json.loads(call.function.arguments) == json.loads(TOOL_ARGUMENTS)
    tool = provider.asked.get(timeout=5)["body"]["tools"][0]
    schema = tool["function"]["parameters"] if "function" in tool else tool["input_schema"]
    assert schema == FORECAST["function"]["parameters"]

    # What its helper adds to a message is no field of the API.
    function = {"name": call.function.name, "arguments": call.function.arguments}
    said = {"role": "assistant", "content": None, "tool_calls": [{"id": call.id, "type": "function", "function": function}]}
    messages += [said, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    reply = openai_client.chat.completions.create(model=group, messages=messages, tools=[FORECAST])
    assert reply.choices[0].message.content == TEXT
    sent = provider.asked.get(timeout=5)["body"]["messages"]
    assert call.id in json.dumps(sent[-2]) and call.id in json.dumps(sent[-1])
    assert "rain" in json.dumps(sent[-1])


def test_images(openai_client, group, provider):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    content = [{"type": "text", "text": "scenario:text"}, picture]
    openai_client.chat.completions.create(model=group, messages=[{"role": "user", "content": content}])
    parts = provider.asked.get(timeout=5)["body"]["messages"][-1]["content"]
    if group == "via-openai":
        assert parts[1] == picture
    else:
        assert parts[1]["source"] == {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


# What is about the request passes through; what is between the gateway and its provider becomes a gateway's fault.
FAULTS = [
    (400, openai.BadRequestError, 400),
    (401, openai.InternalServerError, 502),
    (404, openai.InternalServerError, 502),
    (429, openai.RateLimitError, 429),
    (500, openai.InternalServerError, 502),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("status", "error", "seen"), FAULTS)
def test_faults_of_the_provider(openai_client, group, status, error, seen, streamed):
    with pytest.raises(error) as raised:
        openai_client.chat.completions.create(model=group, messages=say(f"error-{status}"), stream=streamed)
    assert raised.value.status_code == seen
    assert f"upstream says {status}" in str(raised.value)
    if status == 429:
        assert raised.value.response.headers["retry-after"] == "7"


def test_faults_of_the_caller(gateway, openai_client, group):
    with pytest.raises(openai.NotFoundError) as raised:
        openai_client.chat.completions.create(model="no-such-group", messages=say("text"))
    assert "no-such-group" in str(raised.value)
    with pytest.raises(openai.BadRequestError) as raised:
        openai_client.chat.completions.create(model=group, messages=[{"role": "user", "content": 7}])
    assert "messages[0].content" in str(raised.value)
    stranger = openai_client.with_options(api_key="sk-wrong-key")
    with pytest.raises(openai.AuthenticationError) as raised:
        stranger.chat.completions.create(model=group, messages=say("text"))
    assert "sk-wrong-key" not in str(raised.value)


def test_going_away_cancels_the_provider(openai_client, group, provider):
    stream = openai_client.chat.completions.create(model=group, messages=say("hang"), stream=True)
    assert any(chunk.choices and chunk.choices[0].delta.content for chunk in stream)
    stream.close()
    assert provider.gone.get(timeout=20)


def test_going_away_before_the_reply_cancels_the_provider(openai_client, group, provider):
    with pytest.raises(openai.APITimeoutError):
        openai_client.with_options(timeout=1).chat.completions.create(model=group, messages=say("hang"))
    assert provider.gone.get(timeout=20)


@pytest.mark.parametrize("scenario", ["cut", "broken"])
def test_a_stream_without_its_end_raises(openai_client, group, scenario):
    stream = openai_client.chat.completions.create(model=group, messages=say(scenario), stream=True)
    text = ""
    with pytest.raises(openai.APIError):
        for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            assert chunk.choices[0].finish_reason is None, "a broken stream never ends well"
    assert text and TEXT.startswith(text)


def test_models(openai_client):
    models = openai_client.models.list().data
    assert {"via-anthropic", "via-openai"} <= {model.id for model in models}
    assert {model.object for model in models} == {"model"}
    assert openai_client.models.retrieve("via-openai").id == "via-openai"
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("org/nobody")
