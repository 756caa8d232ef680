// A Redis of its own for each test, and around it the real sidecar and the simulator in place of solver and shop.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, connect as dial, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";

import { createClient, type RedisClientType } from "redis";
import { TokenClient, type TokenClientOptions } from "token-sidecar-client";

export const SITE = "chitai_gorod";
export const TOKEN = `${SITE}_token`;
export const COOKIES = `${SITE}_cookies`;
export const META = `{${TOKEN}}:meta`;
export const INVALID = `${SITE}:token:invalid`;
export const UPDATED = `${SITE}:token:updated`;
export const FAILED = `${SITE}:token:failed`;

/** Far longer than anything here takes, also on a busy machine. */
export const DEADLINE = 60_000;

function program(variable: string, name: string): string {
  const path = resolve(process.env[variable] ?? join("..", "..", "target", "debug", name));
  if (!existsSync(path)) throw new Error(`${path} is missing: cargo build --workspace, or set ${variable} to its path`);
  return path;
}

/** Listens on a port of the loopback that the system chooses. */
export async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** A port that was free just now. */
async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  server.close();
  return port;
}

/** Waits for a line that has the text; the rest is read and forgotten. */
async function printed(child: ChildProcess, stream: "stdout" | "stderr", text: string): Promise<string> {
  const from = child[stream];
  if (!from) throw new Error("it is not read");
  const seen: string[] = [];
  const lines = createInterface({ input: from });
  return await new Promise((resolve, reject) => {
    lines.on("line", (line) => {
      seen.push(line);
      if (line.includes(text)) resolve(line);
    });
    lines.on("close", () => {
      reject(new Error(`it ended without ${text}:\n${seen.join("\n")}`));
    });
  });
}

async function stop(child: ChildProcess, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill(signal);
  await ended;
}

/** One Redis, which may die and come back, and what runs on it. */
export class World {
  readonly #test: TestContext;
  readonly #folder: string;
  readonly #port: number;
  readonly #config: string[];
  #server: ChildProcess | undefined;
  /** A connection of the test itself. */
  redis!: RedisClientType;
  simulator = "";

  private constructor(test: TestContext, folder: string, port: number, config: string[]) {
    this.#test = test;
    this.#folder = folder;
    this.#port = port;
    this.#config = config;
  }

  static async start(test: TestContext, config: string[] = []): Promise<World> {
    const folder = await mkdtemp(join(tmpdir(), "token-sidecar-client-"));
    test.after(() => rm(folder, { recursive: true, force: true }));
    for (let tries = 1; ; tries++) {
      const world = new World(test, folder, await freePort(), config);
      try {
        await world.revive();
        return world;
      } catch (error) {
        // Another program has taken the port meanwhile.
        if (tries === 5) throw error;
      }
    }
  }

  get url(): string {
    return this.urlWith("");
  }

  urlWith(credentials: string): string {
    return `redis://${credentials}127.0.0.1:${String(this.#port)}`;
  }

