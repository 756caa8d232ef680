// Everything shown is set as text, never as markup: errors come from other systems.
const byId = (id) => document.getElementById(id);
const SLOTS = 24;
const FIRST_ROWS = 200;
const MAX_EVENTS = 100;
// Without an answer for so long, in milliseconds, what is shown is old.
const ANSWER_AGE = 8000;
// The canary comes every 9 to 12 s.
const CANARY_AGE = 20;
const STAGES = ["claimed", "solve", "extract", "verify", "commit"];

const histories = new Map(); // site → { listening, entries, error }
const rows = new Map(); // site → { element, … }
const asked = new Map(); // site → what became of a refresh that was asked for here
const repeats = []; // announcements without an attempt, newest first
const dirty = new Set(); // sites whose history has changed
let status = null;
let answeredAt = -Infinity;
let reachable = true;
let filter = "all";
let limit = FIRST_ROWS;
let clock = null; // the store's clock minus performance.now()

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// The store's clock, by which all instants are given. This machine's own may be wrong, or be set while the page is open.
const now = () => clock === null ? Date.now() : clock + performance.now();

function setClock(time) {
  if (!time) return;
  // The instant is in whole seconds, so of several readings the one that is the furthest ahead is the best.
  const reading = Date.parse(time) - performance.now();
  if (clock === null || reading > clock || reading < clock - 1500) clock = reading;
}

function distance(at) {
  const ahead = (Date.parse(at) - now()) / 1000;
  return ahead >= 1 ? say("ahead", span(ahead)) : ahead > -1 ? TEXTS.now : say("ago", span(-ahead));
}

const stamp = (at) => new Date(at).toLocaleString(LANGUAGE, { dateStyle: "short", timeStyle: "medium" });

// An instant, shown as its distance from now; tick() keeps it current.
function when(at) {
  if (!at) return "–";
  const time = make("time");
  time.dateTime = at;
  time.title = stamp(at);
  time.textContent = distance(at);
  return time;
}

function endOf(token) {
  const ends = [token.expires_at, token.key_ends_at].filter(Boolean).map((at) => Date.parse(at));
  return ends.length ? Math.min(...ends) : null;
}

// Whether a site is failing, refreshing, fresh or unread, as the summary counts it; and the word for its state.
function stateOf(site) {
  const ended = site.token && endOf(site.token) !== null && endOf(site.token) <= now();
  const state = site.state === "fresh" && ended ? "expired" : site.state;
  if (site.failing || state === "expired" || state === "refused") return ["failing", state === "fresh" ? "failing" : state];
  if (site.refresh) return ["refreshing", "refreshing"];
  if (state === "missing") return ["failing", "missing"];
  return state === "fresh" ? ["fresh", "fresh"] : ["unread", "unknown"];
}

// Why what is shown is old; null where it is not.
function oldness() {
  const age = (performance.now() - answeredAt) / 1000;
  if (!status) return reachable ? null : { title: TEXTS.goneTitle, text: TEXTS.never };
  const ago = say("ago", span(age));
  if (!reachable) return { title: TEXTS.goneTitle, text: say("gone", ago) };
  if (age * 1000 > ANSWER_AGE) return { title: TEXTS.oldTitle, text: say("late", span(age)) };
  const { subscription, problem, since_s, canary_age_s } = status.redis;
  const silent = canary_age_s === null ? null : canary_age_s + age;
  if (subscription !== "up" || problem) {
    const since = silent !== null ? say("ago", span(silent)) : since_s !== null ? say("ago", span(since_s + age)) : "–";
    return { title: TEXTS.redisTitle, text: say("redisAway", shown(problem || TEXTS.redisLost), since) };
  }
  if (silent > CANARY_AGE) return { title: TEXTS.redisTitle, text: say("redisSilent", span(silent), say("ago", span(silent))) };
  return null;
}

// ---- one line a site

