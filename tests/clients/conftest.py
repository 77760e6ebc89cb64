"""The gateway as a process, between the vendors' clients and providers of our own."""

import json
import os
import queue
import re
import subprocess
import threading
from pathlib import Path

import anthropic
import openai
import pytest

from more_vendors import Azure, Bedrock, Cohere, Gemini, Imitator, Mistral, Vertex, VertexClaude
from vendors import Anthropic, OpenAI, Provider

# Importing it asks for a list of prices from the network else.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("WITGATE_BIN", str(ROOT / "target/debug/witgate"))
KEY = "sk-clients-of-the-test"

CONFIG = """
model_list:
  - model_name: via-openai
    litellm_params: {{ model: openai/upstream-model, api_base: "{openai}/v1", api_key: sk-openai-upstream }}
  - model_name: via-anthropic
    litellm_params: {{ model: anthropic/upstream-model, api_base: "{anthropic}", api_key: sk-anthropic-upstream }}
  - model_name: via-mistral
    litellm_params: {{ model: mistral/upstream-model, api_base: "{mistral}/v1", api_key: sk-mistral-upstream }}
  - model_name: via-gemini
    litellm_params: {{ model: gemini/upstream-model, api_base: "{gemini}/v1beta", api_key: sk-gemini-upstream }}
  - model_name: via-vertex
    litellm_params:
      model: vertex_ai/gemini-upstream
      api_base: "{vertex}/v1/projects/test-project/locations/us-central1/publishers/google"
      vertex_project: test-project
      vertex_location: us-central1
      vertex_credentials: "{account}"
  - model_name: via-vertexclaude
    litellm_params:
      model: vertex_ai/claude-sonnet-4-5@20250929
      api_base: "{vertexclaude}/v1/projects/test-project/locations/us-east5/publishers/anthropic"
      vertex_project: test-project
      vertex_location: us-east5
      vertex_credentials: "{account}"
  - model_name: via-cohere
    litellm_params: {{ model: cohere/command-upstream, api_base: "{cohere}", api_key: sk-cohere-upstream }}
  - model_name: vectors-via-cohere
    litellm_params: {{ model: cohere/embed-upstream, api_base: "{cohere}/v2/embed", api_key: sk-cohere-upstream }}
  - model_name: via-azure
    litellm_params: {{ model: azure/upstream-model, api_base: "{azure}", api_version: "2024-10-21", api_key: sk-azure-upstream }}
  - model_name: via-bedrock
    litellm_params:
      model: "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"
      api_base: "{bedrock}"
      api_key: sk-bedrock-upstream
  - model_name: via-imitator
    litellm_params: {{ model: deepseek/upstream-model, api_base: "{imitator}/v1", api_key: sk-imitator-upstream }}
router_settings:
  num_retries: 0
  disable_cooldowns: true
general_settings:
  master_key: {key}
"""

VENDORS = {
    "openai": OpenAI,
    "anthropic": Anthropic,
    "mistral": Mistral,
    "gemini": Gemini,
    "vertex": Vertex,
    "vertexclaude": VertexClaude,
    "cohere": Cohere,
    "azure": Azure,
    "bedrock": Bedrock,
    "imitator": Imitator,
}


@pytest.fixture(scope="session")
def providers():
    return {f"via-{name}": Provider(vendor) for name, vendor in VENDORS.items()}


def served(folder, config):
    """A gateway over ``config`` that keeps its state in ``folder``: the process, and where it listens."""
    environment = os.environ | {"XDG_STATE_HOME": str(folder / "state")}
    process = subprocess.Popen(
        [BINARY, "serve", "--config", str(config), "--port", "0"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=(folder / "log").open("a"),
        text=True,
    )
    lines = queue.Queue()

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    said = []
    while True:
        line = lines.get(timeout=60)
        said.append(line)
        if line is None:
            pytest.fail(f"the gateway did not start: {said}\n{(folder / 'log').read_text()}")
        if found := re.search(r"listening on (http://\S+)", line):
            break
    return process, found.group(1)


@pytest.fixture(scope="session")
def gateway(providers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    config = folder / "config.yaml"
    origins = {name: providers[f"via-{name}"].origin for name in VENDORS}
    account = json.loads((ROOT / "tests/fixtures/google/service-account.json").read_text())
    account["token_uri"] = f"{origins['vertex']}/token"
    (folder / "account.json").write_text(json.dumps(account))
    config.write_text(CONFIG.format(key=KEY, account=folder / "account.json", **origins))
    process, url = served(folder, config)
    yield url
    process.terminate()
    assert process.wait(timeout=30) == 0, "a clean stop is asked for and given"


@pytest.fixture(autouse=True)
def nothing_refused(providers):
    """What a vendor's own types do not take is wrong, whatever the test was about."""
    yield
    refused = [(name, why) for name, provider in providers.items() for why in provider.refused]
    for provider in providers.values():
        provider.refused.clear()
    assert not refused


@pytest.fixture(params=["via-openai", "via-anthropic"])
def group(request):
    return request.param


@pytest.fixture
def provider(providers, group):
    """The provider behind the group, with nothing left of earlier tests."""
    provider = providers[group]
    for left in (provider.asked, provider.gone):
        while not left.empty():
            left.get_nowait()
    return provider


def openai_at(gateway):
    return openai.OpenAI(base_url=f"{gateway}/v1", api_key=KEY, max_retries=0, timeout=30)


def anthropic_at(gateway):
    return anthropic.Anthropic(base_url=gateway, api_key=KEY, max_retries=0, timeout=30)


@pytest.fixture
def openai_client(gateway):
    with openai_at(gateway) as client:
        yield client


@pytest.fixture
def anthropic_client(gateway):
    with anthropic_at(gateway) as client:
        yield client
