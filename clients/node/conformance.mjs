#!/usr/bin/env node
// Runs the client for the conformance tests, over stdin and stdout.
// A call is {"id": 1, "call": "get", "timeout": 60}; its answer {"id": 1, "ok": …} or {"id": 1, "error": {…}}.
import { createInterface } from "node:readline";

import { NobodyListens, RefreshFailed, TimedOut, TokenClient } from "token-sidecar-client";

const { SITE: site, PRODUCT: product, REDIS_URL: url } = process.env;
const client = new TokenClient({ site, product, url, source: "conformance" });

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** The protocol has seconds, the client milliseconds. */
function wait({ timeout }) {
  return timeout === undefined ? {} : { timeout: timeout * 1000 };
}

const calls = {
  get: (line) => client.get(wait(line)),
  invalidate: (line) => client.invalidate(line.token, line.reason),
  wait_newer: (line) => client.waitNewer(line.token, wait(line)),
  cookies: () => client.cookies(),
  user_agent: () => client.userAgent(),
  updates: async (line) => {
    await client.onUpdate((update) => say({ id: line.id, update }), wait(line));
    return null;
  },
};

function kind(error) {
  if (error instanceof NobodyListens) return "nobody_listens";
  if (error instanceof RefreshFailed) return "failed";
  if (error instanceof TimedOut) return "timed_out";
  return "other";
}

async function serve(line) {
  try {
    const call = calls[line.call];
    if (!call) throw new Error(`there is no call ${line.call}`);
    say({ id: line.id, ok: await call(line) });
  } catch (error) {
    // Whole seconds, as in the sidecar's messages.
    const retryAt = error.retryAt?.toISOString().replace(".000Z", "Z") ?? null;
    say({
      id: line.id,
      error: { kind: kind(error), message: error.message, stage: error.stage ?? null, retry_at: retryAt },
    });
  }
}

for await (const text of createInterface({ input: process.stdin })) void serve(JSON.parse(text));
await client.close();
process.exit(0);