function newRow(name) {
  const part = (className) => make("span", className);
  const row = { glyph: part(""), name: part("name clip"), state: part("state clip"), bars: part("bars"), life: part("life"), end: part("end clip") };
  const summary = make("summary", "", row.glyph, row.name, row.state, row.bars, row.life, row.end);
  row.body = make("div", "panel");
  row.element = make("details", "site", summary, row.body);
  row.name.textContent = name;
  row.element.addEventListener("toggle", () => render());
  rows.set(name, row);
  return row;
}

// Draws an element anew where what is shown in it has changed: redrawing would lose the user's selection.
const drawn = new WeakMap();
function renew(element, key, build) {
  if (drawn.get(element) === key) return;
  drawn.set(element, key);
  build();
}

const entriesOf = (name) => (histories.get(name)?.entries || []).slice().reverse();

function barsLabel(entries) {
  if (!entries.length) return TEXTS.noAttempts;
  const count = (outcome) => entries.filter((entry) => entry.outcome === outcome).length;
  const newest = entries[entries.length - 1];
  return say("attemptsLabel", count("refreshed"), count("failed"), word(newest.outcome), stamp(newest.at));
}

function renderRow(site) {
  const name = site.site;
  const row = rows.get(name);
  const [kind, state] = stateOf(site);
  const old = document.body.classList.contains("old");
  renew(row.state, kind + state + (site.refresh?.stage || "") + old, () => {
    row.glyph.replaceChildren(glyph(old ? "unread" : kind));
    const stage = kind === "refreshing" && site.refresh.stage ? ": " + word(site.refresh.stage) : "";
    const text = ofOne(state) + stage;
    row.state.textContent = old ? say("was", text) : text;
    row.state.className = "state clip" + (kind === "failing" ? " bad" : kind === "refreshing" ? " wait" : " faint");
  });
  const entries = entriesOf(name);
  renew(row.bars, JSON.stringify(entries), () => row.bars.replaceChildren(attemptBars(entries, SLOTS, barsLabel(entries))));
  renderLife(row, site);
  if (row.element.open) renderPanel(row, site, entries);
}

function renderLife(row, site) {
  const end = site.token ? endOf(site.token) : null;
  const text = !site.token ? "" : end === null ? TEXTS.endless
    : end > now() ? say("left", span((end - now()) / 1000)) : say("ended", say("ago", span((now() - end) / 1000)));
  if (!row.left) {
    row.left = make("span");
    row.level = make("b");
    row.life.append(make("i", "", row.level), row.left);
  }
  setText(row.left, text);
  const begin = site.token?.refreshed_at ? Date.parse(site.token.refreshed_at) : null;
  const part = end && begin ? Math.min(1, Math.max(0, (end - now()) / Math.max(1, end - begin))) : 0;
  row.level.style.width = Math.round(100 * part) + "%";
  const next = site.failing ? site.failing.retry_at : site.refresh_at;
  const due = next ? say("next", Date.parse(next) > now() ? distance(next) : TEXTS.now) : "";
  setText(row.end, due);
}

// ---- an open site

function section(className, title, ...children) {
  return make("section", className, make("h2", "", title), ...children);
}

const scale = (...texts) => make("div", "scale", ...texts.map((text) => make("span", "", text)));

function fact(name, ...value) {
  return make("div", "", make("dt", "", name), make("dd", "", ...value));
}

function renderPanel(row, site, entries) {
  if (!row.parts) {
    row.parts = { act: make("div", "wide act"), now: make("div", "wide"), rest: make("div", "wide rest") };
    row.parts.outcome = make("span");
    row.parts.outcome.setAttribute("role", "status");
    row.parts.button = make("button", "", TEXTS.refreshNow);
    row.parts.button.type = "button";
    row.parts.button.addEventListener("click", () => openDialog(site.site));
    row.parts.act.append(row.parts.button, row.parts.outcome);
    row.body.append(row.parts.act, row.parts.now);
  }
  const told = asked.get(site.site);
  row.parts.act.hidden = !status.admin;
  row.parts.button.disabled = document.body.classList.contains("old");
  const outcome = told ? told.text : "";
  setText(row.parts.outcome, outcome);
  row.parts.outcome.className = told?.kind || "";
  renew(row.parts.now, JSON.stringify([site.refresh, site.failing]), () => row.parts.now.replaceChildren(...[progress(site.refresh), failure(site.failing)].filter(Boolean)));
  row.parts.now.hidden = !row.parts.now.firstChild;
  const history = histories.get(site.site);
  renew(row.body, JSON.stringify([{ ...site, read_at: null, refresh: null, next_tick: null }, history, Math.floor(now() / 60000)]), () => {
    while (row.body.children.length > 2) row.body.lastChild.remove();
    row.body.append(...panel(site, entries, history).filter(Boolean));
  });
}

