import { createHash } from "node:crypto";

/** `token:updated`: a token is ready to be read. */
export interface UpdatedEvent {
  event: "token:updated";
  site: string;
  /** `refreshed`: a new token; `repeated`: the current one, announced again. */
  cause: string;
  /** Only grows. */
  version: number;
  /** The first 16 hex digits of the token's SHA-256. */
  fingerprint: string;
  /** Where the token is. */
  key: string;
  /** Seconds that the key had left. */
  ttl: number | null;
  expires_at: string | null;
  refresh_at: string | null;
  refreshed_at: string | null;
  trigger: string;
  source: string;
}

/** `token:failed`: an attempt ended without a new token. */
export interface FailedEvent {
  event: "token:failed";
  site: string;
  cause: string;
  stage: string;
  error: string;
  attempt: number;
  retry_at: string | null;
  valid_until: string | null;
  trigger: string;
}

export type SidecarEvent = UpdatedEvent | FailedEvent;

/** Which token it is, without giving it away: the first 16 hex digits of its SHA-256. */
export function fingerprint(token: string): string {
  return createHash("sha256").update(token).digest("hex").slice(0, 16);
}

/** What a sidecar has published; anybody else's text is nothing. */
export function parse(text: string): SidecarEvent | undefined {
  try {
    const value = JSON.parse(text) as SidecarEvent | { event?: never } | null;
    return value?.event === "token:updated" || value?.event === "token:failed" ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Names of the channels and keys of a site. */
export class Names {
  readonly site: string;
  readonly token: string;
  readonly cookies: string;
  readonly meta: string;
  readonly invalid: string;
  readonly outcomes: readonly string[];

  constructor(site: string, tokenKey = `${site}_token`, cookiesKey = `${site}_cookies`) {
    this.site = site;
    this.token = tokenKey;
    this.cookies = cookiesKey;
    this.meta = `{${tokenKey}}:meta`;
    this.invalid = `${site}:token:invalid`;
    this.outcomes = [`${site}:token:updated`, `${site}:token:failed`];
  }
}

/** The hash that the sidecar keeps beside the token. */
export type Meta = Partial<Record<string, string>>;

/** The event for whoever has missed it, from what is stored. */
export function missed(names: Names, meta: Meta, version: number, ttl: number): UpdatedEvent {
  return {
    event: "token:updated",
    site: names.site,
    cause: "repeated",
    version,
    fingerprint: meta.fingerprint ?? "",
    key: names.token,
    ttl: ttl >= 0 ? ttl : null,
    expires_at: nonEmpty(meta.expires_at),
    refresh_at: null,
    refreshed_at: nonEmpty(meta.refreshed_at),
    trigger: meta.trigger ?? "",
    source: meta.source ?? "",
  };
}

function nonEmpty(text: string | undefined): string | null {
  return text === undefined || text === "" ? null : text;
}
