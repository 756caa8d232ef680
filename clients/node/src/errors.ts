import type { FailedEvent } from "./wire.js";

/** The base of all errors of this package. None contains a token, a cookie or a password. */
export class TokenSidecarError extends Error {
  override name = "TokenSidecarError";
}

/** The options are invalid. */
export class InvalidSettings extends TokenSidecarError {
  override name = "InvalidSettings";
}

/** Refuses unknown options: a misspelt one would have no effect. */
export function checkOptions(options: object, known: readonly string[]): void {
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown !== undefined) throw new InvalidSettings(`there is no option ${JSON.stringify(unknown)}, only ${known.join(", ")}`);
}

/** No sidecar received the report: none runs, or it uses another Redis or another site. */
export class NobodyListens extends TokenSidecarError {
  override name = "NobodyListens";

  constructor(site: string) {
    super(`no sidecar listens for ${site}: is token-sidecar running, and on this Redis?`);
  }
}

/** The sidecar tried, or is backing off, and has no new token. */
export class RefreshFailed extends TokenSidecarError {
  override name = "RefreshFailed";
  readonly error: string;
  /** `solve`, `extract`, `verify` or `store`; null if the event has none. */
  readonly stage: string | null;
  /** When the sidecar tries again by itself. */
  readonly retryAt: Date | null;

  constructor(event: FailedEvent) {
    const fields: Partial<Record<keyof FailedEvent, unknown>> = event;
    const stage = typeof fields.stage === "string" ? fields.stage : null;
    const error = typeof fields.error === "string" ? fields.error : "the sidecar gives no reason";
    super(stage === null ? `no new token: ${error}` : `no new token (${stage}): ${error}`);
    this.error = error;
    this.stage = stage;
    const retryAt = new Date(typeof fields.retry_at === "string" ? fields.retry_at : NaN);
    this.retryAt = Number.isNaN(retryAt.getTime()) ? null : retryAt;
  }
}

/** No outcome in time. `cause` is the last error of Redis, if there was one. */
export class TimedOut extends TokenSidecarError {
  override name = "TimedOut";
}