function panel(site, entries, history) {
  const recent = entries.slice(-SLOTS);
  const chart = section("tall", TEXTS.attemptsTitle, attemptBars(recent, SLOTS, barsLabel(entries), recent.some((entry) => entry.outcome === "failed") ? 14 : 1),
    recent.length ? scale(when(recent[0].at), say("longest", duration(Math.max(...recent.map(took)))), when(recent[recent.length - 1].at)) : null,
    make("small", "", TEXTS.attemptsHint));
  return [
    chart, stages(entries), lives(site, entries), reports(site), facts(site), people(entries), files(site),
    history?.error ? make("p", "wide faint", say("unreadable", shown(history.error))) : null,
    entries.length ? make("section", "wide", make("h2", "", TEXTS.tableTitle), attemptTable(entries.slice().reverse(), false)) : null,
  ];
}

function stages(entries) {
  const good = entries.filter((entry) => entry.outcome === "refreshed" && took(entry) > 0);
  if (!good.length) return section("", TEXTS.stagesTitle, make("p", "faint", "–"));
  const parts = ["solve", "extract", "verify"].map((name) => {
    const values = good.map((entry) => entry[name + "_ms"] || 0).sort((a, b) => a - b);
    return { name, sum: values.reduce((all, n) => all + n, 0), median: values[Math.floor(values.length / 2)] };
  });
  const sum = parts.reduce((all, part) => all + part.sum, 0) || 1;
  const percent = (part) => NUMBERS.format(Math.round(100 * part.sum / sum)) + "\u00a0%";
  const lines = parts.map((part) => make("tr", "",
    make("td", "", make("span", "key part-" + part.name), word(part.name)), make("td", "n", percent(part)), make("td", "n nb", duration(part.median))));
  const head = make("tr", "", make("th", "", TEXTS.stage), make("th", "n", TEXTS.share), make("th", "n", TEXTS.median));
  return section("thin", TEXTS.stagesTitle,
    shares(parts.map((part) => ["part-" + part.name, part.sum]), say("stagesLabel", parts.map((part) => word(part.name) + " " + percent(part)).join(", "))),
    make("table", "", make("thead", "", head), make("tbody", "", ...lines)));
}

function lives(site, entries) {
  const stored = entries.filter((entry) => entry.outcome === "refreshed");
  const begins = stored.map((entry) => Date.parse(entry.at));
  const current = site.token?.refreshed_at ? Date.parse(site.token.refreshed_at) : null;
  if (!site.token || current === null) return section("", TEXTS.lifeTitle, make("p", "faint", site.token ? TEXTS.foreign : TEXTS.missing));
  if (!begins.length || begins[begins.length - 1] < current - 2000) begins.push(current);
  const end = endOf(site.token);
  const lasts = begins.map((from, n) => n + 1 < begins.length
    ? { from, to: begins[n + 1], reported: stored[n + 1]?.trigger === "invalid" }
    : { from, to: end === null ? now() : end, reported: false });
  const to = Math.max(now(), end || 0) + 1000;
  const from = Math.min(current, Math.max(begins[0], now() - 2 * Math.max(to - now(), 6 * 3600e3)));
  const label = say("lifeLabel", stamp(site.token.refreshed_at), end === null ? "–" : stamp(end));
  const iso = (at) => new Date(at).toISOString();
  return section("short", TEXTS.lifeTitle, lifeLine(lasts, from, to, now(), label),
    scale(when(iso(from)), make("span", "", TEXTS.ends + " ", end === null ? "–" : when(iso(end)))),
    lasts.some((life) => life.reported) ? make("small", "", TEXTS.lifeHint) : null);
}

