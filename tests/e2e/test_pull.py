"""mosa pull against a hub of our own on loopback: resume, checksums, tokens, hostile names, choice of files."""
import hashlib
import http.server
import json
import os
import subprocess
import threading

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MOSA = os.environ.get("MOSA_BIN", os.path.join(ROOT, "build", "release", "src", "cli", "mosa"))
WEIGHTS = bytes(range(256)) * 4096  # 1 MiB


def git_blob_id(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub(http.server.ThreadingHTTPServer):
    """A repository org/name whose files are in `files`; switches make it misbehave."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.requests = []       # (path, Range header, Authorization header)
        self.cut_after = None    # bytes after which the next transfer breaks off
        self.ignore_range = False
        self.token = None
        self.wrong_bytes = False
        self.listed_names = None

    def handle_error(self, request, client_address):
        pass  # transfers that break off are part of the tests

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, code, body, headers=()):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def listing(self):
        rows = []
        for name, data in self.server.files.items():
            row = {"rfilename": name, "size": len(data), "blobId": git_blob_id(data)}
            if name.endswith((".gguf", ".safetensors")):
                row["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            rows.append(row)
        for name in self.server.listed_names or []:
            rows.append({"rfilename": name, "size": 4, "blobId": "0" * 40})
        return json.dumps({"id": "org/name", "siblings": rows}).encode()

    def do_GET(self):
        hub = self.server
        hub.requests.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.answer(401, b"{}")
        if self.path.startswith("/api/models/org/name/revision/main"):
            return self.answer(200, self.listing())
        prefix = "/org/name/resolve/main/"
        name = self.path[len(prefix):] if self.path.startswith(prefix) else None
        if name not in hub.files:
            return self.answer(404, b"not found")
        data = hub.files[name]
        if hub.wrong_bytes:
            data = b"x" * len(data)
        begin = 0
        if self.headers.get("Range") and not hub.ignore_range:
            begin = int(self.headers["Range"].split("=")[1].split("-")[0])
            if begin >= len(data):
                return self.answer(416, b"")
        body = data[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body)))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if hub.cut_after is not None:
            self.wfile.write(body[: hub.cut_after])
            self.wfile.flush()
            hub.cut_after = None
            self.close_connection = True
            self.connection.close()
            return None
        return self.wfile.write(body)


@pytest.fixture
def hub():
    server = Hub({"model-Q4_K_M.gguf": WEIGHTS, "README.md": b"hello"})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def pull(hub, home, name, token=None):
    env = dict(os.environ, HF_ENDPOINT=hub.url, MOSA_HOME=str(home), NO_PROXY="127.0.0.1")
    env.pop("HF_TOKEN", None)
    if token:
        env["HF_TOKEN"] = token
    return subprocess.run([MOSA, "pull", name], env=env, text=True, capture_output=True, timeout=120)


def test_the_one_gguf_file_is_fetched_and_verified(hub, tmp_path):
    done = pull(hub, tmp_path, "hf:org/name")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "models" / "org" / "name"
    assert (folder / "model-Q4_K_M.gguf").read_bytes() == WEIGHTS
    assert sorted(os.listdir(folder)) == ["model-Q4_K_M.gguf"]


def test_a_broken_transfer_goes_on_where_it_stopped(hub, tmp_path):
    hub.cut_after = 300_000
    done = pull(hub, tmp_path, "hf:org/name")
    assert done.returncode == 0, done.stderr
    ranges = [r for path, r, _ in hub.requests if path.endswith(".gguf")]
    assert ranges[0] is None and ranges[1] == "bytes=300000-"
    assert (tmp_path / "models/org/name/model-Q4_K_M.gguf").read_bytes() == WEIGHTS


def test_a_partial_file_of_an_earlier_run_is_continued(hub, tmp_path):
    folder = tmp_path / "models" / "org" / "name"
    folder.mkdir(parents=True)
    (folder / "model-Q4_K_M.gguf.part").write_bytes(WEIGHTS[:5000])
    assert pull(hub, tmp_path, "hf:org/name").returncode == 0
    assert [r for p, r, _ in hub.requests if p.endswith(".gguf")] == ["bytes=5000-"]
    assert (folder / "model-Q4_K_M.gguf").read_bytes() == WEIGHTS


def test_a_server_without_ranges_sends_the_whole_file_again(hub, tmp_path):
    folder = tmp_path / "models" / "org" / "name"
    folder.mkdir(parents=True)
    (folder / "model-Q4_K_M.gguf.part").write_bytes(b"z" * 7000)
    hub.ignore_range = True
    assert pull(hub, tmp_path, "hf:org/name").returncode == 0
    assert (folder / "model-Q4_K_M.gguf").read_bytes() == WEIGHTS


def test_a_complete_file_is_not_fetched_again(hub, tmp_path):
    assert pull(hub, tmp_path, "hf:org/name").returncode == 0
    hub.requests.clear()
    assert pull(hub, tmp_path, "hf:org/name").returncode == 0
    assert not [p for p, _, _ in hub.requests if p.endswith(".gguf")]


def test_wrong_bytes_are_removed_and_named(hub, tmp_path):
    hub.wrong_bytes = True
    done = pull(hub, tmp_path, "hf:org/name")
    assert done.returncode == 1
    assert "model-Q4_K_M.gguf" in done.stderr and "checksum" in done.stderr
    assert os.listdir(tmp_path / "models/org/name") == []


def test_the_token_is_sent_and_its_absence_explained(hub, tmp_path):
    hub.token = "secret-token"
    refused = pull(hub, tmp_path, "hf:org/name")
    assert refused.returncode == 1 and "HF_TOKEN" in refused.stderr
    accepted = pull(hub, tmp_path, "hf:org/name", token="secret-token")
    assert accepted.returncode == 0, accepted.stderr
    assert "secret-token" not in accepted.stderr + accepted.stdout


def test_names_that_would_leave_the_folder_are_not_fetched(hub, tmp_path):
    hub.files = {"config.json": b"{}", "model.safetensors": WEIGHTS}
    hub.listed_names = ["../../evil.json", "/etc/evil.json", "a/../../evil.jinja"]
    done = pull(hub, tmp_path, "hf:org/name")
    assert done.returncode == 0, done.stderr
    assert not [p for p, _, _ in hub.requests if "evil" in p]


def test_a_folder_model_brings_weights_configuration_and_tokenizer(hub, tmp_path):
    hub.files = {name: name.encode() for name in (
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja", "README.md", "pytorch_model.bin", "onnx/model.onnx", "original/consolidated.safetensors")}
    assert pull(hub, tmp_path, "org/name").returncode == 0
    assert sorted(os.listdir(tmp_path / "models/org/name")) == [
        "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json"]


def test_several_gguf_files_without_a_favourite_are_listed(hub, tmp_path):
    hub.files = {"m-Q8_0.gguf": b"a", "m-F16.gguf": b"b"}
    done = pull(hub, tmp_path, "hf:org/name")
    assert done.returncode == 1
    assert "m-Q8_0.gguf" in done.stderr and "m-F16.gguf" in done.stderr
    named = pull(hub, tmp_path, "hf:org/name:m-F16.gguf")
    assert named.returncode == 0
    assert (tmp_path / "models/org/name/m-F16.gguf").read_bytes() == b"b"


@pytest.mark.parametrize("name", ["", "name", "hf:", "hf:a/b/c", "hf:org/..", "hf:org/name:../x", "hf:org/na me"])
def test_bad_names_are_refused_without_a_request(hub, tmp_path, name):
    done = pull(hub, tmp_path, name)
    assert done.returncode in (1, 2)
    assert not hub.requests


def test_an_unreachable_hub_is_named(tmp_path):
    env = dict(os.environ, HF_ENDPOINT="http://127.0.0.1:9", MOSA_HOME=str(tmp_path))
    done = subprocess.run([MOSA, "pull", "hf:org/name"], env=env, text=True, capture_output=True, timeout=120)
    assert done.returncode == 1 and "HF_ENDPOINT" in done.stderr
