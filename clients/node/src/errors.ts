import type { FailedEvent } from "./wire.js";

/** What every error of this package is. None holds a token, a cookie or a password. */
export class TokenSidecarError extends Error {
  override name = "TokenSidecarError";
}

/** The client cannot be made, or called, with these options. */
export class InvalidSettings extends TokenSidecarError {
  override name = "InvalidSettings";
}

/** Refuses an option that there is none of: a misspelt one would have no effect. */
export function checkOptions(options: object, known: readonly string[]): void {
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown !== undefined) throw new InvalidSettings(`there is no option ${JSON.stringify(unknown)}, only ${known.join(", ")}`);
}

/** A report was received by no sidecar: none runs, or it watches another Redis or another site. */
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
  /** Where: `solve`, `extract`, `verify` or `store`; null where it is not said. */
  readonly stage: string | null;
  /** When the sidecar tries again by itself. */
  readonly retryAt: Date | null;

  constructor(event: FailedEvent) {
    const said: Partial<Record<keyof FailedEvent, unknown>> = event;
    const stage = typeof said.stage === "string" ? said.stage : null;
    const error = typeof said.error === "string" ? said.error : "the sidecar gives no reason";
    super(stage === null ? `no new token: ${error}` : `no new token (${stage}): ${error}`);
    this.error = error;
    this.stage = stage;
    const retryAt = new Date(typeof said.retry_at === "string" ? said.retry_at : NaN);
    this.retryAt = Number.isNaN(retryAt.getTime()) ? null : retryAt;
  }
}

/** No answer came in time. `cause` is the trouble with Redis, where there was any. */
export class TimedOut extends TokenSidecarError {
  override name = "TimedOut";
}
