"""The Celery design gets a new token in each of its variants, and the parsers measure both designs alike."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from servers import DEADLINE, ROOT, Process, RedisServer, binary, until

PYTHON = os.environ["BENCH_PYTHON"]
BENCH = ROOT / "bench"
GUIDE = ["worker", "--concurrency=2"]
LEANEST = ["worker", "--beat", "--pool=solo", "--without-gossip", "--without-mingle", "--without-heartbeat"]


class World(ThreadingHTTPServer):
    """A solver, an API that accepts tokens made since the last expiry, and a way to expire them."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.solves = 0
        self.may_solve = threading.Event()
        self.may_solve.set()
        self.tokens_work = True
        self.live: set[str] = set()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


class Visit(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: World

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        refused = self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.server.live
        self.answer(401 if refused else 200, {"data": {"type": "searchProductResult"}})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        world = self.server
        if self.path == "/control/expire":
            world.live.clear()
            return self.answer(200, {})
        world.solves += 1
        token = f"token-{world.solves}"
        world.may_solve.wait(DEADLINE)
        if world.tokens_work:
            world.live.add(token)
        cookie = {"name": "access-token", "value": f"Bearer%20{token}", "domain": "127.0.0.1", "path": "/"}
        solution = {"url": world.url, "status": 200, "cookies": [cookie], "userAgent": "Mozilla/5.0", "response": ""}
        return self.answer(200, {"status": "ok", "message": "Challenge solved!", "solution": solution})


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
def world(redis: RedisServer) -> Iterator[World]:
    redis.clear()
    world = World()
    yield world
    world.may_solve.set()
    world.shutdown()
    world.server_close()


class Bench:
    """Starts the programs of the benchmark in one environment."""

    def __init__(self, redis: RedisServer, world: World, folder: Path) -> None:
        self.redis = redis
        self.world = world
        self.folder = folder
        self.processes: list[Process] = []
        self.running_parsers: list[subprocess.Popen[str]] = []
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(BENCH / "celery"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "REDIS_URL": redis.url,
            "FLARESOLVERR_URL": f"{world.url}/v1",
            "CHITAI_GOROD_SITE_URL": f"{world.url}/shop",
            "CHITAI_GOROD_API_URL": f"{world.url}/web/api/v2",
            "CONTROL_URL": world.url,
            "ENV_FILE": str(folder / ".env"),
        }

    def celery(self, *arguments: str, ready_text: str = " ready.", **switches: str) -> None:
        self.environment.update(switches)
        command = [str(Path(PYTHON).with_name("celery")), "--app=services.celery_app", *arguments, "--loglevel=info"]
        self.start(command, ready_text)

    def sidecar(self) -> None:
        ours = {"SIDECAR_SCHEDULE": "off", "SIDECAR_LISTEN": "127.0.0.1:0", "SIDECAR_DEBOUNCE": "0s"}
        command = [binary("TOKEN_SIDECAR_BIN", "token-sidecar"), "run"]
        self.environment.update(ours)
        self.start(command, "token updated")

    def start(self, command: list[str], ready_text: str) -> None:
        """Starts it in a process group of its own, which is killed as a whole."""
        self.processes.append(Process(["setsid", *command], self.folder, ready_text, self.environment))

    def end(self) -> None:
        for parser in self.running_parsers:
            with parser:
                parser.kill()
        for process in self.processes:
            os.killpg(process.child.pid, signal.SIGKILL)
            process.kill()

    def parsers(self, *arguments: str) -> subprocess.Popen[str]:
        command = [PYTHON, str(BENCH / "parsers.py"), *arguments]
        pipe = subprocess.PIPE
        parser = subprocess.Popen(command, env=self.environment, cwd=self.folder, stdin=pipe, stdout=pipe, text=True)
        self.running_parsers.append(parser)
        return parser

    def latency(self, client: str, *arguments: str) -> list[dict[str, int]]:
        parser = self.parsers("--client", client, "latency", *arguments)
        output, _ = parser.communicate(timeout=2 * DEADLINE)
        assert parser.returncode == 0
        return [json.loads(line) for line in output.splitlines()]

    def herd(self, client: str, count: int, *, share: str = "yes", patience: float = DEADLINE) -> Herd:
        return Herd(self.parsers("--client", client, "--share", share, "herd", str(count), "--patience", str(patience)))

    def calls(self, command: str) -> int:
        """How often Redis has executed the command so far."""
        calls: int = self.redis.client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)
        return calls


class Herd:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"go {time.monotonic_ns()}\n")
        self.process.stdin.flush()

    def outcome(self) -> dict[str, Any]:
        output, _ = self.process.communicate(timeout=2 * DEADLINE)
        outcome: dict[str, Any] = json.loads(output)
        return outcome


