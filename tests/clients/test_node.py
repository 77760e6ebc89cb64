"""openai-node and the Vercel AI SDK against the gateway, where node is there and they are installed (`.ci/run` does)."""

import os
import shutil
import subprocess

import pytest

from conftest import KEY, ROOT
from vendors import TEXT

FOLDER = ROOT / "target/clients/node"


@pytest.mark.skipif(not shutil.which("node") or not (FOLDER / "node_modules").exists(), reason="no node, or no packages")
def test_node(gateway, group):
    # Modules are found beside the script.
    script = shutil.copy(ROOT / "tests/clients/node/clients.mjs", FOLDER)
    environment = {**os.environ, "GATEWAY": gateway, "KEY": KEY, "GROUP": group, "TEXT": TEXT}
    done = subprocess.run(["node", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
