"""The task: solve, extract the token from the cookies, verify it, store it."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import requests

from . import settings
from .celery_app import app
from .token_manager import TokenManager

manager = TokenManager()


# Results are ignored unless parsers wait for them, which is cheaper than Celery's default.
@app.task(ignore_result=not settings.WAIT_RESULT)
def update_chitai_gorod_token() -> None:
    try:
        token = extract_token(solve())
        verify(token)
        manager.save_chitai_gorod_token(token)
    finally:
        manager.free_trigger()


def solve() -> list[dict[str, Any]]:
    request = {"cmd": "request.get", "url": settings.SITE_URL, "maxTimeout": 60_000}
    answer = requests.post(settings.FLARESOLVERR_URL, json=request, timeout=70)
    answer.raise_for_status()
    cookies: list[dict[str, Any]] = answer.json()["solution"]["cookies"]
    return cookies


def extract_token(cookies: list[dict[str, Any]]) -> str:
    value = next(cookie["value"] for cookie in cookies if cookie["name"] == "access-token")
    return unquote(value).removeprefix("Bearer ")


def verify(token: str) -> None:
    bearer = {"Authorization": f"Bearer {token}"}
    url = f"{settings.API_URL}/search/product"
    requests.get(url, params={"phrase": "python"}, headers=bearer, timeout=30).raise_for_status()
