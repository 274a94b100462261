"""End-to-end tests: a real `mosa serve` on the small model that ships, driven over its socket.

MOSA_BIN names the program (default build/release/src/cli/mosa), MOSA_SHARED the folder of public test data. Tests that
need what is not there are skipped, saying so.
"""

import os
import pathlib

import httpx
import openai
import pytest

from server import MODEL, ROOT, Server

SHARED = pathlib.Path(os.environ.get("MOSA_SHARED", ROOT.parent / "shared"))


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run the tests that take minutes")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; only with --long")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--long"):
        return
    for item in items:
        if "long" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs --long"))


@pytest.fixture(scope="session")
def server():
    """The server that most tests share; one that disturbs it starts its own with `start`."""
    with Server() as running:
        yield running
        assert running.process.poll() is None, "the gateway died during the tests:\n" + running.log()


@pytest.fixture
def start():
    """Starts servers that end with the test."""
    running = []

    def begin(*arguments, **options):
        running.append(Server(*arguments, **options))
        return running[-1]

    yield begin
    for one in running:
        one.close()


@pytest.fixture(scope="session")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60)


@pytest.fixture(scope="session")
def http(server):
    with httpx.Client(base_url=server.url, timeout=60) as plain:
        yield plain


@pytest.fixture
def chat():
    """A chat body; keyword arguments are its further fields."""

    def body(text="Tell me a story.", **fields):
        return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}

    return body


@pytest.fixture(scope="session")
def shared():
    def find(path):
        if not (SHARED / path).exists():
            pytest.skip(f"{SHARED / path} is not there")
        return SHARED / path

    return find
