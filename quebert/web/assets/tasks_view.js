/**
 * Looking for tasks in the history.
 */

import { act, follow } from "./actions.js";
import { Problem, query, sentence } from "./api.js";
import { foreign, h, setHidden, setText } from "./dom.js";
import * as format from "./format.js";
import {
  chip,
  button,
  heading,
  loading,
  nothing,
  queueLink,
  setChip,
  taskLink,
} from "./parts.js";
import { table } from "./table.js";

const PAGE = 50;
// Milliseconds for which it is looked on while few match: pages then are short, or empty.
const PATIENCE = 10_000;
const FIELDS = /** @type {const} */ ([
  "q",
  "queue",
  "url",
  "status",
  "outcome",
  "reason",
  "after",
  "before",
]);
const OUTCOMES = [
  "done",
  "retry",
  "expired",
  "discarded",
  "buried",
  "postponed",
  "cancelled",
];

/** @typedef {import("./types.js").Task} Task */
/** @typedef {import("./types.js").TaskFilter} TaskFilter */

/**
 * The filter of an address. Pure.
 * @param {URLSearchParams} search
 * @returns {TaskFilter}
 */
export function filterOf(search) {
  /** @type {TaskFilter} */
  const filter = {};
  for (const field of FIELDS) {
    const value = search.get(field);
    if (value) filter[field] = value;
  }
  return filter;
}

/**
 * What a field for a time here has for a time since the epoch. Pure.
 * @param {string|undefined} seconds
 */
