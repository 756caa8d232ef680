import { type Subscription, Inbox } from "./subscription.js";
import { type Link, STEP } from "./link.js";
import { TokenSidecarError } from "./errors.js";
import { Pace } from "./time.js";
import { type Meta, missed, type Names, type UpdatedEvent } from "./wire.js";

/** Calls back with every update, also with one that was missed while the connection was lost. */
export class Follower {
  readonly #link: Link;
  readonly #names: Names;
  readonly #callback: (event: UpdatedEvent) => void;
  /** The last error. */
  trouble: unknown;
  /** The version at the last read of the keys. */
  #known: number | undefined;
  /** The version of the last callback. */
  #called: number | undefined;

  constructor(link: Link, names: Names, callback: (event: UpdatedEvent) => void) {
    this.#link = link;
    this.#names = names;
    this.#callback = callback;
  }

  /** Runs until the signal. Before the first success only errors of the connection are retried, later all are. */
  async run(subscription: Subscription, began: () => void, lost: (error: unknown) => void, signal: AbortSignal): Promise<never> {
    const pace = new Pace();
    let listened = false;
    for (;;) {
      let listens = false;
      try {
        const inbox = new Inbox();
        const leave = await subscription.listen(inbox, signal);
        try {
          await this.#catchUp(listened, signal);
          listened = listens = true;
          began();
          for (;;) {
            const event = await inbox.next(signal);
            if (event.event === "token:updated") this.#receive(event);
          }
        } finally {
          leave();
        }
      } catch (error) {
        if (signal.aborted || (error instanceof TokenSidecarError && !listened)) throw error;
        this.trouble = error;
        // An outage is reported once, not at each try.
        if (listens) {
          lost(error);
          pace.reset();
        }
      }
      await pace.pause(signal);
    }
  }

  /** Compares the stored version with the last known one. */
  async #catchUp(listened: boolean, signal: AbortSignal): Promise<void> {
    const look = (key: string): Promise<[Meta, number]> =>
      this.#link.once((redis) => Promise.all([redis.hGetAll(key), redis.ttl(this.#names.token)]), STEP, signal);
    const [meta, ttl] = await look(this.#names.meta);
    const version = Number(meta.version);
    if (meta.version === undefined || !Number.isInteger(version) || version === this.#known) return;
    this.#known = version;
    if (!listened) return;
    this.#called = version;
    this.#callback(missed(this.#names, meta, version, ttl));
  }

  #receive(event: UpdatedEvent): void {
    // The callback was called already, from the stored state.
    if (event.cause === "refreshed" && event.version === this.#called) return;
    this.#known = this.#called = event.version;
    this.#callback(event);
  }
}
