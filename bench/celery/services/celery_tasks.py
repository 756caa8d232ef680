"""The task: a solve, the token out of its cookies, its proof, and where it is kept."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import requests

from . import settings
from .celery_app import app
from .token_manager import TokenManager

manager = TokenManager()


# A result that nobody waits for costs the design nothing here, which is kinder to it than Celery's default.
@app.task(ignore_result=not settings.WAIT_RESULT)
def update_chitai_gorod_token() -> None:
    try:
        token = token_of(solve())
        prove(token)
        manager.save_chitai_gorod_token(token)
    finally:
        manager.free_trigger()


def solve() -> list[dict[str, Any]]:
    request = {"cmd": "request.get", "url": settings.SITE_URL, "maxTimeout": 60_000}
    answer = requests.post(settings.FLARESOLVERR_URL, json=request, timeout=70)
    answer.raise_for_status()
    cookies: list[dict[str, Any]] = answer.json()["solution"]["cookies"]
    return cookies


def token_of(cookies: list[dict[str, Any]]) -> str:
    value = next(cookie["value"] for cookie in cookies if cookie["name"] == "access-token")
    return unquote(value).removeprefix("Bearer ")


def prove(token: str) -> None:
    bearer = {"Authorization": f"Bearer {token}"}
    url = f"{settings.API_URL}/search/product"
    requests.get(url, params={"phrase": "python"}, headers=bearer, timeout=30).raise_for_status()
