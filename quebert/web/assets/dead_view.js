/**
 * Which queues have dead letters.
 */

import { open as openQueue } from "./dead_queue_view.js";
import { foreign, h, setHidden } from "./dom.js";
import * as format from "./format.js";
import { heading, loading, nothing } from "./parts.js";
import { deadPath } from "./router.js";
import { table } from "./table.js";

/** @typedef {import("./types.js").Queue} Queue */

/**
 * @param {import("./types.js").Context} context
 * @param {import("./router.js").Route} route
 * @returns {import("./types.js").View}
 */
export function open(context, route) {
  return route.name ? openQueue(context, route) : openAll();
}

/** @returns {import("./types.js").View} */
function openAll() {
  const waiting = loading();
  const list = table({
    caption: "Queues with dead letters",
    class: "graves",
    key: (/** @type {Queue} */ queue) => queue.name,
    empty: nothing(
      "Nothing is dead",
      "A task that is given up is kept in QUEUE.dead, with the reason, until somebody redrives or discards it.",
    ),
    columns: [
      {
        title: "Queue",
        class: "name",
        make: (queue) =>
          h(
            "a",
            { href: deadPath(queue.name), "data-open": true },
            foreign(format.line(queue.name)),
          ),
        sort: (queue) => queue.name,
      },
      {
        title: "Dead",
        class: "number",
        text: (queue) => format.count(queue.dead),
        sort: (queue) => queue.dead,
      },
    ],
  });
  const top = h("div", { class: "top" }, heading("Dead letters"));
  return {
    title: "Dead letters",
    element: h("div", { class: "view" }, top, waiting, list.element),
    parent: "/",
    update({ overview }) {
      setHidden(waiting, overview !== null);
      setHidden(list.element, overview === null);
      list.update((overview?.queues ?? []).filter(({ dead }) => dead));
    },
  };
}
