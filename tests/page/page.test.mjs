// The status page in a real browser: what it shows of each state, the button, and that everybody can use it.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { failing, instant, many, site } from "./sites.mjs";
import { ADMIN, Stage, World } from "./world.mjs";

// Far longer than anything here takes, also on a busy machine.
const DEADLINE = 60_000;
const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
const AXE = await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

let browser;
let world;

before(async () => {
  // The tests may run as root.
  browser = await chromium.launch({ executablePath: process.env.BROWSER, args: ["--no-sandbox"] });
  world = await World.start();
});

after(async () => {
  await browser?.close();
  await world?.end();
});

// A page that must not complain, nor ask another host for anything.
async function open(t, url, options = {}, hash = "") {
  const context = await browser.newContext({ viewport: DESKTOP, locale: "en-GB", ...options });
  context.setDefaultTimeout(DEADLINE);
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    // The browser itself says so where the sidecar does not answer, or answers 401.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) complaints.push(request.url());
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(complaints, []);
  });
  await page.goto(url + hash);
  return page;
}

async function stage(t, sites) {
  const stage = await Stage.start(world, sites);
  t.after(() => stage.end());
  return stage;
}

const until = (page, condition, argument) => page.waitForFunction(condition, argument);
const titled = (page, text) => until(page, (text) => document.title.includes(text), text);
const row = (page, name) => page.locator("details.site", { has: page.locator(".name", { hasText: new RegExp(`^${name}$`) }) });
const picture = (page, name, full = false) => page.screenshot({ path: join(process.env.PICTURES, `${name}.png`), fullPage: full, animations: "disabled" });

async function accessible(page) {
  await page.evaluate(AXE);
  const violations = await page.evaluate(async () => (await axe.run()).violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]));
  assert.deepEqual(violations, []);
}

test("a real site is fresh, and its history is shown", { timeout: 2 * DEADLINE }, async (t) => {
  const page = await open(t, world.url);
  await titled(page, "all fresh");
  await until(page, () => document.querySelectorAll("tbody td.nb time").length > 0);
  assert.equal(await page.locator("summary .state").textContent(), "fresh");
  assert.match(await page.locator("#link").textContent(), /^Redis [\d.]+\sms · 1 sidecar listens$/);
  assert.match(await page.locator("#icon").getAttribute("href"), /circle/);
  await accessible(page);
  await picture(page, "real", true);
});

test("the button refreshes with the admin token, and the history says who asked and why", { timeout: 2 * DEADLINE }, async (t) => {
  const page = await open(t, world.url);
  await page.getByRole("button", { name: "Refresh now" }).click();
  await accessible(page);
  await page.getByLabel("Admin token").fill("wrong");
  await page.getByRole("button", { name: "Refresh", exact: true }).click();
  await until(page, () => document.querySelector("#dialog-error").textContent === "The admin token is wrong.");
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  await world.faults({ solve_delay: 1500 });
  await page.getByLabel("Admin token").fill(ADMIN);
  await page.getByLabel("Reason").fill("<b>new</b> keys");
  await page.getByRole("button", { name: "Refresh", exact: true }).click();
  // The stage is seen while it lasts.
  await until(page, () => document.querySelector(".steps [aria-current]")?.textContent === "solve");
  await until(page, () => document.querySelector(".act [role=status]").textContent.startsWith("New token "));
  await until(page, () => document.querySelector(".panel").textContent.includes("<b>new</b> keys"));
  assert.match(await page.locator("tbody tr", { hasText: "by hand" }).first().textContent(), /status page/);
  // Once is enough, and only this tab remembers.
  await page.getByRole("button", { name: "Refresh now" }).click();
  assert.equal(await page.getByLabel("Admin token").isVisible(), false);
  await page.keyboard.press("Escape");
  assert.deepEqual(await page.evaluate(() => [Object.values(sessionStorage), localStorage.length, document.cookie]), [[ADMIN], 0, ""]);
  assert.equal((await page.content()).includes(ADMIN), false);
  await world.faults({});
});

