/**
 * The hosts that are asked: how many requests each has, and what holds them back.
 */

import { foreign, h, setAttribute, setHidden, setText, svg } from "./dom.js";
import * as format from "./format.js";
import { chip, heading, loading, nothing, setChip } from "./parts.js";
import { table } from "./table.js";

/** @typedef {import("./types.js").Host} Host */

/**
 * @param {Host} host
 * @param {number} now
 * @returns {[string, string]} the state of its breaker, and a tone
 */
export function breaker(host, now) {
  switch (host.breaker) {
    case "open":
      return [
        host.open_until !== null && host.open_until > now
          ? `open, ${format.wait(host.open_until - now)} to go`
          : "open",
        "bad",
      ];
    case "half-open":
      return ["half-open", "warn"];
    case "closed":
      return ["closed", "quiet"];
    default:
      return [format.line(host.breaker, 30) || "none", "quiet"];
  }
}

/**
 * @param {import("./types.js").Context} context
 * @returns {import("./types.js").View}
 */
export function open(context) {
  const waiting = loading();
  const list = table({
    caption: "Hosts",
    class: "hosts",
    key: (/** @type {Host} */ host) => host.origin,
    empty: nothing(
      "No host has been asked",
      "A host shows here when a mediator has asked it.",
    ),
    columns: [
      {
        title: "Host",
        class: "name",
        make: (host) =>
          h("span", { "data-open": true, tabindex: -1 }, foreign(format.line(host.origin))),
        sort: (host) => host.origin,
      },
      {
        title: "Circuit breaker",
        class: "breaker",
        make: () => chip("", "quiet"),
        change: (cell, host) =>
          setChip(
            /** @type {HTMLElement} */ (cell.firstElementChild),
            ...breaker(host, context.now()),
          ),
        sort: (host) => ["open", "half-open", "closed"].indexOf(host.breaker) + 1 || 4,
      },
      {
        title: "At once",
        hint: "Requests that are being made",
        class: "number",
        text: (host) => format.count(host.in_flight),
        sort: (host) => host.in_flight,
      },
      {
        title: "Limit",
        hint: "Requests that there may be at once",
        class: "number",
        text: (host) =>
          host.limit === null ? "none" : format.count(Math.floor(host.limit)),
        sort: (host) => host.limit,
      },
      {
        title: "Used",
        class: "used",
        make: () => gauge(),
        change: (cell, host) => setGauge(cell, host.in_flight, host.limit),
      },
      {
        title: "Requests/s",
        class: "number",
        text: (host) => format.rate(host.rate),
        sort: (host) => host.rate,
      },
      {
        title: "Mediators",
        class: "number",
        text: (host) => format.count(host.mediators),
        sort: (host) => host.mediators,
      },
    ],
  });
  const element = h(
    "div",
    { class: "view" },
    h("div", { class: "top" }, heading("Hosts")),
    waiting,
    list.element,
  );
  return {
    title: "Hosts",
    element,
    parent: "/",
    update({ overview }) {
      setHidden(waiting, overview !== null);
      setHidden(list.element, overview === null);
      list.update(overview?.hosts ?? []);
    },
  };
}

function gauge() {
  const drawing = svg(
    "svg",
    {
      viewBox: "0 0 100 6",
      preserveAspectRatio: "none",
      "aria-hidden": "true",
      focusable: "false",
    },
    svg("rect", { class: "all", width: 100, height: 6 }),
    svg("rect", { class: "part", width: 0, height: 6 }),
  );
  return h("div", { class: "gauge" }, drawing, h("span", { class: "unseen" }));
}

/**
 * @param {HTMLElement} cell
 * @param {number} part
 * @param {number|null} whole
 */
function setGauge(cell, part, whole) {
  const share = whole ? Math.min(part / whole, 1) : 0;
  const rect = cell.querySelector(".part");
  const text = cell.querySelector(".unseen");
  if (rect) {
    setAttribute(rect, "width", Math.round(share * 100));
    rect.classList.toggle("full", share >= 1);
  }
  if (text) setText(text, whole ? format.percent(share) : "");
  cell.classList.toggle("limitless", !whole);
}
