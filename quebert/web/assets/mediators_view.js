/**
 * The mediators: how each is, and with which settings.
 */

import { foreign, h, keyed, setAttribute, setHidden, setText } from "./dom.js";
import * as format from "./format.js";
import { chip, heading, loading, nothing, queueLink, section, setChip } from "./parts.js";
import { table } from "./table.js";

/** Seconds by which a reactor may be late. */
const LATE = 0.5;

/** @typedef {import("./types.js").Mediator} Mediator */
/** @typedef {import("./types.js").WatchState & {name: string}} Watch */

/**
 * @param {Mediator} mediator
 * @param {number} now
 * @returns {[string, string]} how it is, and a tone
 */
export function condition(mediator, now) {
  if (mediator.lost) return [`lost ${format.age(now - mediator.at)} ago`, "bad"];
  if (mediator.lag > LATE) return [`late ${format.duration(mediator.lag)}`, "warn"];
  const watches = Object.values(mediator.queues);
  // One whose rate is used up takes nothing for a while.
  const silent = watches.filter((watch) => !watch.consuming && !watch.paused);
  if (silent.some((watch) => watch.rate === null)) return ["not consuming", "warn"];
  return ["fine", "quiet"];
}

/**
 * @param {import("./types.js").Context} context
 * @param {import("./router.js").Route} route
 * @returns {import("./types.js").View}
 */
