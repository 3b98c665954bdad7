/**
 * Latencies over time: a column for each moment, a row for each range of durations, darker
 * where more requests were. The colour grows with the logarithm of the count, so that the
 * few slow ones are seen beside the many quick ones.
 */

import { h, setText } from "./dom.js";
import * as format from "./format.js";

const ROW = 13;
const LEFT = 58;
const BOTTOM = 18;
/** Columns of the table that says the same in words. */
const SUMMED = 6;

/** @typedef {import("./types.js").Latency} Latency */

/**
 * How strong the colour of a count is, from 0 to 1. Pure.
 * @param {number} count
 * @param {number} most
 */
export function shade(count, most) {
  if (!(count > 0) || !(most > 0)) return 0;
  return 0.12 + 0.88 * (most > 1 ? Math.log(count + 1) / Math.log(most + 1) : 1);
}

/**
 * The range of a row in words. Pure.
 * @param {readonly number[]} buckets upper ends; what is above the last is one more row
 * @param {number} row from 0
 */
export function range(buckets, row) {
  const below = buckets[row - 1];
  const end = buckets[row];
  if (end === undefined) return `over ${short(below ?? 0)}`;
  return below === undefined ? `up to ${short(end)}` : `${short(below)} to ${short(end)}`;
}

/** @param {number} seconds */
export function short(seconds) {
  if (seconds < 1) return `${Number((seconds * 1000).toPrecision(3))} ms`;
  if (seconds < 120) return `${Number(seconds.toPrecision(3))} s`;
  return `${Number((seconds / 60).toPrecision(3))} m`;
}

/**
 * How many requests each row has. Pure.
 * @param {Latency} latency
 * @returns {number[]}
 */
export function totals({ buckets, columns }) {
  /** @type {number[]} */
  const sums = new Array(rowCount({ buckets, columns })).fill(0);
  for (const { counts } of columns) {
    counts.forEach((count, row) => {
      if (row < sums.length) sums[row] = (sums[row] ?? 0) + (count || 0);
    });
  }
  return sums;
}

/** @param {Latency} latency */
function rowCount({ buckets, columns }) {
  const over = columns.some(({ counts }) => counts.length > buckets.length);
  return buckets.length + (over ? 1 : 0);
}

/**
 * What the map says, in a sentence. Pure.
 * @param {Latency} latency
 */
export function summary(latency) {
  const sums = totals(latency);
  const all = sums.reduce((a, b) => a + b, 0);
  if (!all) return "No request has ended in this time.";
  const first = latency.columns[0]?.at ?? 0;
  const last = latency.columns.at(-1)?.at ?? 0;
  const since = last > first ? ` from ${format.clock(first)} to ${format.clock(last)}` : "";
  const half = atMost(latency.buckets, rowOf(sums, all * 0.5));
  const nearly = atMost(latency.buckets, rowOf(sums, all * 0.99));
  return `${format.counted(all, "request")}${since}: half took ${half}, 99 % took ${nearly}.`;
}

/**
 * @param {readonly number[]} buckets
 * @param {number} row
 */
function atMost(buckets, row) {
  const end = buckets[row];
  return end === undefined ? range(buckets, row) : `${short(end)} or less`;
}

/**
 * @param {readonly number[]} sums
 * @param {number} wanted
 */
function rowOf(sums, wanted) {
  let seen = 0;
  for (let row = 0; row < sums.length; row += 1) {
    seen += sums[row] ?? 0;
    if (seen >= wanted) return row;
  }
  return sums.length - 1;
}