function reports(site) {
  const hours = site.reports_per_hour || [];
  const text = say("reportsLabel", NUMBERS.format(hours.reduce((all, n) => all + n, 0)), NUMBERS.format(Math.max(0, ...hours)));
  return section("mid", TEXTS.reportsTitle, columns(hours, text),
    scale(say("ago", span(3600 * hours.length)), TEXTS.now), make("small", "", text + ", " + TEXTS.reportsSince));
}

function facts(site) {
  const token = site.token;
  const list = make("dl");
  if (token) {
    const end = endOf(token);
    list.append(
      fact(TEXTS.fingerprint, make("code", "", token.fingerprint)),
      fact(TEXTS.stored, when(token.refreshed_at)),
      fact(TEXTS.ends, end === null ? "–" : when(new Date(end).toISOString())),
      fact(TEXTS.cameBy, token.trigger ? word(token.trigger, "t_") + (token.source ? ", " + shown(token.source) : "") : "–"),
      fact(TEXTS.tokenVersion, token.version ? String(token.version) : TEXTS.foreign));
  }
  list.append(fact(TEXTS.nextRefresh, when(site.refresh_at)), fact(TEXTS.lastSuccess, when(site.last_success_at)), fact(TEXTS.lastAttempt, when(site.last_attempt_at)));
  return section("", TEXTS.factsTitle, list);
}

// Whether each file holds the token, and whether what follows a write has succeeded.
function files(site) {
  if (!site.outputs?.length) return null;
  const state = (is, good, bad) => make("td", "nb", glyph(is === null ? "unread" : is ? "fresh" : "failing"), is === null ? "–" : is ? good : bad);
  const lines = site.outputs.map(({ file, current, error, hook }) => make("tr", "",
    make("td", "", make("bdi", "", shown(file))), state(current, TEXTS.current, TEXTS.stale),
    hook ? state(hook.succeeded, TEXTS.succeeded, TEXTS.failed) : make("td", "", "–"),
    make("td", "detail", make("bdi", "", shown([error, hook?.error].filter(Boolean).join(" · "))))));
  const head = make("tr", "", ...[TEXTS.file, TEXTS.token, TEXTS.hook, TEXTS.detail].map((text) => make("th", "", text)));
  return section("wide", TEXTS.filesTitle, make("table", "", make("thead", "", head), make("tbody", "", ...lines)));
}

function people(entries) {
  const counts = new Map();
  for (const entry of entries) {
    const who = entry.reporter ? shown(entry.reporter) : ["invalid", "manual"].includes(entry.trigger) ? "–" : TEXTS.sidecarItself;
    const why = entry.reason ? shown(entry.reason) : word(entry.trigger, "t_");
    const key = JSON.stringify([who, why]);
    counts.set(key, (counts.get(key) || 0) + 1);
  }
  if (!counts.size) return section("", TEXTS.whoTitle, make("p", "faint", "–"));
  const lines = [...counts].sort(([, a], [, b]) => b - a).slice(0, 6).map(([key, count]) => {
    const [who, why] = JSON.parse(key);
    return make("tr", "", make("td", "", make("bdi", "", who)), make("td", "", make("bdi", "", why)), make("td", "n", NUMBERS.format(count)));
  });
  const head = make("tr", "", make("th", "", TEXTS.who), make("th", "", TEXTS.why), make("th", "n", TEXTS.times));
  return section("", TEXTS.whoTitle, make("table", "", make("thead", "", head), make("tbody", "", ...lines)));
}

function progress(refresh) {
  if (!refresh) return null;
  if (!refresh.stage) return make("p", "notice", TEXTS.elsewhere);
  const at = STAGES.indexOf(refresh.stage);
  const steps = STAGES.map((stage, n) => {
    const step = make("li", n < at ? "done" : "", word(stage));
    if (n === at) step.setAttribute("aria-current", "step");
    return step;
  });
  return make("div", "notice", make("p", "", TEXTS.underWay, " · ", when(refresh.since)), make("ol", "steps", ...steps));
}

