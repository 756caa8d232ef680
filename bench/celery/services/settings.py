"""Settings. Without the switches below, this is the design as its guide describes it."""

from __future__ import annotations

import os

REDIS_URL = os.environ["REDIS_URL"]
FLARESOLVERR_URL = os.environ["FLARESOLVERR_URL"]
SITE_URL = os.environ["CHITAI_GOROD_SITE_URL"]
API_URL = os.environ["CHITAI_GOROD_API_URL"]
ENV_FILE = os.environ["ENV_FILE"]

POLL_INTERVAL = float(os.environ.get("POLL_INTERVAL") or 1)
"""How often a waiting parser reads the token's key, in seconds."""

TRIGGER_LOCK_SECONDS = int(os.environ.get("TRIGGER_LOCK_SECONDS") or 0)
"""How long the lock around the trigger lasts, in seconds; 0: no lock, so every report starts a task."""

WAIT_RESULT = os.environ.get("WAIT_RESULT") == "1"
"""Parsers wait for the result of their task instead of polling."""
