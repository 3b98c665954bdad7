/**
 * Latencies over time: a column for each moment, a row for each range of durations, darker
 * where more requests were. The colour grows with the logarithm of the count, so that the
 * few slow ones are seen beside the many quick ones.
 */

import { h, setText } from "./dom.js";
import * as format from "./format.js";

const HEIGHT = 196;
const LEFT = 58;
const BOTTOM = 18;
/** Columns at least, and at most. */
const FEWEST = 40;
const MOST = 240;
/** Seconds of a column, where there is but one. */
const USUAL = 60;
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

/**
 * Where columns stand in time: each as long as the next, the newest at the right, also if
 * nothing has ended for a while. Pure.
 * @param {Latency} latency
 * @param {number} now
 */
export function axis({ columns }, now) {
  const times = columns.map(({ at }) => at);
  const steps = times.slice(1).map((at, i) => at - (times[i] ?? at));
  const length = Math.min(...steps.filter((step) => step > 0));
  const seconds = Number.isFinite(length) ? length : USUAL;
  const last = times.at(-1) ?? now;
  const end = last + Math.max(0, Math.floor((now - last) / seconds)) * seconds;
  const wanted = Math.round((end - (times[0] ?? end)) / seconds) + 1;
  const number = Math.min(MOST, Math.max(FEWEST, wanted));
  return {
    number,
    /** @param {number} at */
    column: (at) => number - 1 - Math.round((end - at) / seconds),
    /** @param {number} column */
    at: (column) => end - (number - 1 - column) * seconds,
  };
}

/** Makes one. */
export function heatMap() {
  const canvas = h("canvas", { role: "img", class: "heat" });
  const said = h("p", { class: "said", "aria-hidden": "true" });
  const words = h("details", { class: "words" }, h("summary", {}, "As a table"));
  const element = h("div", { class: "chart" }, canvas, said, words);
  /** @type {Latency} */
  let latency = { buckets: [], columns: [] };
  let times = axis(latency, 0);
  /** @type {{column: number, row: number}|null} */
  let pointed = null;
  let drawn = "";

  function size() {
    const rows = Math.max(rowCount(latency), 1);
    const width = Math.max(canvas.clientWidth, 1);
    return {
      rows,
      width,
      row: (HEIGHT - BOTTOM) / rows,
      step: (width - LEFT) / times.number,
    };
  }

  function draw() {
    const context = canvas.getContext("2d");
    if (!context || !canvas.isConnected) return;
    const { width } = size();
    const ratio = globalThis.devicePixelRatio || 1;
    const style = getComputedStyle(canvas);
    const colours = ["--heat", "--dim", "--ink"].map((name) =>
      style.getPropertyValue(name).trim(),
    );
    const { column = -1, row = -1 } = pointed ?? {};
    const newest = JSON.stringify(latency.columns.slice(-2));
    const now = [width, ratio, ...colours, times.at(0), column, row, newest].join();
    if (now === drawn) return;
    drawn = now;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(HEIGHT * ratio);
    context.scale(ratio, ratio);
    context.font = `11px ${style.fontFamily}`;
    const [heat = "", dim = "", ink = ""] = colours;
    drawCells(context, heat);
    drawRanges(context, dim);
    drawTimes(context, width);
    if (pointed) drawPointed(context, ink, pointed);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {string} colour
   */
  function drawCells(context, colour) {
    const { rows, row: high, step } = size();
    const most = Math.max(
      0,
      ...latency.columns.map(({ counts }) => Math.max(0, ...counts)),
    );
    context.fillStyle = colour;
    for (const { at, counts } of latency.columns) {
      const column = times.column(at);
      if (column < 0) continue;
      counts.forEach((count, row) => {
        if (!(count > 0)) return;
        context.globalAlpha = shade(count, most);
        const y = (rows - 1 - row) * high;
        context.fillRect(LEFT + column * step, y, Math.max(step - 1, 1), high - 1);
      });
    }
    context.globalAlpha = 1;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {string} colour
   */
  function drawRanges(context, colour) {
    const { rows, row: high } = size();
    context.fillStyle = colour;
    context.textAlign = "right";
    context.textBaseline = "middle";
    const every = Math.ceil(16 / high);
    latency.buckets.forEach((end, row) => {
      // It stands at the upper end of its row.
      if (row % every === 0)
        context.fillText(short(end), LEFT - 8, Math.max(6, (rows - 1 - row) * high));
    });
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   */
  function drawTimes(context, width) {
    const { step } = size();
    const marks = Math.max(1, Math.min(6, Math.floor((width - LEFT) / 110)));
    context.textBaseline = "alphabetic";
    for (let i = 0; i <= marks; i += 1) {
      const column = Math.round((i / marks) * (times.number - 1));
      context.textAlign = i === 0 ? "left" : i === marks ? "right" : "center";
      const x = i === marks ? width : LEFT + column * step + (i === 0 ? 0 : step / 2);
      context.fillText(format.clock(times.at(column)), x, HEIGHT - 3);
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {string} colour
   * @param {{column: number, row: number}} cell
   */
  function drawPointed(context, colour, { column, row }) {
    const { rows, row: high, step } = size();
    context.strokeStyle = colour;
    const y = (rows - 1 - row) * high - 0.5;
    context.strokeRect(LEFT + column * step - 0.5, y, Math.max(step, 2), high);
  }

  function say() {
    const cell = pointed;
    if (!cell) {
      setText(said, summary(latency));
      return;
    }
    const found = latency.columns.find(({ at }) => times.column(at) === cell.column);
    const requests = format.counted(found?.counts[cell.row] ?? 0, "request");
    const when = format.clock(times.at(cell.column));
    setText(said, `${when}, ${range(latency.buckets, cell.row)}: ${requests}`);
  }

  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const { rows, row: high, step } = size();
    const column = Math.floor((event.clientX - box.left - LEFT) / step);
    const row = rows - 1 - Math.floor((event.clientY - box.top) / high);
    const inside = column >= 0 && column < times.number && row >= 0 && row < rows;
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
    /**
     * @param {Latency} wanted
     * @param {number} now
     */
    update(wanted, now) {
      latency = wanted;
      times = axis(wanted, now);
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
