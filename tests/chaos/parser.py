"""A parser with the Python client. A line for each call that the API accepts; it ends where a wait is not answered."""

import os
import time
import urllib.error
import urllib.request

from token_sidecar_client import NobodyListens, RedisUnreachable, RefreshFailed, TokenClient

URL = os.environ["API_URL"] + "/search/product?phrase=redis"


def status(token):
    request = urllib.request.Request(URL, headers={"Authorization": "Bearer " + token})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


tokens = TokenClient()
token = None
while True:
    try:
        token = tokens.wait_newer(token) if token else tokens.get()
        while (code := status(token)) != 401:
            if code == 200:
                print("accepted", flush=True)
            time.sleep(0.05)
    except (NobodyListens, RedisUnreachable, RefreshFailed):
        time.sleep(0.2)
