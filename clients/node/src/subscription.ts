import { connect, end, judged, type Link, STEP, type Subscriber } from "./link.js";
import { within } from "./time.js";
import { type Names, parse, type SidecarEvent } from "./wire.js";

/** How often the connection of a subscription is checked. */
const PING_INTERVAL = 10_000;

/** The unread events of one listener. */
export class Inbox {
  #events: SidecarEvent[] = [];
  #lost: Error | undefined;
  #wake = (): void => undefined;

  /** The next event. After the last one received, throws the error of a lost connection. */
  async next(signal: AbortSignal): Promise<SidecarEvent> {
    for (;;) {
      const event = this.#events.shift();
      if (event) return event;
      if (this.#lost) throw this.#lost;
      const woken = new Promise<void>((resolve) => (this.#wake = resolve));
      await within(Infinity, woken, signal);
    }
  }

  /** Drops failures that were announced before a report: they do not answer it. */
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

/** The subscription of a client, open while there are listeners. */
export class Subscription {
  readonly #link: Link;
  readonly #names: Names;
  readonly #inboxes = new Set<Inbox>();
  #line: Line | undefined;

  constructor(link: Link, names: Names) {
    this.#link = link;
    this.#names = names;
  }

  /** Resolves once Redis has confirmed the subscription; the returned function ends listening. */
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

/** Called with the events of a connection, and at its end. */
interface Owner {
  received: (event: SidecarEvent) => void;
  lost: (error: Error) => void;
}

/** One connection of a subscription, until it is lost or closed. */
class Line {
  readonly confirmed: Promise<void>;
  readonly #ended = new AbortController();
  #client: Subscriber | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(link: Link, names: Names, owner: Owner) {
    this.confirmed = within(STEP, this.#open(link, names, owner), this.#ended.signal).catch((error: unknown) => {
      throw judged(error);
    });
    this.confirmed.catch(owner.lost);
  }

  end(reason: Error): void {
    clearTimeout(this.#timer);
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
    this.#ping(client, owner.lost);
  }

  /** Detects a connection that no longer answers. */
  #ping(client: Subscriber, lost: (error: Error) => void): void {
    if (this.#ended.signal.aborted) return;
    this.#timer = setTimeout(() => {
      within(STEP, client.ping(), this.#ended.signal).then(() => {
        this.#ping(client, lost);
      }, lost);
    }, PING_INTERVAL);
  }
}
