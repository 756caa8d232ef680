"""The Celery application."""

from __future__ import annotations

from celery import Celery
from celery.schedules import crontab

from . import settings

app = Celery(
    "services",
    broker=settings.REDIS_URL,
    backend=settings.REDIS_URL,
    include=["services.celery_tasks"],
)
app.conf.update(
    timezone="Europe/Moscow",
    broker_connection_retry_on_startup=True,
    beat_schedule={
        "update-chitai-gorod-token": {
            "task": "services.celery_tasks.update_chitai_gorod_token",
            "schedule": crontab(minute=0, hour="*/3"),
        },
    },
)
