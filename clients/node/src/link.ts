import { createClient } from "redis";

import { address } from "./address.js";
import { TimedOut, TokenSidecarError } from "./errors.js";
import { type Deadline, Pace, within } from "./time.js";

/** How long one step (a connection, a command) may take before the connection is closed. */
export const STEP = 5000;
/** How long the last read of a key may take after the timeout. */
export const LOOK = 1000;

/** What this package uses of a connection of `redis`, also of a Cluster. */
export interface Connection {
  connect(): Promise<unknown>;
  destroy(): void;
  on(event: string, listener: (error: Error) => void): unknown;
  get(key: string): Promise<string | null>;
  ttl(key: string): Promise<number>;
  hGet(key: string, field: string): Promise<string | null | undefined>;
  hGetAll(key: string): Promise<Record<string, string>>;
  publish(channel: string, message: string): Promise<number>;
  multi(): Batch;
}

/** Commands that run in one step. */
interface Batch {
  get(key: string): Batch;
  hGet(key: string, field: string): Batch;
  exec(): Promise<unknown[]>;
}

/** A connection for a subscription. */
export interface Subscriber extends Connection {
  subscribe(channels: readonly string[], listener: (message: string, channel: string) => void): Promise<void>;
  ping(): Promise<string>;
}

/** A client of `redis` whose settings are used: of `createClient` or `createCluster`. */
export interface Template {
  duplicate(overrides?: object): unknown;
  readonly options?: unknown;
}

/** What a Cluster has in addition. */
interface Cluster extends Connection {
  readonly masters: readonly unknown[];
  nodeClient(node: unknown): Promise<Template> | Template;
}

/** Options that would change what is read or where from, whatever the template has. */
const PLAIN = { commandOptions: {}, keyPrefix: undefined, clientSideCache: undefined };

/** The template of a URL. */
export function template(url: string): Template {
  const { socket, ...login } = address(url);
  return createClient({ ...login, socket: { ...socket, connectTimeout: STEP, reconnectStrategy: false } });
}

/** The name of Redis in messages. */
function place(template: Template): string {
  const { socket = {} } = (template.options ?? {}) as { socket?: { path?: string; host?: string; port?: number } };
  if (socket.path !== undefined) return `Redis at ${socket.path}`;
  if (socket.host === undefined) return "Redis";
  const host = socket.host.includes(":") ? `[${socket.host}]` : socket.host;
  return `Redis at ${host}:${String(socket.port ?? 6379)}`;
}

/** The connection for commands: opened when it is needed, and again after an error. */
export class Link {
  readonly isCluster: boolean;
  /** The name of Redis in messages. */
  readonly place: string;
  readonly #template: Template;
  #client: Connection | undefined;
  #connected: Promise<Connection> | undefined;

  constructor(template: Template) {
    this.#template = template;
    this.isCluster = "masters" in template;
    this.place = this.isCluster ? "Redis" : place(template);
  }

  /** One try, in bounded time. An error of the connection is thrown as it is, a refusal by Redis as a `TokenSidecarError`. */
  async once<T>(work: (connection: Connection) => Promise<T>, timeout: number, signal: AbortSignal): Promise<T> {
    const connected = (this.#connected ??= this.#connect());
    try {
      return await within(Math.min(timeout, STEP), connected.then(work), signal);
    } catch (error) {
      if (signal.aborted) throw error;
      const judgement = judged(error);
      if (judgement === error && this.#connected === connected) this.close();
      throw judgement;
    }
  }

  /** Tries until the deadline, at least once; `failed` is called with each error. */
  async use<T>(
    work: (connection: Connection) => Promise<T>,
    deadline: Deadline,
    signal: AbortSignal,
    failed: (error: unknown) => void = () => undefined,
  ): Promise<T> {
    const pace = new Pace();
    for (;;) {
      try {
        return await this.once(work, Math.max(deadline.left, LOOK), signal);
      } catch (error) {
        if (error instanceof TokenSidecarError || signal.aborted) throw error;
        if (deadline.left === 0) throw new TimedOut(`${this.place} did not answer in time`, { cause: error });
        failed(error);
      }
      await pace.pause(signal);
    }
  }

  /** A connection for a subscription, not connected yet: on a Cluster to any node, as messages go to all. */
  async subscriber(signal: AbortSignal): Promise<Subscriber> {
    if (!this.isCluster) return this.#template.duplicate(PLAIN) as Subscriber;
    const choose = (connection: Connection): Promise<Template> => {
      const { masters } = connection as Cluster;
      const node = masters[Math.floor(Math.random() * masters.length)];
      return Promise.resolve((connection as Cluster).nodeClient(node));
    };
    return (await this.once(choose, STEP, signal)).duplicate(PLAIN) as Subscriber;
  }

  close(): void {
    if (this.#client) end(this.#client);
    this.#client = this.#connected = undefined;
  }

  async #connect(): Promise<Connection> {
    const client = this.#template.duplicate({ ...PLAIN, useReplicas: false }) as Connection;
    this.#client = client;
    await connect(client, () => {
      if (this.#client === client) this.close();
    });
    return client;
  }
}

/** Connects, without a second try. An error of the connection, now or later, is passed to `lost` and ends it. */
export async function connect(client: Connection, lost: (error: Error) => void): Promise<void> {
  const failed = new Promise<never>((_, reject) => {
    const fail = (error: Error): void => {
      reject(error);
      lost(error);
      end(client);
    };
    client.on("error", fail);
    client.on("node-error", fail);
  });
  // It may fail after the race has ended.
  failed.catch(() => undefined);
  await Promise.race([client.connect(), failed]);
}

/** Closes a connection in any state. */
export function end(client: Connection): void {
  try {
    client.destroy();
  } catch {
    // It is closed already.
  }
}

/** Errors that end by themselves: Redis is loading, fails over, or has too many clients. */
const PASSING = /^(LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|READONLY|TRYAGAIN|MOVED|ASK|ERR max number of clients)/;

/** A lasting refusal (a wrong password, a missing permission, a key of another type) as a `TokenSidecarError`. */
export function judged(error: unknown): unknown {
  // The template may be from another copy of the package, so the class is compared by name.
  for (let kind = prototype(error); kind !== null; kind = prototype(kind)) {
    if (kind.constructor.name !== "ErrorReply") continue;
    const { message } = error as Error;
    return PASSING.test(message) ? error : new TokenSidecarError(`Redis refuses: ${message}`, { cause: error });
  }
  return error;
}

function prototype(value: unknown): object | null {
  return Object.getPrototypeOf(value) as object | null;
}
