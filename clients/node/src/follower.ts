import { type Subscription, Inbox } from "./subscription.js";
import { type Link, STEP } from "./link.js";
import { TokenSidecarError } from "./errors.js";
import { Pace } from "./time.js";
import { type Meta, missed, type Names, type UpdatedEvent } from "./wire.js";

/** Calls back with every update, also with one that fell into a gap of the connection. */
export class Follower {
  readonly #link: Link;
  readonly #names: Names;
  readonly #tell: (event: UpdatedEvent) => void;
  /** Why it does not listen, or did not for a while. */
  trouble: unknown;
  /** The version that was stored when it was looked at last. */
  #known: number | undefined;
  /** The last one that was told. */
  #told: number | undefined;

  constructor(link: Link, names: Names, tell: (event: UpdatedEvent) => void) {
    this.#link = link;
    this.#names = names;
    this.#tell = tell;
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
        // An outage is said once, not with each try.
        if (listens) {
          lost(error);
          pace.reset();
        }
      }
      await pace.pause(signal);
    }
  }

  /** Compares what is stored with what was last known of it. */
  async #catchUp(listened: boolean, signal: AbortSignal): Promise<void> {
    const look = (key: string): Promise<[Meta, number]> =>
      this.#link.once((redis) => Promise.all([redis.hGetAll(key), redis.ttl(this.#names.token)]), STEP, signal);
    const [meta, ttl] = await look(this.#names.meta);
    const version = Number(meta.version);
    if (meta.version === undefined || !Number.isInteger(version) || version === this.#known) return;
    this.#known = version;
    if (!listened) return;
    this.#told = version;
    this.#tell(missed(this.#names, meta, version, ttl));
  }

  #receive(event: UpdatedEvent): void {
    // It was told already, from what is stored.
    if (event.cause === "refreshed" && event.version === this.#told) return;
    this.#known = this.#told = event.version;
    this.#tell(event);
  }
}
