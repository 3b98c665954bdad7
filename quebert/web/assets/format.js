/**
 * Numbers, times and texts as people read them. Pure.
 *
 * Widths hardly change while a figure does: rows must not jump.
 */

/** What nobody knows. */
export const UNKNOWN = "–";
/** Characters of a text that are shown at most. */
const LONGEST = 4096;
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
// Controls, what turns the direction of text, and what is not seen at all.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;
// Half of a pair.
const LONE = /[\ud800-\udfff]/gu;

/**
 * @param {unknown} value
 * @returns {value is number}
 */
function known(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/**
 * A count, to the unit.
 * @param {number|null|undefined} n
 */
export function count(n) {
  return known(n) ? whole.format(n) : UNKNOWN;
}

/**
 * A count and its noun.
 * @param {number|null|undefined} n
 * @param {string} one
 * @param {string} [many]
 */
export function counted(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/**
 * How many tasks were found. Pure.
 * @param {number} n
 * @param {boolean} more whether there may be more
 * @param {boolean} isOn whether these are looked for
 */
export function found(n, more, isOn) {
  const told = n ? counted(n, "task") : "";
  if (!more) return told;
  if (isOn) return `${told || "none"} so far; looking further back`;
  return told ? `${told}, and more` : "none so far; there may be older ones";
}

/**
 * So many per second.
 * @param {number|null|undefined} n
 */
export function rate(n) {
  if (!known(n)) return UNKNOWN;
  if (n <= 0) return "0";
  if (n < 0.1) return "<0.1";
  return n < 9.95 ? n.toFixed(1) : whole.format(n);
}

/** @param {number} n */
function two(n) {
  return String(n).padStart(2, "0");
}

/**
 * A length of time.
 * @param {number|null|undefined} seconds
 * @returns {string}
 */
export function duration(seconds) {
  if (!known(seconds)) return UNKNOWN;
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (seconds === 0) return "0 s";
  if (seconds < 0.00995) return `${(seconds * 1000).toFixed(1)} ms`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 3600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`;
  const m = Math.floor(s / 60);
  if (m < 1440) return `${Math.floor(m / 60)} h ${two(m % 60)} m`;
  const h = Math.floor(m / 60);
  if (h < 24 * 365) return `${Math.floor(h / 24)} d ${two(h % 24)} h`;
  return `${(h / 24 / 365.25).toFixed(1)} years`;
}

/**
 * A length of time in whole units: what is counted down.
 * @param {number|null|undefined} seconds
 */
export function wait(seconds) {
  if (!known(seconds)) return UNKNOWN;
  const s = Math.max(0, Math.ceil(seconds));
  return s < 60 ? `${s} s` : duration(s);
}

/**
 * The age of something, in whole units.
 * @param {number|null|undefined} seconds
 */
export function age(seconds) {
  if (!known(seconds)) return UNKNOWN;
  const s = Math.max(0, Math.floor(seconds));
  return s < 60 ? `${s} s` : duration(s);
}

/**
 * @param {number|null|undefined} at
 * @param {number} now
 */
export function relative(at, now) {
  if (!known(at)) return UNKNOWN;
  if (Math.abs(at - now) < 1) return "now";
  return at > now ? `in ${wait(at - now)}` : `${age(now - at)} ago`;
}

/** @param {number|null|undefined} at */
function date(at) {
  const value = known(at) ? new Date(at * 1000) : null;
  return value && !Number.isNaN(value.getTime()) ? value : null;
}

/**
 * The time of day here, with the date unless it is that of now.
 * @param {number|null|undefined} at
 * @param {number} [now]
 */
export function clock(at, now) {
  const d = date(at);
  if (!d) return UNKNOWN;
  const time = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  const today = date(now);
  if (!today || d.toDateString() === today.toDateString()) return time;
  return `${day(d)} ${time}`;
}

/** @param {Date} d */
function day(d) {
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}

/**
 * The date and the time, to the millisecond.
 * @param {number|null|undefined} at
 */
export function moment(at) {
  const d = date(at);
  return d
    ? `${day(d)} ${clock(at)}.${String(d.getMilliseconds()).padStart(3, "0")}`
    : UNKNOWN;
}

/** @param {number|null|undefined} n */
export function bytes(n) {
  if (!known(n)) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  let value = n;
  while (value >= 1024 && i < units.length - 1) {
    value /= 1024;
    i += 1;
  }
  return `${i && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[i]}`;
}

/** @param {number|null|undefined} share */
export function percent(share) {
  return known(share) ? `${Math.round(share * 100)} %` : UNKNOWN;
}

/**
 * A text from outside, where nothing is unseen, nothing turns what stands beside it, and
 * nothing is without end.
 * @param {unknown} text
 * @param {number} [longest]
 */
export function visible(text, longest = LONGEST) {
  if (text === null || text === undefined) return "";
  let shown = String(text);
  if (shown.length > longest) shown = `${shown.slice(0, longest)}…`;
  return shown.replace(LONE, "\ufffd").replace(UNSEEN, escaped);
}

/** @param {string} character */
function escaped(character) {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}

/**
 * A text on one line.
 * @param {unknown} text
 * @param {number} [longest]
 */
export function line(text, longest = 300) {
  return visible(text, longest).replace(/\s+/g, " ").trim();
}

/**
 * The reason of a dead letter, without its uuid and URL, which stand beside it.
 * @param {{uuid: string, url: string, reason: string}} letter
 */
export function shortReason({ uuid, url, reason }) {
  const beginning = `task ${uuid} for ${url} is `;
  return reason.startsWith(beginning) ? reason.slice(beginning.length) : reason;
}

/** @param {string} uuid */
export function shortUuid(uuid) {
  return /^[0-9a-f]{8}-/i.test(uuid) ? uuid.slice(0, 8) : line(uuid, 12);
}

/** The outcomes and states, in words. */
const WORDS = new Map(
  Object.entries({
    retry: "retried",
    not_due: "Its time has not come",
    paused: "The queue is paused",
    behind: "Others are before it",
    rate_limit: "Rate limit",
    breaker_open: "Circuit breaker open",
    host_concurrency: "Its host has all it may have",
    no_consumer: "No consumer",
    prefetch_full: "The mediators have all they may have",
    lower_priority: "Lower priority",
    running: "It is running",
    retrying: "It waits for its next attempt",
    dead: "It is dead",
    done: "It is done",
    not_found: "Not found",
  }),
);

/**
 * What an attempt or a task has become.
 * @param {string} outcome
 */
export function outcome(outcome) {
  return outcome === "retry" ? "retried" : line(outcome, 40) || UNKNOWN;
}

/**
 * A reason for waiting, as a title.
 * @param {string} reason
 */
export function whyTitle(reason) {
  return WORDS.get(reason) ?? line(reason.replaceAll("_", " "), 60);
}

/**
 * How good something is: "good", "warn", "bad" or "plain".
 * @param {string} what an outcome, or the state of a task
 */
export function tone(what) {
  switch (what) {
    case "done":
      return "good";
    case "retry":
    case "retrying":
    case "expired":
      return "warn";
    case "buried":
    case "discarded":
      return "bad";
    default:
      return "plain";
  }
}

/**
 * @param {number|string|null|undefined} status of an answer
 */
export function statusTone(status) {
  const n = Number(status);
  if (!status || !Number.isFinite(n)) return "plain";
  return n < 300 ? "good" : n < 500 ? "warn" : "bad";
}