/** Makes one. */
export function heatmap() {
  const canvas = h("canvas", { role: "img", class: "heat" });
  const said = h("p", { class: "said", "aria-hidden": "true" });
  const words = h("details", { class: "words" }, h("summary", {}, "As a table"));
  const element = h("div", { class: "chart" }, canvas, said, words);
  /** @type {Latency} */
  let latency = { buckets: [], columns: [] };
  /** @type {{column: number, row: number}|null} */
  let pointed = null;
  let drawn = "";

  function size() {
    const rows = Math.max(rowCount(latency), 1);
    const width = Math.max(canvas.clientWidth, 1);
    return {
      rows,
      width,
      height: rows * ROW + BOTTOM,
      step: (width - LEFT) / Math.max(latency.columns.length, 1),
    };
  }

  function draw() {
    const context = canvas.getContext("2d");
    if (!context || !canvas.isConnected) return;
    const { rows, width, height, step } = size();
    const ratio = globalThis.devicePixelRatio || 1;
    const style = getComputedStyle(canvas);
    const ink = style.getPropertyValue("--heat").trim();
    const now = [
      width,
      height,
      ratio,
      ink,
      latency.columns.at(-1)?.at,
      pointed?.column,
      pointed?.row,
      JSON.stringify(latency.columns.at(-1)),
    ].join();
    if (now === drawn) return;
    drawn = now;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
    context.scale(ratio, ratio);
    let most = 0;
    for (const { counts } of latency.columns)
      for (const count of counts) most = Math.max(most, count);
    latency.columns.forEach(({ counts }, column) => {
      counts.forEach((count, row) => {
        if (!(count > 0)) return;
        context.globalAlpha = shade(count, most);
        context.fillStyle = ink;
        const x = LEFT + column * step;
        context.fillRect(x, (rows - 1 - row) * ROW, Math.max(step - 1, 1), ROW - 1);
      });
    });
    context.globalAlpha = 1;
    context.fillStyle = style.getPropertyValue("--dim").trim();
    context.font = `11px ${style.fontFamily}`;
    context.textAlign = "right";
    context.textBaseline = "middle";
    const every = rows > 12 ? 2 : 1;
    for (let row = 0; row < latency.buckets.length; row += every) {
      context.fillText(
        short(latency.buckets[row] ?? 0),
        LEFT - 8,
        (rows - 1 - row) * ROW + 1,
      );
    }
    drawTimes(context, width, height, step);
    if (pointed) {
      context.strokeStyle = style.getPropertyValue("--ink").trim();
      context.strokeRect(
        LEFT + pointed.column * step - 0.5,
        (rows - 1 - pointed.row) * ROW - 0.5,
        Math.max(step, 2),
        ROW,
      );
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   * @param {number} step
   */
  function drawTimes(context, width, height, step) {
    const columns = latency.columns;
    const marks = Math.max(1, Math.min(6, Math.floor((width - LEFT) / 110)));
    context.textBaseline = "alphabetic";
    for (let i = 0; i <= marks; i += 1) {
      const column = Math.round((i / marks) * (columns.length - 1));
      const at = columns[column]?.at;
      if (at === undefined) continue;
      context.textAlign = i === 0 ? "left" : i === marks ? "right" : "center";
      const x = i === marks ? width : LEFT + column * step + (i === 0 ? 0 : step / 2);
      context.fillText(format.clock(at), x, height - 3);
    }
  }

  function say() {
    const cell = pointed && latency.columns[pointed.column];
    const count = cell?.counts[pointed?.row ?? 0];
    if (cell && pointed && count !== undefined) {
      setText(
        said,
        `${format.clock(cell.at)}, ${range(latency.buckets, pointed.row)}: ${format.counted(count, "request")}`,
      );
    } else {
      setText(said, summary(latency));
    }
  }

  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const { rows, step } = size();
    const column = Math.floor((event.clientX - box.left - LEFT) / step);
    const row = rows - 1 - Math.floor((event.clientY - box.top) / ROW);
    const inside = column >= 0 && column < latency.columns.length && row >= 0 && row < rows;
    pointed = inside ? { column, row } : null;
    draw();
    say();
  });
  canvas.addEventListener("pointerleave", () => {
    pointed = null;
    draw();
    say();
  });
  words.addEventListener("toggle", write);
  const watching = new ResizeObserver(() => draw());
  watching.observe(canvas);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", draw);

  /** The table is only made where it is looked at. */
  function write() {
    if (!words.open) return;
    const { buckets, columns } = latency;
    const size = Math.max(1, Math.ceil(columns.length / SUMMED));
    /** @type {{at: number, sums: number[]}[]} */
    const parts = [];
    for (let i = 0; i < columns.length; i += size) {
      const part = columns.slice(i, i + size);
      parts.push({ at: part[0]?.at ?? 0, sums: totals({ buckets, columns: part }) });
    }
    const rows = totals(latency).map((_, row) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, range(buckets, row)),
        ...parts.map(({ sums }) =>
          h("td", { class: "number" }, format.count(sums[row] ?? 0)),
        ),
      ),
    );
    const heads = parts.map(({ at }) =>
      h("th", { scope: "col", class: "number" }, `from ${format.clock(at)}`),
    );
    const made = h(
      "table",
      { class: "small" },
      h("caption", { class: "unseen" }, "Requests by how long they took"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Took"), ...heads)),
      h("tbody", {}, ...rows.reverse()),
    );
    words.querySelector("table")?.remove();
    words.append(made);
  }

  return {
    element,
    /** @param {Latency} wanted */
    update(wanted) {
      latency = wanted;
      canvas.setAttribute("aria-label", `Heat map of latencies. ${summary(latency)}`);
      draw();
      say();
      write();
    },
    /** Draw again, since colours have changed. */
    draw,
    close() {
      watching.disconnect();
      scheme.removeEventListener("change", draw);
    },
  };
}
