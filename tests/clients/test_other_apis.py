"""Every other API that clients speak, driven by the SDKs that speak it, over both vendors' providers."""

import json

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from pydantic import BaseModel

from conftest import KEY
from vendors import INPUT_TOKENS, OUTPUT_TOKENS, TEXT, TOOL_ARGUMENTS

class Place(BaseModel):
    city: str
    days: int


FORECAST = {
    "type": "function",
    "name": "forecast",
    "description": "The weather to come",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
    "strict": False,
}


@pytest.fixture
def gemini_client(gateway):
    return genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=gateway, timeout=30_000))


@pytest.fixture
def azure_client(gateway):
    with openai.AzureOpenAI(azure_endpoint=gateway, api_key=KEY, api_version="2024-10-21", max_retries=0) as client:
        yield client


def test_response(openai_client, group, provider):
    reply = openai_client.responses.create(
        model=group, instructions="Be brief.", input="scenario:text", max_output_tokens=50, metadata={"a": "b"}
    )
    assert reply.output_text == TEXT
    assert (reply.status, reply.metadata, reply.object) == ("completed", {"a": "b"}, "response")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS)
    assert "Be brief." in json.dumps(provider.asked.get(timeout=5)["body"])
    assert openai_client.responses.retrieve(reply.id).output_text == TEXT
    items = openai_client.responses.input_items.list(reply.id)
    assert items.data[0].content[0].text == "scenario:text"
    again = openai_client.responses.create(model=group, input="scenario:text", previous_response_id=reply.id)
    said = json.dumps(provider.asked.get(timeout=5)["body"], ensure_ascii=False)
    assert TEXT.split("\u2028")[0] in said, "the reply before is in the conversation"
    assert again.previous_response_id == reply.id
    openai_client.responses.delete(reply.id)
    with pytest.raises(openai.NotFoundError):
        openai_client.responses.retrieve(reply.id)
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.responses.create(model=group, input="scenario:text", previous_response_id=reply.id)
    assert refused.value.code == "previous_response_not_found"


def test_response_streamed(openai_client, group):
    with openai_client.responses.stream(model=group, input="scenario:text") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
    assert final.output_text == TEXT
    assert final.usage.total_tokens == INPUT_TOKENS + OUTPUT_TOKENS
    assert openai_client.responses.retrieve(final.id).output_text == TEXT


