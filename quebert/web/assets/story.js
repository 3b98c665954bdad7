/**
 * The life of a task as a list: when it was added, each attempt, and what comes.
 */

import { h, foreign, setAttribute, setHidden, setText } from "./dom.js";
import * as format from "./format.js";
import { isOver } from "./life_line.js";
import { chip, setChip, setTime } from "./parts.js";

/** @typedef {import("./types.js").Attempt} Attempt */
/** @typedef {import("./types.js").TaskDetail} TaskDetail */

/**
 * What is said of attempts that nobody knows of. Pure.
 * @param {import("./types.js").Gap} gap
 * @param {number} now
 */
export function lostText({ mediator, from, to, count }, now) {
  const number = count === null ? "Attempts" : format.counted(count, "attempt");
  const when =
    from === null && to === null
      ? ""
      : ` from ${format.clock(from, now)} to ${format.clock(to, now)}`;
  return `${number} of ${format.line(mediator, 80)}${when} ${count === 1 ? "was" : "were"} lost: some of this task may be among them.`;
}

/**
 * @typedef {{kind: "attempt", key: string, attempt: Attempt}
 *   | {kind: "point", key: string, title: string, at: number|null, tone: string}} Event
 */

/**
 * What has happened to a task, and what will, in order. Pure.
 * @param {TaskDetail} task
 * @param {number} now
 * @returns {Event[]}
 */
export function story(task, now) {
  /** @type {Event[]} */
  const all = [];
  if (task.added !== null)
    all.push({
      kind: "point",
      key: "added",
      title: "Added",
      at: task.added,
      tone: "plain",
    });
  for (const attempt of task.attempts) {
    all.push({ kind: "attempt", key: `${attempt.number} ${attempt.started}`, attempt });
  }
  const last = task.attempts.at(-1);
  if (isOver(task.state)) {
    // What the last attempt has said already is not said again.
    if (last?.outcome !== task.state) {
      all.push({
        kind: "point",
        key: "end",
        title: sentenceCase(format.outcome(task.state)),
        at: null,
        tone: format.tone(task.state),
      });
    }
    return all;
  }
  const next = task.retry_at ?? (last ? null : task.due);
  if (task.state === "running")
    all.push({
      kind: "point",
      key: "runs",
      title: "It is running",
      at: null,
      tone: "coming",
    });
  else if (next !== null && next > now)
    all.push({
      kind: "point",
      key: "next",
      title: last ? "Next attempt" : "Due",
      at: next,
      tone: "coming",
    });
  else
    all.push({
      kind: "point",
      key: "next",
      title: "Due, and waiting",
      at: next,
      tone: "coming",
    });
  return all;
}

/** @param {string} text */
function sentenceCase(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/**
 * Whether a request was made, or it was decided not to make one. Pure.
 * @param {Attempt} attempt
 */
export function title({ number, outcome, status }) {
  const left = ["postponed", "expired", "cancelled"].includes(outcome) && status === null;
  return left ? "Not attempted" : `Attempt ${format.count(number)}`;
}

/**
 * The element of an event.
 * @param {Event} event
 */
export function storyItem(event) {
  if (event.kind === "point") {
    return h(
      "li",
      { "data-event": event.key },
      h("div", { class: "line" }, h("span", { class: "nth" }), h("time")),
    );
  }
  const answer = h("pre", { tabindex: 0, "aria-label": "Answer" });
  return h(
    "li",
    {
      "data-row": true,
      tabindex: -1,
      "data-open": true,
      "data-number": event.attempt.number,
    },
    h(
      "div",
      { class: "line" },
      h("span", { class: "nth" }, title(event.attempt)),
      h("span", { class: "badge" }),
      chip("", "plain"),
      h("span", { class: "took" }),
      h("time"),
      foreign("", { class: "mono dim" }),
    ),
    h("p", {}, foreign("", { class: "reason" }), " ", h("span", { class: "again" })),
    h("details", {}, h("summary", {}, "Answer"), answer),
  );
}

/**
 * Have an element tell an event as it is now.
 * @param {HTMLElement} item
 * @param {Event} event
 * @param {number} now
 */
export function changeItem(item, event, now) {
  /** @param {string} selector */
  const part = (selector) => /** @type {HTMLElement} */ (item.querySelector(selector));
  if (event.kind === "point") {
    setAttribute(item, "class", event.tone);
    setText(part(".nth"), event.title);
    setHidden(part("time"), event.at === null);
    setTime(part("time"), event.at, now, true);
    return;
  }
  const { attempt } = event;
  setAttribute(item, "class", format.tone(attempt.outcome));
  setText(part(".badge"), attempt.status ?? "no answer");
  setAttribute(part(".badge"), "class", `badge ${format.statusTone(attempt.status)}`);
  setChip(part(".chip"), format.outcome(attempt.outcome), format.tone(attempt.outcome));
  setText(part(".took"), format.duration(attempt.ended - attempt.started));
  setTime(part("time"), attempt.started, now, true);
  setText(part(".mono"), format.line(attempt.mediator, 80));
  setText(part(".reason"), format.visible(attempt.reason, 1000));
  const { retry_at: at } = attempt;
  setText(
    part(".again"),
    at === null
      ? ""
      : `Next attempt at ${format.clock(at, now)}, ${format.duration(at - attempt.ended)} later.`,
  );
  setText(part("pre"), format.visible(attempt.answer));
  setHidden(part("details"), !attempt.answer);
  setHidden(part("p"), !attempt.reason && at === null);
}
