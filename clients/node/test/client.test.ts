// The client against a real Redis, and the real sidecar where its answers matter.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { inspect } from "node:util";

import { address } from "#address";
import { createClient, createCluster } from "redis";
import {
  fingerprint,
  InvalidSettings,
  NobodyListens,
  RefreshFailed,
  TimedOut,
  TokenClient,
  TokenSidecarError,
  type UpdatedEvent,
} from "token-sidecar-client";

import { COOKIES, DEADLINE, eventually, META, SITE, TOKEN, World } from "./world.js";

const wait = { timeout: DEADLINE };

test("the fingerprint is the contract's", () => {
  assert.equal(fingerprint("test"), "9f86d081884c7d65");
});

test("the stored token is returned, with cookies and user agent", async (t) => {
  const world = await World.start(t);
  await world.sidecar();
  const client = world.client();
  const token = await client.get(wait);
  assert.equal(token, await world.redis.get(TOKEN));
  assert.deepEqual(await client.cookies(), JSON.parse((await world.redis.get(COOKIES)) ?? ""));
  assert.ok((await client.cookies())["access-token"]?.includes(token));
  assert.match((await client.userAgent()) ?? "", /^Mozilla/);
});

test("other keys may be named", async (t) => {
  const world = await World.start(t);
  await world.redis.set("other", "a-token");
  await world.redis.set("jar", '{"a":"b"}');
  await world.redis.hSet("{other}:meta", "user_agent", "Browser");
  const client = world.client({ tokenKey: "other", cookiesKey: "jar" });
  assert.equal(await client.get(), "a-token");
  assert.deepEqual(await client.cookies(), { a: "b" });
  assert.equal(await client.userAgent(), "Browser");
  // A key that has a hash tag of its own keeps its companions beside it.
  await world.redis.hSet("{shop}:token:meta", "user_agent", "Another");
  assert.equal(await world.client({ tokenKey: "{shop}:token" }).userAgent(), "Another");
});

test("without settings it is the built-in site, on the Redis of the environment", async (t) => {
  const world = await World.start(t);
  await world.redis.set(TOKEN, "current");
  const script = `
    import { TokenClient } from "token-sidecar-client";
    const client = new TokenClient();
    console.log(await client.get());
    await client.close();
  `;
  const env = { ...process.env, REDIS_URL: world.url };
  const ran = spawnSync(process.execPath, ["--input-type=module", "-e", script], { env, timeout: DEADLINE, encoding: "utf8" });
  assert.equal(ran.stdout, "current\n", ran.stderr);
  assert.throws(() => new TokenClient({ site: "Chitai Gorod" }), /site "Chitai Gorod"/);
});

test("what can be no token is none, and a scheme is no part of one", async (t) => {
  const world = await World.start(t);
  const reports = await world.stub(async (report) => {
    if (report.fingerprint !== undefined) return;
    await world.redis.set(TOKEN, " bearer  first\n");
    await world.publish({ event: "token:updated", cause: "refreshed", fingerprint: fingerprint("first") });
  });
  const client = world.client();
  const none = ["", Buffer.from([0xff, 0xfe]), "a token", "Bearer", "bearer Bearer", "a%20b", '"a"', "токен", "a".repeat(8193), "a".repeat(10_000_000)];
  for (const stored of none) {
    const asked = reports.length;
    await world.redis.set(TOKEN, stored);
    assert.equal(await client.get(wait), "first");
    assert.equal(reports.length, asked + 1);
  }
  await client.invalidate("Bearer first");
  await assert.rejects(client.waitNewer("Bearer first", { timeout: 500 }), TimedOut);
  const named = reports.slice(none.length).map((report) => report.fingerprint);
  assert.deepEqual(named, [fingerprint("first"), fingerprint("first")]);
});

test("a token that is no b64token is given", async (t) => {
  const world = await World.start(t);
  await world.redis.set(TOKEN, "12|abc=!");
  assert.equal(await world.client().get(), "12|abc=!");
});