@pytest.mark.parametrize("streamed", [False, True])
def test_response_with_tools(openai_client, group, streamed):
    asked = {"model": group, "input": [{"role": "user", "content": "scenario:tools"}], "tools": [FORECAST], "store": False}
    if streamed:
        with openai_client.responses.stream(**asked) as stream:
            reply = stream.get_final_response()
    else:
        reply = openai_client.responses.create(**asked)
    (call,) = [item for item in reply.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("forecast", json.loads(TOOL_ARGUMENTS))
    done = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    asked["input"] += [item.model_dump(exclude_none=True) for item in reply.output] + [done]
    assert openai_client.responses.create(**asked).output_text == TEXT


@pytest.mark.parametrize("status, error", [(400, openai.BadRequestError), (429, openai.RateLimitError)])
def test_response_refused(openai_client, group, status, error):
    with pytest.raises(error):
        openai_client.responses.create(model=group, input=f"scenario:error-{status}")
    with pytest.raises(openai.BadRequestError, match="web_search"):
        openai_client.responses.create(model=group, input="hi", tools=[{"type": "web_search"}])


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_embeddings(openai_client, azure_client, encoding):
    # Without a form the client asks for base64 and decodes it itself.
    form = {"encoding_format": encoding} if encoding else {}
    for client in (openai_client, azure_client):
        reply = client.embeddings.create(model="via-openai", input=["one", "two"], **form)
        if encoding == "base64":
            assert all(isinstance(one.embedding, str) for one in reply.data)
        else:
            assert [one.embedding for one in reply.data] == [[0.5, -0.25], [1.0, 2.0]]
        assert reply.usage.prompt_tokens == INPUT_TOKENS
    with pytest.raises(openai.BadRequestError):
        openai_client.embeddings.create(model="via-anthropic", input="one")


def test_completions(openai_client, group):
    reply = openai_client.completions.create(model=group, prompt="scenario:text", max_tokens=50)
    assert (reply.object, reply.choices[0].text, reply.choices[0].finish_reason) == ("text_completion", TEXT, "stop")
    chunks = openai_client.completions.create(model=group, prompt="scenario:text", max_tokens=50, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == TEXT


def test_azure_paths(azure_client, group):
    messages = [{"role": "user", "content": "scenario:text"}]
    reply = azure_client.chat.completions.create(model=group, messages=messages, max_tokens=50)
    assert reply.choices[0].message.content == TEXT


def test_count_tokens(anthropic_client, group):
    counted = anthropic_client.messages.count_tokens(model=group, messages=[{"role": "user", "content": "one two three"}])
    assert counted.input_tokens > 2
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.messages.count_tokens(model="none", messages=[{"role": "user", "content": "hi"}])


def test_gemini(gemini_client, group, provider):
    config = types.GenerateContentConfig(system_instruction="Be brief.", max_output_tokens=50, stop_sequences=["END"])
    reply = gemini_client.models.generate_content(model=group, contents="scenario:text", config=config)
    assert reply.text == TEXT
    assert reply.candidates[0].finish_reason == types.FinishReason.STOP
    used = reply.usage_metadata
    assert (used.prompt_token_count, used.candidates_token_count) == (INPUT_TOKENS, OUTPUT_TOKENS)
    assert "Be brief." in json.dumps(provider.asked.get(timeout=5)["body"])
    chunks = list(gemini_client.models.generate_content_stream(model=group, contents="scenario:text", config=config))
    assert "".join(chunk.text or "" for chunk in chunks) == TEXT
    assert chunks[-1].usage_metadata.total_token_count == INPUT_TOKENS + OUTPUT_TOKENS
    assert gemini_client.models.count_tokens(model=group, contents="one two three").total_tokens > 2
    assert f"models/{group}" in [model.name for model in gemini_client.models.list()]


def test_gemini_tools(gemini_client, group):
    function = types.FunctionDeclaration(
        name="forecast", description="d", parameters_json_schema=FORECAST["parameters"]
    )
    config = types.GenerateContentConfig(
        max_output_tokens=50,
        tools=[types.Tool(function_declarations=[function])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    chat = gemini_client.chats.create(model=group, config=config)
    reply = chat.send_message("scenario:tools")
    (call,) = reply.function_calls
    assert (call.name, call.args) == ("forecast", json.loads(TOOL_ARGUMENTS))
    done = types.Part.from_function_response(name="forecast", response={"result": "rain"})
    assert chat.send_message(done).text == TEXT


@pytest.mark.parametrize("status, error", [(400, errors.ClientError), (429, errors.ClientError), (500, errors.ServerError)])
def test_gemini_errors(gemini_client, group, status, error):
    config = types.GenerateContentConfig(max_output_tokens=50)
    with pytest.raises(error) as raised:
        gemini_client.models.generate_content(model=group, contents=f"scenario:error-{status}", config=config)
    assert (raised.value.code == status) == (status < 500)
    with pytest.raises(errors.ClientError) as raised:
        gemini_client.models.generate_content(model="none", contents="hi")
    assert (raised.value.code, raised.value.status) == (404, "NOT_FOUND")


@pytest.fixture
def mistral(gateway):
    with Mistral(api_key=KEY, server_url=gateway, timeout_ms=30_000) as client:
        yield client


def of_mistral(scenario, *parts):
    return [{"role": "user", "content": [{"type": "text", "text": f"scenario:{scenario}"}, *parts]}]


def test_mistral(mistral, group):
    reply = mistral.chat.complete(model=group, messages=of_mistral("text"), max_tokens=50)
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == (TEXT, "stop")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS)
    events = list(mistral.chat.stream(model=group, messages=of_mistral("text"), max_tokens=50))
    assert "".join(event.data.choices[0].delta.content or "" for event in events if event.data.choices) == TEXT
    picture = {"type": "image_url", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    reply = mistral.chat.complete(model=group, messages=of_mistral("text", picture), max_tokens=50)
    assert reply.choices[0].message.content == TEXT


@pytest.mark.parametrize("streamed", [False, True])
def test_mistral_tools(mistral, group, streamed):
    function = {key: FORECAST[key] for key in ("name", "description", "parameters")}
    asked = {"model": group, "tools": [{"type": "function", "function": function}], "tool_choice": "any", "max_tokens": 50}
    messages = of_mistral("tools")
    if streamed:
        events = [event.data for event in mistral.chat.stream(messages=messages, **asked)]
        (call,) = [call for data in events for choice in data.choices for call in choice.delta.tool_calls or []]
        assert [data.usage.completion_tokens for data in events if data.usage] == [OUTPUT_TOKENS]
    else:
        (call,) = mistral.chat.complete(messages=messages, **asked).choices[0].message.tool_calls
    call_id, name, arguments = call.id, call.function.name, call.function.arguments
    assert (name, json.loads(arguments)) == ("forecast", json.loads(TOOL_ARGUMENTS))
    said = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    messages += [
        {"role": "assistant", "content": "", "tool_calls": [said]},
        {"role": "tool", "tool_call_id": call_id, "name": name, "content": "rain"},
    ]
    assert mistral.chat.complete(messages=messages, **{**asked, "tool_choice": "auto"}).choices[0].message.content == TEXT


def test_mistral_structured_output(mistral, group):
    reply = mistral.chat.parse(Place, model=group, messages=of_mistral("schema"), max_tokens=50)
    assert reply.choices[0].message.parsed == Place(city="Oslo", days=3)


@pytest.mark.parametrize("status", [400, 429, 500])
def test_mistral_faults(mistral, group, status):
    with pytest.raises(SDKError) as raised:
        mistral.chat.complete(model=group, messages=of_mistral(f"error-{status}"), max_tokens=50)
    assert (raised.value.status_code == status) == (status < 500)
    assert f"upstream says {status}" in raised.value.body


def test_mistral_leaves(mistral, group, provider):
    with mistral.chat.stream(model=group, messages=of_mistral("hang"), max_tokens=50) as stream:
        next(iter(stream))
    assert provider.gone.get(timeout=10), "a client that leaves ends the call"
