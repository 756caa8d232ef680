#!/bin/sh
# gateway.sh: prints what the API answers; the sidecar's gateway adds the token, and replaces one that is refused (curl).
API=${API:-http://127.0.0.1:9189/chitai_gorod}

exec curl --silent --show-error --fail-with-body --max-time 90 "$API/search/product?phrase=redis"
