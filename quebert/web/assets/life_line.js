/**
 * The life of a task as a line: where it waited, and each attempt. An attempt is drawn wide
 * enough to be seen, however short it was.
 */

import { h, keyed, setAttribute, setText, svg } from "./dom.js";
import * as format from "./format.js";

const WIDTH = 1000;
const LEAST = 5;

/** @typedef {{kind: "delayed"|"waits"|"attempt", from: number, to: number, tone: string, text: string}} Part */

/** States after which nothing happens to a task. */
const OVER = new Set(["done", "expired", "discarded", "buried", "cancelled"]);

/** @param {string} state */
export function isOver(state) {
  return OVER.has(state);
}

/**
 * The parts of a life, in order. Pure.
 * @param {import("./types.js").TaskDetail} task
 * @param {number} now
 * @returns {Part[]}
 */
export function parts(task, now) {
  const attempts = [...task.attempts].sort((a, b) => a.started - b.started);
  // Clocks differ: what was added after its first attempt began with that.
  const times = [task.added, attempts[0]?.started].filter((at) => typeof at === "number");
  if (!times.length) return [];
  const born = Math.min(...times);
  /** @type {Part[]} */
  const all = [];
  let at = born;
  let due = attempts[0]?.due ?? task.due;
  for (const attempt of attempts) {
    rest(all, at, attempt.started, attempt.due ?? due);
    const took = format.duration(attempt.ended - attempt.started);
    const text = `Attempt ${attempt.number}: ${attempt.status ?? "no answer"}, ${format.outcome(attempt.outcome)} after ${took}`;
    all.push({
      kind: "attempt",
      from: attempt.started,
      to: attempt.ended,
      tone: format.tone(attempt.outcome),
      text,
    });
    at = Math.max(at, attempt.ended);
    due = attempt.retry_at;
  }
  if (!isOver(task.state)) {
    const next = task.retry_at ?? (attempts.length ? due : task.due);
    rest(all, at, Math.max(now, next ?? now), next ?? null);
  }
  return all;
}

/**
 * @param {Part[]} all
 * @param {number} from
 * @param {number} to
 * @param {number|null|undefined} due
 */
function rest(all, from, to, due) {
  const until = Math.min(Math.max(due ?? from, from), to);
  if (until > from) {
    all.push({
      kind: "delayed",
      from,
      to: until,
      tone: "plain",
      text: `Not due for ${format.duration(until - from)}`,
    });
  }
  if (to > until) {
    all.push({
      kind: "waits",
      from: until,
      to,
      tone: "plain",
      text: `Due, and waiting for ${format.duration(to - until)}`,
    });
  }
}

/** Makes one. */
export function lifeLine() {
  const shapes = svg("g");
  const present = svg("line", { class: "now", y1: 0, y2: 30 });
  const drawing = svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} 30`,
      preserveAspectRatio: "none",
      class: "life",
      "aria-hidden": "true",
      focusable: "false",
    },
    shapes,
    present,
  );
  const from = h("span");
  const length = h("span");
  const to = h("span");
  const element = h(
    "div",
    { class: "chart" },
    drawing,
    h("p", { class: "axis", "aria-hidden": "true" }, from, length, to),
  );
  const list = keyed(
    shapes,
    (/** @type {Part & {index: number, x: number, width: number}} */ part) =>
      String(part.index),
    () => svg("rect", {}, svg("title")),
    (rect, part) => {
      const tall = part.kind === "attempt" ? 26 : part.kind === "waits" ? 8 : 2;
      setAttribute(rect, "class", `${part.kind} ${part.tone}`);
      setAttribute(rect, "x", part.x);
      setAttribute(rect, "width", part.width);
      setAttribute(rect, "y", 15 - tall / 2);
      setAttribute(rect, "height", tall);
      if (rect.firstChild) setText(rect.firstChild, part.text);
    },
  );
  return {
    element,
    /**
     * @param {import("./types.js").TaskDetail} task
     * @param {number} now
     */
    update(task, now) {
      const all = parts(task, now);
      const first = all[0]?.from ?? 0;
      const last = Math.max(first, ...all.map((part) => part.to));
      const span = last - first || 1;
      /** @param {number} at */
      const x = (at) => ((at - first) / span) * (WIDTH - LEAST);
      // Attempts are drawn last, over what touches them.
      const over = [...all].sort(
        (a, b) => Number(a.kind === "attempt") - Number(b.kind === "attempt"),
      );
      list.update(
        over.map((part, index) => ({
          ...part,
          index,
          x: x(part.from),
          width: Math.max(part.kind === "attempt" ? LEAST : 0.5, x(part.to) - x(part.from)),
        })),
      );
      const shown = !isOver(task.state) && now > first && now < last;
      setAttribute(present, "x1", shown ? x(now) : -9);
      setAttribute(present, "x2", shown ? x(now) : -9);
      setText(from, all.length ? format.clock(first, now) : "");
      setText(length, all.length ? format.duration(last - first) : "");
      setText(to, all.length ? format.clock(last, now) : "");
      element.hidden = !all.length;
    },
  };
}
