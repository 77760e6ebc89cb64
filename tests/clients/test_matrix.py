"""Every client API over every provider. What a provider is sent is held to its vendor's own types, in every test."""

import json

import openai
import pytest

from apis import APIS, PDF, PNG, Chat, Completions
from conftest import KEY, VENDORS
from vendors import CACHED_TOKENS, INPUT_TOKENS, OUTPUT_TOKENS, SCHEMA_TEXT, TEXT, THOUGHT, TOOL_ARGUMENTS

# What says nothing of its thinking in chat completions.
SILENT = ("openai", "azure")
WAYS = ["whole", "streamed"]


@pytest.fixture(scope="module", params=APIS, ids=lambda api: api.name)
def api(request, gateway):
    return request.param(gateway)


@pytest.fixture(params=list(VENDORS))
def vendor(request):
    return request.param


@pytest.fixture
def group(vendor):
    return f"via-{vendor}"


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


def ask(api, way, *what):
    return getattr(api, way)(*what)


def sent(provider):
    asked = provider.asked.get(timeout=5)
    assert KEY not in json.dumps(asked), "the caller's key goes no further"
    return json.dumps(asked["body"], ensure_ascii=False)


def needs_parts(api):
    if isinstance(api, Completions):
        pytest.skip("this API knows texts only")


def test_text_and_what_it_cost(api, group, way, provider):
    said = ask(api, way, group, "text", "text")
    assert (said.text, said.calls, said.finish) == (TEXT, [], api.finishes["text"])
    assert (said.input, said.output, said.cached) == (INPUT_TOKENS, OUTPUT_TOKENS, CACHED_TOKENS)
    assert "Be brief." in sent(provider) or isinstance(api, Completions)


def test_tools_go_round(api, group, way, provider):
    needs_parts(api)
    first = ask(api, way, group, "tools", "tools")
    ((call, name, arguments),) = first.calls
    assert (name, json.loads(arguments), first.finish) == ("forecast", json.loads(TOOL_ARGUMENTS), api.finishes["tools"])
    assert call
    assert "additionalProperties" in sent(provider), "the schema is there"
    then = ask(api, way, group, "tools", "tools", first)
    assert (then.text, then.calls) == (TEXT, [])
    assert "rain" in sent(provider)


def test_structured_output(api, group, way, provider):
    needs_parts(api)
    assert json.loads(ask(api, way, group, "schema", "schema").text) == json.loads(SCHEMA_TEXT)
    said = sent(provider).replace("\\", "")
    assert '"additionalProperties": false' in said or '"additionalProperties":false' in said, "the schema is there"


@pytest.mark.parametrize("wish, data", [("image", PNG), ("document", PDF)])
def test_pictures_and_documents(api, group, vendor, provider, wish, data):
    needs_parts(api)
    if (vendor, wish) == ("cohere", "document"):
        # It has no word for files, and says so.
        with pytest.raises(api.failed) as raised:
            ask(api, "whole", group, wish, "text")
        assert getattr(raised.value, "status_code", getattr(raised.value, "code", None)) == 400
        return
    assert ask(api, "whole", group, wish, "text").text == TEXT
    assert data in sent(provider)


def test_thinking(api, group, vendor, way, provider):
    needs_parts(api)
    said = ask(api, way, group, "thinking", "thinking")
    assert (said.text, said.thought) == (TEXT, "" if vendor in SILENT else THOUGHT)
    told = sent(provider)
    assert any(word in told for word in ("reasoning_effort", "thinking", "thinkingConfig")), told


@pytest.mark.parametrize("status, seen", [(400, 400), (429, 429), (500, 502)])
def test_faults_of_the_provider(api, group, way, status, seen):
    with pytest.raises(api.failed) as raised:
        ask(api, way, group, "text", f"error-{status}")
    told = raised.value
    assert getattr(told, "status_code", getattr(told, "code", None)) == seen
    assert f"upstream says {status}" in str(told)


@pytest.mark.parametrize("scenario", ["cut", "broken"])
def test_a_stream_without_its_end_raises(api, group, scenario):
    text = ""
    with pytest.raises(api.failed):
        for piece in api.pieces(group, scenario):
            text += piece
    assert text and TEXT.startswith(text)


def test_going_away_cancels_the_provider(api, group, provider):
    pieces = api.pieces(group, "hang")
    assert next(pieces)
    pieces.close()
    assert provider.gone.get(timeout=20)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_vectors(gateway, group, vendor, encoding):
    client = Chat(gateway).client
    model = "vectors-via-cohere" if vendor == "cohere" else group
    asked = {"model": model, "input": ["one", "two"], "encoding_format": encoding}
    if vendor in ("anthropic", "bedrock", "vertexclaude"):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(**asked)
        return
    if encoding == "base64":
        assert all(isinstance(one.embedding, str) for one in client.embeddings.create(**asked).data)
    else:
        assert [one.embedding for one in client.embeddings.create(**asked).data] == [[0.5, -0.25], [1.0, 2.0]]
