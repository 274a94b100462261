"""The official Node client, run as a script against the shared server."""

import pathlib
import shutil
import subprocess

import pytest

from server import MODEL

FOLDER = pathlib.Path(__file__).parent / "node"


def test_the_node_client_passes_its_suite(server):
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    if not (FOLDER / "node_modules/openai").is_dir():
        if not shutil.which("npm"):
            pytest.skip("npm is not installed")
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=FOLDER, check=True, timeout=300)
    result = subprocess.run(["node", "suite.mjs", server.url + "/v1", MODEL], cwd=FOLDER, capture_output=True, text=True,
                            timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    print(result.stdout)