test("a bundle is of one refresh", async (t) => {
  const world = await World.start(t);
  const client = world.client();
  const end = await world.replace();
  for (let count = 0; count < 200; count++) {
    const { token, cookies, userAgent } = await client.bundle(wait);
    assert.deepEqual({ cookies, userAgent }, { cookies: { of: token }, userAgent: token });
  }
  await end();
  await world.redis.set(TOKEN, "old");
  await world.stub(async (report) => {
    assert.equal(report.reason, "403");
    await world.redis.set(TOKEN, "new");
    await world.publish({ event: "token:updated", cause: "refreshed", fingerprint: fingerprint("new") });
  });
  assert.equal((await client.bundle({ ...wait, refused: "old", reason: "403" })).token, "new");
});

interface Reached {
  host?: string;
  port?: number;
  path?: string;
  tls?: true;
  database: number;
  user?: string;
  password?: string;
}

test("a url means what it means to the sidecar", () => {
  const cases = JSON.parse(readFileSync("../redis_urls.json", "utf8")) as (
    { url: string } & ({ reaches: Reached } | { refused: string })
  )[];
  for (const one of cases) {
    const make = (): unknown => new TokenClient({ url: one.url });
    if ("reaches" in one) {
      make();
      const { database, user, password, ...socket } = one.reaches;
      const login = { ...(user === undefined ? {} : { username: user }), ...(password === undefined ? {} : { password }) };
      assert.deepEqual(address(one.url), { socket, ...login, database }, one.url);
      continue;
    }
    assert.throws(make, (error) => {
      assert.ok(error instanceof InvalidSettings && error instanceof TokenSidecarError, one.url);
      const shown = inspect(error);
      assert.ok(error.message.startsWith("the url of Redis") && error.message.includes(one.refused), error.message);
      assert.doesNotMatch(shown, /secret|pa#/);
      return true;
    });
  }
});

test("the password of the environment is used where the url has none", async (t) => {
  const world = await World.start(t);
  await world.redis.configSet("requirepass", "of the environment");
  await world.redis.set(TOKEN, "current");
  t.after(() => delete process.env.REDIS_PASSWORD);
  process.env.REDIS_PASSWORD = "of the environment";
  assert.equal(await world.client().get(wait), "current");
  assert.equal(await world.client({ url: `unix://${world.socket}` }).get(wait), "current");
  process.env.REDIS_PASSWORD = "another";
  const url = `unix://${world.socket}?pass=of+the+environment`;
  assert.equal(await world.client({ url }).get(wait), "current");
});

test("an IPv6 address is reached", async (t) => {
  const world = await World.start(t, ["--bind", "127.0.0.1", "-::1"]);
  await world.redis.set(TOKEN, "current");
  assert.equal(await world.client({ url: world.url.replace("127.0.0.1", "[::1]") }).get(wait), "current");
});

test("options that there are none of, or that exclude each other, are refused", async (t) => {
  const world = await World.start(t);
  const client = world.client();
  const misspelt: object = { timeOut: 5, site: undefined };
  const other: object = { client: {} };
  assert.throws(() => new TokenClient(misspelt), /no option "timeOut", only site, url, client/);
  assert.throws(() => new TokenClient({ ...other, url: world.url }), /url and client exclude each other/);
  assert.throws(() => new TokenClient(other), InvalidSettings);
  for (const call of [
    () => client.get(misspelt),
    () => client.waitNewer("old", misspelt),
    () => client.bundle(misspelt),
    () => client.onUpdate(() => undefined, misspelt),
  ]) {
    await assert.rejects(call, /no option "timeOut", only timeout, signal/);
  }
});

test("a Redis that does not answer is named", async (t) => {
  const world = await World.start(t);
  await world.crash();
  const own = createClient({ url: world.url });
  const at = world.url.replace("redis://", "Redis at ");
  for (const client of [world.client(), world.client({ client: own })]) {
    await assert.rejects(client.get({ timeout: 0 }), { name: "TimedOut", message: `${at} did not answer in time` });
    await assert.rejects(client.onUpdate(() => undefined, { timeout: 100 }), { name: "TimedOut", message: `${at} did not answer in time` });
  }
});

test("missing values are empty, malformed ones an error", async (t) => {
  const world = await World.start(t);
  const client = world.client();
  assert.deepEqual(await client.cookies(), {});
  assert.equal(await client.userAgent(), null);
  await world.redis.hSet(META, "user_agent", "");
  assert.equal(await client.userAgent(), null);
  await world.redis.set(COOKIES, '{"a":"1","b":2,"c":null}');
  assert.deepEqual(await client.cookies(), { a: "1" });
  for (const stored of ["secret-cookie", '["secret-cookie"]']) {
    await world.redis.set(COOKIES, stored);
    await assert.rejects(client.cookies(), (error) => {
      assert.ok(error instanceof TokenSidecarError);
      assert.doesNotMatch(inspect(error), /secret-cookie/);
      return true;
    });
  }
});

test("a missing token is requested and waited for", async (t) => {
  const world = await World.start(t);
  await world.sidecar();
  const client = world.client();
  await client.get(wait);
  await world.redis.del(TOKEN);
  assert.equal(await client.get(wait), await world.redis.get(TOKEN));
});

test("where no sidecar is subscribed, it is an error at once", async (t) => {
  const world = await World.start(t);
  const client = world.client();
  const began = performance.now();
  await assert.rejects(client.get({ timeout: 10 * DEADLINE }), NobodyListens);
  await assert.rejects(client.waitNewer("refused", { timeout: 10 * DEADLINE }), NobodyListens);
  await assert.rejects(client.invalidate("refused"), NobodyListens);
  assert.ok(performance.now() - began < DEADLINE);
});

test("a failed refresh is an error with reason, stage and time of the retry", async (t) => {
  const world = await World.start(t);
  await world.sidecar();
  const client = world.client();
  const token = await client.get(wait);
  await world.faults({ solve_error: "timeout" });
  for (const failing of [() => client.waitNewer(token, wait), () => client.get(wait)]) {
    await assert.rejects(failing, (error) => {
      assert.ok(error instanceof RefreshFailed);
      assert.equal(error.stage, "solve");
      assert.match(error.error, /timeout/i);
      assert.ok(error.retryAt instanceof Date && error.retryAt.getTime() > Date.now() - DEADLINE);
      return true;
    });
    await world.redis.del(TOKEN);
  }
});

test("a failure without its fields is one all the same", async (t) => {
  const world = await World.start(t);
  await world.stub(() => world.redis.publish(`${SITE}:token:failed`, '{"event":"token:failed","stage":7,"retry_at":"soon"}'));
  await assert.rejects(world.client().get(wait), (error) => {
    assert.ok(error instanceof RefreshFailed);
    assert.equal(error.message, "no new token: the sidecar gives no reason");
    assert.deepEqual([error.stage, error.error, error.retryAt], [null, "the sidecar gives no reason", null]);
    return true;
  });
});

test("without an answer the wait ends in time, with a last look at the key", async (t) => {
  const world = await World.start(t);
  const reports = await world.stub();
  const client = world.client();
  await assert.rejects(client.get({ timeout: 50 }), TimedOut);
  await assert.rejects(client.waitNewer("refused", { timeout: 50 }), TimedOut);
  const waiting = client.waitNewer("refused", { timeout: 2000 });
  await eventually("it reports", () => reports.some((report) => report.fingerprint === fingerprint("refused")));
  await world.listeners(1);
  // Another program stores a token without an event.
  await world.redis.set(TOKEN, "next");
  assert.equal(await waiting, "next");
});

test("a report holds the fingerprint of the token, the reason and the reporter", async (t) => {
  const world = await World.start(t);
  const reports = await world.stub();
  const client = world.client({ source: "catalogue" });
  assert.equal(await client.invalidate("refused", "401 on /search"), 1);
  await eventually("it is received", () => reports.length === 1);
  assert.deepEqual(reports[0], { fingerprint: fingerprint("refused"), reason: "401 on /search", source: "catalogue" });
  await assert.rejects(client.get({ timeout: 100 }), TimedOut);
  assert.deepEqual(reports[1], { reason: "there is no token", source: "catalogue" });
  await client.invalidate("refused", `401 on /?t=refused${"😀".repeat(300)}`);
  await eventually("it is received", () => reports.length === 3);
  const [, , { reason = "" } = {}] = reports;
  assert.equal(Array.from(reason).length, 200);
  assert.match(reason, new RegExp(`^401 on /\\?t=${fingerprint("refused")}(😀)+$`, "u"));
});

test("a token that was replaced already is answered without a report", async (t) => {
  const world = await World.start(t);
  const reports = await world.stub();
  await world.redis.set(TOKEN, "current");
  const client = world.client();
  assert.equal(await client.waitNewer("refused", wait), "current");
  await client.invalidate("refused", "later");
  await eventually("the one that comes later", () => reports.some((report) => report.reason === "later"));
  assert.equal(reports.length, 1);
});

test("a refused token is replaced", async (t) => {
  const world = await World.start(t);
  await world.sidecar();
  const client = world.client();
  const token = await client.get(wait);
  await world.revoke();
  const next = await client.waitNewer(token, wait);
  assert.notEqual(next, token);
  assert.equal(next, await world.redis.get(TOKEN));
});

test("an update that names the refused token is the answer to another client", async (t) => {
  const world = await World.start(t);
  await world.redis.set(TOKEN, "refused");
  await world.stub(async () => {
    await world.publish({ event: "token:updated", cause: "repeated", fingerprint: fingerprint("refused") });
    await world.redis.set(TOKEN, "next");
    await world.publish({ event: "token:updated", cause: "refreshed", fingerprint: fingerprint("next") });
  });
  assert.equal(await world.client().waitNewer("refused", wait), "next");
});

test("what is no event of the sidecar is passed over", async (t) => {
  const world = await World.start(t);
  await world.stub(async () => {
    const bad = '{"event":"token:updated","version":"1","fingerprint":"x"}';
    for (const text of ["", "null", "[]", "7", "{}", '{"event":"else"}', '{"event":"token:updated"}', bad]) await world.redis.publish(`${SITE}:token:updated`, text);
    await world.redis.set(TOKEN, "next");
    await world.publish({ event: "token:updated", cause: "refreshed", fingerprint: fingerprint("next") });
  });
  const client = world.client();
  const received: UpdatedEvent[] = [];
  await client.onUpdate((event) => received.push(event));
  assert.equal(await client.get(wait), "next");
  await eventually("it is received", () => received.length > 0);
  assert.deepEqual(received.map((event) => event.fingerprint), [fingerprint("next")]);
});

test("a hundred waits for one token cost one subscription, one report and one solve", async (t) => {
  const world = await World.start(t);
  await world.sidecar();
  const client = world.client();
  const token = await client.get(wait);
  const solves = await world.solves();
  await world.faults({ solve_delay: 1000 });
  const reports = await world.stub();
  const waiting = Array.from({ length: 100 }, () => client.waitNewer(token, wait));
  await eventually("it is reported", () => reports.length > 0);
  const [, listening] = Object.entries(await world.redis.pubSubNumSub(`${SITE}:token:updated`))[0] ?? [];
  // The sidecar listens too.
  assert.equal(Number(listening), 2);
  const tokens = new Set(await Promise.all(waiting));
  assert.equal(tokens.size, 1);
  assert.ok(!tokens.has(token));
  assert.equal(reports.length, 1);
  assert.equal(await world.solves(), solves + 1);
  await world.listeners(1);
});

test("each caller of a shared wait has its own end", async (t) => {
  const world = await World.start(t);
  const reports = await world.stub();
  const client = world.client();
  const stop = new AbortController();
  const long = client.waitNewer("refused", wait);
  const stopped = client.waitNewer("refused", { ...wait, signal: stop.signal });
  const short = client.waitNewer("refused", { timeout: 200 });
  await assert.rejects(short, TimedOut);
  stop.abort(new Error("enough"));
  await assert.rejects(stopped, /enough/);
  await eventually("it is reported", () => reports.length > 0);
  await world.redis.set(TOKEN, "next");
  await world.publish({ event: "token:updated", cause: "refreshed", fingerprint: fingerprint("next") });
  assert.equal(await long, "next");
  assert.equal(reports.length, 1);
  await assert.rejects(client.get({ signal: AbortSignal.abort(new Error("no more")) }), /no more/);
});

test("a wait without a caller ends", async (t) => {
  const world = await World.start(t);
  await world.stub();
  const client = world.client();
  await assert.rejects(client.waitNewer("refused", { timeout: 100 }), TimedOut);
  await world.listeners(0);
});

test("a wait whose connection breaks subscribes, reads the key and reports again", async (t) => {
  const world = await World.start(t);
  await world.redis.set(TOKEN, "refused");
  const reports = await world.stub();
  const waiting = world.client().waitNewer("refused", wait);
  await eventually("it reports", () => reports.length === 1);
  await world.cutListeners();
  await eventually("it reports again", () => reports.length === 2);
  await world.redis.set(TOKEN, "next");
  await world.publish({ event: "token:updated", cause: "refreshed", fingerprint: fingerprint("next") });
  assert.equal(await waiting, "next");
});

test("a wait outlives a crash of Redis", async (t) => {
  const world = await World.start(t);
  await world.sidecar();
  const client = world.client();
  const token = await client.get(wait);
  const solves = await world.solves();
  await world.faults({ solve_delay: 1000 });
  const waiting = client.waitNewer(token, wait);
  await eventually("a solve begins", async () => (await world.solves()) > solves);
  await world.crash();
  await world.revive();
  assert.notEqual(await waiting, token);
});

test("a wait that began while Redis was away outlasts that no sidecar listens yet", async (t) => {
  const world = await World.start(t);
  await world.crash();
  const waits = [world.client().get(wait), world.client().waitNewer("refused", wait)];
  await assert.rejects(world.client().get({ timeout: 500 }), TimedOut);
  await world.revive();
  // Both have reported, and no sidecar has received it.
  await eventually("they report", async () => {
    const calls = /cmdstat_publish:calls=(\d+)/.exec(await world.redis.info("commandstats"))?.[1];
    return Number(calls) >= 4;
  });
  await world.redis.set(TOKEN, "next");
  assert.deepEqual(await Promise.all(waits), ["next", "next"]);
});

test("a failure from before the report does not answer it", async (t) => {
  const world = await World.start(t);
  const relay = await world.relay("GET");
  const client = world.client({ url: relay.url });
  let received = 0;
  await client.onUpdate(() => (received += 1));
  const waiting = client.waitNewer("refused", wait);
  await relay.held;
  await world.publish({ event: "token:failed", cause: "attempt", stage: "solve", error: "old", retry_at: null });
  await world.publish({ event: "token:updated", cause: "repeated", version: 1, fingerprint: fingerprint("refused") });
  await eventually("both are received", () => received === 1);
  const reports = await world.stub(async () => {
    await world.redis.set(TOKEN, "next");
    await world.publish({ event: "token:updated", cause: "refreshed", version: 2, fingerprint: fingerprint("next") });
  });
  relay.release();
  assert.equal(await waiting, "next");
  assert.equal(reports.length, 1);
});

test("updates are received, whatever a callback does, until the end of the subscription", async (t) => {
  const world = await World.start(t);
  await world.sidecar();
  const errors: unknown[] = [];
  const client = world.client({ onError: (error) => errors.push(error) });
  const token = await client.get(wait);
  const received: UpdatedEvent[] = [];
  const stop = await client.onUpdate((event) => {
    received.push(event);
    throw new Error("a callback's own");
  });
  const stopAsync = await client.onUpdate(() => Promise.reject(new Error("a promise's own")));
  const next = await client.waitNewer(token, wait);
  await eventually("it is received", () => received.length === 1);
  assert.equal(received[0]?.fingerprint, fingerprint(next));
  assert.equal(received[0].cause, "refreshed");
  await eventually("both are reported", () => errors.length === 2);
  const third = await client.waitNewer(next, wait);
  await eventually("the next is received", () => received.length === 2);
  await stop();
  await client.waitNewer(third, wait);
  assert.equal(received.length, 2);
  await stopAsync[Symbol.asyncDispose]();
  await world.listeners(1);
});

test("an update that falls into a gap of the connection is received once", async (t) => {
  const world = await World.start(t);
  // Stored while no client is subscribed: it comes back with Redis.
  await world.redis.hSet(META, { version: 7, fingerprint: "9f86d081884c7d65", trigger: "schedule", source: "http" });
  await world.redis.set(TOKEN, "test", { EX: 1000 });
  await world.redis.sendCommand(["SAVE"]);
  await world.redis.hSet(META, "version", 5);
  const troubles: unknown[] = [];
  const client = world.client({ onError: (error) => troubles.push(error) });
  const received: UpdatedEvent[] = [];
  await client.onUpdate((event) => received.push(event));
  assert.equal(received.length, 0);
  await world.crash();
  await world.revive();
  await eventually("it is received", () => received.length > 0);
  await world.listeners(1);
  const [event] = received;
  assert.ok(event?.ttl !== undefined && event.ttl !== null && event.ttl > 0);
  assert.deepEqual(
    { ...event, ttl: 0 },
    {
      event: "token:updated",
      site: SITE,
      cause: "repeated",
      version: 7,
      fingerprint: "9f86d081884c7d65",
      key: TOKEN,
      ttl: 0,
      expires_at: null,
      refresh_at: null,
      refreshed_at: null,
      trigger: "schedule",
      source: "http",
    },
  );
  assert.equal(troubles.length, 1);
  // The announcement of the same version comes late: it is known. Another gap without news leads to no call either.
  await world.publish({ event: "token:updated", cause: "refreshed", version: 7, fingerprint: "9f86d081884c7d65" });
  await world.cutListeners();
  await eventually("the second gap", () => troubles.length === 2);
  await world.listeners(1);
  await world.publish({ event: "token:updated", cause: "refreshed", version: 8, fingerprint: "2c26b46b68ffc68f" });
  await eventually("the next one is received", () => received.some((event) => event.version === 8));
  assert.deepEqual(received.map((event) => event.version), [7, 8]);
});

test("a closed client waits for nothing and keeps no process alive", async (t) => {
  const world = await World.start(t);
  const reports = await world.stub();
  const client = world.client();
  const waiting = client.waitNewer("refused", wait);
  await eventually("it reports", () => reports.length === 1);
  await client.close();
  await assert.rejects(waiting, /closed/);
  await assert.rejects(client.get(), /closed/);
  await assert.rejects(client.onUpdate(() => undefined), /closed/);
  await client.close();

  const script = `
    import { TokenClient } from "token-sidecar-client";
    const client = new TokenClient({ site: "${SITE}", url: "${world.url}" });
    await client.onUpdate(() => undefined);
    client.waitNewer("another", { timeout: 600_000 }).catch(() => undefined);
    await client.get({ timeout: 100 }).catch(() => undefined);
    await client.close();
  `;
  const ran = spawnSync(process.execPath, ["--input-type=module", "-e", script], { timeout: DEADLINE, encoding: "utf8" });
  assert.deepEqual([ran.status, ran.stderr], [0, ""]);
});

test("a Redis that is away or silent extends no timeout", async (t) => {
  const world = await World.start(t);
  await world.stub();
  const client = world.client();
  const early = client.waitNewer("refused", { timeout: 1000 });
  await world.listeners(1);
  world.freeze();
  await assert.rejects(early, TimedOut);
  await assert.rejects(client.get({ timeout: 100 }), TimedOut);
  await assert.rejects(client.onUpdate(() => undefined, { timeout: 100 }), TimedOut);
  await world.crash();
  await assert.rejects(client.get({ timeout: 100 }), (error) => {
    assert.ok(error instanceof TimedOut);
    assert.match(inspect(error.cause), /ECONNREFUSED/);
    return true;
  });
  await assert.rejects(client.waitNewer("refused", { timeout: 100 }), TimedOut);
});

test("what Redis refuses is an error at once", async (t) => {
  const world = await World.start(t);
  const client = world.client({ url: world.urlWith("stranger:wrong@") });
  const calls = [
    () => client.get(),
    () => client.waitNewer("refused"),
    () => client.invalidate("refused"),
    () => client.onUpdate(() => 0),
  ];
  for (const call of calls) {
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof TokenSidecarError && !(error instanceof TimedOut));
      assert.match(error.message, /Redis refuses: WRONGPASS/);
      return true;
    });
  }
});

