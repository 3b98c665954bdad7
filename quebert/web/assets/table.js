/**
 * Tables whose rows stay where they are while their figures change.
 *
 * A click on a heading sorts; the order is looked at again at times, but never while the
 * pointer or the focus is in the table: nothing moves away from under a finger.
 */

import { h, keyed, setAttribute, setHidden, setText } from "./dom.js";

/** Milliseconds until rows are put in order again. */
const REORDERED = 10_000;

/**
 * @template Row
 * @typedef {object} Column
 * @property {string} title
 * @property {string} [class] such as "number"
 * @property {string} [hint] what the heading means
 * @property {(row: Row) => string} [text] what is in the cell
 * @property {(row: Row) => Node} [make] builds what is in the cell, once
 * @property {(cell: HTMLElement, row: Row) => void} [change] changes it
 * @property {(row: Row) => number|string|null} [sort] by what the heading sorts
 */

/**
 * @template Row
 * @param {object} options
 * @param {string} options.caption
 * @param {Column<Row>[]} options.columns
 * @param {(row: Row) => string} options.key
 * @param {Node} options.empty shown instead where there are no rows
 * @param {string} [options.class]
 * @param {(element: HTMLTableRowElement, row: Row) => void} [options.change] of a row
 * @param {boolean} [options.heads] whether the first cell names the row
 */
export function table({
  caption,
  columns,
  key,
  empty,
  class: name = "",
  change,
  heads = true,
}) {
  const body = h("tbody");
  const headings = columns.map((column) => heading(column));
  const element = h(
    "table",
    { class: name || null },
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, ...headings)),
    body,
  );
  const whole = h("div", { class: "table" }, element, empty);
  /** @type {{column: Column<Row>, up: boolean}|null} */
  let sorting = null;
  /** @type {readonly Row[]} */
  let rows = [];
  /** @type {string[]} */
  let order = [];
  let ordered = 0;

  /** @param {Column<Row>} column */
  function heading(column) {
    const { title, class: of, hint, sort } = column;
    const cell = h("th", { scope: "col", class: of ?? null, title: hint ?? null });
    if (!sort) {
      setText(cell, title);
      return cell;
    }
    cell.append(
      h("button", { type: "button", class: "sort", onclick: () => sortBy(column) }, title),
    );
    return cell;
  }

  /** @param {Column<Row>} column */
  function sortBy(column) {
    // Figures: the largest first; names: from A on.
    const first = column.class?.includes("number") ? false : true;
    if (sorting?.column !== column) sorting = { column, up: first };
    else if (sorting.up === first) sorting = { column, up: !first };
    else sorting = null;
    headings.forEach((cell, i) => {
      const how = sorting && columns[i] === sorting.column ? sorting.up : null;
      setAttribute(
        cell,
        "aria-sort",
        how === null ? null : how ? "ascending" : "descending",
      );
    });
    order = [];
    show();
  }

  /** @returns {readonly Row[]} */
  function inOrder() {
    if (!sorting) return rows;
    const { column, up } = sorting;
    const rank = new Map(order.map((name, i) => [name, i]));
    const same = rows.length === order.length && rows.every((row) => rank.has(key(row)));
    const busy = whole.matches(":hover, :focus-within");
    if (same && (busy || performance.now() - ordered < REORDERED)) {
      return [...rows].sort((a, b) => (rank.get(key(a)) ?? 0) - (rank.get(key(b)) ?? 0));
    }
    const sorted = [...rows].sort((a, b) =>
      compare(column.sort?.(a), column.sort?.(b), up),
    );
    order = sorted.map(key);
    ordered = performance.now();
    return sorted;
  }

  const list = keyed(
    body,
    key,
    (row) => {
      const made = h("tr", { "data-row": true });
      columns.forEach((column, i) => {
        const attributes = { class: column.class ?? null, "data-title": column.title };
        const cell =
          heads && i === 0 ? h("th", { scope: "row", ...attributes }) : h("td", attributes);
        if (column.make) cell.append(column.make(row));
        made.append(cell);
      });
      return made;
    },
    (made, row) => {
      columns.forEach((column, i) => {
        const cell = made.cells[i];
        if (!cell) return;
        if (column.text) setText(cell, column.text(row));
        column.change?.(cell, row);
      });
      change?.(made, row);
    },
  );

  function show() {
    list.update(inOrder());
    setHidden(element, rows.length === 0);
    if (empty instanceof HTMLElement) setHidden(empty, rows.length > 0);
  }

  return {
    element: whole,
    body,
    /** @param {readonly Row[]} wanted */
    update(wanted) {
      rows = wanted;
      show();
    },
  };
}

/**
 * Which comes first; what nobody knows is always last.
 * @param {number|string|null|undefined} a
 * @param {number|string|null|undefined} b
 * @param {boolean} up
 */
export function compare(a, b, up) {
  const missing =
    Number(a === null || a === undefined) - Number(b === null || b === undefined);
  if (missing) return missing;
  if (a === null || a === undefined || b === null || b === undefined) return 0;
  const sign = up ? 1 : -1;
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), "en", { numeric: true });
}