function failure(failing) {
  if (!failing) return null;
  const [before, after] = say("failedAt", word(failing.stage), word(failing.trigger, "t_"), "\u0000").split("\u0000");
  return make("div", "notice bad",
    make("p", "", make("strong", "", say("failures", failing.attempts)), " ", before, when(failing.retry_at), after),
    make("p", "", make("code", "", make("bdi", "", shown(failing.error)))));
}

function outcomeCell(outcome) {
  const kind = outcome === "failed" ? "failing" : outcome === "refreshed" ? "fresh" : "unread";
  return make("td", "", glyph(kind), word(outcome));
}

// Attempts, newest first; of several sites with the name of each.
function attemptTable(entries, named) {
  const names = [TEXTS.when, ...(named ? [TEXTS.site] : []), TEXTS.outcome, TEXTS.why, TEXTS.who, TEXTS.source, TEXTS.took, TEXTS.detail];
  const head = make("tr", "", ...names.map((text) => make("th", text === TEXTS.took ? "n" : "", text)));
  const lines = entries.map((entry) => {
    const detail = [entry.error && (entry.stage ? word(entry.stage) + ": " : "") + shown(entry.error), entry.reason && shown(entry.reason)].filter(Boolean).join(" · ");
    return make("tr", "",
      make("td", "nb", when(entry.at)), named && make("td", "", entry.site), outcomeCell(entry.outcome),
      make("td", "", word(entry.trigger, "t_")), make("td", "", make("bdi", "", shown(entry.reporter || "–"))), make("td", "", shown(entry.source || "–")),
      make("td", "n nb", took(entry) ? duration(took(entry)) : "–"), make("td", "detail", detail && make("bdi", "", detail)));
  });
  return make("table", "", make("thead", "", head), make("tbody", "", ...lines));
}

// ---- the whole page

function matching() {
  const wanted = byId("search").value.trim().toLowerCase();
  const ranks = { failing: 0, unread: 1, refreshing: 2, fresh: 2 };
  const sites = status.sites.map((site) => ({ site, kind: stateOf(site)[0] }))
    .filter(({ site, kind }) => (filter === "all" || kind === filter) && site.site.includes(wanted));
  return sites.sort((a, b) => ranks[a.kind] - ranks[b.kind] || (a.site.site < b.site.site ? -1 : 1)).map(({ site }) => site);
}

const visible = () => matching().slice(0, limit);

// Reads the histories of the sites that are looked at.
function readUnread() {
  const unread = visible().filter((site) => !histories.has(site.site)).map((site) => site.site);
  if (unread.length) readHistories(unread);
}

function renderSites() {
  if (byId("sites").hidden) return;
  const all = matching();
  const sites = all.slice(0, limit);
  const only = status.sites.length === 1;
  const wanted = sites.map((site) => {
    const row = rows.get(site.site) || newRow(site.site);
    if (only && !row.seen) row.element.open = true;
    row.seen = true;
    return row.element;
  });
  const list = byId("sites");
  const shownNow = [...list.children];
  if (wanted.length !== shownNow.length || wanted.some((element, n) => element !== shownNow[n])) {
    const focused = document.activeElement;
    list.replaceChildren(...wanted);
    if (focused && list.contains(focused)) focused.focus({ preventScroll: true });
  }
  sites.forEach(renderRow);
  byId("none").hidden = all.length > 0;
  byId("more").hidden = all.length <= limit;
  byId("more").textContent = say("more", Math.min(FIRST_ROWS, all.length - limit));
}

const TILES = ["all", "failing", "refreshing", "fresh", "unread"];

function counts() {
  const sums = { all: status.sites.length, failing: 0, refreshing: 0, fresh: 0, unread: 0 };
  for (const site of status.sites) sums[stateOf(site)[0]] += 1;
  return sums;
}

