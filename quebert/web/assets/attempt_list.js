/**
 * Attempts as they come by. The rows are always the same, and only their texts change: at
 * any rate, nothing moves. While the pointer or the focus is there, the list holds still.
 */

import { foreign, h, setAttribute, setClass, setHidden, setText } from "./dom.js";
import * as format from "./format.js";
import { taskPath } from "./router.js";
import { chip, setChip } from "./parts.js";

const ROWS = 20;

/** @typedef {import("./types.js").Attempt} Attempt */

/**
 * The newest, each once. Pure.
 * @param {readonly Attempt[]} attempts
 * @param {boolean} failed whether those that are done are left out
 * @param {number} [most]
 */
export function chosen(attempts, failed, most = ROWS) {
  /** @type {Set<string>} */
  const seen = new Set();
  /** @type {Attempt[]} */
  const all = [];
  for (const attempt of attempts) {
    const key = `${attempt.uuid}\n${attempt.number}\n${attempt.ended}`;
    if (seen.has(key) || (failed && attempt.outcome === "done")) continue;
    seen.add(key);
    all.push(attempt);
    if (all.length === most) break;
  }
  return all;
}

function row() {
  const link = h("a", { class: "mono", "data-open": true, href: "/tasks" });
  const status = h("span");
  const became = chip("", "plain");
  const url = foreign("");
  const space = h("span");
  const reason = foreign("", { class: "dim" });
  const when = h("td", { class: "when number" });
  const number = h("td", { class: "tries number" });
  const took = h("td", { class: "took number" });
  const element = h(
    "tr",
    { "data-row": true },
    when,
    h("td", { class: "task" }, link),
    number,
    h("td", { class: "status number" }, status),
    h("td", { class: "became" }, became),
    took,
    h("td", { class: "what" }, url, space, reason),
  );
  return {
    element,
    /** @param {Attempt|undefined} attempt */
    update(attempt) {
      setClass(element, "vacant", !attempt);
      setHidden(link, !attempt);
      setHidden(became, !attempt);
      setText(when, attempt ? format.clock(attempt.ended) : "\u00a0");
      setText(number, attempt ? format.count(attempt.number) : "");
      setText(status, attempt ? (attempt.status ?? format.UNKNOWN) : "");
      setText(took, attempt ? format.duration(attempt.ended - attempt.started) : "");
      setText(url, attempt ? format.line(attempt.url) : "");
      // A space at the end of a line has no room: it would move when a reason comes.
      setText(space, attempt?.reason ? " " : "");
      setText(reason, attempt ? format.line(attempt.reason) : "");
      if (!attempt) return;
      setAttribute(when, "title", format.moment(attempt.ended));
      setAttribute(status, "class", format.statusTone(attempt.status));
      setText(link, attempt.uuid ? format.shortUuid(attempt.uuid) : "no uuid");
      setAttribute(
        link,
        "href",
        attempt.uuid ? taskPath(attempt.uuid, attempt.queue) : "/tasks",
      );
      setAttribute(link, "title", format.line(attempt.uuid));
      setChip(became, format.outcome(attempt.outcome), format.tone(attempt.outcome));
    },
  };
}

/**
 * @param {string} caption
 */
export function attemptList(caption) {
  const rows = Array.from({ length: ROWS }, row);
  const heads = /** @type {const} */ ([
    ["when number", "Ended"],
    ["task", "Task"],
    ["tries number", "No."],
    ["status number", "Status"],
    ["became", "Became"],
    ["took number", "Took"],
    ["what", "URL and reason"],
  ]);
  const failed = h("input", { type: "checkbox", onchange: () => show(true) });
  const pace = h("span", { class: "dim pace" });
  const element = h(
    "div",
    { class: "table" },
    h(
      "table",
      { class: "attempts" },
      h("caption", { class: "unseen" }, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ...heads.map(([name, text]) => h("th", { scope: "col", class: name }, text)),
        ),
      ),
      h("tbody", {}, ...rows.map((each) => each.element)),
    ),
  );
  const aside = h(
    "div",
    { class: "aside" },
    pace,
    h("label", { class: "check" }, failed, " Only what is not done"),
  );
  /** @type {readonly Attempt[]} */
  let attempts = [];
  let text = "";
  let held = false;

  /** @param {boolean} [anyway] */
  function show(anyway = false) {
    const holds = held || element.matches(":hover, :focus-within");
    setText(pace, holds ? "Held still" : text);
    setClass(element, "held", holds);
    if (holds && !anyway) return;
    const wanted = chosen(attempts, failed.checked);
    rows.forEach((each, i) => each.update(wanted[i]));
  }

  for (const event of ["pointerenter", "pointerleave", "focusin"])
    element.addEventListener(event, () => show());
  element.addEventListener("focusout", () => requestAnimationFrame(() => show()));
  return {
    element,
    aside,
    /**
     * @param {readonly Attempt[]} wanted the newest first
     * @param {string} told how many there are
     */
    update(wanted, told) {
      attempts = wanted;
      text = told;
      show();
    },
    hold() {
      held = !held;
      show();
    },
  };
}
