"""The programs that tests run against: each on a port of its own, and gone when its test is."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

import redis

DEADLINE = 30.0
"""A safety net: nothing takes so long."""

ROOT = Path(__file__).resolve().parents[3]


def until(is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.005)


def binary(variable: str, name: str) -> str:
    path = Path(os.environ.get(variable) or ROOT / "target" / "debug" / name)
    assert path.exists(), f"{path} is not there: cargo build -p {name}, or set {variable} to its path"
    return str(path)


class Process:
    """A child that ends with its test."""

    def __init__(self, command: list[str], folder: Path, sign: str, environment: Mapping[str, str] | None = None):
        self.child = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.output = b""
        self.until(sign)

    def until(self, sign: str) -> None:
        """Waits until it has printed this."""
        assert self.child.stdout is not None
        ends = time.monotonic() + DEADLINE
        while sign.encode() not in self.output:
            left = ends - time.monotonic()
            if left > 0 and select.select([self.child.stdout], [], [], left)[0]:
                piece = os.read(self.child.stdout.fileno(), 65536)
                self.output += piece
                if piece:
                    continue
            raise AssertionError(f"it never printed {sign!r}:\n{self.output.decode()}")

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()
        if self.child.stdout is not None:
            self.child.stdout.close()


def hold_a_port() -> tuple[socket.socket, int]:
    """A port that no other program gets: bound and never listening, so that a server can, and go, and come back."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held, int(held.getsockname()[1])


class RedisServer:
    """A Redis that can go away, come back, and freeze."""

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="token-sidecar-client."))
        self.held, self.port = hold_a_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.options = options
        self.process: Process | None = None
        self.start()
        self.client: Any = redis.Redis.from_url(self.url, decode_responses=True)

    def start(self) -> None:
        socket_path = str(self.folder / "redis.sock")
        command = ["redis-server", *self.options, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = Process([*command, "--unixsocket", socket_path], self.folder, "eady to accept connections")

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()

    def freeze(self) -> None:
        assert self.process is not None
        self.process.child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.child.send_signal(signal.SIGCONT)

    def clear(self) -> None:
        """Restores the state of the start."""
        assert self.process is not None
        self.thaw()
        if self.process.child.poll() is not None:
            self.start()
        self.client.flushall()
        for user in self.client.acl_users():
            if user != "default":
                self.client.acl_deluser(user)
        for kind in ("normal", "pubsub"):
            self.client.client_kill_filter(_type=kind, skipme=True)
        self.client.config_resetstat()

    def close(self) -> None:
        self.client.connection_pool.disconnect()
        self.thaw()
        self.stop()
        self.held.close()
        shutil.rmtree(self.folder)

    def until_subscribed(self, channel: str, count: int) -> None:
        """Waits until so many listen."""
        ends = time.monotonic() + DEADLINE
        while (subscribers := dict(self.client.pubsub_numsub(channel)).get(channel)) != count:
            assert time.monotonic() < ends, f"{subscribers} listen on {channel}, not {count}"
            time.sleep(0.005)


class Simulator:
    """FlareSolverr, the shop and its API."""

    def __init__(self, folder: Path) -> None:
        self.process = Process(
            [binary("SIMULATOR_BIN", "token-sidecar-simulator"), "--listen", "127.0.0.1:0"], folder, "\n"
        )
        self.url = self.process.output.decode().split()[0]

    def control(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/control/{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    @property
    def solves(self) -> int:
        return int(self.control("GET", "statistics")["solves"]["started"])


class Sidecar:
    """The real one; it listens when this returns."""

    def __init__(self, server: RedisServer, simulator: Simulator, **environment: str) -> None:
        self.process = Process(
            [binary("TOKEN_SIDECAR_BIN", "token-sidecar"), "run"],
            server.folder,
            "subscribed",
            {
                "REDIS_URL": server.url,
                "FLARESOLVERR_URL": f"{simulator.url}/v1",
                "CHITAI_GOROD_SITE_URL": f"{simulator.url}/shop",
                "CHITAI_GOROD_API_URL": f"{simulator.url}/web/api/v2",
                "SIDECAR_SCHEDULE": "off",
                "SIDECAR_LISTEN": "127.0.0.1:0",
                "SIDECAR_DEBOUNCE": "0s",
                "TZ": "UTC",
                **environment,
            },
        )
