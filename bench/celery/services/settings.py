"""Where things are, and the switches: with all of them off this is the design as it was."""

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
"""At most one task at once, for so long; 0: a task for each report."""

WAIT_RESULT = os.environ.get("WAIT_RESULT") == "1"
"""A parser waits for the result of its task, and does not poll."""
