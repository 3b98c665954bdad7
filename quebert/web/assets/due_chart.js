/**
 * How many tasks are due when, as bars.
 */

import { h, keyed, setAttribute, setText, svg } from "./dom.js";
import * as format from "./format.js";

/** Bars at most: where there is more, it is summed. */
const BARS = 40;

/** @typedef {import("./types.js").Due} Due */

/**
 * The bars for what is due: as they are told, or, if there are too many, of equal lengths of
 * time. Pure.
 * @param {readonly Due[]} due
 * @param {number} [most]
 * @returns {Due[]}
 */
export function bars(due, most = BARS) {
  const sorted = due.filter(({ count }) => count > 0).sort((a, b) => a.at - b.at);
  const first = sorted[0]?.at;
  const last = sorted.at(-1)?.at;
  if (first === undefined || last === undefined) return [];
  if (sorted.length <= most) return sorted;
  const length = (last - first) / most || 1;
  const number = Math.min(most, Math.floor((last - first) / length) + 1);
  /** @type {Due[]} */
  const all = Array.from({ length: number }, (_, i) => ({
    at: first + i * length,
    count: 0,
  }));
  for (const { at, count } of sorted) {
    const bar = all[Math.min(number - 1, Math.floor((at - first) / length))];
    if (bar) bar.count += count;
  }
  return all;
}

/** Makes one. */
export function dueChart() {
  const drawing = svg("svg", {
    class: "bars",
    preserveAspectRatio: "none",
    "aria-hidden": "true",
    focusable: "false",
  });
  const from = h("span");
  const to = h("span");
  const said = h("p", { class: "said" });
  const body = h("tbody");
  const words = h(
    "details",
    { class: "words" },
    h("summary", {}, "As a table"),
    h(
      "table",
      { class: "small" },
      h("caption", { class: "unseen" }, "Tasks by when they are due"),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, "Due"),
          h("th", { scope: "col", class: "number" }, "Tasks"),
        ),
      ),
      body,
    ),
  );
  const axis = h("p", { class: "axis", "aria-hidden": "true" }, from, to);
  const element = h("div", { class: "chart" }, drawing, axis, said, words);
  const shapes = keyed(
    drawing,
    (
      /** @type {{name: string, x: number, y: number, width: number, height: number, text: string}} */ bar,
    ) => bar.name,
    () => svg("rect", {}, svg("title")),
    (rect, bar) => {
      for (const name of /** @type {const} */ (["x", "y", "width", "height"]))
        setAttribute(rect, name, bar[name]);
      if (rect.firstChild) setText(rect.firstChild, bar.text);
    },
  );
  const lines = keyed(
    body,
    (/** @type {Due & {index: number, now: number}} */ due) => String(due.index),
    () => h("tr", {}, h("th", { scope: "row" }), h("td", { class: "number" })),
    (row, due) => {
      if (row.cells[0])
        setText(
          row.cells[0],
          `${format.relative(due.at, due.now)}, ${format.clock(due.at, due.now)}`,
        );
      if (row.cells[1]) setText(row.cells[1], format.count(due.count));
    },
  );
  return {
    element,
    /**
     * @param {readonly Due[]} due
     * @param {number} now
     */
    update(due, now) {
      const all = bars(due);
      const most = Math.max(0, ...all.map(({ count }) => count));
      const total = all.reduce((sum, { count }) => sum + count, 0);
      setAttribute(drawing, "viewBox", `0 0 ${Math.max(all.length, 12) * 10} 100`);
      shapes.update(
        all.map(({ at, count }, i) => {
          const height = count && most ? Math.max(3, (count / most) * 100) : 0;
          const text = `${format.clock(at, now)}: ${format.count(count)}`;
          return { name: String(i), x: i * 10, y: 100 - height, width: 8, height, text };
        }),
      );
      const first = all[0];
      const last = all.at(-1);
      setText(from, first ? format.clock(first.at, now) : "");
      setText(to, last && last !== first ? format.clock(last.at, now) : "");
      setText(
        said,
        first
          ? `${format.counted(total, "task")} to come, the first ${first.at <= now ? "now" : format.relative(first.at, now)}.`
          : "Nothing waits for its time.",
      );
      lines.update(
        all.filter(({ count }) => count).map((each, index) => ({ ...each, index, now })),
      );
    },
  };
}
