"""What the golden matrix says is sent to vendors with quirks, held to the vendors' own types."""

import json
from pathlib import Path

import pytest
from google.genai import types as google
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

import wire_types
from conftest import ROOT

CHECKS = {
    "azure": wire_types.openai,
    "azure_ai": wire_types.openai,
    "azure_ai_claude": wire_types.anthropic,
    "bedrock_claude": wire_types.bedrock,
    "bedrock_nova": wire_types.bedrock,
    "claude_3": wire_types.anthropic,
    "claude_4_5": wire_types.anthropic,
    "deepseek": wire_types.imitator,
    "gemini_levels": wire_types.gemini,
    "gemini_pro": wire_types.gemini,
    "groq": wire_types.imitator,
    "imitator": wire_types.imitator,
    "mistral": wire_types.mistral_chat,
    "openai_o": wire_types.openai,
    "vertex_claude": wire_types.vertex_claude,
}
# What vendors take and these types do not tell: sampling in Anthropic's older version, and what imitators add to OpenAI's fields.
ADDED = {"thinking", "top_k"}
SAMPLING = {"temperature", "top_p", "top_k"}
BESIDE = {"claude_3": SAMPLING, "claude_4_5": SAMPLING, "vertex_claude": SAMPLING, "azure_ai_claude": SAMPLING, "deepseek": ADDED, "groq": ADDED, "imitator": ADDED,
          "azure": {"thinking"}, "azure_ai": {"thinking"}, "openai_o": {"thinking"}, "mistral": {"thinking"}}
SNAPSHOTS = sorted((ROOT / "src/config/providers/snapshots").glob("*golden__*.snap"))


def label(path: Path):
    name = path.stem.split("golden__")[1]
    return max((vendor for vendor in CHECKS if name.startswith(f"{vendor}_")), key=len, default=None)


@pytest.mark.parametrize("path", [path for path in SNAPSHOTS if label(path)], ids=lambda path: path.stem.split("golden__")[1])
def test_a_golden_body_is_what_its_vendor_takes(path):
    vendor = label(path)
    shown = json.loads(path.read_text().split("---\n", 2)[2])
    body = {name: value for name, value in shown["body"].items() if name not in BESIDE.get(vendor, ())}
    assert not CHECKS[vendor](body)


def golden(name):
    return (ROOT / f"src/format/tests/snapshots/witgate__format__tests__golden__{name}.snap").read_text().split("---\n", 2)[2]


def events(name):
    return [json.loads(line[6:]) for line in golden(name).splitlines() if line.startswith("data: {")]


def test_log_probabilities_of_one_vendor_are_read_by_the_others_client():
    whole = ChatCompletion.model_validate_json(golden("reply_gemini_logprobs_as_openai")).choices[0]
    state = ChatCompletionStreamState()
    for event in events("stream_gemini_logprobs_as_openai"):
        list(state.handle_chunk(ChatCompletionChunk.model_validate(event)))
    streamed = state.get_final_completion().choices[0]
    for choice in (whole, streamed):
        told = [(token.token, token.logprob, len(token.top_logprobs)) for token in choice.logprobs.content]
        assert (choice.message.content, told) == ("Hellö", [("Hel", -0.25, 2), ("lö", -0.5, 2)])

    whole = google.GenerateContentResponse.model_validate_json(golden("reply_openai_logprobs_as_gemini")).candidates[0]
    assert whole.avg_logprobs == -0.375
    pieces = [google.GenerateContentResponse.model_validate(event) for event in events("stream_openai_logprobs_as_gemini")]
    told = [piece.candidates[0].logprobs_result for piece in pieces if piece.candidates[0].logprobs_result]
    for result in ([whole.logprobs_result], told):
        chosen = [token for one in result for token in one.chosen_candidates]
        assert [(token.token, token.log_probability) for token in chosen] == [("Hel", -0.25), ("lö", -0.5)]
        assert [len(step.candidates) for one in result for step in one.top_candidates] == [2, 2]
