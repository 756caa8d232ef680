#!/usr/bin/env python3
"""gateway.py: prints what the API answers; the sidecar's gateway adds the token, and replaces one that is refused."""
import os

import requests

API = os.environ.get("API", "http://127.0.0.1:9189/chitai_gorod")

answer = requests.get(f"{API}/search/product", params={"phrase": "redis"}, timeout=90)
answer.raise_for_status()
print(answer.text)
