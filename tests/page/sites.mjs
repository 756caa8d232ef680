// Sites in all states, the same in every run.
const GOODS = ["books", "toys", "garden", "shoes", "tea", "lamps", "tools", "paint", "records", "coins"];
const CITIES = ["msk", "spb", "kzn", "nsk", "ekb", "krd", "smr", "ufa", "prm", "tmn"];
const MINUTE = 60e3;
const HOUR = 60 * MINUTE;

let seed = 1;
// The minimal standard generator.
const chance = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
const pick = (list) => list[Math.floor(chance() * list.length)];

export const instant = (ms) => new Date(Math.floor(ms / 1000) * 1000).toISOString();

// A name in the place of each of `count` sites, the first of which is the built-in one.
export const names = (count) => ["chitai_gorod", ...Array.from({ length: count - 1 }, (_, n) => `${GOODS[n % 10]}-${CITIES[Math.floor(n / 10)]}`)];

// The attempts of a site, newest first, of which the newest `failures` failed.
function attempts(now, failures) {
  let at = now - MINUTE * (5 + chance() * 170);
  return Array.from({ length: 24 }, (_, n) => {
    const failed = n < failures || chance() < 0.05;
    const trigger = pick(["schedule", "invalid", "invalid", "expiry"]);
    const entry = {
      at: instant(at), outcome: failed ? "failed" : chance() < 0.03 ? "superseded" : "refreshed", trigger, source: "flaresolverr",
      stage: failed ? "solve" : null, error: failed ? "FlareSolverr: timeout after 60 s" : null, version: failed ? null : 1795331585623,
      solve_ms: failed ? 60012 : Math.round(3000 + chance() * chance() * 20000), extract_ms: 0, verify_ms: failed ? 0 : Math.round(80 + chance() * 600),
      reason: trigger === "invalid" ? pick(["401 on /search/product", "401 on /product", null]) : null,
      reporter: trigger === "invalid" ? pick(["catalogue parser", "price watcher", "gateway"]) : null, instance: "parsers-1-41",
    };
    at -= MINUTE * (failed ? 2 : 40 + chance() * 200);
    return entry;
  });
}

export function site(name, changes = {}, failures = 0) {
  const now = Date.now();
  const entries = attempts(now, failures);
  const stored = entries.find(({ outcome }) => outcome === "refreshed");
  return {
    site: name, state: "fresh",
    token: {
      fingerprint: "9f86d081884c7d65", version: 1795331585623, refreshed_at: stored.at, expires_at: instant(now + HOUR * (3 + chance() * 40)),
      key_ends_at: instant(now + HOUR * 50), trigger: stored.trigger, source: "flaresolverr",
    },
    refresh_at: instant(now + HOUR * (0.1 + chance() * 3)), next_tick: instant(now + 3 * HOUR), refresh: null, failing: null,
    last_attempt_at: entries[0].at, last_success_at: stored.at, read_at: instant(now),
    reports_per_hour: Array.from({ length: 24 }, () => chance() < 0.4 ? Math.floor(chance() * 6) : 0),
    entries, ...changes,
  };
}

export const failing = (error = "FlareSolverr: timeout after 60 s") => ({
  attempts: 4, retry_at: instant(Date.now() + 45e3), stage: "solve", error, trigger: "schedule",
});

// Two that fail, one of them with an ended token, one that is refreshed, and fresh ones.
export function many(count) {
  seed = 1;
  return names(count).map((name, n) => {
    if (n === 17) return site(name, { failing: failing() }, 4);
    if (n === 60) {
      const ended = site(name, { state: "expired", failing: failing() }, 3);
      ended.token.expires_at = instant(Date.now() - 2 * MINUTE);
      return ended;
    }
    return site(name, n === 5 ? { refresh: { stage: "solve", since: instant(Date.now() - 3000) } } : {});
  });
}
