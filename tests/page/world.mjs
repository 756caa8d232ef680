// A Redis, a simulator and a sidecar, and a sidecar's API with states that are set by hand.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const ADMIN = "the-admin-token";
const REFRESH = "/api/sites/chitai_gorod/refresh";

// Waits for a line that matches; the rest is read and forgotten.
async function printed(child, stream, pattern) {
  const seen = [];
  return await new Promise((resolve, reject) => {
    const lines = createInterface({ input: child[stream] });
    lines.on("line", (line) => {
      seen.push(line);
      const found = pattern.exec(line);
      if (found) resolve(found);
    });
    lines.on("close", () => reject(new Error(`it ended without ${pattern}:\n${seen.join("\n")}`)));
  });
}

async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

// The real programs.
export class World {
  static async start() {
    const world = new World();
    world.folder = await mkdtemp(join(tmpdir(), "token-sidecar-page-"));
    world.socket = join(world.folder, "redis.sock");
    await world.startRedis();
    world.simulator = spawn(process.env.SIMULATOR_BIN, ["--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "ignore"] });
    const [url] = await printed(world.simulator, "stdout", /http:\/\/[\d.:]+/);
    world.control = url + "/control/";
    world.sidecar = spawn(process.env.TOKEN_SIDECAR_BIN, ["run"], {
      cwd: world.folder,
      env: {
        PATH: process.env.PATH,
        NO_COLOR: "1",
        REDIS_URL: `unix://${world.socket}`,
        FLARESOLVERR_URL: `${url}/v1`,
        CHITAI_GOROD_SITE_URL: `${url}/shop`,
        CHITAI_GOROD_API_URL: `${url}/web/api/v2`,
        SIDECAR_SCHEDULE: "off",
        SIDECAR_DEBOUNCE: "0s",
        SIDECAR_LISTEN: "127.0.0.1:0",
        SIDECAR_ADMIN_TOKEN: ADMIN,
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const [, address] = await printed(world.sidecar, "stderr", /token-sidecar starts.* listen=([\d.:]+)/);
    world.url = `http://${address}/`;
    const page = await fetch(world.url);
    world.policy = page.headers.get("content-security-policy");
    world.html = await page.text();
    return world;
  }

  async startRedis() {
    const words = ["--port", "0", "--unixsocket", this.socket, "--save", "", "--dir", this.folder];
    this.redis = spawn("redis-server", words, { stdio: ["ignore", "pipe", "inherit"] });
    await printed(this.redis, "stdout", /ready to accept connections/);
  }

  async faults(faults) {
    await fetch(this.control + "faults", { method: "PUT", body: JSON.stringify(faults) });
  }

  async endRedis() {
    await end(this.redis);
  }

  async endSidecar() {
    await end(this.sidecar);
  }

  async end() {
    for (const child of [this.sidecar, this.simulator, this.redis]) await end(child);
    await rm(this.folder, { recursive: true, force: true });
  }
}

// An API whose states are set by hand, under the page of the real sidecar.
export class Stage {
  redis = { subscription: "up", since_s: 431, problem: null, canary_age_s: 4, round_trip_ms: 0.71, reconnects: 0 };
  admin = true;
  requests = 0;
  silent = false;
  #followers = new Set();

  static async start(world, sites) {
    const stage = new Stage();
    Object.assign(stage, { sites, html: world.html, policy: world.policy });
    stage.server = createServer((request, response) => stage.#answer(request, response));
    stage.server.listen(0, "127.0.0.1");
    await once(stage.server, "listening");
    stage.url = `http://127.0.0.1:${stage.server.address().port}/`;
    return stage;
  }

  announce(name, data) {
    for (const follower of this.#followers) follower.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  end() {
    this.server.closeAllConnections();
    this.server.close();
  }

  #answer(request, response) {
    const { pathname, searchParams } = new URL(request.url, this.url);
    const json = (body, status = 200) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    };
    if (pathname === "/") {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-security-policy": this.policy });
      response.end(this.html);
      return;
    }
    if (this.silent) return;
    this.requests += 1;
    if (pathname === "/api/events") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("retry: 3000\n: following\n\n");
      this.#followers.add(response);
      request.on("close", () => this.#followers.delete(response));
    } else if (pathname === "/api/status") {
      const sites = this.sites.map(({ entries, listening, ...site }) => site);
      const time = new Date(Math.floor(Date.now() / 1000) * 1000).toISOString();
      json({ version: "0.1.0", instance: "parsers-1-41", time, redis: this.redis, solvers: [], admin: this.admin, sites });
    } else if (pathname === "/api/histories") {
      const names = searchParams.get("sites").split(",");
      const of = (name) => this.sites.find(({ site }) => site === name);
      json({ histories: names.map((name) => ({ site: name, listening: 2, entries: of(name).entries, error: null })) });
    } else if (request.method === "POST" && pathname === REFRESH) {
      json({ accepted: true }, 202);
    } else {
      json({ error: "there is no such page" }, 404);
    }
  }
}
