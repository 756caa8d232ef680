"use strict";
// What the page says, in the first of the browser's languages that it speaks.
const WORDS = {
  en: {
    title: "token-sidecar",
    loading: "reading the state…",
    sites: "Sites", events: "Events", metrics: "metrics", json: "state as JSON", version: "version {0}, {1}",
    all: "all", failing: "failing", refreshing: "refreshing", fresh: "fresh", unread: "not read yet",
    expired: "expired", refused: "refused", missing: "no token", unknown: "not read yet", was: "was {0}",
    allWell: "all fresh", count_failing: "{0} failing", count_refreshing: "{0} refreshing", count_fresh: "{0} fresh",
    count_unread: "{0} not read yet",
    filter: "Filter by state", search: "Search sites", none: "No site matches.", more: "Show {0} more",
    redis: "Redis {0}", listening: { one: "{0} sidecar listens", other: "{0} sidecars listen" }, listeningNone: "no sidecar listens",
    solverOpen: "solver {0}: left alone for {1}", solverTrial: "solver {0}: on trial",
    gone: "The sidecar does not answer. The page shows what was true {0}.",
    redisAway: "Redis is away: {0}. The page shows what was true {1}.", redisLost: "the connection is lost",
    redisSilent: "Redis has not answered for {0}. The page shows what was true {1}.",
    late: "No news for {0}: the page shows an old state.",
    never: "The sidecar does not answer.",
    goneTitle: "no answer", redisTitle: "Redis away", oldTitle: "old",
    now: "now", ago: "{0} ago", ahead: "in {0}", left: "{0} left", ended: "ended {0}", next: "next {0}", endless: "no end known",
    d: "d", h: "h", min: "min", s: "s", ms: "ms",
    attemptsTitle: "Latest attempts", attemptsHint: "up: refreshed, down: failed, hollow: another sidecar was faster; height: how long it took",
    attemptsLabel: "Latest attempts: {0} refreshed, {1} failed; the newest {2}, {3}", noAttempts: "No attempts yet.",
    longest: "longest {0}",
    stagesTitle: "Where a solve spends its time", stagesLabel: "Share of the stages: {0}", median: "median", share: "share", stage: "stage",
    lifeTitle: "Lives of the tokens", lifeLabel: "The current token was stored {0} and ends {1}", lifeHint: "tick below: replaced after a report",
    reportsTitle: "Reports of refused tokens, by the hour", reportsLabel: "{0} in 24 hours, at most {1} in an hour", reportsSince: "as far as this sidecar has run",
    whoTitle: "Who asked, and why", who: "who", why: "why", times: "times", sidecarItself: "the sidecar itself",
    factsTitle: "The token", fingerprint: "fingerprint", stored: "stored", ends: "ends", tokenVersion: "version", foreign: "stored by another program",
    cameBy: "came by", nextRefresh: "next refresh", lastSuccess: "last success", lastAttempt: "last attempt",
    tableTitle: "Attempts", when: "when", outcome: "outcome", source: "source", took: "took", detail: "error or reason", site: "site",
    filesTitle: "Files", file: "file", token: "token", hook: "after a write", current: "current", stale: "stale", succeeded: "succeeded",
    failures: { one: "{0} failed attempt", other: "{0} failed attempts in a row" }, failedAt: "at {0}, begun by {1}; next try {2}",
    underWay: "A refresh is under way", elsewhere: "Another sidecar is refreshing the token.",
    claimed: "lock", solve: "solve", extract: "extract", verify: "verify", commit: "store", store: "store",
    refreshed: "refreshed", failed: "failed", superseded: "superseded", adopted: "adopted", repeated: "answered again",
    t_invalid: "a report", t_manual: "by hand", t_schedule: "schedule", t_expiry: "its end", t_startup: "start-up",
    t_reconnect: "reconnect", t_vanished: "key vanished", t_bootstrap: "bootstrap",
    refreshNow: "Refresh now", dialogTitle: "A new token for {0}", adminToken: "Admin token", adminHint: "SIDECAR_ADMIN_TOKEN; kept until this tab is closed",
    reason: "Reason", reasonHint: "goes into the history; may be empty", cancel: "Cancel", ask: "Refresh",
    asked: "Asked for; waiting for the outcome.", gotToken: "New token {0}.", gotFailure: "Failed at {0}: {1}",
    wrongToken: "The admin token is wrong.", refusedAsk: "Not accepted: {0}",
    eventsNone: "No events yet.", eventsHint: "The last hundred, as they come.", unreadable: "The history cannot be read: {0}",
  },
  ru: {
    title: "token-sidecar",
    loading: "читаю состояние…",
    sites: "Сайты", events: "События", metrics: "метрики", json: "состояние в JSON", version: "версия {0}, {1}",
    all: "все", failing: "сбои", refreshing: "обновляются", fresh: "свежие", unread: "не прочитаны",
    expired: "истёк", refused: "отклонён", missing: "нет токена", unknown: "не прочитан", was: "было: {0}",
    one_fresh: "свежий", one_failing: "сбой", one_refreshing: "обновляется",
    allWell: "все свежие", count_failing: "со сбоем: {0}", count_refreshing: "обновляются: {0}", count_fresh: "свежих: {0}",
    count_unread: "не прочитаны: {0}",
    filter: "Отбор по состоянию", search: "Поиск по сайтам", none: "Таких сайтов нет.", more: "Показать ещё {0}",
    redis: "Redis {0}", listening: { one: "слушает {0} сервис", few: "слушают {0} сервиса", other: "слушают {0} сервисов" }, listeningNone: "никто не слушает",
    solverOpen: "решатель {0}: отложен на {1}", solverTrial: "решатель {0}: пробуется",
    gone: "Сервис не отвечает. Показано то, что было верно {0}.",
    redisAway: "Redis недоступен: {0}. Показано то, что было верно {1}.", redisLost: "соединение потеряно",
    redisSilent: "Redis не отвечает уже {0}. Показано то, что было верно {1}.",
    late: "Нет вестей уже {0}: показано старое состояние.",
    never: "Сервис не отвечает.",
    goneTitle: "нет ответа", redisTitle: "Redis недоступен", oldTitle: "устарело",
    now: "сейчас", ago: "{0} назад", ahead: "через {0}", left: "ещё {0}", ended: "истёк {0}", next: "обновление {0}", endless: "срок неизвестен",
    d: "д", h: "ч", min: "мин", s: "с", ms: "мс",
    attemptsTitle: "Последние попытки", attemptsHint: "вверх: обновлён, вниз: сбой, контур: другой сервис успел раньше; высота: длительность",
    attemptsLabel: "Последние попытки: обновлён {0}, сбой {1}; последняя {2}, {3}", noAttempts: "Попыток ещё не было.",
    longest: "дольше всего {0}",
    stagesTitle: "На что уходит время", stagesLabel: "Доли этапов: {0}", median: "медиана", share: "доля", stage: "этап",
    lifeTitle: "Жизнь токенов", lifeLabel: "Текущий токен записан {0}, истекает {1}", lifeHint: "засечка снизу: заменён после сообщения парсера",
    reportsTitle: "Сообщения об отклонённых токенах по часам", reportsLabel: "{0} за 24 часа, не более {1} в час", reportsSince: "за время работы этого сервиса",
    whoTitle: "Кто просил и почему", who: "кто", why: "почему", times: "раз", sidecarItself: "сам сервис",
    factsTitle: "Токен", fingerprint: "отпечаток", stored: "записан", ends: "истекает", tokenVersion: "версия", foreign: "записан другой программой",
    cameBy: "получен", nextRefresh: "следующее обновление", lastSuccess: "последний успех", lastAttempt: "последняя попытка",
    tableTitle: "Попытки", when: "когда", outcome: "исход", source: "источник", took: "заняло", detail: "ошибка или причина", site: "сайт",
    filesTitle: "Файлы", file: "файл", token: "токен", hook: "после записи", current: "актуален", stale: "устарел", succeeded: "успешно",
    failures: { one: "{0} неудачная попытка", few: "{0} неудачные попытки подряд", other: "{0} неудачных попыток подряд" }, failedAt: "этап «{0}», повод: {1}; следующая {2}",
    underWay: "Идёт обновление", elsewhere: "Токен обновляет другой сервис.",
    claimed: "блокировка", solve: "решение", extract: "извлечение", verify: "проверка", commit: "запись", store: "запись",
    refreshed: "обновлён", failed: "сбой", superseded: "опередили", adopted: "принят", repeated: "повторный ответ",
    t_invalid: "сообщение парсера", t_manual: "вручную", t_schedule: "расписание", t_expiry: "конец срока", t_startup: "запуск",
    t_reconnect: "переподключение", t_vanished: "ключ пропал", t_bootstrap: "начальный токен",
    refreshNow: "Обновить сейчас", dialogTitle: "Новый токен для {0}", adminToken: "Токен администратора", adminHint: "SIDECAR_ADMIN_TOKEN; хранится, пока открыта вкладка",
    reason: "Причина", reasonHint: "попадёт в историю; можно не указывать", cancel: "Отмена", ask: "Обновить",
    asked: "Запрошено, ждём исхода.", gotToken: "Новый токен {0}.", gotFailure: "Сбой, этап «{0}»: {1}",
    wrongToken: "Токен администратора неверен.", refusedAsk: "Не принято: {0}",
    eventsNone: "Событий ещё не было.", eventsHint: "Последние сто, по мере поступления.", unreadable: "Историю не прочесть: {0}",
  },
};
const LANGUAGE = (navigator.languages || [navigator.language]).map((tag) => tag.slice(0, 2)).find((tag) => tag in WORDS) || "en";
const TEXTS = WORDS[LANGUAGE];
const PLURALS = new Intl.PluralRules(LANGUAGE);
const NUMBERS = new Intl.NumberFormat(LANGUAGE);
const DECIMALS = new Intl.NumberFormat(LANGUAGE, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

// The text of a key with values in its places; one with a number has a form for each kind of it.
function say(key, ...values) {
  const text = TEXTS[key];
  const form = typeof text === "string" ? text : text[PLURALS.select(values[0])] || text.other;
  return form.replace(/\{(\d)\}/g, (_, n) => values[n]);
}

// A word of the API in the page's language; one that is not known is shown as it is.
const word = (name, prefix = "") => name ? TEXTS[prefix + name] || TEXTS[name] || shown(name) : "–";

// Of one site, where the language has another form than for several.
const ofOne = (state) => TEXTS["one_" + state] || TEXTS[state];

// Text from elsewhere: what would be invisible or change its direction is shown by its number.
function shown(text) {
  const cut = text.length > 600 ? text.slice(0, 600) + "…" : text;
  return cut.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (c) => "\u27e8" + c.charCodeAt(0).toString(16).padStart(4, "0") + "\u27e9");
}

// A span of time by its two largest units.
function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const parts = [[Math.floor(s / 86400), "d"], [Math.floor(s / 3600) % 24, "h"], [Math.floor(s / 60) % 60, "min"], [s % 60, "s"]];
  const first = parts.findIndex(([n]) => n > 0);
  if (first < 0) return "0\u00a0" + TEXTS.s;
  const second = first < 2 ? 2 : 1;
  return parts.slice(first, first + second).filter(([n]) => n > 0).map(([n, unit]) => n + "\u00a0" + TEXTS[unit]).join(" ");
}

const duration = (ms) => ms < 1000 ? NUMBERS.format(Math.round(ms)) + "\u00a0" + TEXTS.ms
  : ms < 100000 ? DECIMALS.format(ms / 1000) + "\u00a0" + TEXTS.s : span(ms / 1000);
