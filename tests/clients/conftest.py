"""The gateway as a process, between the vendors' clients and providers of our own."""

import os
import queue
import re
import subprocess
import threading
from pathlib import Path

import anthropic
import openai
import pytest

from vendors import Anthropic, OpenAI, Provider

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("WITGATE_BIN", str(ROOT / "target/debug/witgate"))
KEY = "sk-clients-of-the-test"

CONFIG = """
model_list:
  - model_name: via-openai
    litellm_params: {{ model: openai/upstream-model, api_base: "{openai}/v1", api_key: sk-openai-upstream }}
  - model_name: via-anthropic
    litellm_params: {{ model: anthropic/upstream-model, api_base: "{anthropic}", api_key: sk-anthropic-upstream }}
router_settings:
  num_retries: 0
  disable_cooldowns: true
general_settings:
  master_key: {key}
"""


@pytest.fixture(scope="session")
def providers():
    return {"via-openai": Provider(OpenAI), "via-anthropic": Provider(Anthropic)}


@pytest.fixture(scope="session")
def gateway(providers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    config = folder / "config.yaml"
    origins = {"openai": providers["via-openai"].origin, "anthropic": providers["via-anthropic"].origin}
    config.write_text(CONFIG.format(key=KEY, **origins))
    process = subprocess.Popen(
        [BINARY, "serve", "--config", str(config), "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=(folder / "log").open("w"),
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
    yield found.group(1)
    process.terminate()
    assert process.wait(timeout=30) == 0, "a clean stop is asked for and given"


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


@pytest.fixture
def openai_client(gateway):
    with openai.OpenAI(base_url=f"{gateway}/v1", api_key=KEY, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def anthropic_client(gateway):
    with anthropic.Anthropic(base_url=gateway, api_key=KEY, max_retries=0, timeout=30) as client:
        yield client
