"""Runs the clients for the conformance tests: calls are JSON lines on stdin, answers JSON lines on stdout.

REDIS_URL=… SITE=… PRODUCT=token|cookies python conformance.py --mode sync|async
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
from typing import Any

from token_sidecar_client import (
    AsyncTokenClient,
    NobodyListens,
    RefreshFailed,
    TimedOut,
    TokenClient,
    TokenUpdate,
)

_output = threading.Lock()


def say(**line: Any) -> None:
    with _output:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def described(error: Exception) -> dict[str, Any]:
    kinds = {NobodyListens: "nobody_listens", RefreshFailed: "failed", TimedOut: "timed_out"}
    answer: dict[str, Any] = {"kind": kinds.get(type(error), "other"), "message": str(error)}
    if isinstance(error, RefreshFailed):
        answer["stage"] = error.stage
        answer["retry_at"] = f"{error.retry_at:%Y-%m-%dT%H:%M:%SZ}" if error.retry_at else None
    return answer


def arguments(call: dict[str, Any]) -> dict[str, Any]:
    """The arguments for the method of the same name."""
    taken = {"get": ["timeout"], "invalidate": ["token", "reason"], "wait_newer": ["token", "timeout"]}
    return {name: call[name] for name in taken.get(call["call"], []) if name in call}


def answer_in_a_thread(client: TokenClient, call: dict[str, Any]) -> None:
    number = call.get("id")
    try:
        if call["call"] == "updates":
            is_answered = threading.Event()

            def updated(update: TokenUpdate) -> None:
                is_answered.wait()
                say(id=number, update=dict(update.raw))

            client.on_update(updated)
            say(id=number, ok=None)
            is_answered.set()
        else:
            methods: dict[str, Any] = {
                "get": client.get,
                "invalidate": client.invalidate,
                "wait_newer": client.wait_newer,
                "cookies": client.cookies,
                "user_agent": client.user_agent,
            }
            say(id=number, ok=methods[call["call"]](**arguments(call)))
    except Exception as error:
        say(id=number, error=described(error))


async def answer_in_a_task(client: AsyncTokenClient, call: dict[str, Any]) -> None:
    number = call.get("id")
    try:
        if call["call"] == "updates":
            is_answered = asyncio.Event()

            async def updated(update: TokenUpdate) -> None:
                await is_answered.wait()
                say(id=number, update=dict(update.raw))

            await client.on_update(updated)
            say(id=number, ok=None)
            is_answered.set()
        else:
            methods: dict[str, Any] = {
                "get": client.get,
                "invalidate": client.invalidate,
                "wait_newer": client.wait_newer,
                "cookies": client.cookies,
                "user_agent": client.user_agent,
            }
            say(id=number, ok=await methods[call["call"]](**arguments(call)))
    except Exception as error:
        say(id=number, error=described(error))


def serve_with_threads(site: str, product: Any) -> None:
    client = TokenClient(site, product=product)
    for line in sys.stdin:
        if line.strip():
            threading.Thread(target=answer_in_a_thread, args=(client, json.loads(line)), daemon=True).start()


async def serve_with_tasks(site: str, product: Any) -> None:
    tasks: set[asyncio.Task[None]] = set()
    client = AsyncTokenClient(site, product=product)
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip():
            task = asyncio.create_task(answer_in_a_task(client, json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="The Python clients for a conformance runner.")
    options.add_argument("--mode", choices=["sync", "async"], default="sync")
    site, product = os.environ.get("SITE") or "chitai_gorod", os.environ.get("PRODUCT") or "token"
    if options.parse_args().mode == "sync":
        serve_with_threads(site, product)
    else:
        asyncio.run(serve_with_tasks(site, product))
    # Ends without waiting for the calls under way.
    sys.stdout.flush()
    os._exit(0)
