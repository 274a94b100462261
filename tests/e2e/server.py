"""A `mosa serve` process under test, and small helpers around it."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

import httpx

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("MOSA_BIN", ROOT / "build/release/src/cli/mosa"))
MODEL_FILE = ROOT / "examples/mosa-tiny.gguf"
MODEL = "mosa-tiny"


def wait_until(condition, seconds=10.0, interval=0.02):
    """Polls until `condition` returns something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(interval)


class Server:
    def __init__(self, *arguments, model=MODEL_FILE, ready=True):
        self.output = tempfile.TemporaryFile(mode="w+")
        command = [str(BIN), "serve", "--model", f"{MODEL}={model}", "--port", "0", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=self.output, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            match = wait_until(lambda: self.process.poll() is not None or re.search(r"at http://\S+:(\d+)", self.log()))
            assert match is not True, "the server did not start:\n" + self.log()
            self.port = int(match.group(1))
            self.url = f"http://127.0.0.1:{self.port}"
            if ready:
                wait_until(self.is_ready, 30)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        return self.process.returncode

    def log(self):
        return os.pread(self.output.fileno(), 1 << 20, 0).decode()

    def is_ready(self):
        try:
            return httpx.get(self.url + "/health").status_code == 200
        except httpx.TransportError:
            return False

    def metric(self, name):
        """Sum over the series of a metric; `name` may end in a part of its labels."""
        total = 0.0
        for line in httpx.get(self.url + "/metrics").text.splitlines():
            if line.startswith(name):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def engine_pid(self):
        return int(re.findall(r"engine started.*pid=(\d+)", self.log())[-1])

    def rss_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    # --- raw sockets ------------------------------------------------------------------------------------------------

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def exchange(self, data, half_close=False):
        """Sends bytes, returns all that comes until the server closes, or stays silent for a second."""
        with self.connect() as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            return receive(connection)


def receive(connection, quiet=1.0):
    connection.settimeout(quiet)
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except (TimeoutError, ConnectionError):
        pass
    return answer
