import { Subscription } from "./subscription.js";
import { checkOptions, InvalidSettings, NobodyListens, TimedOut, TokenSidecarError } from "./errors.js";
import { Follower } from "./follower.js";
import { type Connection, Link, STEP, template, type Template } from "./link.js";
import { Deadline, Elapsed, within } from "./time.js";
import { Waits } from "./waits.js";
import { details, Names, type Product, type UpdatedEvent } from "./wire.js";

const WAIT = ["timeout", "signal"];
const REPORT = [...WAIT, "reason"];

/** The default timeout of a wait. */
const PATIENCE = 60_000;

export interface TokenClientOptions {
  /** The site's id: `chitai_gorod`. */
  site?: string | undefined;
  /** The address of Redis; by default `REDIS_URL`, else `redis://127.0.0.1:6379`. `REDIS_PASSWORD` is used if it has no password. */
  url?: string | undefined;
  /** A client of `redis` (`createClient`, `createCluster`) in place of `url`. Only its settings are used. */
  client?: Template | undefined;
  /** The key of the token: `{site}_token`. */
  tokenKey?: string | undefined;
  /** The key of the cookies: `{site}_cookies`. */
  cookiesKey?: string | undefined;
  /** What the site's parsers read. Where it is `cookies`, they are the token: the JSON text of their key. */
  product?: Product | undefined;
  /** The reporter's name in the sidecar's log and history. */
  source?: string | undefined;
  /**
   * Called with errors in the background: those of a callback of `onUpdate`, and of a lost connection. Without it they are
   * warnings of the process.
   */
  onError?: ((error: unknown) => void) | undefined;
}

export interface WaitOptions {
  /** Milliseconds; 60 000 by default. The last read of the key may take one second more. */
  timeout?: number | undefined;
  /** Ends this caller's wait, with the signal's reason. */
  signal?: AbortSignal | undefined;
}

export interface ReportOptions extends WaitOptions {
  /** The reason in the sidecar's log and history. */
  reason?: string | undefined;
}

export interface BundleOptions extends ReportOptions {
  /** The refused token, to wait for its replacement. */
  refused?: string | undefined;
}

/** A token, and the cookies and the user agent that belong to it. */
export interface Bundle {
  product: Product;
  token: string;
  /** Still percent-encoded; empty if there are none. */
  cookies: Record<string, string>;
  userAgent: string | null;
}

/** Ends the calls of `onUpdate`. */
export interface Unsubscribe extends AsyncDisposable {
  (): Promise<void>;
}

/** The current token of a site, as a sidecar keeps it in Redis. */
export class TokenClient implements AsyncDisposable {
  readonly #names: Names;
  readonly #link: Link;
  readonly #subscription: Subscription;
  readonly #waits: Waits;
  readonly #source: string;
  readonly #onError: (error: unknown) => void;
  readonly #closed = new AbortController();

  constructor(options: TokenClientOptions = {}) {
    checkOptions(options, ["site", "url", "client", "tokenKey", "cookiesKey", "product", "source", "onError"]);
    if (options.url !== undefined && options.client !== undefined) {
      throw new InvalidSettings("the options url and client exclude each other");
    }
    if (options.client !== undefined && typeof options.client.duplicate !== "function") {
      throw new InvalidSettings("the option client is no client of the package redis");
    }
    this.#names = new Names(options.site, options.tokenKey, options.cookiesKey, options.product);
    this.#link = new Link(options.client ?? template(options.url ?? some(process.env.REDIS_URL) ?? "redis://127.0.0.1:6379"));
    this.#subscription = new Subscription(this.#link, this.#names);
    this.#waits = new Waits(this.#link, this.#subscription, this.#names);
    this.#source = options.source ?? "token-sidecar-client for Node";
    this.#onError = options.onError ?? warn;
  }