test("a failure is shown with its error, in the page, its title and its icon", { timeout: 2 * DEADLINE }, async (t) => {
  await world.faults({ solve_error: "timeout" });
  const page = await open(t, world.url);
  await fetch(`${world.url}api/sites/chitai_gorod/refresh?source=test`, { method: "POST", headers: { Authorization: `Bearer ${ADMIN}` } });
  await titled(page, "1 failing");
  assert.equal(await page.locator("summary .state").textContent(), "failing");
  assert.match(await page.locator(".panel .notice").textContent(), /^1 failed attempt at solve.*timeout/);
  assert.match(await page.locator("#icon").getAttribute("href"), /path/);
  await until(page, () => document.querySelector("tbody .glyph.failing"));
  await page.goto(`${world.url}#events`);
  await until(page, () => document.querySelector("#events tbody tr")?.textContent.includes("timeout"));
  await world.faults({});
});

test("what is old has no colour, as soon as Redis or the sidecar is gone", { timeout: 3 * DEADLINE }, async (t) => {
  const page = await open(t, world.url);
  await until(page, () => !document.body.classList.contains("old") && document.querySelector(".site"));
  await world.endRedis();
  await titled(page, "Redis away");
  await until(page, () => document.querySelector("#notice").textContent.startsWith("Redis is away: "));
  assert.match(await page.locator("summary .state").textContent(), /^was /);
  assert.equal(await page.locator("summary .glyph").getAttribute("class"), "glyph unread");
  assert.equal(await page.getByRole("button", { name: "Refresh now" }).isDisabled(), true);
  await picture(page, "redis-away");
  await world.startRedis();
  await until(page, () => !document.body.classList.contains("old"));
  await world.endSidecar();
  await titled(page, "no answer");
  await until(page, () => document.querySelector("#notice").textContent.startsWith("The sidecar does not answer."));
  const colours = await page.evaluate(() => {
    const style = getComputedStyle(document.body);
    return ["--good", "--bad", "--wait"].map((name) => style.getPropertyValue(name));
  });
  assert.equal(new Set(colours).size, 1);
  await accessible(page);
  await picture(page, "sidecar-gone");
});

const STATES = [
  ["fresh", {}, "fresh", "fresh"],
  ["failing", { failing: failing() }, "failing", "failing"],
  ["refused", { state: "refused", failing: failing() }, "failing", "refused"],
  ["missing", { state: "missing", token: null, failing: failing() }, "failing", "no token"],
  ["unknown", { state: "unknown", token: null, read_at: null }, "unread", "not read yet"],
  ["refreshing", { refresh: { stage: "verify", since: instant(Date.now()) } }, "refreshing", "refreshing: verify"],
  ["elsewhere", { refresh: { stage: null, since: null } }, "refreshing", "refreshing"],
];

test("each state has a word and a shape of its own", { timeout: 2 * DEADLINE }, async (t) => {
  const sites = STATES.map(([name, changes]) => site(name, changes));
  const ended = site("expired");
  ended.token.expires_at = instant(Date.now() - 5000);
  const { url } = await stage(t, [...sites, ended]);
  const page = await open(t, url);
  await titled(page, "4 failing");
  for (const [name, , kind, word] of [...STATES, ["expired", {}, "failing", "expired"]]) {
    assert.equal(await row(page, name).locator(".state").textContent(), word, name);
    assert.equal(await row(page, name).locator(".glyph").getAttribute("class"), `glyph ${kind}`, name);
  }
  const shapes = await page.evaluate(() => ["fresh", "failing", "refreshing", "unread"].map((kind) => document.querySelector(`.glyph.${kind}`).innerHTML));
  assert.equal(new Set(shapes).size, 4);
  await accessible(page);
});