function renderHead() {
  const sums = counts();
  const old = oldness();
  document.body.classList.toggle("old", old !== null);
  renew(byId("tiles"), JSON.stringify([sums, filter, old !== null]), () => {
    const focused = document.activeElement?.dataset?.kind;
    byId("tiles").replaceChildren(...TILES.filter((kind) => kind !== "unread" || sums.unread).map((kind) => {
      const button = make("button", !sums[kind] ? "zero" : kind === "failing" ? "hot" : "", make("b", "", NUMBERS.format(sums[kind])),
        kind === "all" ? null : glyph(old ? "unread" : kind), TEXTS[kind]);
      button.type = "button";
      button.dataset.kind = kind;
      button.setAttribute("aria-pressed", String(filter === kind));
      return button;
    }));
    if (focused) byId("tiles").querySelector(`[data-kind="${focused}"]`)?.focus();
  });
  const said = ["failing", "refreshing", "fresh", "unread"].filter((kind) => sums[kind]).map((kind) => say("count_" + kind, sums[kind])).join(", ");
  const summary = old ? old.title + ". " + say("was", said) : said;
  setText(byId("summary"), summary);
  const bad = sums.failing > 0;
  const head = old ? old.title : bad ? say("count_failing", sums.failing) : sums.fresh === sums.all ? TEXTS.allWell : said;
  const title = head + " – " + TEXTS.title;
  if (document.title !== title) document.title = title;
  setIcon(old ? "old" : bad ? "bad" : "good");
  const redis = status.redis;
  const listening = status.sites.map((site) => histories.get(site.site)?.listening).filter((n) => typeof n === "number");
  const most = Math.max(0, ...listening);
  const facts = [redis.round_trip_ms === null || old ? null : say("redis", DECIMALS.format(redis.round_trip_ms) + "\u00a0" + TEXTS.ms)];
  if (listening.length && !old) facts.push(most ? say("listening", most) : TEXTS.listeningNone);
  for (const solver of status.solvers) {
    if (solver.state === "open") facts.push(say("solverOpen", shown(solver.address), span(solver.left_alone_s)));
    if (solver.state === "half-open") facts.push(say("solverTrial", shown(solver.address)));
  }
  setText(byId("link"), facts.filter(Boolean).join(" · "));
  setText(byId("build"), say("version", status.version, shown(status.instance)));
  byId("search").hidden = status.sites.length < 6 || !byId("events").hidden;
  byId("tiles").hidden = status.sites.length < 2 || !byId("events").hidden;
}

function renderNotice() {
  const old = oldness();
  byId("notice").hidden = !old;
  if (old) setText(byId("notice"), old.text);
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const ICONS = {
  good: "<circle cx='8' cy='8' r='6' fill='%232f7d5b'/>",
  bad: "<path d='M8 1 15.5 14.5H.5Z' fill='%23c8402a'/>",
  old: "<circle cx='8' cy='8' r='5.5' fill='none' stroke='%23888' stroke-width='2.5'/>",
};

function setIcon(kind) {
  const icon = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>" + ICONS[kind] + "</svg>";
  if (byId("icon").getAttribute("href") !== icon) byId("icon").setAttribute("href", icon);
}

function renderEvents() {
  if (byId("events").hidden) return;
  const attempts = [...histories].flatMap(([site, history]) => history.entries.map((entry) => ({ ...entry, site })));
  const all = attempts.concat(repeats).sort((a, b) => Date.parse(b.at) - Date.parse(a.at)).slice(0, MAX_EVENTS);
  renew(byId("events"), JSON.stringify(all), () => byId("events").replaceChildren(
    make("h2", "hush", TEXTS.events), all.length ? attemptTable(all, true) : make("p", "faint", TEXTS.eventsNone), make("p", "faint", TEXTS.eventsHint)));
}

function render() {
  renderNotice();
  if (!status) {
    document.body.classList.toggle("old", oldness() !== null);
    if (oldness()) { document.title = TEXTS.goneTitle + " – " + TEXTS.title; setIcon("old"); }
    return;
  }
  readUnread();
  renderHead();
  renderSites();
  renderEvents();
}

let lastDrift = Date.now() - performance.now();

function tick() {
  const drift = Date.now() - performance.now();
  // This machine has slept, or its clock was set: how old the state is cannot be told.
  if (Math.abs(drift - lastDrift) > 3000) {
    answeredAt = Math.min(answeredAt, performance.now() - ANSWER_AGE - 1);
    read();
  }
  lastDrift = drift;
  render();
  document.querySelectorAll("time").forEach((time) => setText(time, distance(time.dateTime)));
}

function showView() {
  const events = location.hash === "#events";
  byId("events").hidden = !events;
  for (const id of ["sites", "none", "more"]) byId(id).hidden = events;
  for (const [id, current] of [["to-sites", !events], ["to-events", events]]) {
    if (current) byId(id).setAttribute("aria-current", "page"); else byId(id).removeAttribute("aria-current");
  }
  render();
}

// ---- what the sidecar says

async function ask(path, options = {}) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(8000), ...options });
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.error || "HTTP " + answer.status), { status: answer.status });
  return body;
}