export function open(context, { search }) {
  let chosen = search.get("name") ?? "";
  const waiting = loading();
  const list = table({
    caption: "Mediators",
    class: "mediators",
    key: (/** @type {Mediator} */ mediator) => mediator.name,
    empty: nothing(
      "No mediator has told of itself",
      "Mediators tell of themselves every 2 seconds, through the broker.",
    ),
    change: (row, mediator) => row.classList.toggle("chosen", mediator.name === chosen),
    columns: [
      {
        title: "Mediator",
        class: "name",
        make: (mediator) =>
          h(
            "button",
            {
              type: "button",
              class: "plain",
              "data-open": true,
              "aria-controls": "mediator",
              onclick: () => choose(mediator.name),
            },
            foreign(format.line(mediator.name, 80)),
          ),
        change: (cell, mediator) =>
          setAttribute(
            /** @type {Element} */ (cell.firstElementChild),
            "aria-expanded",
            String(mediator.name === chosen),
          ),
        sort: (mediator) => mediator.name,
      },
      {
        title: "State",
        class: "state",
        make: () => chip("", "quiet"),
        change: (cell, mediator) =>
          setChip(
            /** @type {HTMLElement} */ (cell.firstElementChild),
            ...condition(mediator, context.now()),
          ),
      },
      {
        title: "Host",
        class: "host",
        make: (mediator) => foreign(format.line(mediator.host, 80)),
        sort: (mediator) => mediator.host,
      },
      { title: "Process", class: "number", text: (mediator) => String(mediator.pid) },
      {
        title: "Version",
        class: "version",
        text: (mediator) => format.line(mediator.version, 30),
        sort: (mediator) => mediator.version,
      },
      {
        title: "Up for",
        class: "number span",
        text: (mediator) => format.age(context.now() - mediator.started),
        sort: (mediator) => -mediator.started,
      },
      {
        title: "At work",
        hint: "Tasks that it has",
        class: "number",
        text: (mediator) => format.count(inFlight(mediator)),
        sort: inFlight,
      },
      {
        title: "CPU",
        hint: "Share of a core",
        class: "number",
        text: (mediator) => format.percent(mediator.cpu),
        sort: (mediator) => mediator.cpu,
      },
      {
        title: "Memory",
        class: "number span",
        text: (mediator) => format.bytes(mediator.memory),
        sort: (mediator) => mediator.memory,
      },
      {
        title: "Lag",
        hint: "By how much its reactor was late",
        class: "number span",
        text: (mediator) => format.duration(mediator.lag),
        sort: (mediator) => mediator.lag,
      },
      {
        title: "Reconn.",
        hint: "How often it has connected again",
        class: "number",
        text: (mediator) => format.count(mediator.reconnects),
        sort: (mediator) => mediator.reconnects,
      },
      {
        title: "Unconf.",
        hint: "Publications that the broker has not confirmed",
        class: "number",
        text: (mediator) => format.count(mediator.unconfirmed),
        sort: (mediator) => mediator.unconfirmed,
      },
    ],
  });
  const watches = table({
    caption: "What it watches",
    class: "watches",
    key: (/** @type {Watch} */ watch) => watch.name,
    empty: nothing("It watches no queue"),
    columns: [
      { title: "Queue", class: "name", make: (watch) => queueLink(watch.name) },
      {
        title: "State",
        class: "state",
        make: () => chip("", "quiet"),
        change: (cell, watch) =>
          setChip(
            /** @type {HTMLElement} */ (cell.firstElementChild),
            ...watchState(watch),
          ),
      },
      {
        title: "At work",
        class: "number",
        text: (watch) =>
          `${format.count(watch.in_flight)}${watch.prefetch ? ` of ${format.count(watch.prefetch)}` : ""}`,
      },
      {
        title: "Held",
        hint: "Tasks that wait in it for another attempt",
        class: "number",
        text: (watch) => format.count(watch.held),
      },
      { title: "Done", class: "number", text: (watch) => format.count(watch.done) },
      { title: "Retried", class: "number", text: (watch) => format.count(watch.retried) },
      {
        title: "Discarded",
        class: "number",
        text: (watch) => format.count(watch.discarded),
      },
      { title: "Buried", class: "number", text: (watch) => format.count(watch.buried) },
      {
        title: "Rate",
        hint: "Tasks per second that may begin",
        class: "number",
        text: (watch) => (watch.rate === null ? "no limit" : format.rate(watch.rate)),
      },
      {
        title: "Class",
        hint: "Priority class",
        class: "number",
        text: (watch) => format.line(watch.priority, 30) || format.UNKNOWN,
      },
    ],
  });
  const settings = h("dl", { class: "settings" });
  const pairs = keyed(
    settings,
    (/** @type {[string, string]} */ pair) => pair[0],
    (pair) =>
      h(
        "div",
        {},
        h("dt", { class: "mono" }, foreign(format.line(pair[0], 120))),
        h("dd", { class: "mono" }, foreign("")),
      ),
    (row, pair) => {
      const value = row.lastElementChild?.firstElementChild;
      if (value) setText(value, format.visible(pair[1], 600));
    },
  );
  const detail = h(
    "div",
    { id: "mediator", class: "parts", hidden: true },
    section("What it watches", {}, watches.element),
    section("Settings in force", {}, settings),
  );
  const element = h(
    "div",
    { class: "view" },
    h("div", { class: "top" }, heading("Mediators")),
    waiting,
    list.element,
    detail,
  );

  /** @param {string} name */
  function choose(name) {
    chosen = chosen === name ? "" : name;
    context.replace(
      chosen ? `/mediators?name=${encodeURIComponent(chosen)}` : "/mediators",
    );
    update(context.state());
  }

  /** @param {import("./store.js").State} state */
  function update({ overview }) {
    setHidden(waiting, overview !== null);
    setHidden(list.element, overview === null);
    list.update(overview?.mediators ?? []);
    const one = overview?.mediators.find(({ name }) => name === chosen);
    setHidden(detail, !one);
    if (!one) return;
    watches.update(Object.entries(one.queues).map(([name, watch]) => ({ name, ...watch })));
    pairs.update(Object.entries(one.settings));
  }

  return { title: "Mediators", element, update, parent: "/" };
}

/** @param {Mediator} mediator */
function inFlight(mediator) {
  return Object.values(mediator.queues).reduce(
    (sum, watch) => sum + (watch.in_flight || 0),
    0,
  );
}

/**
 * @param {Watch} watch
 * @returns {[string, string]}
 */
function watchState(watch) {
  if (watch.paused) return ["paused", "warn"];
  return watch.consuming ? ["consuming", "quiet"] : ["not consuming", "bad"];
}