test("a hostile text is shown and does nothing", { timeout: 2 * DEADLINE }, async (t) => {
  const text = "<img src=x onerror=\"document.title='owned'\"><script>alert(1)</script>\u202Edrowssap\u202C\u0007\u200B" + "x".repeat(5000);
  const outputs = [{ file: text, current: false, error: text, hook: { succeeded: false, error: text } }];
  const hostile = site("shop", { failing: failing(text), outputs });
  Object.assign(hostile.entries[0], { error: text, reason: text, reporter: text, source: text, trigger: text, outcome: text });
  const { url } = await stage(t, [hostile]);
  const page = await open(t, url);
  await titled(page, "1 failing");
  await until(page, () => document.querySelector(".panel tbody"));
  const panel = await page.locator(".panel").textContent();
  assert.ok(panel.includes("<script>alert(1)</script>⟨202e⟩drowssap⟨202c⟩⟨0007⟩⟨200b⟩xxx"), panel.slice(0, 500));
  assert.doesNotMatch(await page.locator("body").textContent(), /[\u202a-\u202e\u0007\u200b]/);
  assert.equal(await page.locator("main img, main script").count(), 0);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "a long word widens the page");
  await accessible(page);
});

test("each file has its state, and so has what follows a write", { timeout: 2 * DEADLINE }, async (t) => {
  const outputs = [
    { file: "/data/.env", current: true, error: null },
    { file: "/run/nginx.conf", current: true, error: null, hook: { succeeded: false, error: "nginx ended with exit status: 1" } },
    { file: "/run/token", current: false, error: "failed to write a new one in its folder", hook: { succeeded: null, error: null } },
  ];
  const { url } = await stage(t, [site("shop", { outputs }), site("books", { outputs: [] })]);
  const page = await open(t, url);
  await row(page, "shop").locator("summary").click();
  const table = row(page, "shop").locator("section", { has: page.locator("h2", { hasText: "Files" }) });
  const rows = await table.locator("tbody tr").evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
  assert.deepEqual(rows, [
    ["/data/.env", "current", "–", ""],
    ["/run/nginx.conf", "current", "failed", "nginx ended with exit status: 1"],
    ["/run/token", "stale", "–", "failed to write a new one in its folder"],
  ]);
  await row(page, "books").locator("summary").click();
  await until(page, () => document.querySelectorAll("details[open] table").length > 3);
  assert.equal(await page.locator("h2", { hasText: "Files" }).count(), 1);
  await accessible(page);
});

test("a hundred sites fit on a few screens, failing first, and cost a handful of requests", { timeout: 2 * DEADLINE }, async (t) => {
  const set = await stage(t, many(100));
  const page = await open(t, set.url);
  await titled(page, "2 failing");
  await until(page, () => document.querySelectorAll("summary .bars svg rect.good").length > 1000);
  assert.ok(set.requests <= 6, `${set.requests} requests`);
  assert.deepEqual(await page.locator("#tiles button").allTextContents(), ["100all", "2failing", "1refreshing", "97fresh"]);
  assert.ok((await page.evaluate(() => document.documentElement.scrollHeight)) < 5 * DESKTOP.height);
  assert.deepEqual((await page.locator("summary .state").allTextContents()).slice(0, 3), ["expired", "failing", "fresh"]);
  await picture(page, "sites-light");

  const settled = set.requests;
  Object.assign(set.sites[3].entries[0], { reporter: "the newest parser" });
  set.announce("token:failed", { event: "token:failed", site: set.sites[3].site, cause: "attempt", stage: "solve", error: "no" });
  await page.locator("a", { hasText: "Events" }).click();
  await until(page, () => document.querySelector("#events").textContent.includes("the newest parser"));
  // The page asks for the state every three seconds besides.
  assert.ok(set.requests - settled <= 6, `${set.requests - settled} requests`);
  assert.equal(await page.locator("#events tbody tr").count(), 100);
  await page.locator("a", { hasText: "Sites" }).click();

  await page.getByRole("button", { name: "failing" }).click();
  assert.equal(await page.locator("details.site").count(), 2);
  await page.getByRole("button", { name: "all" }).click();
  await page.keyboard.press("/");
  await page.keyboard.type("tea");
  assert.equal(await page.locator("details.site").count(), 10);
  await page.keyboard.type("-nowhere");
  assert.equal(await page.locator("#none").isVisible(), true);
});

