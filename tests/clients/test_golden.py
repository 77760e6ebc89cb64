"""What the golden matrix says is sent to vendors with quirks, held to the vendors' own types."""

import json
from pathlib import Path

import pytest

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
BESIDE = {"claude_3": {"temperature", "top_p", "top_k"}, "deepseek": ADDED, "groq": ADDED, "imitator": ADDED,
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
