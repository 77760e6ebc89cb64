"""langchain-openai and LiteLLM's own SDK, which speak to the gateway as to any proxy of LiteLLM's."""

import json

import litellm
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from conftest import KEY
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


class Place(BaseModel):
    city: str
    days: int


@pytest.fixture(params=[False, True], ids=["chat", "responses"])
def chain(request, gateway, group):
    return ChatOpenAI(
        model=group, base_url=f"{gateway}/v1", api_key=KEY, max_retries=0, timeout=30, max_tokens=500,
        use_responses_api=request.param, stream_usage=True,
    )


def text_of(message):
    return message.text if isinstance(message.text, str) else message.text()


def test_langchain(chain):
    said = chain.invoke([("system", "Be brief."), ("user", "scenario:text")])
    assert text_of(said) == TEXT
    used = said.usage_metadata
    assert (used["input_tokens"], used["output_tokens"]) == (INPUT_TOKENS, OUTPUT_TOKENS)
    assert used["input_token_details"]["cache_read"] == CACHED_TOKENS
    whole = None
    for piece in chain.stream("scenario:text"):
        whole = piece if whole is None else whole + piece
    assert text_of(whole) == TEXT
    assert whole.usage_metadata["output_tokens"] == OUTPUT_TOKENS


def test_langchain_tools(chain):
    bound = chain.bind_tools([FORECAST])
    asked = [HumanMessage("scenario:tools")]
    said = bound.invoke(asked)
    (call,) = said.tool_calls
    assert (call["name"], call["args"]) == ("forecast", json.loads(TOOL_ARGUMENTS))
    assert text_of(bound.invoke([*asked, said, ToolMessage("rain", tool_call_id=call["id"])])) == TEXT


def test_langchain_structured_output(chain):
    assert chain.with_structured_output(Place, method="json_schema").invoke("scenario:schema") == Place(city="Oslo", days=3)


def test_langchain_embeddings(gateway):
    client = OpenAIEmbeddings(
        model="via-openai", base_url=f"{gateway}/v1", api_key=KEY, max_retries=0, check_embedding_ctx_length=False
    )
    assert client.embed_documents(["one", "two"]) == [[0.5, -0.25], [1.0, 2.0]]


@pytest.fixture
def proxy(gateway):
    return {"api_base": gateway, "api_key": KEY, "num_retries": 0, "timeout": 30}


def test_litellm(group, proxy):
    model, messages = f"litellm_proxy/{group}", [{"role": "user", "content": "scenario:text"}]
    reply = litellm.completion(model=model, messages=messages, max_tokens=50, **proxy)
    assert reply.choices[0].message.content == TEXT
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(litellm.completion(model=model, messages=messages, max_tokens=50, **options, **proxy))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == TEXT
    assert [chunk.usage.completion_tokens for chunk in chunks if getattr(chunk, "usage", None)] == [OUTPUT_TOKENS]


def test_litellm_tools(group, proxy):
    asked = {"model": f"litellm_proxy/{group}", "tools": [FORECAST], "max_tokens": 50, **proxy}
    messages = [{"role": "user", "content": "scenario:tools"}]
    message = litellm.completion(messages=messages, **asked).choices[0].message
    (call,) = message.tool_calls
    assert json.loads(call.function.arguments) == json.loads(TOOL_ARGUMENTS)
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    assert litellm.completion(messages=messages, **asked).choices[0].message.content == TEXT


@pytest.mark.parametrize("status, error", [(400, litellm.BadRequestError), (429, litellm.RateLimitError)])
def test_litellm_faults(group, proxy, status, error):
    messages = [{"role": "user", "content": f"scenario:error-{status}"}]
    with pytest.raises(error, match=f"upstream says {status}"):
        litellm.completion(model=f"litellm_proxy/{group}", messages=messages, max_tokens=50, **proxy)


def test_litellm_other_apis(group, proxy):
    # The APIs that LiteLLM's proxy has beside chats.
    reply = litellm.responses(model=f"litellm_proxy/{group}", input="scenario:text", max_output_tokens=50, **proxy)
    assert reply.output[-1].content[0].text == TEXT
    if group == "via-openai":
        vectors = litellm.embedding(model=f"litellm_proxy/{group}", input=["one", "two"], **proxy)
        assert [one["embedding"] for one in vectors.data] == [[0.5, -0.25], [1.0, 2.0]]
