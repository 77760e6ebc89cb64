"""What the vendors' clients make of a prompt builder that refuses and of a response parser that complains."""

import json

import anthropic
import openai
import pytest

from conftest import KEY, anthropic_at, openai_at, served
from vendors import HALF_PIECES, SCHEMA_TEXT, TEXT

CONFIG = """
model_list:
  - model_name: told-via-openai
    litellm_params: &openai {{ model: openai/upstream-model, api_base: "{openai}/v1", api_key: sk-openai-upstream }}
  - {{ model_name: untold-via-openai, litellm_params: *openai }}
  - {{ model_name: json-via-openai, litellm_params: *openai }}
  - model_name: told-via-anthropic
    litellm_params: &anthropic {{ model: anthropic/upstream-model, api_base: "{anthropic}", api_key: sk-anthropic-upstream }}
  - {{ model_name: untold-via-anthropic, litellm_params: *anthropic }}
  - {{ model_name: json-via-anthropic, litellm_params: *anthropic }}
router_settings: {{ num_retries: 1, disable_cooldowns: true }}
general_settings: {{ master_key: {key} }}
witgate:
  prompt_builders:
    told-via-openai: &template {{ policy: template, may_reject: true, settings: {{ user: "{{{{question}}}}" }} }}
    told-via-anthropic: *template
    untold-via-openai: &silent {{ policy: template, settings: {{ user: "{{{{question}}}}" }} }}
    untold-via-anthropic: *silent
  response_parsers:
    json-via-openai: {{ policy: json }}
    json-via-anthropic: {{ policy: json }}
"""

# What the builder says of a request without its variables.
REFUSAL = "the prompt needs `question`"
COMPLAINT = "the reply is not what the group's response parser takes"


@pytest.fixture(scope="module")
def ruled(providers, tmp_path_factory):
    """A gateway whose groups have builders and parsers."""
    folder = tmp_path_factory.mktemp("ruled")
    config = folder / "config.yaml"
    origins = {name: providers[f"via-{name}"].origin for name in ("openai", "anthropic")}
    config.write_text(CONFIG.format(key=KEY, **origins))
    process, url = served(folder, config)
    yield url
    process.terminate()
    assert process.wait(timeout=30) == 0


@pytest.fixture
def openai_ruled(ruled):
    with openai_at(ruled) as client:
        yield client


@pytest.fixture
def anthropic_ruled(ruled):
    with anthropic_at(ruled) as client:
        yield client


def say(scenario):
    return [{"role": "user", "content": f"scenario:{scenario}"}]


def sent(provider):
    """The bodies that reached the provider."""
    bodies = []
    while not provider.asked.empty():
        bodies.append(provider.asked.get_nowait()["body"])
    return bodies


def test_a_builders_refusal_is_a_permission_error_in_its_words(openai_ruled, anthropic_ruled, group, provider):
    with pytest.raises(openai.PermissionDeniedError, match=REFUSAL) as refused:
        openai_ruled.chat.completions.create(model=f"told-{group}", messages=say("text"))
    assert (refused.value.status_code, refused.value.code) == (403, "policy-refused")
    with pytest.raises(anthropic.PermissionDeniedError, match=REFUSAL) as refused:
        anthropic_ruled.messages.create(model=f"told-{group}", max_tokens=50, messages=say("text"))
    assert refused.value.body["error"]["type"] == "permission_error"
    assert sent(provider) == [], "nothing was sent"


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_builder_may_not_say_is_a_servers_error_without_its_words(
    openai_ruled, anthropic_ruled, group, provider, stream
):
    with pytest.raises(openai.InternalServerError, match="nothing was sent") as failed:
        openai_ruled.chat.completions.create(model=f"untold-{group}", messages=say("text"), stream=stream)
    assert failed.value.status_code == 500 and REFUSAL not in str(failed.value)
    with pytest.raises(anthropic.InternalServerError, match="nothing was sent") as failed:
        anthropic_ruled.messages.create(model=f"untold-{group}", max_tokens=50, messages=say("text"), stream=stream)
    assert failed.value.body["error"]["type"] == "api_error" and REFUSAL not in str(failed.value)
    assert sent(provider) == [], "nothing was sent"


def test_a_model_that_is_told_what_was_wrong_answers_and_the_client_sees_that_alone(
    openai_ruled, anthropic_ruled, group, provider
):
    reply = openai_ruled.chat.completions.create(model=f"json-{group}", messages=say("persuaded"))
    assert reply.choices[0].message.content == SCHEMA_TEXT
    reply = anthropic_ruled.messages.create(model=f"json-{group}", max_tokens=50, messages=say("persuaded"))
    assert [block.text for block in reply.content] == [SCHEMA_TEXT]
    first, again, *others = sent(provider)
    assert len(others) == 2, "either client's request was asked twice"
    assert len(again["messages"]) == len(first["messages"]) + 2
    assert TEXT in json.dumps(again["messages"][-2], ensure_ascii=False), "its own reply, and what is wrong with it"


def test_a_complaint_that_stays_is_a_servers_error_after_the_retries(openai_ruled, anthropic_ruled, group, provider):
    with pytest.raises(openai.InternalServerError, match=COMPLAINT) as failed:
        openai_ruled.chat.completions.create(model=f"json-{group}", messages=say("text"))
    assert (failed.value.status_code, failed.value.code) == (502, "parse")
    assert len(sent(provider)) == 2
    with pytest.raises(anthropic.InternalServerError, match=COMPLAINT) as failed:
        anthropic_ruled.messages.create(model=f"json-{group}", max_tokens=50, messages=say("text"))
    assert (failed.value.status_code, failed.value.body["error"]["type"]) == (502, "api_error")
    assert len(sent(provider)) == 2


def test_a_complaint_about_a_stream_is_an_error_behind_what_the_client_has(openai_ruled, anthropic_ruled, group, provider):
    read = []
    with pytest.raises(openai.APIError, match=COMPLAINT):
        for chunk in openai_ruled.chat.completions.create(model=f"json-{group}", messages=say("half"), stream=True):
            read += [choice.delta.content or "" for choice in chunk.choices]
    assert "".join(read).startswith(HALF_PIECES[0])
    assert len(sent(provider)) == 1, "it is not asked for again"
    read = []
    with pytest.raises(anthropic.APIError, match=COMPLAINT):
        with anthropic_ruled.messages.stream(model=f"json-{group}", max_tokens=50, messages=say("half")) as stream:
            for piece in stream.text_stream:
                read.append(piece)
    assert "".join(read).startswith(HALF_PIECES[0])
    assert len(sent(provider)) == 1, "it is not asked for again"


def test_a_stream_of_which_the_client_has_nothing_is_asked_for_again(openai_ruled, anthropic_ruled, group, provider):
    chunks = openai_ruled.chat.completions.create(model=f"json-{group}", messages=say("persuaded"), stream=True)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    with anthropic_ruled.messages.stream(model=f"json-{group}", max_tokens=50, messages=say("persuaded")) as stream:
        assert (text, stream.get_final_text()) == (SCHEMA_TEXT, SCHEMA_TEXT)
    assert len(sent(provider)) == 4
