"""The design that the sidecar replaces: Celery beat and worker, and what its parsers use of it."""