  /** The current token; if there is none, requests one and waits. */
  async get(options: WaitOptions = {}): Promise<string> {
    checkOptions(options, WAIT);
    const deadline = new Deadline(options.timeout ?? PATIENCE);
    const signal = this.#signal(options.signal);
    let trouble: unknown;
    const stored = await this.#link.use((redis) => redis.get(this.#names.token), deadline, signal, (error) => {
      trouble = error;
    });
    const token = this.#names.read(stored);
    if (token !== undefined) return token;
    return await this.#waits.join(null, details(null, "there is no token", this.#source), deadline, signal, trouble);
  }

  /** Reports a refused token without waiting; returns how many sidecars received it. */
  async invalidate(token: string, reason = "401"): Promise<number> {
    const report = details(this.#named(token), reason, this.#source);
    const receivers = await this.#read((redis) => redis.publish(this.#names.invalid, report));
    // On a Cluster those on other nodes are not counted.
    if (receivers === 0 && !this.#link.isCluster) throw new NobodyListens(this.#names.site);
    return receivers;
  }

  /** Reports a refused token and waits for its replacement. Calls that wait for the same share one wait. */
  async waitNewer(token: string, options: ReportOptions = {}): Promise<string> {
    checkOptions(options, REPORT);
    const deadline = new Deadline(options.timeout ?? PATIENCE);
    const refused = this.#named(token);
    const report = details(refused, options.reason ?? "401", this.#source);
    return await this.#waits.join(refused, report, deadline, this.#signal(options.signal));
  }

  /** The cookies of the stored token, still percent-encoded; empty if there are none. */
  async cookies(): Promise<Record<string, string>> {
    return cookiesOf(this.#names.cookies, await this.#read((redis) => redis.get(this.#names.cookies)));
  }

  /** The user agent of the stored token. */
  async userAgent(): Promise<string | null> {
    return some(await this.#read((redis) => redis.hGet(this.#names.meta, "user_agent"))) ?? null;
  }

  /** The token, its cookies and its user agent, read in one step. Waits as `get`, or as `waitNewer(refused)`. */
  async bundle(options: BundleOptions = {}): Promise<Bundle> {
    checkOptions(options, [...REPORT, "refused"]);
    const { refused, reason, ...wait } = options;
    const token = await (refused === undefined ? this.get(wait) : this.waitNewer(refused, { ...wait, reason }));
    const { token: tokenKey, cookies: cookiesKey, meta } = this.#names;
    const read = (redis: Connection): Promise<unknown[]> =>
      redis.multi().get(tokenKey).get(cookiesKey).hGet(meta, "user_agent").exec();
    const [stored, cookies, userAgent] = (await this.#read(read, options.signal)) as (string | null | undefined)[];
    return {
      product: this.#names.product,
      token: this.#names.read(stored ?? null) ?? token,
      cookies: cookiesOf(cookiesKey, cookies ?? null),
      userAgent: some(userAgent) ?? null,
    };
  }

  /** Calls back with every update, also after a lost connection, until the returned function is called. */
  async onUpdate(callback: (event: UpdatedEvent) => unknown, options: WaitOptions = {}): Promise<Unsubscribe> {
    checkOptions(options, WAIT);
    const stop = new AbortController();
    const signal = this.#signal(stop.signal);
    const follower = new Follower(this.#link, this.#names, (event) => {
      this.#call(() => callback(event));
    });
    const report = (error: unknown): void => {
      this.#call(() => {
        this.#onError(error);
      });
    };
    let ended: Promise<void> | undefined;
    const began = new Promise<void>((resolve, reject) => {
      ended = follower.run(this.#subscription, resolve, report, signal).catch(reject);
    });
    try {
      await within(options.timeout ?? PATIENCE, began, this.#signal(options.signal));
    } catch (error) {
      stop.abort();
      throw error instanceof Elapsed ? new TimedOut(`${this.#link.place} did not answer in time`, { cause: follower.trouble }) : error;
    }
    const unsubscribe = async (): Promise<void> => {
      stop.abort();
      await ended;
    };
    return Object.assign(unsubscribe, { [Symbol.asyncDispose]: unsubscribe });
  }

  /** Ends every wait and connection. */
  close(): Promise<void> {
    this.#closed.abort(new TokenSidecarError("the client is closed"));
    this.#link.close();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Aborts a call: by its own signal, or when the client is closed. */
  #signal(own?: AbortSignal): AbortSignal {
    const signal = AbortSignal.any(own ? [own, this.#closed.signal] : [this.#closed.signal]);
    signal.throwIfAborted();
    return signal;
  }

  /** The refused token without `Bearer `; null if it is empty. */
  #named(token: string): string | null {
    return this.#names.read(token) ?? some(token) ?? null;
  }

  #read<T>(work: (redis: Connection) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#link.use(work, new Deadline(STEP), this.#signal(signal));
  }

  /** Calls a function of the caller; its errors go to `onError`. */
  #call(callback: () => unknown): void {
    const fail = (error: unknown): void => {
      try {
        this.#onError(error);
      } catch {
        // An error of `onError` itself is dropped.
      }
    };
    try {
      Promise.resolve(callback()).catch(fail);
    } catch (error) {
      fail(error);
    }
  }
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : new Error(String(error)));
}

function cookiesOf(key: string, text: string | null): Record<string, string> {
  if (text === null || text === "") return {};
  try {
    const cookies: unknown = JSON.parse(text);
    if (typeof cookies === "object" && cookies !== null && !Array.isArray(cookies)) {
      return Object.fromEntries(Object.entries(cookies).filter((pair): pair is [string, string] => typeof pair[1] === "string"));
    }
  } catch {
    // The error shows cookies.
  }
  throw new TokenSidecarError(`${key} holds no JSON object`);
}

/** Undefined for an empty text. */
function some(text: string | null | undefined): string | undefined {
  return text === null || text === "" ? undefined : text;
}
