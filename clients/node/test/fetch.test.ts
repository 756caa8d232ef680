// The fetch that replaces refused tokens: against the sidecar and the simulator's API, and a server that shows requests.
import assert from "node:assert/strict";
import { createServer, type IncomingHttpHeaders } from "node:http";
import { Readable } from "node:stream";
import { test, type TestContext } from "node:test";

import { fingerprint, NobodyListens, tokenFetch } from "token-sidecar-client";

import { COOKIES, DEADLINE, listen, META, TOKEN, World } from "./world.js";

interface Asked {
  method: string;
  headers: IncomingHttpHeaders;
  body: string;
}

/** An API that accepts one token alone. */
async function api(t: TestContext, accepted: string): Promise<{ url: string; asked: Asked[] }> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (piece: Buffer) => (body += piece.toString()));
    request.on("end", () => {
      asked.push({ method: request.method ?? "", headers: request.headers, body });
      response.writeHead(request.headers.authorization === `Bearer ${accepted}` ? 200 : 401).end("the answer");
    });
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${String(await listen(server))}/search?q=secret`, asked };
}

/** A world whose token is refused, and replaced as soon as that is reported. */
async function refused(t: TestContext): Promise<World> {
  const world = await World.start(t);
  await world.redis.set(TOKEN, "old");
  await world.stub(async (report) => {
    assert.equal(report.fingerprint, fingerprint("old"));
    assert.equal(report.reason, "401 on /search");
    await world.redis.set(TOKEN, "new");
    await world.publish({ event: "token:updated", cause: "refreshed", fingerprint: fingerprint("new") });
  });
  return world;
}

test("a revoked token is replaced without the caller's notice", async (t) => {
  const world = await World.start(t);
  await world.sidecar();
  const get = tokenFetch(world.client());
  const url = `${world.simulator}/web/api/v2/search/product`;
  assert.equal((await get(url)).status, 200);
  await world.revoke();
  assert.equal((await get(url)).status, 200);
});

test("cookies and user agent go along where they are wanted", async (t) => {
  const world = await World.start(t);
  await world.sidecar();
  const client = world.client();
  await client.get({ timeout: DEADLINE });
  await world.faults({ require_user_agent: true });
  const url = `${world.simulator}/web/api/v2/search/product`;
  assert.equal((await tokenFetch(client)(url)).status, 403);
  assert.equal((await tokenFetch(client, { sendCookies: true })(url)).status, 200);
});

test("no request carries the cookies or the user agent of another token", async (t) => {
  const world = await World.start(t);
  const sent: string[][] = [];
  const send = tokenFetch(world.client(), {
    sendCookies: true,
    fetch: (_, init) => {
      const headers = new Headers(init?.headers);
      sent.push(["Authorization", "Cookie", "User-Agent"].map((name) => headers.get(name)?.slice(-1) ?? ""));
      return Promise.resolve(new Response());
    },
  });
  const end = await world.replace();
  for (let count = 0; count < 500; count++) await send("/search");
  await end();
  assert.equal(sent.length, 500);
  assert.equal(sent.filter((one) => new Set(one).size > 1).length, 0);
});

test("what the caller has set himself stays", async (t) => {
  const world = await World.start(t);
  await world.redis.set(TOKEN, "new");
  await world.redis.set(COOKIES, '{"theirs":"1"}');
  await world.redis.hSet(META, "user_agent", "Browser");
  const { url, asked } = await api(t, "new");
  const send = tokenFetch(world.client(), { sendCookies: true });
  await send(url, { headers: { cookie: "mine=2", "user-agent": "me", "x-other": "3" } });
  await send(new Request(url, { headers: { "x-other": "4" } }));
  const shown = asked.map(({ headers }) => [headers.cookie, headers["user-agent"], headers["x-other"]]);
  assert.deepEqual(shown, [
    ["mine=2; theirs=1", "me", "3"],
    ["theirs=1", "Browser", "4"],
  ]);
});

test("cookies that are the product are sent alone, and are what is reported", async (t) => {
  const world = await World.start(t);
  const [old, next] = ['{"a": "old"}', '{"a":"next"}'];
  await world.redis.set(COOKIES, old);
  await world.stub(async (report) => {
    assert.equal(report.fingerprint, fingerprint(old));
    await world.redis.set(COOKIES, next);
    await world.publish({ event: "token:updated", cause: "refreshed", fingerprint: fingerprint(next) });
  });
  const client = world.client({ product: "cookies" });
  assert.equal(await client.get(), old);
  const { url, asked } = await api(t, "none");
  assert.equal((await tokenFetch(client)(url)).status, 401);
  assert.deepEqual(asked.map(({ headers }) => [headers.authorization, headers.cookie]), [
    [undefined, "a=old"],
    [undefined, "a=next"],
  ]);
  assert.throws(() => world.client({ product: "cookies", tokenKey: "x" }), /there is no token/);
});

test("after a 401 the same request is sent again with the next token", async (t) => {
  const form = new FormData();
  form.set("field", "the body");
  const requests: [string, (url: string) => Parameters<typeof fetch>][] = [
    ["text", (url) => [url, { method: "POST", body: "the body" }]],
    ["bytes", (url) => [new URL(url), { method: "PUT", body: Buffer.from("the body") }]],
    ["a form", (url) => [url, { method: "POST", body: form }]],
    ["a blob", (url) => [url, { method: "POST", body: new Blob(["the body"]) }]],
    ["a request", (url) => [new Request(url, { method: "POST", body: "the body" })]],
    ["nothing", (url) => [url]],
  ];
  for (const [what, request] of requests) {
    await t.test(what, async (t) => {
      const world = await refused(t);
      const { url, asked } = await api(t, "new");
      const response = await tokenFetch(world.client())(...request(url));
      assert.equal(response.status, 200);
      assert.equal(await response.text(), "the answer");
      const [first, second] = asked;
      assert.equal(asked.length, 2);
      assert.ok(first && second);
      assert.equal(first.headers.authorization, "Bearer old");
      assert.equal(second.headers.authorization, "Bearer new");
      assert.equal(first.method, second.method);
      assert.equal(first.body.includes("the body"), what !== "nothing");
      assert.equal(second.body.includes("the body"), what !== "nothing");
    });
  }
});

test("a second 401 is the caller's", async (t) => {
  const world = await refused(t);
  const { url, asked } = await api(t, "neither");
  const response = await tokenFetch(world.client())(url);
  assert.equal(response.status, 401);
  assert.equal(await response.text(), "the answer");
  assert.equal(asked.length, 2);
});

test("a 401 of another host that a redirect names is the caller's", async (t) => {
  const world = await World.start(t);
  await world.redis.set(TOKEN, "old");
  const reports = await world.stub();
  const { url, asked } = await api(t, "new");
  const first = createServer((_, response) => response.writeHead(302, { location: url }).end());
  t.after(() => first.close());
  const from = `http://127.0.0.1:${String(await listen(first))}/`;
  const response = await tokenFetch(world.client())(from, { headers: { connection: "close" } });
  assert.equal(response.status, 401);
  assert.equal(asked[0]?.headers.authorization, undefined);
  assert.equal(reports.length, 0);
});