test("nothing that is shown holds a token or a password", async (t) => {
  const world = await World.start(t);
  await world.stub();
  await world.redis.sendCommand(["ACL", "SETUSER", "user", "on", ">secret-password", "~*", "&*", "+@all"]);
  const client = world.client({ url: world.urlWith("user:secret-password@") });
  const shown: unknown[] = [client];
  const waiting = client.waitNewer("secret-token", { timeout: 500 }).catch((error: unknown) => error);
  await world.listeners(1);
  shown.push(inspect(client, { showHidden: true, depth: 20 }), await waiting);
  await world.cutListeners();
  for (const failing of [
    () => client.get({ timeout: 50 }),
    () => world.client({ site: "other" }).invalidate("secret-token"),
    () => world.client({ url: world.urlWith("user:secret-wrong@") }).get(),
  ]) {
    shown.push(await failing().catch((error: unknown) => error));
  }
  assert.ok(shown.slice(2).every((error) => error instanceof TokenSidecarError));
  try {
    new TokenClient({ site: SITE, url: "secret-password@nowhere:x:y" });
    assert.fail("it took that url");
  } catch (error) {
    assert.ok(error instanceof TokenSidecarError);
    shown.push(error);
  }
  const text = inspect(shown, { showHidden: true, depth: 20 });
  assert.doesNotMatch(text, /secret/);
});

