/**
 * Why a task waits: the reason that counts, what is known of it, and what holds besides.
 */

import { foreign, h, keyed, setAttribute, setHidden, setText } from "./dom.js";
import * as format from "./format.js";
import { section } from "./parts.js";

/** @typedef {import("./types.js").Why} Why */

/**
 * What is known beside the sentence of a reason, as pairs. Pure.
 * @param {Why} why
 * @param {number} now
 * @returns {[string, string][]}
 */
export function particulars(why, now) {
  /** @type {[string, string][]} */
  const all = [];
  if (why.until !== null)
    all.push([
      "until",
      `${format.clock(why.until, now)} (${format.relative(why.until, now)})`,
    ]);
  if (why.position !== null) all.push(["tasks before it", format.count(why.position)]);
  if (why.rate !== null) all.push(["rate", `${format.rate(why.rate)} per second`]);
  if (why.position && why.rate) all.push(["about", format.wait(why.position / why.rate)]);
  if (why.by) all.push(["by", format.line(why.by)]);
  return all;
}

/** Makes the panel. */
export function whyPanel() {
  const title = h("p", { class: "strong" });
  const text = foreign("", { class: "why-text" });
  const facts = h("dl", { class: "facts" });
  const others = h("ul", { class: "others" });
  const also = h(
    "div",
    { hidden: true },
    h("p", { class: "dim" }, "And, besides:"),
    others,
  );
  const element = section(
    "Why is it waiting?",
    { class: "why" },
    title,
    h("p", {}, text),
    facts,
    also,
  );
  element.hidden = true;
  const pairs = keyed(
    facts,
    (/** @type {[string, string]} */ pair) => pair[0],
    (pair) => h("div", {}, h("dt", {}, pair[0]), h("dd", {}, foreign(""))),
    (row, pair) => {
      const value = row.lastElementChild?.firstElementChild;
      if (value) setText(value, pair[1]);
    },
  );
  const rest = keyed(
    others,
    (/** @type {Why} */ why) => why.reason,
    () => h("li", {}, foreign("")),
    (row, why) => {
      if (row.firstElementChild)
        setText(row.firstElementChild, format.visible(why.text, 600));
    },
  );
  return {
    element,
    /**
     * @param {import("./types.js").WhyAnswer} why
     * @param {number} now
     */
    update(why, now) {
      setHidden(element, false);
      setAttribute(element, "data-reason", why.reason);
      setText(title, format.whyTitle(why.reason));
      setText(text, format.visible(why.text, 600));
      pairs.update(particulars(why, now));
      const others = why.all.filter(
        ({ reason, text }) => reason !== why.reason || text !== why.text,
      );
      rest.update(others);
      setHidden(also, !others.length);
    },
  };
}