  get socket(): string {
    return join(this.#folder, "redis.sock");
  }

  /** Starts Redis, with what it saved last. */
  async revive(): Promise<void> {
    const words = ["--port", String(this.#port), "--unixsocket", this.socket, "--save", "", "--dir", this.#folder];
    this.#server = spawn("redis-server", [...words, ...this.#config], { stdio: ["ignore", "pipe", "inherit"] });
    const server = this.#server;
    this.#test.after(() => stop(server));
    await printed(server, "stdout", "ready to accept connections");
    this.redis = createClient({ socket: { path: this.socket, reconnectStrategy: false } });
    const { redis } = this;
    redis.on("error", () => undefined);
    this.#test.after(() => {
      if (redis.isOpen) redis.destroy();
    });
    await redis.connect();
  }

  /** Ends Redis as a crash would. */
  async crash(): Promise<void> {
    if (this.#server) await stop(this.#server);
  }

  /** Redis answers nothing any more, while its connections stay. */
  freeze(): void {
    this.#server?.kill("SIGSTOP");
  }

  /** A running simulator and a sidecar that listens, with further settings. */
  async sidecar(settings: Record<string, string> = {}): Promise<void> {
    const simulator = spawn(program("SIMULATOR_BIN", "token-sidecar-simulator"), ["--listen", "127.0.0.1:0"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    this.#test.after(() => stop(simulator));
    const line = await printed(simulator, "stdout", "http://");
    this.simulator = /http:\/\/[\d.:]+/.exec(line)?.[0] ?? "";
    const sidecar = spawn(program("TOKEN_SIDECAR_BIN", "token-sidecar"), ["run"], {
      cwd: this.#folder,
      env: {
        PATH: process.env.PATH,
        REDIS_URL: this.url,
        FLARESOLVERR_URL: `${this.simulator}/v1`,
        CHITAI_GOROD_SITE_URL: `${this.simulator}/shop`,
        CHITAI_GOROD_API_URL: `${this.simulator}/web/api/v2`,
        SIDECAR_SCHEDULE: "off",
        SIDECAR_LISTEN: "127.0.0.1:0",
        SIDECAR_DEBOUNCE: "0s",
        ...settings,
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#test.after(() => stop(sidecar));
    await printed(sidecar, "stderr", "channels");
  }

  /** What goes wrong in the simulator from now on. */
  async faults(faults: object): Promise<void> {
    await fetch(`${this.simulator}/control/faults`, { method: "PUT", body: JSON.stringify(faults) });
  }

  /** Every token is refused from now on. */
  async revoke(): Promise<void> {
    await fetch(`${this.simulator}/control/revoke`, { method: "POST" });
  }

  async solves(): Promise<number> {
    const answer = await fetch(`${this.simulator}/control/statistics`);
    const statistics = (await answer.json()) as { solves: { started: number } };
    return statistics.solves.started;
  }

  /** Stores bundles one after the other, each in one step and with its number three times, until the returned function is called. */
  async replace(): Promise<() => Promise<void>> {
    const over = new AbortController();
    const store = (number: string): Promise<unknown> =>
      this.redis
        .multi()
        .set(TOKEN, number)
        .set(COOKIES, JSON.stringify({ of: number }))
        .hSet(META, "user_agent", number)
        .exec();
    await store("1");
    const replacing = (async (): Promise<void> => {
      while (!over.signal.aborted) for (const number of ["1", "2"]) await store(number);
    })();
    return async () => {
      over.abort();
      await replacing;
    };
  }

  client(options: Partial<TokenClientOptions> = {}): TokenClient {
    const where = options.client ? {} : { url: this.url };
    const client = new TokenClient({ site: SITE, onError: () => undefined, ...where, ...options });
    this.#test.after(() => client.close());
    return client;
  }

  /** A stub in place of the sidecar: receives every report, and answers as its test decides. */
  async stub(answer: (report: Report, count: number) => unknown = () => undefined): Promise<Report[]> {
    const reports: Report[] = [];
    const subscriber = createClient({ socket: { path: this.socket, reconnectStrategy: false } });
    subscriber.on("error", () => undefined);
    this.#test.after(() => {
      if (subscriber.isOpen) subscriber.destroy();
    });
    await subscriber.connect();
    await subscriber.subscribe(INVALID, (text) => {
      const report = JSON.parse(text) as Report;
      reports.push(report);
      answer(report, reports.length);
    });
    return reports;
  }

  async publish(event: Event): Promise<void> {
    await this.redis.publish(event.event === "token:failed" ? FAILED : UPDATED, JSON.stringify({ site: SITE, version: 1, ...event }));
  }

  /** Another way to Redis, on which the first such command is held back until it is released. */
  async relay(command: string): Promise<{ url: string; held: Promise<void>; release: () => void }> {
    const sockets: Socket[] = [];
    let release = (): void => undefined;
    let hold = (): void => undefined;
    const held = new Promise<void>((resolve) => (hold = resolve));
    const released = new Promise<void>((resolve) => (release = resolve));
    const server = createServer((near) => {
      const far = dial(this.#port, "127.0.0.1");
      sockets.push(near, far);
      far.pipe(near);
      near.on("error", () => far.destroy());
      far.on("error", () => near.destroy());
      near.on("end", () => far.end());
      near.on("data", (piece: Buffer) => {
        if (!piece.includes(`\r\n${command}\r\n`)) {
          far.write(piece);
          return;
        }
        hold();
        near.pause();
        void released.then(() => {
          far.write(piece);
          near.resume();
        });
      });
    });
    this.#test.after(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const port = await listen(server);
    return { url: `redis://127.0.0.1:${String(port)}`, held, release };
  }

  /** Breaks the connections that are subscribed to outcomes. */
  async cutListeners(): Promise<void> {
    for (const line of (await this.redis.sendCommand<string>(["CLIENT", "LIST", "TYPE", "pubsub"])).split("\n")) {
      const id = /^id=(\d+) .* sub=2 /.exec(line)?.[1];
      if (id !== undefined) await this.redis.sendCommand(["CLIENT", "KILL", "ID", id]);
    }
  }

  /** Waits until so many connections are subscribed to outcomes. */
  async listeners(count: number): Promise<void> {
    await eventually(`${String(count)} listeners`, async () => {
      const counts = await this.redis.pubSubNumSub(UPDATED);
      return Number(counts[UPDATED]) === count;
    });
  }
}

export interface Report {
  fingerprint?: string;
  reason?: string;
  source?: string;
}

type Event = { event: "token:updated" | "token:failed" } & Record<string, unknown>;

/** Polls until the condition is true. */
export async function eventually(what: string, look: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + DEADLINE;
  while (!(await look())) {
    if (performance.now() > end) throw new Error(`did not come about: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
