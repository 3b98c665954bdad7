/**
 * Small things that views are made of.
 */

import { foreign, h, setAttribute, setClass, setText } from "./dom.js";
import * as format from "./format.js";
import { queuePath, taskPath } from "./router.js";

/**
 * A word with a colour: the word alone tells enough.
 * @param {string} text
 * @param {string} tone
 */
export function chip(text, tone) {
  return h("span", { class: `chip ${tone}` }, text);
}

/**
 * Change what a chip says.
 * @param {HTMLElement} element
 * @param {string} text
 * @param {string} tone
 */
export function setChip(element, text, tone) {
  setText(element, text);
  setAttribute(element, "class", `chip ${tone}`);
}

/**
 * @typedef {object} Figure
 * @property {string} key
 * @property {string} label
 * @property {string} [title] what it means
 * @property {string} [tone] of a figure above 0
 */

/**
 * A strip of figures. Their width does not depend on their digits.
 * @param {readonly Figure[]} figures
 */
export function figures(figures) {
  /** @type {Map<string, {cell: HTMLElement, value: HTMLElement, tone: string}>} */
  const cells = new Map();
  const element = h("dl", { class: "figures" });
  for (const { key, label, title, tone } of figures) {
    const value = h("dd", {}, format.UNKNOWN);
    const cell = h("div", { title: title ?? null }, h("dt", {}, label), value);
    cells.set(key, { cell, value, tone: tone ?? "" });
    element.append(cell);
  }
  return {
    element,
    /**
     * @param {string} key
     * @param {string} text
     * @param {boolean} [loud] whether its tone shows
     */
    set(key, text, loud = false) {
      const found = cells.get(key);
      if (!found) return;
      setText(found.value, text);
      setClass(found.value, "zero", text === "0" || text === format.UNKNOWN);
      if (found.tone) setClass(found.value, found.tone, loud);
    },
  };
}

/**
 * Have an element tell a time, relative to now; the exact one is its title.
 * @param {HTMLElement} element
 * @param {number|null|undefined} at
 * @param {number} now
 * @param {boolean} [both] whether the time of day is seen, too
 */
export function setTime(element, at, now, both = false) {
  const relative = format.relative(at, now);
  setText(element, both ? `${format.clock(at, now)}, ${relative}` : relative);
  setAttribute(element, "title", format.moment(at));
  const known = typeof at === "number" && Math.abs(at) < 8.64e12;
  setAttribute(element, "datetime", known ? new Date(at * 1000).toISOString() : null);
}

/**
 * @param {string} uuid
 * @param {string} queue
 */
export function taskLink(uuid, queue) {
  if (!uuid) return h("span", { class: "dim" }, "no uuid");
  const attributes = {
    href: taskPath(uuid, queue),
    class: "mono",
    "data-open": true,
    title: uuid,
  };
  return h("a", attributes, format.shortUuid(uuid));
}

/** @param {string} name */
export function queueLink(name) {
  return h("a", { href: queuePath(name) }, foreign(format.line(name)));
}

/**
 * The heading of a view, which gets the focus when the view is opened.
 * @param {string} text
 * @param {string} [above] what kind of thing it is
 */
export function heading(text, above = "") {
  return h(
    "h1",
    { tabindex: -1 },
    above ? h("span", { class: "above" }, above) : null,
    foreign(format.line(text)),
  );
}

/**
 * A part of a view, with its heading.
 * @param {string} title
 * @param {{aside?: Node|null, class?: string}} options
 * @param {...(Node|null)} children
 */
export function section(title, { aside = null, class: name = "" }, ...children) {
  const id = `s-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return h(
    "section",
    { "aria-labelledby": id, class: name || null },
    h("div", { class: "head" }, h("h2", { id }, title), aside),
    ...children,
  );
}

/**
 * What stands where there is nothing, or not yet anything.
 * @param {string} title
 * @param {string} [text]
 */
export function nothing(title, text = "") {
  return h(
    "div",
    { class: "nothing" },
    h("p", { class: "strong" }, title),
    text ? h("p", {}, text) : null,
  );
}

/** What stands until something comes: it is not seen at once, so that it does not flicker. */
export function loading() {
  return h("p", { class: "loading" }, "Loading…");
}

/**
 * @param {string} text
 * @param {(event: Event) => void} act
 * @param {{class?: string, title?: string, keys?: string}} [options]
 */
export function button(text, act, options = {}) {
  return h(
    "button",
    {
      type: "button",
      class: options.class ?? null,
      title: options.title ?? null,
      "aria-keyshortcuts": options.keys ?? null,
      onclick: act,
    },
    text,
  );
}
