#!/usr/bin/env bash
# next_token.sh [REFUSED [SECONDS]]: prints a token other than the one that the API has refused (redis-cli 7 or later).
url=${REDIS_URL:-redis://127.0.0.1:6379}

# In a subshell, so that its trap ends redis-cli.
next_token() (
  refused=$1 patience=${2:-60} named=none details='{}'
  if [[ $refused ]]; then
    named=$(printf %s "$refused" | sha256sum | cut -c1-16)
    details="{\"fingerprint\": \"$named\", \"reason\": \"401\", \"source\": \"next_token.sh\"}"
  fi
  exec {subscriber}< <(exec timeout "$patience" redis-cli -u "$url" --csv SUBSCRIBE chitai_gorod:token:{updated,failed})
  pid=$!
  trap 'kill "$pid" 2>/dev/null' EXIT
  while read -ru "$subscriber" line && [[ $line != *,2 ]]; do :; done    # both channels are confirmed
  token=$(redis-cli -e -u "$url" GET chitai_gorod_token) || exit 75
  if [[ $token && $token != "$refused" ]]; then echo "$token"; exit; fi
  receivers=$(redis-cli -e -u "$url" PUBLISH chitai_gorod:token:invalid "$details") || exit 75
  if [[ $receivers == 0 ]]; then echo "no sidecar listens" >&2; exit 69; fi
  while read -ru "$subscriber" line; do
    if [[ $line == *token:failed* ]]; then echo "$line" >&2; exit 75; fi
    if [[ $line == *"$named"* ]]; then continue; fi               # this answers another client
    token=$(redis-cli -e -u "$url" GET chitai_gorod_token) || exit 75
    if [[ $token && $token != "$refused" ]]; then echo "$token"; exit; fi
  done
  echo "no outcome in $patience s" >&2
  exit 75
)

next_token "$@"
