/**
 * All queues: what waits, what runs, how fast it goes, what is wrong.
 */

import { foreign, h, keyed, setHidden, setText } from "./dom.js";
import * as format from "./format.js";
import { queuePath } from "./router.js";
import { chip, figures, heading, loading, nothing, setChip } from "./parts.js";
import { sparkline } from "./sparkline.js";
import { table } from "./table.js";

/** Queues from which on there is a filter. */
const MANY = 8;

/** @typedef {import("./types.js").Queue} Queue */

/**
 * The queues that some mediator watches, and may take nothing of for a while. Pure.
 * @param {readonly import("./types.js").Mediator[]} mediators
 */
export function rested(mediators) {
  const alive = mediators.filter(({ lost }) => !lost);
  const watches = alive.flatMap(({ queues }) => Object.entries(queues));
  const may = watches.filter(([, { consuming, rate }]) => !consuming || rate !== null);
  return new Set(may.map(([name]) => name));
}

/**
 * What is to be said of a queue, the worst first. Pure.
 * @param {Queue} queue
 * @param {boolean} [mayRest] whether a mediator may take nothing of it for a while
 * @returns {{text: string, tone: string}[]}
 */
export function conditions(queue, mayRest = false) {
  const all = [];
  if (queue.exists === false) {
    all.push({ text: "does not exist", tone: "bad" });
  } else if (queue.consumers === 0 && !queue.paused) {
    // A mediator takes nothing for a while where a rate, or its memory, is used up.
    all.push(
      mayRest ? { text: "resting", tone: "plain" } : { text: "no consumer", tone: "bad" },
    );
  }
  if (queue.paused) all.push({ text: "paused", tone: "warn" });
  const { length } = queue.breakers;
  if (length) {
    all.push({
      text: format.counted(length, "breaker open", "breakers open"),
      tone: "warn",
    });
  }
  if (queue.problems.length) {
    all.push({ text: format.counted(queue.problems.length, "problem"), tone: "warn" });
  }
  return all;
}

/**
 * The sum of what is known; null where nothing is. Pure.
 * @param {readonly Queue[]} queues
 * @param {"ready"|"delayed"|"running"|"retrying"|"dead"|"rate_in"|"rate_out"} field
 */
export function sum(queues, field) {
  const known = queues.map((queue) => queue[field]).filter((n) => n !== null);
  return known.length ? known.reduce((a, b) => (a ?? 0) + (b ?? 0), 0) : null;
}

/**
 * A cell with a figure; 0 is quiet.
 * @param {"ready"|"delayed"|"running"|"retrying"|"dead"|"consumers"} field
 * @param {string} title
 * @param {string} hint
 * @returns {import("./table.js").Column<Queue>}
 */
function counted(field, title, hint) {
  return {
    title,
    hint,
    class: `number ${field}`,
    text: (queue) => format.count(queue[field]),
    change: (cell, queue) => {
      cell.classList.toggle("zero", !queue[field]);
    },
    sort: (queue) => queue[field],
  };
}

/**
 * @param {(queue: Queue) => ReturnType<typeof conditions>} said
 * @returns {import("./table.js").Column<Queue>[]}
 */
function columns(said) {
  /** @type {WeakMap<Node, ReturnType<typeof sparkline>>} */
  const sparks = new WeakMap();
  return [
    {
      title: "Queue",
      class: "name",
      make: (queue) =>
        h(
          "a",
          { href: queuePath(queue.name), "data-open": true, title: format.line(queue.name) },
          foreign(format.line(queue.name)),
        ),
      sort: (queue) => queue.name,
    },
    {
      title: "State",
      class: "state",
      make: () => chip("", "plain"),
      change: (cell, queue) => {
        const [first, ...others] = said(queue);
        const only = /** @type {HTMLElement} */ (cell.firstElementChild);
        setChip(
          only,
          first ? first.text + (others.length ? ` +${others.length}` : "") : "fine",
          first?.tone ?? "quiet",
        );
        cell.title = [
          ...said(queue).map(({ text }) => text),
          ...queue.problems,
          ...queue.breakers,
        ]
          .map((text) => format.line(text))
          .join("\n");
      },
      sort: (queue) => said(queue)[0]?.text ?? "~",
    },
    counted("ready", "Ready", "Tasks that wait to be taken"),
    counted("running", "Running", "Tasks that mediators have"),
    counted("delayed", "Delayed", "Tasks whose time has not come"),
    counted("retrying", "Retrying", "Tasks that wait for another attempt"),
    counted("dead", "Dead", "Tasks that were given up"),
    {
      title: "In/s",
      hint: "Tasks that came, per second, also those that came again",
      class: "number rate",
      text: (queue) => format.rate(queue.rate_in),
      sort: (queue) => queue.rate_in,
    },
    {
      title: "Last minute",
      hint: "In as an area, out as a line",
      class: "spark-cell",
      make: () => {
        const spark = sparkline();
        sparks.set(spark.element, spark);
        return spark.element;
      },
      change: (cell, queue) => {
        if (cell.firstChild) sparks.get(cell.firstChild)?.update(queue.series);
      },
    },
    {
      title: "Out/s",
      hint: "Attempts that ended, per second",
      class: "number rate",
      text: (queue) => format.rate(queue.rate_out),
      sort: (queue) => queue.rate_out,
    },
    {
      title: "p50",
      hint: "Half of the requests of the last minute took no longer",
      class: "number span",
      text: (queue) => format.duration(queue.p50),
      sort: (queue) => queue.p50,
    },
    {
      title: "p99",
      hint: "99 of 100 requests of the last minute took no longer",
      class: "number span",
      text: (queue) => format.duration(queue.p99),
      sort: (queue) => queue.p99,
    },
    {
      title: "Oldest",
      hint: "How long the first ready task has waited",
      class: "number span",
      text: (queue) => format.age(queue.oldest),
      sort: (queue) => queue.oldest,
    },
    counted("consumers", "Cons.", "Consumers: mediators that take tasks"),
  ];
}

