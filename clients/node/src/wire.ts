import { createHash } from "node:crypto";

import { InvalidSettings } from "./errors.js";

/** `token:updated`: a token is ready to be read. */
export interface UpdatedEvent {
  event: "token:updated";
  site: string;
  /** `refreshed`: a new token; `repeated`: the current one, announced again. */
  cause: string;
  /** Grows with every token. */
  version: number;
  /** The first 16 hex digits of the token's SHA-256. */
  fingerprint: string;
  /** The key that holds the token. */
  key: string;
  /** The remaining seconds of the key. */
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

/** Identifies a token without revealing it: the first 16 hex digits of its SHA-256. */
export function fingerprint(token: string): string {
  return createHash("sha256").update(token).digest("hex").slice(0, 16);
}

/** The token in the value of a key, read as the sidecar reads it; undefined if the value cannot be a token. */
export function bare(stored: string | null): string | undefined {
  // Visible ASCII without quotes and $ % , ; \ .
  const token = /^(?:bearer\s+)?([!#&(-+\--:<-[\]-_a-~]{1,8192})$/i.exec((stored ?? "").trim())?.[1];
  return token === undefined || /^bearer$/i.test(token) ? undefined : token;
}

/** The value of a key, as it stands, if it is a JSON object of cookies, read as the sidecar reads it. */
export function jar(stored: string | null): string | undefined {
  if (stored === null || Buffer.byteLength(stored) > 65_536) return undefined;
  try {
    const cookies: unknown = JSON.parse(stored);
    if (typeof cookies !== "object" || cookies === null || Array.isArray(cookies)) return undefined;
    const values = Object.values(cookies);
    return values.length > 0 && values.every((value) => typeof value === "string") ? stored : undefined;
  } catch {
    return undefined;
  }
}

/** Parses a message of the sidecar; undefined for any other text. */
export function parse(text: string): SidecarEvent | undefined {
  let value: Partial<Record<string, unknown>> | null;
  try {
    value = JSON.parse(text) as typeof value;
  } catch {
    return undefined;
  }
  if (value?.event === "token:failed") return value as unknown as FailedEvent;
  const isUpdate = value?.event === "token:updated" && Number.isInteger(value.version) && typeof value.fingerprint === "string";
  return isUpdate ? (value as unknown as UpdatedEvent) : undefined;
}

/** The sidecar cuts free text here, and ignores the details of a report that is far too long. */
const LONGEST = 200;

/** The payload of a report on the token `refused`. */
export function details(refused: string | null, reason: string, source: string): string {
  if (refused === null) return JSON.stringify({ reason: cut(reason), source: cut(source) });
  const named = fingerprint(refused);
  // Reasons are logged, so the token is replaced.
  return JSON.stringify({ fingerprint: named, reason: cut(reason.replaceAll(refused, named)), source: cut(source) });
}

/** The first characters, without splitting a surrogate pair. */
function cut(text: string): string {
  return Array.from(text.slice(0, 2 * LONGEST)).slice(0, LONGEST).join("");
}

/** What the parsers of a site read: a token, or the cookies themselves. */
export type Product = "token" | "cookies";

/** Names of the channels and keys of a site. */
export class Names {
  readonly site: string;
  readonly product: Product;
  /** What parsers read; the key of the cookies where these are the product. */
  readonly token: string;
  readonly cookies: string;
  readonly meta: string;
  readonly invalid: string;
  readonly outcomes: readonly string[];

  constructor(site = "chitai_gorod", tokenKey?: string, cookiesKey = `${site}_cookies`, product: Product = "token") {
    if (!/^[a-z0-9][a-z0-9_-]{0,63}$/.test(site)) {
      throw new InvalidSettings(`site ${JSON.stringify(site)}: expected 1 to 64 lower-case letters, digits, '_' and '-'`);
    }
    if (!["token", "cookies"].includes(product)) {
      throw new InvalidSettings(`product ${JSON.stringify(product)}: expected "token" or "cookies"`);
    }
    if (product === "cookies" && tokenKey !== undefined) {
      throw new InvalidSettings('product "cookies": there is no token, and so no tokenKey');
    }
    this.site = site;
    this.product = product;
    this.token = product === "cookies" ? cookiesKey : (tokenKey ?? `${site}_token`);
    this.cookies = cookiesKey;
    this.meta = this.token.includes("{") ? `${this.token}:meta` : `{${this.token}}:meta`;
    this.invalid = `${site}:token:invalid`;
    this.outcomes = [`${site}:token:updated`, `${site}:token:failed`];
  }

  /** The product in the value of its key; undefined if the value cannot be one. */
  read(stored: string | null): string | undefined {
    return this.product === "cookies" ? jar(stored) : bare(stored);
  }
}

/** The hash that the sidecar keeps beside the token. */
export type Meta = Partial<Record<string, string>>;

/** The missed event, from the stored state. */
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
