import type { Bundle, TokenClient } from "./client.js";
import { checkOptions } from "./errors.js";

export interface TokenFetchOptions {
  /** The function that sends; the global `fetch` by default. */
  fetch?: typeof globalThis.fetch | undefined;
  /** Also sends the cookies and the user agent of the token; those of a site whose product is the cookies are always sent. */
  sendCookies?: boolean | undefined;
  /** Milliseconds for the first token, and again for its replacement after a 401; 60 000 by default. */
  timeout?: number | undefined;
}

/**
 * A `fetch` that sends the current token. On 401 it reports the token, waits for the next one, and sends once more.
 *
 * A body that can be read only once (a stream, an iterator) cannot be sent again: the 401 is returned once the next token
 * is stored, and the caller sends again.
 */
export function tokenFetch(client: TokenClient, options: TokenFetchOptions = {}): typeof globalThis.fetch {
  checkOptions(options, ["fetch", "sendCookies", "timeout"]);
  const send = options.fetch ?? globalThis.fetch;
  return async (input, init) => {
    const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined);
    const wait = { timeout: options.timeout, signal };
    const first = await client.bundle(wait);
    // A copy of a request is kept for the second try; a stream in `init` cannot be copied.
    const again = input instanceof Request && init?.body == null ? input.clone() : input;
    const response = await send(input, authorized(first, input, init, options));
    if (response.status !== 401 || isElsewhere(response, input)) return response;
    const next = await client.bundle({ ...wait, refused: first.token, reason: `401 on ${path(input)}` });
    if (isReadOnce(init?.body)) return response;
    await response.body?.cancel();
    return await send(again, authorized(next, again, init, options));
  };
}

/** The options of the request with the headers of the token; other headers stay. */
function authorized(
  { product, token, cookies, userAgent }: Bundle,
  input: string | URL | Request,
  init: RequestInit | undefined,
  options: TokenFetchOptions,
): RequestInit {
  const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
  if (product === "token") headers.set("Authorization", `Bearer ${token}`);
  if (options.sendCookies === true || product === "cookies") {
    const own = (headers.get("Cookie") ?? "").split("; ").filter((pair) => pair !== "" && !(nameOf(pair) in cookies));
    // Without those that a header cannot carry (RFC 6265: printable ASCII).
    const pairs = Object.entries(cookies).map(([name, value]) => `${name}=${value}`).filter((pair) => /^[ -~]*$/.test(pair));
    if (pairs.length > 0) headers.set("Cookie", [...own, ...pairs].join("; "));
    if (userAgent !== null && !headers.has("User-Agent")) headers.set("User-Agent", userAgent);
  }
  return { ...init, headers };
}

function nameOf(pair: string): string {
  return pair.split("=", 1)[0] ?? "";
}

/** Whether the answer is from another host after a redirect: that host was not sent the token. */
function isElsewhere(response: Response, input: string | URL | Request): boolean {
  return response.redirected && new URL(response.url).origin !== new URL(input instanceof Request ? input.url : input).origin;
}

function isReadOnce(body: unknown): boolean {
  if (typeof body !== "object" || body === null) return false;
  return body instanceof ReadableStream || Symbol.asyncIterator in body;
}

/** The path without the query, which may contain secrets. */
function path(input: string | URL | Request): string {
  return new URL(input instanceof Request ? input.url : input, "http://localhost").pathname;
}