test("a body that is read only once comes back as a 401 when the next token is there", async (t) => {
  const bodies: [string, () => NonNullable<RequestInit["body"]>][] = [
    ["a stream of the web", () => new Blob(["the body"]).stream()],
    ["a stream of Node", () => Readable.from(["the body"])],
  ];
  for (const [what, body] of bodies) {
    await t.test(what, async (t) => {
      const world = await refused(t);
      const { url, asked } = await api(t, "new");
      const send = tokenFetch(world.client());
      const init = (): RequestInit => ({ method: "POST", body: body(), duplex: "half" });
      const response = await send(url, init());
      assert.equal(response.status, 401);
      assert.equal(await response.text(), "the answer");
      assert.equal((await send(url, init())).status, 200);
      assert.deepEqual(asked.map((one) => one.body), ["the body", "the body"]);
    });
  }
});

test("where no sidecar is subscribed, the caller gets an error", async (t) => {
  const world = await World.start(t);
  await world.redis.set(TOKEN, "old");
  const { url } = await api(t, "new");
  await assert.rejects(tokenFetch(world.client())(url), NobodyListens);
});

test("the request's signal ends the wait for a token too", async (t) => {
  const world = await World.start(t);
  await world.redis.set(TOKEN, "old");
  const stop = new AbortController();
  await world.stub(() => {
    stop.abort(new Error("enough"));
  });
  const { url } = await api(t, "new");
  const send = tokenFetch(world.client());
  await assert.rejects(send(url, { signal: stop.signal }), /enough/);
  await assert.rejects(send(new Request(url, { signal: stop.signal })), /enough/);
});

test("an option that there is none of is refused", async (t) => {
  const world = await World.start(t);
  const options: object = { sendCookie: true };
  assert.throws(() => tokenFetch(world.client(), options), /no option "sendCookie", only fetch, sendCookies, timeout/);
});

test("another fetch may do the sending", async (t) => {
  const world = await World.start(t);
  await world.redis.set(TOKEN, "current");
  const seen: string[] = [];
  const send = tokenFetch(world.client(), {
    fetch: (input, init) => {
      seen.push(`${input as string} ${new Headers(init?.headers).get("authorization") ?? ""}`);
      return Promise.resolve(new Response("own"));
    },
  });
  assert.equal(await (await send("/relative")).text(), "own");
  assert.deepEqual(seen, ["/relative Bearer current"]);
});