let isReading = false;
let readAgain = false;

// One reading at a time: all that is asked for meanwhile is one more.
async function read() {
  readAgain = true;
  if (isReading) return;
  isReading = true;
  while (readAgain) {
    readAgain = false;
    await readOnce();
  }
  isReading = false;
}

async function readOnce() {
  try {
    const before = status;
    status = await ask("api/status");
    answeredAt = performance.now();
    reachable = true;
    setClock(status.time);
    const known = new Map((before?.sites || []).map((site) => [site.site, site.last_attempt_at]));
    for (const site of status.sites) if (before && known.get(site.site) !== site.last_attempt_at && !site.refresh) dirty.add(site.site);
    readDirty();
  } catch {
    reachable = false;
  }
  render();
}

const inFlight = new Set();

async function readHistories(names) {
  const missing = names.filter((name) => !inFlight.has(name)).slice(0, 100);
  if (!missing.length) return;
  missing.forEach((name) => inFlight.add(name));
  try {
    const { histories: read } = await ask("api/histories?limit=" + SLOTS + "&sites=" + missing.join(","));
    for (const history of read) histories.set(history.site, history);
  } catch (error) {
    for (const name of missing) if (!histories.has(name)) histories.set(name, { listening: null, entries: [], error: error.message });
  }
  missing.forEach((name) => inFlight.delete(name));
  if (status) render();
}

let dirtyTimer = null;

// What changes within a quarter of a second is read at once.
function readDirty() {
  if (!dirty.size || dirtyTimer) return;
  dirtyTimer = setTimeout(() => {
    dirtyTimer = null;
    // One that is being read is read once more afterwards: it may have changed since.
    const names = [...dirty].filter((name) => !inFlight.has(name)).slice(0, 100);
    names.forEach((name) => dirty.delete(name));
    readHistories(names);
    readDirty();
  }, 250);
}

function readAll() {
  if (document.hidden) return;
  if (status) visible().forEach((site) => dirty.add(site.site));
  read();
  readDirty();
}

function onAnnouncement(message) {
  const event = JSON.parse(message.data);
  const refreshed = event.event === "token:updated";
  if (event.cause === "repeated") {
    repeats.unshift({ site: event.site, at: new Date(now()).toISOString(), outcome: "repeated", trigger: event.trigger, source: event.source, stage: event.stage, error: event.error });
    repeats.length = Math.min(repeats.length, MAX_EVENTS);
  } else {
    dirty.add(event.site);
  }
  if (asked.get(event.site)?.open) {
    asked.set(event.site, refreshed ? { kind: "good", text: say("gotToken", event.fingerprint) }
      : { kind: "bad", text: say("gotFailure", word(event.stage), shown(event.error)) });
  }
  read();
  readDirty();
}

