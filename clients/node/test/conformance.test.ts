// The adapter for the tests that all clients share: one line a call, one line an answer, in any order.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { test, type TestContext } from "node:test";

import { eventually, SITE, TOKEN, World } from "./world.js";

interface Line {
  id: number;
  ok?: unknown;
  error?: { kind: string; message: string; stage: string | null; retry_at: string | null };
  update?: Record<string, unknown>;
}

class Adapter {
  readonly #child;
  readonly lines: Line[] = [];

  constructor(t: TestContext, world: World) {
    this.#child = spawn(process.execPath, ["conformance.mjs"], {
      env: { PATH: process.env.PATH, REDIS_URL: world.url, SITE },
      stdio: ["pipe", "pipe", "inherit"],
    });
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.lines.push(JSON.parse(line) as Line));
    t.after(() => this.#child.kill());
  }

  send(line: object): void {
    this.#child.stdin.write(`${JSON.stringify(line)}\n`);
  }

  async ask(line: { id: number } & Record<string, unknown>): Promise<Line> {
    this.send(line);
    return await this.answer(line.id);
  }

  async answer(id: number): Promise<Line> {
    const find = (): Line | undefined => this.lines.find((line) => line.id === id && !line.update);
    await eventually(`an answer to ${String(id)}`, () => find() !== undefined);
    const line = find();
    assert.ok(line);
    return line;
  }

  async end(): Promise<number | null> {
    const ended = once(this.#child, "exit");
    this.#child.stdin.end();
    await ended;
    return this.#child.exitCode;
  }
}

test("every call is answered by its id, and the end of the input ends it", async (t) => {
  const world = await World.start(t);
  const adapter = new Adapter(t, world);
  const alone = await adapter.ask({ id: 1, call: "get", timeout: 60 });
  assert.equal(alone.error?.kind, "nobody_listens");
  await world.sidecar();
  const { ok: token } = await adapter.ask({ id: 2, call: "get" });
  assert.equal(token, await world.redis.get(TOKEN));
  assert.deepEqual(await adapter.ask({ id: 3, call: "updates" }), { id: 3, ok: null });
  for (let id = 100; id < 200; id++) adapter.send({ id, call: "wait_newer", token, timeout: 60 });
  const next = (await adapter.answer(100)).ok;
  assert.notEqual(next, token);
  for (let id = 101; id < 200; id++) assert.equal((await adapter.answer(id)).ok, next);
  await eventually("the update", () => adapter.lines.some((line) => line.update?.event === "token:updated"));
  assert.ok((await adapter.ask({ id: 4, call: "cookies" })).ok);
  assert.match(String((await adapter.ask({ id: 5, call: "user_agent" })).ok), /Mozilla/);
  assert.equal((await adapter.ask({ id: 6, call: "invalidate", token: "other", reason: "401" })).ok, 1);
  assert.equal((await adapter.ask({ id: 7, call: "nothing" })).error?.kind, "other");
  await world.faults({ solve_error: "timeout" });
  const failed = await adapter.ask({ id: 8, call: "wait_newer", token: next, timeout: 60 });
  assert.equal(failed.error?.kind, "failed");
  assert.equal(failed.error.stage, "solve");
  assert.match(failed.error.retry_at ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  await world.faults({ solve_hang: true });
  const late = await adapter.ask({ id: 9, call: "wait_newer", token: next, timeout: 0.05 });
  // The back-off may be over, or not.
  assert.match(late.error?.kind ?? "", /^(timed_out|failed)$/);
  assert.equal(await adapter.end(), 0);
});
