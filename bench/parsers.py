"""Parsers of both designs, measured by the same code.

    parsers.py --client celery|sidecar latency N --warmup W
    parsers.py --client celery|sidecar [--share yes|no] herd N --patience SECONDS

`latency` is one parser. N times, after W more that are not printed, it has all tokens revoked, gets a 401, reports it
and waits: `{"refused_ns": …, "reported_ns": …, "token_ns": …}`. For the sidecar `reported_ns` is null, because its
client reports and waits in one call.

`herd` is N parsers in threads. When all have got a 401 it prints `ready` and reads a line `go NANOSECONDS`: the instant
at which all of them report, wait and call, until the API answers 200 or the patience is over. It prints
`{"working_ms": […], "gave_up": …, "errors": […]}`, in milliseconds since that instant.

Instants are readings of CLOCK_MONOTONIC, which all processes of a machine share. The environment has REDIS_URL and
CHITAI_GOROD_API_URL; for `latency` CONTROL_URL, where `POST /control/expire` revokes all tokens; for Celery also the
variables of `services.settings`, and PYTHONPATH with the folder `celery`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Protocol

import requests

WAIT = 60.0
"""Seconds that a parser waits for a token before it reports again."""


class Client(Protocol):
    """What differs between the two designs."""

    def current(self) -> str:
        """The current token."""

    def newer(self, refused: str, timeout: float) -> tuple[str, int | None]:
        """Reports the refused token and waits for another; also returns the instant of the report, if it is known."""


class Celery:
    def __init__(self) -> None:
        from services.celery_app import app
        from services.token_manager import TokenManager

        self.manager = TokenManager()
        # Connects now, as a parser that has run for a while would have.
        with app.producer_or_acquire() as producer:
            producer.connection.ensure_connection()

    def current(self) -> str:
        return self.manager.get_chitai_gorod_token()

    def newer(self, refused: str, timeout: float) -> tuple[str, int | None]:
        task = self.manager.trigger_token_update()
        reported = time.monotonic_ns()
        return self.manager.wait_for_token_update(refused, task, timeout), reported


class Sidecar:
    def __init__(self) -> None:
        from token_sidecar_client import TokenClient

        self.tokens = TokenClient()

    def current(self) -> str:
        return self.tokens.get()

    def newer(self, refused: str, timeout: float) -> tuple[str, int | None]:
        return self.tokens.wait_newer(refused, timeout), None


CLIENTS: dict[str, Callable[[], Client]] = {"celery": Celery, "sidecar": Sidecar}


class Parser:
    """A parser with the token that it got last."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.http = requests.Session()
        self.url = os.environ["CHITAI_GOROD_API_URL"] + "/search/product"
        self.token = ""

    def call(self) -> int:
        """The API's status for the token."""
        bearer = {"Authorization": f"Bearer {self.token}"}
        return self.http.get(self.url, params={"phrase": "python"}, headers=bearer, timeout=30).status_code

    def expect_status(self, wanted: int) -> None:
        status = self.call()
        if status != wanted:
            raise SystemExit(f"parsers: the API answered {status} instead of {wanted}")


def latency(client: Client, samples: int, warmup: int) -> None:
    parser = Parser(client)
    expire = os.environ["CONTROL_URL"] + "/control/expire"
    for sample in range(-warmup, samples):
        parser.token = client.current()
        parser.http.post(expire, timeout=30).raise_for_status()
        # A random pause, not in step with Celery's worker, which polls Redis every second; the same for both designs.
        time.sleep(random.uniform(0.05, 1.05))
        parser.expect_status(401)
        refused = time.monotonic_ns()
        parser.token, reported = client.newer(parser.token, WAIT)
        token = time.monotonic_ns()
        parser.expect_status(200)
        if sample >= 0:
            print(json.dumps({"refused_ns": refused, "reported_ns": reported, "token_ns": token}), flush=True)


def herd(make: Callable[[], Client], count: int, patience: float) -> None:
    parsers = [Parser(make()) for _ in range(count)]
    started = threading.Barrier(count + 1)
    go: Future[int] = Future()
    errors: list[str] = []

    def prepare(parser: Parser) -> None:
        parser.token = parser.client.current()
        parser.expect_status(401)

    def recover(parser: Parser) -> float | None:
        started.wait()
        start = go.result()
        time.sleep(max(0, start - time.monotonic_ns()) / 1e9)
        while (left := start / 1e9 + patience - time.monotonic()) > 0:
            try:
                parser.token, _ = parser.client.newer(parser.token, min(WAIT, left))
                if parser.call() == 200:
                    return (time.monotonic_ns() - start) / 1e6
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}"[:200])
                time.sleep(min(1, left))
        return None

    with ThreadPoolExecutor(count) as threads:
        list(threads.map(prepare, parsers))
        outcomes = threads.map(recover, parsers)
        started.wait()
        print("ready", flush=True)
        try:
            go.set_result(int(sys.stdin.readline().removeprefix("go ")))
        except ValueError as error:
            go.set_exception(error)
        ended = list(outcomes)
    common = [f"{times} times {error}" for error, times in Counter(errors).most_common(5)]
    working = sorted(ms for ms in ended if ms is not None)
    print(json.dumps({"working_ms": working, "gave_up": ended.count(None), "errors": common}), flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description="Parsers of both designs, measured by the same code.")
    arguments.add_argument("--client", choices=list(CLIENTS), required=True)
    arguments.add_argument("--share", choices=["yes", "no"], default="yes", help="whether the threads share a client")
    modes = arguments.add_subparsers(dest="mode", required=True)
    latencies = modes.add_parser("latency")
    latencies.add_argument("samples", type=int)
    latencies.add_argument("--warmup", type=int, default=0)
    herds = modes.add_parser("herd")
    herds.add_argument("count", type=int)
    herds.add_argument("--patience", type=float, required=True, help="seconds")
    asked = arguments.parse_args()

    make = CLIENTS[asked.client]
    if asked.mode == "latency":
        latency(make(), asked.samples, asked.warmup)
    elif asked.share == "yes":
        client = make()
        herd(lambda: client, asked.count, asked.patience)
    else:
        herd(make, asked.count, asked.patience)


if __name__ == "__main__":
    main()
