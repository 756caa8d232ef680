import { createClient } from "redis";

import { address } from "./address.js";
import { TimedOut, TokenSidecarError } from "./errors.js";
import { type Deadline, Pace, within } from "./time.js";

/** How long Redis may take for one step (a connection, a command) before the connection is given up. */
export const STEP = 5000;
/** How long a last look at a key may take when the time is over. */
export const LOOK = 1000;

/** What is asked of a connection of `redis`, a cluster's too. */
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

/** Commands that are carried out in one step. */
interface Batch {
  get(key: string): Batch;
  hGet(key: string, field: string): Batch;
  exec(): Promise<unknown[]>;
}

/** And of one that listens. */
export interface Subscriber extends Connection {
  subscribe(channels: readonly string[], listener: (message: string, channel: string) => void): Promise<void>;
  ping(): Promise<string>;
}

/** A client of `redis` whose settings are used: of `createClient` or `createCluster`. */
export interface Template {
  duplicate(overrides?: object): unknown;
  readonly options?: unknown;
}

/** What a cluster can do besides. */
interface Cluster extends Connection {
  readonly masters: readonly unknown[];
  nodeClient(node: unknown): Promise<Template> | Template;
}

/** Strings are answered from the key's own node, whatever the template is used for. */
const PLAIN = { commandOptions: {}, keyPrefix: undefined, clientSideCache: undefined };

/** The template that an URL stands for. */
export function template(url: string): Template {
  const { socket, ...login } = address(url);
  return createClient({ ...login, socket: { ...socket, connectTimeout: STEP, reconnectStrategy: false } });
}

/** Redis, for messages. */
function place(template: Template): string {
  const { socket = {} } = (template.options ?? {}) as { socket?: { path?: string; host?: string; port?: number } };
  if (socket.path !== undefined) return `Redis at ${socket.path}`;
  if (socket.host === undefined) return "Redis";
  const host = socket.host.includes(":") ? `[${socket.host}]` : socket.host;
  return `Redis at ${host}:${String(socket.port ?? 6379)}`;
}

/** The connection for commands: made when it is needed, and anew after any trouble. */
export class Link {
  readonly isCluster: boolean;
  /** Redis, for messages. */
  readonly place: string;
  readonly #template: Template;
  #client: Connection | undefined;
  #connected: Promise<Connection> | undefined;

  constructor(template: Template) {
    this.#template = template;
    this.isCluster = "masters" in template;
    this.place = this.isCluster ? "Redis" : place(template);
  }

  /** One try, bounded. Trouble with the connection is thrown as it is, a refusal by Redis as our own error. */
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

  /** Tries until the deadline, and once at least; `failed` is called with the error of each. */
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

  /** A connection to listen with, not connected yet: on a cluster to any of its nodes, as messages go to all. */
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

/** Connects, without a second try: what goes wrong with the connection, now or later, is said and ends it. */
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
  // It may also fail long after that.
  failed.catch(() => undefined);
  await Promise.race([client.connect(), failed]);
}

/** Ends a connection, whatever it does just now. */
export function end(client: Connection): void {
  try {
    client.destroy();
  } catch {
    // It has ended already.
  }
}

/** What passes by itself: Redis loads, fails over, is full of clients. */
const PASSING = /^(LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|READONLY|TRYAGAIN|MOVED|ASK|ERR max number of clients)/;

/** A no of Redis that stays (a wrong password, a missing permission, a key of another type) as our error. */
export function judged(error: unknown): unknown {
  // The class is that of whichever copy of the package the template is from.
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