export function localTime(seconds) {
  const at = Number(seconds);
  if (!seconds || !Number.isFinite(at)) return "";
  const d = new Date(at * 1000);
  return Number.isNaN(d.getTime())
    ? ""
    : new Date(d.getTime() - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/**
 * What waiting tasks must match to be cancelled; null where the filter is not one of those.
 * Pure.
 * @param {TaskFilter} filter
 * @returns {string[]|null}
 */
export function cancelMatch(filter) {
  const others = FIELDS.filter((field) => !["q", "queue", "url"].includes(field));
  if (!filter.queue || others.some((field) => filter[field])) return null;
  const match = [];
  if (filter.q) match.push(`uuid=${filter.q}*`);
  if (filter.url) match.push(`url~${filter.url}`);
  return match.length ? match : null;
}

/**
 * @param {import("./types.js").Context} context
 * @param {import("./router.js").Route} route
 * @returns {import("./types.js").View}
 */
export function open(context, { search }) {
  let filter = filterOf(search);
  /** @type {Task[]} */
  let tasks = [];
  /** @type {string|null} */
  let next = null;
  let asked = 0;

  /**
   * @param {keyof TaskFilter} name
   * @param {string} label
   * @param {import("./dom.js").Attributes} attributes
   */
  const field = (name, label, attributes = {}) => {
    const input = h("input", {
      name,
      id: `f-${name}`,
      autocomplete: "off",
      spellcheck: "false",
      maxlength: 400,
      ...attributes,
    });
    input.value =
      attributes["type"] === "datetime-local"
        ? localTime(filter[name])
        : (filter[name] ?? "");
    return h("label", { class: `field ${name}` }, h("span", {}, label), input);
  };
  const outcomes = h(
    "select",
    { name: "outcome", id: "f-outcome" },
    h("option", { value: "" }, "any"),
    ...OUTCOMES.map((each) =>
      h("option", { value: each, selected: each === filter.outcome }, format.outcome(each)),
    ),
  );
  const form = h(
    "form",
    { class: "filter", "aria-label": "Filter" },
    field("q", "Uuid begins with", { class: "mono" }),
    field("queue", "Queue", { list: "queue-names" }),
    field("url", "URL has"),
    field("status", "Status", {
      inputmode: "numeric",
      pattern: "[0-9]{3}",
      title: "Three digits, such as 503",
    }),
    h("label", { class: "field outcome" }, h("span", {}, "Outcome"), outcomes),
    field("reason", "Reason has"),
    field("after", "From", { type: "datetime-local" }),
    field("before", "To", { type: "datetime-local" }),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "submit", class: "main" }, "Find"),
      button("Clear", clear),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    read();
    void find();
  });
  const waiting = loading();
  const failure = h("div", { role: "alert" });
  const list = table({
    caption: "Tasks, the newest first",
    class: "tasks",
    key: (task) => `${task.uuid} ${task.queue}`,
    empty: nothing(
      "No task is like that",
      "The history has what was attempted, for as long as it is kept. A uuid finds a task wherever it is.",
    ),
    columns: [
      { title: "Task", class: "task", make: (task) => taskLink(task.uuid, task.queue) },
      {
        title: "State",
        class: "became",
        make: () => chip("", "plain"),
        change: (cell, task) =>
          setChip(
            /** @type {HTMLElement} */ (cell.firstElementChild),
            format.outcome(task.state),
            format.tone(task.state),
          ),
      },
      { title: "Queue", class: "queue", make: (task) => queueLink(task.queue) },
      {
        title: "Tries",
        class: "number tries",
        text: (task) => format.count(task.attempts),
      },
      {
        title: "Status",
        class: "number status",
        make: () => h("span"),
        change: (cell, task) => statusCell(cell, task),
      },
      {
        title: "Added",
        class: "number when",
        text: (task) => format.clock(task.added, context.now()),
        change: (cell, task) => void (cell.title = format.moment(task.added)),
      },
      { title: "URL and reason", class: "what", make: (task) => whatCell(task) },
    ],
  });
  const more = button("Show more", () => void find(true));
  const found = h("p", { class: "dim", role: "status" });
  const progress = h("p", { class: "dim", role: "status" });
  const cancelling = button("Cancel those that wait…", () => void cancel(), {
    class: "danger",
  });
  const element = h(
    "div",
    { class: "view" },
    h(
      "div",
      { class: "top" },
      heading("Tasks"),
      h("div", { class: "aside" }, progress, cancelling),
    ),
    form,
    failure,
    waiting,
    found,
    list.element,
    h("div", { class: "more" }, more),
  );
  for (const each of [waiting, list.element, more, cancelling]) setHidden(each, true);

  function read() {
    const values = new FormData(form);
    filter = {};
    for (const name of FIELDS) {
      const value = String(values.get(name) ?? "").trim();
      if (!value) continue;
      const time =
        name === "after" || name === "before" ? new Date(value).getTime() / 1000 : null;
      filter[name] = time === null ? value : String(time);
    }
    context.replace(`/tasks${query({ ...filter })}`);
  }

  function clear() {
    for (const input of form.querySelectorAll("input")) input.value = "";
    outcomes.value = "";
    read();
    void find();
    form.querySelector("input")?.focus();
  }

  /** @param {boolean} [further] */
  async function find(further = false) {
    const mine = (asked += 1);
    setHidden(waiting, tasks.length > 0);
    more.disabled = true;
    let token = further ? next : null;
    const wanted = (token ? tasks.length : 0) + PAGE;
    const end = performance.now() + PATIENCE;
    try {
      do {
        const page = await context.api.tasks(
          { ...filter, page_size: PAGE, ...(token ? { page_token: token } : {}) },
          context.signal,
        );
        if (mine !== asked) return;
        failure.replaceChildren();
        tasks = token ? [...tasks, ...page.tasks] : page.tasks;
        token = next = page.next_page_token;
        const isOn = token !== null && tasks.length < wanted && performance.now() < end;
        show(isOn);
        if (!isOn) token = null;
      } while (token);
    } catch (error) {
      if (context.signal.aborted || mine !== asked) return;
      const wrong = error instanceof Problem && error.status === 400;
      failure.replaceChildren(
        nothing(
          wrong ? "This cannot be looked for" : "The history cannot be asked",
          sentence(error),
        ),
      );
      if (!further) setHidden(list.element, true);
    }
    more.disabled = false;
    setHidden(waiting, true);
    setHidden(more, !next);
    setHidden(cancelling, !cancelMatch(filter));
  }

  /**
   * Show what was found so far.
   * @param {boolean} isOn whether it is looked for more
   */
  function show(isOn) {
    setHidden(list.element, tasks.length === 0 && next !== null);
    list.update(tasks);
    setText(found, format.found(tasks.length, next !== null, isOn));
  }

  async function cancel() {
    const match = cancelMatch(filter);
    const { queue } = filter;
    if (!match || !queue) return;
    const sure = await context.confirm({
      title: "Cancel all that wait and match?",
      lines: [
        `Tasks in ${format.line(queue)} with ${match.map((each) => format.line(each)).join(" and ")} are not attempted any more. What runs already, runs on.`,
      ],
      yes: "Cancel them",
    });
    if (!sure) return;
    const started = await act(context, () => context.api.cancelMatching(queue, match));
    if (!started) return;
    try {
      const over = await follow(context, started.operation, ({ count }) =>
        setText(progress, `${format.count(count)} cancelled`),
      );
      if (over?.problem) context.fail(over.problem);
      else if (over) context.tell(`Cancelled ${format.counted(over.count, "task")}`);
    } catch (error) {
      context.fail(error);
    }
    void find();
  }

  void find();
  return { title: "Tasks", element, parent: "/" };
}

/**
 * @param {HTMLElement} cell
 * @param {Task} task
 */
function statusCell(cell, task) {
  const badge = /** @type {HTMLElement} */ (cell.firstElementChild);
  setText(badge, task.last?.status ?? format.UNKNOWN);
  badge.className = format.statusTone(task.last?.status);
}

/** @param {Task} task */
function whatCell(task) {
  return h(
    "span",
    {},
    foreign(format.line(task.url)),
    " ",
    foreign(format.line(task.last?.reason ?? ""), { class: "dim" }),
  );
}