function onRefresh(message) {
  const { site: name, stage } = JSON.parse(message.data);
  const site = status?.sites.find((site) => site.site === name);
  if (!site) return;
  site.refresh = stage ? { stage, since: new Date(now()).toISOString() } : null;
  render();
  if (!stage) read();
}

let events = null;

function follow() {
  events = new EventSource("api/events");
  events.addEventListener("token:updated", onAnnouncement);
  events.addEventListener("token:failed", onAnnouncement);
  events.addEventListener("refresh", onRefresh);
  events.addEventListener("redis", readAll);
  events.addEventListener("open", readAll);
  // The sidecar has gone, or the hour of this connection is over: the next answer tells.
  events.addEventListener("error", () => {
    read();
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
  });
}

// ---- acting

const ADMIN_KEY = "token-sidecar admin token";
let dialogSite = null;

function openDialog(name) {
  dialogSite = name;
  byId("admin-field").hidden = sessionStorage.getItem(ADMIN_KEY) !== null;
  setText(byId("dialog-title"), say("dialogTitle", name));
  setText(byId("dialog-error"), "");
  byId("reason").value = "";
  byId("dialog").showModal();
  (byId("admin-field").hidden ? byId("reason") : byId("admin")).focus();
}

async function act(event) {
  event.preventDefault();
  const name = dialogSite;
  const kept = sessionStorage.getItem(ADMIN_KEY);
  const admin = kept ?? byId("admin").value;
  const query = new URLSearchParams({ source: "status page", reason: byId("reason").value });
  byId("ask").disabled = true;
  asked.set(name, { open: true, kind: "wait", text: TEXTS.asked });
  try {
    // A header takes no other characters, nor does the setting.
    if (/[^ -~]/.test(admin)) throw Object.assign(new Error(TEXTS.wrongToken), { status: 401 });
    await ask(`api/sites/${name}/refresh?${query}`, { method: "POST", headers: { Authorization: "Bearer " + admin } });
    sessionStorage.setItem(ADMIN_KEY, admin);
    byId("admin").value = "";
    byId("dialog").close();
  } catch (error) {
    asked.delete(name);
    const isWrong = error.status === 401;
    if (isWrong) {
      sessionStorage.removeItem(ADMIN_KEY);
      byId("admin-field").hidden = false;
      byId("admin").focus();
    }
    setText(byId("dialog-error"), isWrong ? TEXTS.wrongToken : say("refusedAsk", shown(error.message)));
  }
  byId("ask").disabled = false;
  read();
}

// ---- the start

document.documentElement.lang = LANGUAGE;
for (const [id, key] of [["to-sites", "sites"], ["to-events", "events"], ["to-metrics", "metrics"], ["to-json", "json"], ["none", "none"],
  ["admin-name", "adminToken"], ["admin-hint", "adminHint"], ["reason-name", "reason"], ["reason-hint", "reasonHint"], ["cancel", "cancel"], ["ask", "ask"]]) {
  byId(id).textContent = TEXTS[key];
}
byId("tiles").setAttribute("aria-label", TEXTS.filter);
byId("search").setAttribute("aria-label", TEXTS.search);
byId("search").placeholder = TEXTS.search;
byId("link").textContent = TEXTS.loading;
byId("tiles").addEventListener("click", (event) => {
  const kind = event.target.closest("button")?.dataset.kind;
  if (!kind) return;
  filter = kind === filter ? "all" : kind;
  render();
});
byId("search").addEventListener("input", () => { limit = FIRST_ROWS; render(); });
byId("more").addEventListener("click", () => { limit += FIRST_ROWS; render(); });
byId("cancel").addEventListener("click", () => byId("dialog").close());
byId("dialog").querySelector("form").addEventListener("submit", act);
window.addEventListener("hashchange", showView);
document.addEventListener("visibilitychange", readAll);
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || byId("search").hidden || event.target.closest("input, dialog")) return;
  event.preventDefault();
  byId("search").focus();
});
showView();
follow();
read();
setInterval(tick, 1000);
setInterval(() => { if (!document.hidden) read(); }, 3000);
setInterval(readAll, 60000);
