"""Parses `REDIS_URL` by the rules in contract/README.md, as the sidecar does."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .errors import InvalidSettings

_OPTIONS = {"db": "db", "user": "username", "username": "username", "pass": "password", "password": "password"}
"""The parameters of `unix://`, and their names in redis-py."""


def options_of(url: str | None, password: str | None = None) -> dict[str, Any]:
    """The options of redis-py for this URL, else for `REDIS_URL`, else for this machine.

    Where the URL has no password, `password` is used, else `REDIS_PASSWORD`.
    """
    try:
        options = _options(url or os.environ.get("REDIS_URL") or "redis://127.0.0.1:6379/0")
    except InvalidSettings:
        raise
    except ValueError:
        # Its message quotes the URL, and so perhaps a part of a password.
        raise InvalidSettings("the URL of Redis cannot be read: redis://user:password@host:port/1") from None
    password = options.get("password") or password or os.environ.get("REDIS_PASSWORD")
    return {**options, "password": password} if password else options


def _options(url: str) -> dict[str, Any]:
    url = url.strip()
    at = urlsplit(url)
    if at.scheme not in ("redis", "rediss", "unix"):
        raise InvalidSettings("the URL of Redis begins with none of redis://, rediss://, unix://")
    if "#" in url:
        raise InvalidSettings("the URL of Redis has a #: write %23 where it is part of a password")
    parameters = parse_qsl(at.query, keep_blank_values=True, errors="strict")
    if at.scheme == "unix":
        return _of_a_socket(at.netloc, unquote(at.path, errors="strict"), parameters)
    options: dict[str, Any] = {"host": at.hostname, "port": at.port or 6379, "db": _database(at.path.strip("/") or "0")}
    if not at.hostname:
        raise InvalidSettings("the URL of Redis names no host: redis://host:6379/1")
    for name, _ in parameters:
        raise _refused(name, _instead(name))
    for name, value in {"username": at.username, "password": at.password}.items():
        if value:
            options[name] = unquote(value, errors="strict")
    # Before redis-py 6 the name in the certificate is not checked by default.
    return {**options, "ssl": True, "ssl_check_hostname": True} if at.scheme == "rediss" else options


def _of_a_socket(netloc: str, path: str, parameters: list[tuple[str, str]]) -> dict[str, Any]:
    if netloc or not path:
        raise InvalidSettings("the URL of Redis: expected unix:///path, with user and password as ?user=…&pass=…")
    options: dict[str, Any] = {"unix_socket_path": path}
    for name, value in parameters:
        option = _OPTIONS.get(name)
        if option is None:
            raise _refused(name, _instead(name))
        if option in options:
            raise _refused(name, "write it once")
        options[option] = _database(value) if option == "db" else value
    return {"db": 0, **options}


def _database(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise InvalidSettings("the URL of Redis: the database is not a number: redis://host:6379/1, unix:///path?db=1")
    return int(text)


def _refused(name: str, instead: str) -> InvalidSettings:
    # The name of a parameter may be a part of a password.
    shown = f"?{name}=" if re.fullmatch("[a-z_]{1,32}", name) else "a parameter"
    return InvalidSettings(f"the URL of Redis has {shown}, which client and sidecar do not support: {instead}")


def _instead(name: str) -> str:
    if name == "db":
        return "write /1 after the host"
    if name in _OPTIONS:
        return "write user:password@ before the host"
    if name.startswith("ssl"):
        return "pass client=redis.Redis(…), and REDIS_TLS_CA_FILE to the sidecar"
    return "leave it out"
