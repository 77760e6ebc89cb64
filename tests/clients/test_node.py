"""openai-node and the Vercel AI SDK against the gateway, where node is there and they are installed (`.ci/run` does)."""

import os
import shutil
import subprocess

import pytest

from conftest import KEY, ROOT
from vendors import CACHED_TOKENS, INPUT_TOKENS, OUTPUT_TOKENS, TEXT, THOUGHT

FOLDER = ROOT / "target/clients/node"
# Checks in which the client goes away in the middle of a stream.
LEFT = 4


@pytest.mark.skipif(not shutil.which("node") or not (FOLDER / "node_modules").exists(), reason="no node, or no packages")
def test_node(gateway, group, provider):
    # Modules are found beside the script.
    script = shutil.copy(ROOT / "tests/clients/node/clients.mjs", FOLDER)
    said = {"TEXT": TEXT, "THOUGHT": THOUGHT, "INPUT": INPUT_TOKENS, "CACHED": CACHED_TOKENS, "OUTPUT": OUTPUT_TOKENS}
    said = {name: str(value) for name, value in said.items()}
    environment = {**os.environ, "GATEWAY": gateway, "KEY": KEY, "GROUP": group, **said}
    done = subprocess.run(["node", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    for _ in range(LEFT):
        assert provider.gone.get(timeout=10), "a client that leaves ends the call"
