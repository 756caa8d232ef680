#!/usr/bin/env python3
"""next_token.py [REFUSED [SECONDS]]: prints a token other than the one that the API has refused (redis-py)."""
import hashlib
import json
import os
import sys
import time

import redis

r = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"), decode_responses=True)


class NobodyListens(Exception):
    pass


def next_token(refused=None, patience=60.0):
    report = {"reason": "401", "source": "next_token.py"} if refused else {}
    if refused:
        report["fingerprint"] = hashlib.sha256(refused.encode()).hexdigest()[:16]
    deadline = time.monotonic() + patience
    with r.pubsub() as subscriber:
        subscriber.subscribe("chitai_gorod:token:updated", "chitai_gorod:token:failed")
        confirmed = 0
        while (left := deadline - time.monotonic()) > 0:
            if (message := subscriber.get_message(timeout=left)) is None:
                continue
            if message["type"] == "subscribe":
                confirmed += 1
                if confirmed < 2:
                    continue
            else:
                event = json.loads(message["data"])
                if event["event"] == "token:failed":
                    raise RuntimeError(event["error"])
                if event["fingerprint"] == report.get("fingerprint"):
                    continue  # this answers another client
            token = r.get("chitai_gorod_token")
            if token and token != refused:
                return token
            if message["type"] == "subscribe" and not r.publish("chitai_gorod:token:invalid", json.dumps(report)):
                raise NobodyListens("no sidecar listens")
    raise TimeoutError(f"no outcome in {patience:g} s")


try:
    print(next_token(*sys.argv[1:2], *map(float, sys.argv[2:3])))
except NobodyListens as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(69)
except (redis.RedisError, RuntimeError, TimeoutError) as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(75)
