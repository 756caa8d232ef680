import type { FailedEvent } from "./wire.js";

/** What every error of this package is. None holds a token, a cookie or a password. */
export class TokenSidecarError extends Error {
  override name = "TokenSidecarError";
}

/** A report was heard by no sidecar: none runs, or it watches another Redis or another site. */
export class NobodyListens extends TokenSidecarError {
  override name = "NobodyListens";

  constructor(site: string) {
    super(`no sidecar listens for ${site}: is token-sidecar running, and on this Redis?`);
  }
}

/** The sidecar tried and got no new token. */
export class RefreshFailed extends TokenSidecarError {
  override name = "RefreshFailed";
  /** What went wrong. */
  readonly error: string;
  /** Where: `solve`, `extract`, `verify` or `store`. */
  readonly stage: string;
  /** When the sidecar tries again by itself. */
  readonly retryAt: Date | null;

  constructor(event: FailedEvent) {
    super(`no new token (${event.stage}): ${event.error}`);
    this.error = event.error;
    this.stage = event.stage;
    this.retryAt = event.retry_at === null ? null : new Date(event.retry_at);
  }
}

/** No answer came in time. `cause` is the trouble with Redis, where there was any. */
export class TimedOut extends TokenSidecarError {
  override name = "TimedOut";
}