test("a client of redis lends its settings, and stays its owner's", async (t) => {
  const world = await World.start(t);
  await world.redis.set(TOKEN, "current");
  const own = createClient({ url: world.url, keyPrefix: "mine:" });
  const client = world.client({ client: own });
  assert.equal(await client.get(), "current");
  await client.close();
  assert.equal(own.isOpen, false);
  const unix = world.client({ url: `unix://${world.socket}?db=0` });
  assert.equal(await unix.get(), "current");
});

test("the shipped user for parsers is enough", async (t) => {
  const world = await World.start(t);
  const acl = readFileSync("../../compose/users.acl", "utf8");
  const rules = /^user parser on @PARSER@ (.*)$/m.exec(acl)?.[1] ?? "";
  // Parentheses enclose one rule.
  const words = rules.match(/\([^)]*\)|\S+/g) ?? [];
  await world.redis.sendCommand(["ACL", "SETUSER", "parser", "on", ">pass", ...words]);
  await world.sidecar();
  const client = world.client({ url: world.urlWith("parser:pass@") });
  const token = await client.get(wait);
  const received: UpdatedEvent[] = [];
  await client.onUpdate((event) => received.push(event));
  assert.notEqual(await client.waitNewer(token, wait), token);
  await eventually("it is received", () => received.length === 1);
  await client.cookies();
  await client.userAgent();
  assert.notEqual((await client.bundle(wait)).userAgent, null);
});

test("on a cluster zero receivers on one node prove nothing", async (t) => {
  const world = await World.start(t, ["--cluster-enabled", "yes"]);
  await world.redis.sendCommand(["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
  await eventually("the cluster is up", async () =>
    (await world.redis.sendCommand<string>(["CLUSTER", "INFO"])).includes("cluster_state:ok"),
  );
  const client = world.client({ client: createCluster({ rootNodes: [{ url: world.url }] }) });
  assert.equal(await client.invalidate("refused"), 0);
  const waiting = client.waitNewer("refused", wait);
  await world.listeners(1);
  await world.stub(async () => {
    await world.redis.set(TOKEN, "next");
    await world.publish({ event: "token:updated", cause: "refreshed", fingerprint: fingerprint("next") });
  });
  await client.invalidate("refused");
  assert.equal(await waiting, "next");
  assert.equal(await client.get(), "next");
});