@pytest.fixture
def bench(redis: RedisServer, world: World, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(redis, world, tmp_path)
    yield bench
    bench.end()


def in_order(sample: dict[str, int]) -> bool:
    return sample["refused_ns"] < sample["reported_ns"] < sample["token_ns"]


def test_a_401_leads_to_a_new_token_by_polling(bench: Bench) -> None:
    (bench.folder / ".env").write_text("OTHER=1\nCHITAI_GOROD_BEARER_TOKEN=old\n")
    bench.celery(*GUIDE)
    samples = bench.latency("celery", "2", "--warmup", "1")
    assert len(samples) == 2
    assert all(map(in_order, samples))
    # The key is read at once, when there is nothing yet, and a second later.
    assert all(sample["token_ns"] - sample["reported_ns"] > 900e6 for sample in samples)
    assert bench.world.solves == 3
    assert bench.redis.client.get("chitai_gorod_token") == "token-3"
    assert 86000 < bench.redis.client.ttl("chitai_gorod_token") <= 86400
    assert (bench.folder / ".env").read_text() == "OTHER=1\nCHITAI_GOROD_BEARER_TOKEN=token-3\n"


def test_in_one_process_with_beat_a_parser_waits_for_the_result_and_does_not_poll(bench: Bench) -> None:
    bench.celery(*LEANEST, ready_text="beat: Starting", WAIT_RESULT="1", POLL_INTERVAL="600")
    samples = bench.latency("celery", "1")
    assert len(samples) == 1
    assert all(map(in_order, samples))


def test_a_token_that_the_api_refuses_is_not_stored(bench: Bench) -> None:
    bench.celery(*GUIDE, WAIT_RESULT="1")
    bench.world.tokens_work = False
    herd = bench.herd("celery", 1, patience=1)
    herd.go()
    outcome = herd.outcome()
    assert outcome["gave_up"] == 1
    assert "HTTPError" in outcome["errors"][0]
    assert not bench.redis.client.exists("chitai_gorod_token")


def test_beat_starts(bench: Bench) -> None:
    bench.celery("beat", ready_text="beat: Starting")


def test_without_a_lock_each_parser_of_a_herd_starts_a_solve(bench: Bench) -> None:
    bench.celery(*GUIDE, POLL_INTERVAL="0.05")
    herd = bench.herd("celery", 8)
    herd.go()
    outcome = herd.outcome()
    assert outcome == {"working_ms": sorted(outcome["working_ms"]), "gave_up": 0, "errors": []}
    assert len(outcome["working_ms"]) == 8
    until(lambda: bench.world.solves == 8)


def test_with_a_lock_a_herd_starts_one_solve(bench: Bench) -> None:
    bench.celery(*GUIDE, POLL_INTERVAL="0.05", TRIGGER_LOCK_SECONDS="60")
    herd = bench.herd("celery", 8)
    bench.world.may_solve.clear()
    before = bench.calls("set")
    herd.go()
    until(lambda: bench.calls("set") == before + 8)
    bench.world.may_solve.set()
    assert len(herd.outcome()["working_ms"]) == 8
    assert bench.world.solves == 1
    until(lambda: not bench.redis.client.exists("chitai_gorod_token:lock"))


def test_a_herd_without_an_answer_gives_up(bench: Bench) -> None:
    herd = bench.herd("celery", 3, patience=1)
    herd.go()
    outcome = herd.outcome()
    assert (outcome["working_ms"], outcome["gave_up"]) == ([], 3)
    assert ["TimeoutError: no new token within 1 s" in error for error in outcome["errors"]] == [True]


@pytest.mark.parametrize("line", ["", "stop\n"])
def test_a_herd_without_a_start_ends(bench: Bench, line: str) -> None:
    herd = bench.herd("celery", 2)
    herd.process.communicate(line, timeout=DEADLINE)
    assert herd.process.returncode != 0


def test_parsers_with_the_sidecar_are_measured_alike(bench: Bench) -> None:
    bench.sidecar()
    samples = bench.latency("sidecar", "2", "--warmup", "1")
    assert [sample["refused_ns"] < sample["token_ns"] for sample in samples] == [True, True]
    assert [sample["reported_ns"] for sample in samples] == [None, None]
    assert bench.world.solves == 4


@pytest.mark.parametrize("share", ["yes", "no"])
def test_a_herd_with_the_sidecar_costs_one_solve(bench: Bench, share: str) -> None:
    bench.sidecar()
    bench.world.live.clear()
    herd = bench.herd("sidecar", 8, share=share)
    bench.world.may_solve.clear()
    before = bench.calls("publish")
    herd.go()
    until(lambda: bench.calls("publish") - before >= (1 if share == "yes" else 8))
    bench.world.may_solve.set()
    outcome = herd.outcome()
    assert outcome == {"working_ms": sorted(outcome["working_ms"]), "gave_up": 0, "errors": []}
    assert len(outcome["working_ms"]) == 8
    assert bench.world.solves == 2
