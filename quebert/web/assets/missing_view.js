/**
 * An address that leads nowhere.
 */

import { h } from "./dom.js";
import { heading, nothing } from "./parts.js";

/** @returns {import("./types.js").View} */
export function open() {
  const element = h(
    "div",
    { class: "view" },
    h("div", { class: "top" }, heading("Nothing is here")),
    nothing("This address leads nowhere.", "The views are named above."),
  );
  return { title: "Nothing is here", element, parent: "/" };
}