test("the events can be opened at once", { timeout: 2 * DEADLINE }, async (t) => {
  const set = await stage(t, many(3));
  const page = await open(t, set.url, {}, "#events");
  await until(page, () => document.querySelectorAll("#events tbody tr").length === 72);
  await accessible(page);
});

test("the keyboard opens a site, and what is open stays open", { timeout: 2 * DEADLINE }, async (t) => {
  const set = await stage(t, many(20));
  const page = await open(t, set.url);
  await until(page, () => document.querySelectorAll("details.site").length === 20);
  await page.locator("summary").first().focus();
  await page.keyboard.press("Enter");
  await until(page, () => document.querySelector("[open] .panel tbody"));
  const opened = await page.locator("[open] .name").textContent();
  // It is fresh again, so it moves down.
  const site = set.sites.find(({ site }) => site === opened);
  Object.assign(site, { failing: null });
  set.announce("redis", { subscription: "up" });
  await titled(page, "1 refreshing, 19 fresh");
  assert.equal(await page.locator("[open] .name").textContent(), opened);
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "SUMMARY");
});

test("a sidecar that falls silent, and a clock that is set, make the state old", { timeout: 2 * DEADLINE }, async (t) => {
  const set = await stage(t, many(3));
  const page = await open(t, set.url);
  await titled(page, "fresh");
  set.silent = true;
  await page.evaluate(() => {
    const now = Date.now.bind(Date);
    Date.now = () => now() + 3600e3;
  });
  await until(page, () => document.body.classList.contains("old"));
  // Ages are counted by Redis' clock and go on as before.
  assert.doesNotMatch(await page.locator("summary .life").first().textContent(), /ended/);
  set.silent = false;
  await until(page, () => !document.body.classList.contains("old"));
  set.redis = { ...set.redis, canary_age_s: 21 };
  await until(page, () => document.querySelector("#notice").textContent.startsWith("Redis has not answered for 2"));
});

test("without an admin token there is no button", { timeout: 2 * DEADLINE }, async (t) => {
  const set = await stage(t, [site("shop")]);
  set.admin = false;
  const page = await open(t, set.url);
  await until(page, () => document.querySelector(".panel tbody"));
  assert.equal(await page.getByRole("button", { name: "Refresh now" }).isVisible(), false);
});

test("phone, dark, less motion and Russian", { timeout: 2 * DEADLINE }, async (t) => {
  const set = await stage(t, many(20));
  const page = await open(t, set.url, { viewport: PHONE, colorScheme: "dark", reducedMotion: "reduce", locale: "ru-RU", hasTouch: true });
  await titled(page, "со сбоем: 1");
  assert.equal(await page.locator("html").getAttribute("lang"), "ru");
  await page.locator("summary").first().tap();
  await until(page, () => document.querySelector("[open] .panel tbody"));
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector(".glyph.refreshing")).animationName), "none");
  await accessible(page);
  await picture(page, "phone-dark-russian", true);
  const differ = await page.evaluate(() => {
    const keys = (language) => Object.keys(WORDS[language]).filter((key) => !key.startsWith("one_"));
    return [keys("en").filter((key) => !(key in WORDS.ru)), keys("ru").filter((key) => !(key in WORDS.en))];
  });
  assert.deepEqual(differ, [[], []], "texts that one language lacks");
});

test("one site, open, in the dark", { timeout: 2 * DEADLINE }, async (t) => {
  const [shop] = many(1);
  const set = await stage(t, [shop]);
  const page = await open(t, set.url, { colorScheme: "dark" });
  await until(page, () => document.querySelector(".panel tbody"));
  await accessible(page);
  await picture(page, "site-dark");
});
