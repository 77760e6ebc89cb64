"""Streams that begin late and say what they cost, read by the vendors' own SDKs: neither the signs of life nor the cost trips one of them."""

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from conftest import KEY, served

PRICES = (0.000002, 0.000004)
CONFIG = f"""
model_list:
  - model_name: g
    litellm_params:
      model: simulated/m
      input_cost_per_token: {PRICES[0]:.6f}
      output_cost_per_token: {PRICES[1]:.6f}
      simulated: {{ttft_ms: 300, output_tokens: 5}}
general_settings: {{master_key: {KEY}}}
witgate: {{server: {{stream_ping_seconds: 0.1}}}}
"""
MESSAGES = [{"role": "user", "content": "Hello there"}]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("costs")
    (folder / "config.yaml").write_text(CONFIG)
    process, url = served(folder, folder / "config.yaml")
    yield url
    process.kill()
    process.wait()


def billed(input_tokens, output_tokens):
    return pytest.approx(input_tokens * PRICES[0] + output_tokens * PRICES[1], rel=0.01)


def test_openai(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=30) as client:
        chunks = list(client.chat.completions.create(model="g", messages=MESSAGES, stream=True))
        assert chunks[-1].choices[0].finish_reason == "stop"
        usage = {"include_usage": True}
        *_, last = client.chat.completions.create(model="g", messages=MESSAGES, stream=True, stream_options=usage)
        assert last.usage.cost == billed(last.usage.prompt_tokens, last.usage.completion_tokens)
        *_, last = client.completions.create(model="g", prompt=["a", "b"], stream=True, stream_options=usage)
        assert last.usage.cost == billed(last.usage.prompt_tokens, last.usage.completion_tokens)
        with client.responses.stream(model="g", input="Hello there") as stream:
            usage = stream.get_final_response().usage
        assert usage.cost == billed(usage.input_tokens, usage.output_tokens)


def test_anthropic(url):
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, timeout=30) as client:
        with client.messages.stream(model="g", max_tokens=9, messages=MESSAGES) as stream:
            [last] = [event for event in stream if event.type == "message_delta"]
    assert last.usage.cost == billed(last.usage.input_tokens, last.usage.output_tokens)


def test_google(url):
    client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=url, timeout=30_000))
    *_, last = client.models.generate_content_stream(model="g", contents="Hello there")
    assert last.candidates[0].finish_reason == "STOP" and last.usage_metadata.candidates_token_count > 0
