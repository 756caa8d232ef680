import { connect, end, judged, type Link, STEP, type Subscriber } from "./link.js";
import { within } from "./time.js";
import { type Names, parse, type SidecarEvent } from "./wire.js";

/** How often a connection that listens is asked whether it is still there. */
const PULSE = 10_000;

/** What one listener has received and not looked at yet. */
export class Inbox {
  #events: SidecarEvent[] = [];
  #lost: Error | undefined;
  #wake = (): void => undefined;

  /** The next event; throws, after all that was received, that the connection was lost. */
  async next(signal: AbortSignal): Promise<SidecarEvent> {
    for (;;) {
      const event = this.#events.shift();
      if (event) return event;
      if (this.#lost) throw this.#lost;
      const woken = new Promise<void>((resolve) => (this.#wake = resolve));
      await within(Infinity, woken, signal);
    }
  }

  /** Forgets failures: those from before a report do not answer it. */
  forgetFailures(): void {
    this.#events = this.#events.filter((event) => event.event !== "token:failed");
  }

  receive(event: SidecarEvent): void {
    this.#events.push(event);
    this.#wake();
  }

  lose(error: Error): void {
    this.#lost = error;
    this.#wake();
  }
}

/** The one subscription of a client: open while there are listeners. */
export class Subscription {
  readonly #link: Link;
  readonly #names: Names;
  readonly #inboxes = new Set<Inbox>();
  #line: Line | undefined;

  constructor(link: Link, names: Names) {
    this.#link = link;
    this.#names = names;
  }

  /** Listens from the moment that Redis has confirmed it, until the returned function is called. */
  async listen(inbox: Inbox, signal: AbortSignal): Promise<() => void> {
    const line = (this.#line ??= this.#begin());
    this.#inboxes.add(inbox);
    const leave = (): void => {
      if (this.#inboxes.delete(inbox) && this.#inboxes.size === 0) this.close();
    };
    try {
      await within(2 * STEP, line.confirmed, signal);
    } catch (error) {
      leave();
      throw error;
    }
    return leave;
  }

  close(reason = new Error("the subscription has ended")): void {
    this.#line?.end(reason);
    this.#line = undefined;
  }

  #begin(): Line {
    const line = new Line(this.#link, this.#names, {
      received: (event) => {
        for (const inbox of this.#inboxes) inbox.receive(event);
      },
      lost: (error) => {
        if (this.#line !== line) return;
        this.close(error);
        const inboxes = [...this.#inboxes];
        this.#inboxes.clear();
        for (const inbox of inboxes) inbox.lose(error);
      },
    });
    return line;
  }
}

/** What is called with the events of a connection, and at its end. */
interface Owner {
  received: (event: SidecarEvent) => void;
  lost: (error: Error) => void;
}

/** One connection that listens, until it is lost or ended. */
class Line {
  readonly confirmed: Promise<void>;
  readonly #ended = new AbortController();
  #client: Subscriber | undefined;
  #pulse: NodeJS.Timeout | undefined;

  constructor(link: Link, names: Names, owner: Owner) {
    this.confirmed = within(STEP, this.#open(link, names, owner), this.#ended.signal).catch((error: unknown) => {
      throw judged(error);
    });
    this.confirmed.catch(owner.lost);
  }

  end(reason: Error): void {
    clearTimeout(this.#pulse);
    this.#ended.abort(reason);
    if (this.#client) end(this.#client);
  }

  async #open(link: Link, names: Names, owner: Owner): Promise<void> {
    const client = await link.subscriber(this.#ended.signal);
    if (this.#ended.signal.aborted) return;
    this.#client = client;
    await connect(client, owner.lost);
    await client.subscribe(names.outcomes, (message) => {
      const event = parse(message);
      if (event) owner.received(event);
    });
    this.#beat(client, owner.lost);
  }

  /** A connection that is dead without a word is found out. */
  #beat(client: Subscriber, lost: (error: Error) => void): void {
    if (this.#ended.signal.aborted) return;
    this.#pulse = setTimeout(() => {
      within(STEP, client.ping(), this.#ended.signal).then(() => {
        this.#beat(client, lost);
      }, lost);
    }, PULSE);
  }
}
