import { InvalidSettings } from "./errors.js";

/** The address of Redis, as options of `createClient`. */
export interface Address {
  socket: { host: string; port: number; tls?: true } | { path: string };
  username?: string;
  password?: string;
  database: number;
}

/** The parameters of `unix://`. */
const PARAMETERS = new Map([
  ["db", "database"],
  ["user", "username"],
  ["username", "username"],
  ["pass", "password"],
  ["password", "password"],
] as const);

/** Parses a URL of Redis by the rules in contract/README.md, as the sidecar does. */
export function address(url: string): Address {
  let found: Address;
  try {
    found = /^\s*unix:/.test(url) ? ofSocket(url.trim()) : ofHost(new URL(url));
  } catch (error) {
    if (error instanceof InvalidSettings) throw error;
    // The error shows the URL, and with it a password.
    throw refusal("cannot be read: expected redis://user:password@host:port/1, rediss:// or unix:///path");
  }
  if (url.includes("#")) throw refusal("has a #: write %23 where it is part of a password");
  const { REDIS_PASSWORD } = process.env;
  return found.password || !REDIS_PASSWORD ? found : { ...found, password: REDIS_PASSWORD };
}

function ofHost({ protocol, hostname, port, pathname, username, password, searchParams }: URL): Address {
  if (!/^rediss?:$/.test(protocol)) throw refusal("begins with none of redis://, rediss://, unix://");
  if (hostname === "") throw refusal("names no host: redis://host:6379/1");
  const [name] = searchParams.keys();
  if (name !== undefined) throw unobeyed(name, instead(name));
  return {
    // An IPv6 address is in brackets.
    socket: {
      host: hostname.replace(/^\[(.*)\]$/, "$1"),
      port: port === "" ? 6379 : Number(port),
      ...(protocol === "rediss:" ? { tls: true } : {}),
    },
    ...(username === "" ? {} : { username: decodeURIComponent(username) }),
    ...(password === "" ? {} : { password: decodeURIComponent(password) }),
    database: database(pathname.replace(/^\/|\/$/g, "") || "0"),
  };
}

function ofSocket(url: string): Address {
  if (!/^unix:\/\/\/[^?#]/.test(url)) {
    throw refusal("names no Unix socket: expected unix:///path, with user and password as ?user=…&pass=…");
  }
  const { pathname, searchParams } = new URL(url);
  const options = new Map<string, string>();
  for (const [name, value] of searchParams) {
    const option = PARAMETERS.get(name as "db");
    if (option === undefined) throw unobeyed(name, instead(name));
    if (options.has(option)) throw unobeyed(name, "write it once");
    options.set(option, value);
  }
  const { database: number = "0", ...login } = Object.fromEntries(options);
  return { socket: { path: decodeURIComponent(pathname) }, ...login, database: database(number) };
}

function database(text: string): number {
  if (!/^\d{1,9}$/.test(text)) {
    throw refusal("has a database that is not a number: redis://host:6379/1, unix:///path?db=1");
  }
  return Number(text);
}

function refusal(why: string): InvalidSettings {
  return new InvalidSettings(`the url of Redis ${why}`);
}

function unobeyed(name: string, instead: string): InvalidSettings {
  // The name of a parameter may be a part of a password.
  const shown = /^[a-z_]{1,32}$/.test(name) ? `?${name}=` : "a parameter";
  return refusal(`has ${shown}, which client and sidecar do not support: ${instead}`);
}

function instead(name: string): string {
  if (name === "db") return "write /1 after the host";
  if (PARAMETERS.has(name as "db")) return "write user:password@ before the host";
  if (name.startsWith("ssl")) return "use the option `client`, and REDIS_TLS_CA_FILE for the sidecar";
  return "leave it out";
}
