import { type Subscription, Inbox } from "./subscription.js";
import { NobodyListens, RefreshFailed, TimedOut, TokenSidecarError } from "./errors.js";
import { type Link, LOOK, STEP } from "./link.js";
import { type Deadline, Elapsed, Pace, within } from "./time.js";
import { fingerprint, type Names } from "./wire.js";

/** One wait that several callers share; it ends with its outcome, or when the last caller leaves. */
interface Shared {
  callers: number;
  outcome: Promise<string>;
  end: AbortController;
  /** The last error of the connection. */
  trouble?: unknown;
}

/** The waits under way: one for each refused token, and one for any token (`null`). */
export class Waits {
  readonly #link: Link;
  readonly #subscription: Subscription;
  readonly #names: Names;
  readonly #shared = new Map<string | null, Shared>();

  constructor(link: Link, subscription: Subscription, names: Names) {
    this.#link = link;
    this.#subscription = subscription;
    this.#names = names;
  }

  /** Waits for a token other than the refused one, until the caller's own deadline; `trouble` is an earlier error. */
  async join(
    refused: string | null,
    report: string,
    deadline: Deadline,
    signal: AbortSignal,
    trouble?: unknown,
  ): Promise<string> {
    const wait = this.#shared.get(refused) ?? this.#begin(refused, report, trouble);
    wait.callers += 1;
    try {
      return await within(deadline.left, wait.outcome, signal);
    } catch (error) {
      if (!(error instanceof Elapsed)) throw error;
      const token = await this.#stored(refused, LOOK, signal).catch((trouble: unknown) => {
        wait.trouble ??= trouble;
      });
      if (token !== undefined) return token;
      throw new TimedOut("no new token in time", wait.trouble === undefined ? undefined : { cause: wait.trouble });
    } finally {
      wait.callers -= 1;
      if (wait.callers === 0) this.#finish(refused, wait);
    }
  }

  #begin(refused: string | null, report: string, trouble: unknown): Shared {
    const end = new AbortController();
    const wait: Shared = { callers: 0, outcome: Promise.resolve(""), end, trouble };
    wait.outcome = this.#run(refused, report, wait).finally(() => {
      this.#finish(refused, wait);
    });
    // Without a caller the rejection would be unhandled.
    wait.outcome.catch(() => undefined);
    this.#shared.set(refused, wait);
    return wait;
  }

  #finish(refused: string | null, wait: Shared): void {
    wait.end.abort(new Error("all callers have left"));
    if (this.#shared.get(refused) === wait) this.#shared.delete(refused);
  }

  /** Reports again whenever the connection breaks. */
  async #run(refused: string | null, report: string, wait: Shared): Promise<string> {
    const pace = new Pace();
    for (;;) {
      try {
        return await this.#ask(refused, report, wait);
      } catch (error) {
        if (error instanceof TokenSidecarError || wait.end.signal.aborted) throw error;
        wait.trouble = error;
      }
      await pace.pause(wait.end.signal);
    }
  }

  /** Subscribes, reads the key, reports, and waits for the answer, in this order. */
  async #ask(refused: string | null, report: string, wait: Shared): Promise<string> {
    const { signal } = wait.end;
    const inbox = new Inbox();
    const leave = await this.#subscription.listen(inbox, signal);
    try {
      const there = await this.#stored(refused, STEP, signal);
      if (there !== undefined) return there;
      const named = refused === null ? undefined : fingerprint(refused);
      inbox.forgetFailures();
      const receivers = await this.#link.once((redis) => redis.publish(this.#names.invalid, report), STEP, signal);
      if (receivers === 0 && !this.#link.isCluster) {
        // A sidecar may take longer to reconnect than this client.
        if (wait.trouble === undefined) throw new NobodyListens(this.#names.site);
        throw new Error("no sidecar listens since the connection was lost");
      }
      for (;;) {
        const event = await inbox.next(signal);
        if (event.event === "token:failed") throw new RefreshFailed(event);
        // One with the fingerprint of the refused token answers another client.
        if (event.fingerprint === named) continue;
        const token = await this.#stored(refused, STEP, signal);
        if (token !== undefined) return token;
      }
    } finally {
      leave();
    }
  }

  /** The stored token, unless it is the refused one. */
  async #stored(refused: string | null, timeout: number, signal: AbortSignal): Promise<string | undefined> {
    const token = this.#names.read(await this.#link.once((redis) => redis.get(this.#names.token), timeout, signal));
    return token === refused ? undefined : token;
  }
}
