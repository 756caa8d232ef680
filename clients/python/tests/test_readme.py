"""What the README shows runs as it stands, beside a sidecar and a simulator."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from servers import DEADLINE, RedisServer, Simulator

from token_sidecar_client import TokenClient

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_examples_are_found() -> None:
    assert len(EXAMPLES) == README.count("```python") - 1 == 10


@pytest.mark.usefixtures("sidecar")
def test_every_example_runs(server: RedisServer, simulator: Simulator) -> None:
    with TokenClient(url=server.url) as client:
        client.get(DEADLINE)
    running = []
    for example in EXAMPLES:
        program = example.replace("http://127.0.0.1:8191", simulator.url).replace("6379", str(server.port))
        # Where an example has an answer, it must be 200.
        program += "\nif 'answer' in globals():\n    assert answer.status_code == 200, answer\n"
        environment = {**os.environ, "REDIS_URL": server.url}
        command = [sys.executable, "-c", program]
        running.append((example, subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)))
    for example, child in running:
        _, errors = child.communicate(timeout=DEADLINE)
        assert (child.returncode, errors) == (0, ""), example


@pytest.mark.usefixtures("sidecar")
def test_the_example_for_a_401_gets_over_one(server: RedisServer, simulator: Simulator) -> None:
    with TokenClient(url=server.url) as client:
        dead = client.get(DEADLINE)
        for example in EXAMPLES:
            if "search/product" not in example or ("Authorization" in example and "wait_newer" not in example):
                continue
            simulator.control("POST", "revoke")
            program = example.replace("http://127.0.0.1:8191", simulator.url).replace("6379", str(server.port))
            environment = {**os.environ, "REDIS_URL": server.url}
            subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=DEADLINE)
            assert client.get(DEADLINE) != dead, example
            dead = client.get(DEADLINE)
