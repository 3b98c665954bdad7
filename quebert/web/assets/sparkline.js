/**
 * Two rates over the last minute: what comes in is an area, what goes out a line over it.
 * Where the area stands out above the line, tasks pile up.
 */

import { h, setAttribute, setText, svg } from "./dom.js";
import * as format from "./format.js";

const WIDTH = 120;
const HEIGHT = 24;

/**
 * The path of a line. Pure.
 * @param {readonly number[]} values
 * @param {number} most what is at the top
 * @param {boolean} [area] whether it is closed at the bottom
 */
export function path(values, most, area = false) {
  if (!values.length) return "";
  const step = values.length > 1 ? WIDTH / (values.length - 1) : 0;
  const points = values.map((value, i) => {
    const share = most > 0 ? Math.min(Math.max(value / most, 0), 1) : 0;
    const y = HEIGHT - 1.5 - share * (HEIGHT - 3);
    return `${round(i * step)} ${round(y)}`;
  });
  const line = `M${points.join("L")}`;
  return area
    ? `${line}L${round((values.length - 1) * step)} ${HEIGHT}L0 ${HEIGHT}Z`
    : line;
}

/** @param {number} n */
function round(n) {
  return Math.round(n * 10) / 10;
}

/** Makes one. */
export function sparkline() {
  const into = svg("path", { class: "in" });
  const out = svg("path", { class: "out", fill: "none" });
  const text = h("span", { class: "unseen" });
  const drawing = svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
      focusable: "false",
    },
    into,
    out,
  );
  return {
    element: h("div", { class: "spark" }, drawing, text),
    /** @param {{in: readonly number[], out: readonly number[]}|null|undefined} series */
    update(series) {
      const comes = series?.in ?? [];
      const goes = series?.out ?? [];
      const most = Math.max(0, ...comes, ...goes);
      setAttribute(into, "d", path(comes, most, true));
      setAttribute(out, "d", path(goes, most));
      setText(
        text,
        most ? `at most ${format.rate(most)} per second in the last minute` : "",
      );
    },
  };
}
