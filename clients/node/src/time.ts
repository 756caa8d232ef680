/** The longest timer that Node supports. */
const LONGEST = 2 ** 31 - 1;

/** The end of a wait, by the monotonic clock. */
export class Deadline {
  readonly #end: number;

  constructor(timeout: number) {
    if (!(timeout >= 0)) throw new RangeError("a timeout is a number of milliseconds, 0 or more");
    this.#end = performance.now() + timeout;
  }

  /** The remaining milliseconds. */
  get left(): number {
    return Math.max(0, this.#end - performance.now());
  }
}

/** The timeout ended before the work. */
export class Elapsed extends Error {}

/** The result of the work, unless the timeout or the signal comes first. */
export async function within<T>(timeout: number, work: Promise<T>, signal: AbortSignal): Promise<T> {
  let cleanUp = (): void => undefined;
  const end = new Promise<never>((_, reject) => {
    const abort = (): void => {
      reject(signal.reason as Error);
    };
    const timer = setTimeout(
      () => {
        reject(new Elapsed(`not within ${String(Math.round(timeout))} ms`));
      },
      Math.min(timeout, LONGEST),
    );
    signal.addEventListener("abort", abort);
    cleanUp = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    };
    if (signal.aborted) abort();
  });
  try {
    return await Promise.race([work, end]);
  } finally {
    cleanUp();
  }
}

/** The delays between tries: 100 ms, doubled up to a second. */
export class Pace {
  #next = 100;

  async pause(signal: AbortSignal): Promise<void> {
    const span = this.#next;
    this.#next = Math.min(2 * span, 1000);
    await within(span, new Promise<never>(() => undefined), signal).catch((error: unknown) => {
      if (!(error instanceof Elapsed)) throw error;
    });
  }

  /** After a success. */
  reset(): void {
    this.#next = 100;
  }
}
