"use strict";
// Everything shown is set as text, never as markup: errors come from other systems.
const byId = (id) => document.getElementById(id);
const histories = new Map();
let status = null;
let shown = "";
let skew = 0;

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null));
  return element;
}

function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const parts = [[Math.floor(s / 86400), "d"], [Math.floor(s / 3600) % 24, "h"], [Math.floor(s / 60) % 60, "min"], [s % 60, "s"]];
  const first = parts.findIndex(([n]) => n > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([n]) => n > 0).map(([n, unit]) => n + " " + unit).join(" ");
}

// The store's clock, which all instants are given by.
const now = () => Date.now() + skew;

// An instant, shown as its distance from now; kept current by tick().
function when(at) {
  if (!at) return "–";
  const time = make("time", "");
  time.dateTime = at;
  time.title = new Date(at).toLocaleString();
  tell(time);
  return time;
}

function tell(time) {
  const ahead = (Date.parse(time.dateTime) - now()) / 1000;
  const text = ahead >= 1 ? "in " + span(ahead) : ahead > -1 ? "now" : span(-ahead) + " ago";
  if (time.textContent !== text) time.textContent = text;
}

function fact(name, ...value) {
  return make("div", "", make("dt", "", name), make("dd", "", ...value));
}

const STATES = { fresh: ["fresh", "good"], expired: ["expired", "bad"], refused: ["refused", "bad"], missing: ["no token", "bad"], unknown: ["not read yet", "wait"] };

function endOf(token) {
  const ends = [token.expires_at, token.key_ends_at].filter(Boolean).map((at) => Date.parse(at));
  return ends.length ? new Date(Math.min(...ends)).toISOString() : null;
}

function life(token) {
  const end = endOf(token);
  if (!end || !token.refreshed_at) return null;
  const meter = make("meter", "");
  meter.min = Date.parse(token.refreshed_at);
  meter.max = Math.max(meter.min + 1, Date.parse(end));
  meter.low = meter.min;
  meter.dataset.end = end;
  meter.title = "what is left of the token's life";
  return meter;
}

function tokenFacts(site) {
  const token = site.token;
  const list = make("dl", "");
  if (token) {
    const end = endOf(token);
    list.append(
      fact("fingerprint", make("code", "", token.fingerprint)),
      fact("stored", when(token.refreshed_at)),
      fact("ends", end ? when(end) : "not known"),
      fact("version", token.version ? String(token.version) : "stored by another program"),
      fact("came by", [token.trigger, token.source].filter(Boolean).join(", ") || "–"),
    );
  }
  list.append(
    fact("next refresh", when(site.refresh_at)),
    fact("last success", when(site.last_success_at)),
    fact("last attempt", when(site.last_attempt_at)),
  );
  return list;
}

function progress(refresh) {
  if (!refresh) return null;
  if (!refresh.stage) return make("p", "notice wait", "Another replica is refreshing the token.");
  return make("p", "notice wait", "Refreshing: " + refresh.stage + ", begun ", when(refresh.since));
}

function failure(failing) {
  if (!failing) return null;
  const times = failing.attempts === 1 ? "1 failed attempt" : failing.attempts + " failed attempts in a row";
  return make("div", "notice bad",
    make("p", "", make("strong", "", times), ", at " + failing.stage + " (" + failing.trigger + "). Next try ", when(failing.retry_at)),
    make("p", "", make("code", "", failing.error)));
}

const ms = (n) => n === null ? null : n < 1000 ? n + " ms" : (n / 1000).toFixed(1) + " s";

function entryRow(entry) {
  const good = entry.outcome === "refreshed";
  const took = [["solve", entry.solve_ms], ["verify", entry.verify_ms]].filter(([, n]) => n).map(([name, n]) => name + " " + ms(n));
  const why = entry.error ? [entry.stage, entry.error].filter(Boolean).join(": ") : entry.reason || "";
  return make("tr", "",
    make("td", "", when(entry.at)),
    make("td", good ? "good" : entry.outcome === "failed" ? "bad" : "faint", entry.outcome),
    make("td", "", entry.trigger || "–"),
    make("td", "", entry.source || "–"),
    make("td", "", took.join(", ") || "–"),
    make("td", "wide", why));
}

function attempts(name) {
  const history = histories.get(name);
  if (!history) return null;
  if (history.error) return make("p", "faint", history.error);
  if (!history.entries.length) return make("p", "faint", "No attempts yet.");
  const names = ["when", "outcome", "trigger", "source", "took", "error or reason"];
  const head = make("tr", "", ...names.map((text) => make("th", "", text)));
  const table = make("table", "", make("thead", "", head), make("tbody", "", ...history.entries.map(entryRow)));
  return make("div", "scroll", table);
}

function card(site) {
  const [word, kind] = STATES[site.state] || [site.state, "wait"];
  return make("section", "card",
    make("div", "head", make("h2", "", site.site), make("span", "pill " + kind, word)),
    progress(site.refresh), failure(site.failing), tokenFacts(site),
    site.token && life(site.token),
    make("h3", "", "Latest attempts"), attempts(site.site));
}

function solver({ address, state, left_alone_s }) {
  const text = state === "open" ? "left alone for " + span(left_alone_s) : state === "half-open" ? "on trial" : "asked";
  return make("span", "pill " + (state === "closed" ? "good" : "bad"), address + ": " + text);
}

function render() {
  // A new reading alone is no change: redrawing would lose the user's selection.
  const fresh = JSON.stringify([status.sites, [...histories]], (key, value) => key === "read_at" ? undefined : value);
  const link = status.redis;
  const healthy = !link.problem;
  byId("link").className = "pill " + (healthy ? "good" : "bad");
  byId("link").textContent = healthy ? "Redis: canary " + link.round_trip_ms.toFixed(1) + " ms" : "Redis: " + link.problem;
  byId("solvers").hidden = status.solvers.length === 0;
  byId("solvers").replaceChildren(...status.solvers.map(solver));
  byId("build").textContent = "version " + status.version + ", " + status.instance;
  if (fresh !== shown) {
    shown = fresh;
    byId("sites").replaceChildren(...status.sites.map(card));
  }
  tick();
}

function tick() {
  document.querySelectorAll("time").forEach(tell);
  document.querySelectorAll("meter").forEach((meter) => { meter.value = meter.max - Math.min(now(), meter.max) + meter.min; });
}

async function get(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(8000) });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error || "answer " + answer.status);
  return body;
}

async function read() {
  try {
    status = await get("api/status");
    skew = status.time && Math.abs(Date.parse(status.time) - Date.now()) > 2000 ? Date.parse(status.time) - Date.now() : 0;
    byId("notice").hidden = true;
  } catch (error) {
    byId("notice").textContent = "The sidecar does not answer (" + error.message + "). What is shown may be old.";
    byId("notice").hidden = false;
    return;
  }
  render();
}

async function remember(name) {
  try {
    histories.set(name, await get("api/history?limit=10&site=" + encodeURIComponent(name)));
  } catch (error) {
    histories.set(name, { error: error.message });
  }
}

async function readAll() {
  await read();
  if (!status) return;
  await Promise.all(status.sites.map((site) => remember(site.site)));
  render();
}

const events = new EventSource("api/events");
for (const name of ["open", "token:updated", "token:failed"]) events.addEventListener(name, readAll);
readAll();
setInterval(tick, 1000);
setInterval(() => { if (!document.hidden) read(); }, 3000);
setInterval(() => { if (!document.hidden) readAll(); }, 60000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) readAll(); });