/**
 * @param {import("./types.js").Context} context
 * @returns {import("./types.js").View}
 */
export function open(context) {
  const strip = figures([
    { key: "in", label: "In/s", title: "Tasks that came, per second, also those that came again" },
    { key: "out", label: "Out/s", title: "Attempts that ended, per second" },
    { key: "ready", label: "Ready", title: "Tasks that wait to be taken" },
    { key: "running", label: "Running", title: "Tasks that mediators have" },
    { key: "delayed", label: "Delayed", title: "Tasks whose time has not come" },
    { key: "retrying", label: "Retrying", title: "Tasks that wait for another attempt" },
    { key: "dead", label: "Dead", title: "Tasks that were given up", tone: "bad" },
  ]);
  const filter = h("input", {
    type: "search",
    "aria-label": "Show queues whose name has",
    placeholder: "Filter",
    oninput: () => update(context.state()),
  });
  /** @type {Set<string>} */
  let names = new Set();
  const waiting = loading();
  const empty = nothing(
    "No queue yet",
    "A queue shows here as soon as a mediator watches it. quebert add puts a task into one.",
  );
  const list = table({
    caption: "Queues",
    columns: columns((queue) => conditions(queue, names.has(queue.name))),
    key: (queue) => queue.name,
    empty,
    class: "queues",
    change: (row, queue) => row.classList.toggle("resting", Boolean(queue.paused)),
  });
  const plate = h("p", { class: "plate" });
  const tools = h("div", { class: "aside" }, filter);
  const element = h(
    "div",
    { class: "view" },
    h("div", { class: "top" }, heading("Queues"), tools),
    strip.element,
    waiting,
    list.element,
    plate,
  );

  /** @param {import("./store.js").State} state */
  function update({ overview, link }) {
    setHidden(waiting, overview !== null || link.status === "refused");
    setHidden(list.element, overview === null);
    if (!overview) return;
    const { queues, mediators, history } = overview;
    names = rested(mediators);
    strip.set("in", format.rate(sum(queues, "rate_in")));
    strip.set("out", format.rate(sum(queues, "rate_out")));
    for (const field of /** @type {const} */ ([
      "ready",
      "running",
      "delayed",
      "retrying",
      "dead",
    ])) {
      const total = sum(queues, field);
      strip.set(field, format.count(total), Boolean(total));
    }
    setHidden(tools, queues.length < MANY && !filter.value);
    const wanted = filter.value.trim().toLowerCase();
    const shown = wanted
      ? queues.filter(({ name }) => name.toLowerCase().includes(wanted))
      : queues;
    const text = empty.querySelector("p");
    if (text)
      setText(text, queues.length ? "No queue has that in its name" : "No queue yet");
    list.update(shown);
    const alive = mediators.filter(({ lost }) => !lost).length;
    const told = [
      format.counted(queues.length, "queue"),
      format.counted(alive, "mediator"),
    ];
    if (history.ok)
      told.push(
        `history ${(history.behind ?? 0) < 2 ? "in step" : `${format.age(history.behind)} behind`}`,
      );
    if (history.gaps) {
      const [lost, gaps] = [history.dropped, history.gaps];
      const missing = format.counted(lost, "attempt");
      told.push(`${missing} missing in the history, in ${format.counted(gaps, "gap")}`);
    }
    setText(plate, told.join(" · "));
  }

  return { title: "Queues", element, update };
}

/**
 * What is wrong with a queue, as a list.
 */
export function problemList() {
  const element = h("ul", { class: "problems", hidden: true });
  const list = keyed(
    element,
    (/** @type {string} */ text) => text,
    (text) => h("li", {}, foreign(format.visible(text, 600))),
    () => {},
  );
  return {
    element,
    /** @param {readonly string[]} problems */
    update(problems) {
      setHidden(element, !problems.length);
      list.update([...new Set(problems)]);
    },
  };
}
