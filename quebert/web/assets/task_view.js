/**
 * One task: why it waits, what became of each attempt, what may be done with it.
 */

import { act } from "./actions.js";
import { Problem, sentence } from "./api.js";
import { foreign, h, keyed, setAttribute, setHidden, setText } from "./dom.js";
import * as format from "./format.js";
import { isOver, lifeLine } from "./life_line.js";
import {
  button,
  chip,
  heading,
  loading,
  nothing,
  queueLink,
  section,
  setChip,
} from "./parts.js";
import { poll } from "./poll.js";
import { deadPath, taskPath } from "./router.js";
import { changeItem, lostText, story, storyItem } from "./story.js";
import { whyPanel } from "./why_panel.js";

/** Seconds from one look at the task to the next. */
const LOOK = 2;
/** Seconds between two questions why it waits: each has the broker show its messages. */
const ASK = 10;

/** Reasons of tasks that do not wait, and of those that wait for their time. */
const GONE = new Set(["running", "dead", "done", "not_found"]);
const LATER = new Set(["not_due", "retrying"]);
/** What a state alone says of the reason. */
const STATES = new Map([
  ["delayed", "not_due"],
  ["buried", "dead"],
]);

/** @typedef {import("./story.js").Event} Event */
/** @typedef {import("./types.js").TaskDetail} TaskDetail */

/**
 * @param {import("./types.js").Context} context
 * @param {import("./router.js").Route} route
 * @returns {import("./types.js").View}
 */
export function open(context, { name: uuid, search }) {
  const state = chip("…", "plain");
  const waiting = loading();
  const failure = h("div");
  const gaps = h("ul", { class: "problems", hidden: true });
  const facts = h("dl", { class: "facts wide" });
  const why = whyPanel();
  const life = lifeLine();
  const list = h("ol", { class: "story" });
  const running = button("Run now", () => void run(), { class: "main", keys: "r" });
  const cancelling = button("Cancel…", () => void cancel(), { class: "danger", keys: "c" });
  const dead = h("a", { class: "button", hidden: true, href: "/dead" }, "Among the dead");
  const copying = button("Copy uuid", () => void copy(), { class: "quiet" });
  const lived = section("Its life", {}, life.element, gaps, list);
  const body = h("div", { class: "parts", hidden: true }, facts, why.element, lived);
  const element = h(
    "div",
    { class: "view task" },
    h(
      "div",
      { class: "top" },
      h("div", { class: "title" }, heading(uuid, "Task"), state),
      h("div", { class: "aside" }, copying, dead, running, cancelling),
    ),
    failure,
    waiting,
    body,
  );
  setHidden(copying, !navigator.clipboard);
  for (const action of [running, cancelling]) setHidden(action, true);
  /** @type {TaskDetail|null} */
  let task = null;
  // How the task was when it was asked why it waits, and when.
  let askedOf = "";
  let askedAt = 0;

  const items = keyed(
    list,
    (/** @type {Event} */ event) => event.key,
    storyItem,
    (item, event) => changeItem(item, event, context.now()),
  );
  const told = keyed(
    facts,
    (/** @type {[string, Node|string]} */ pair) => pair[0],
    (pair) => h("div", {}, h("dt", {}, pair[0]), h("dd", {}, pair[1])),
    (row, pair) => {
      const value = /** @type {Element} */ (row.lastElementChild);
      if (typeof pair[1] === "string") setText(value, pair[1]);
      else if (value.textContent !== pair[1].textContent) value.replaceChildren(pair[1]);
    },
  );

  /** The queue that it is of: the only one there is, unless something tells. */
  function queue() {
    const told = task?.queue || search.get("queue");
    const queues = context.state().overview?.queues ?? [];
    return told || (queues.length === 1 ? queues[0]?.name : "") || "";
  }

  async function run() {
    const result = await act(context, () => context.api.run(uuid, queue()));
    if (result) context.tell(format.line(result.text));
    again();
  }

  async function cancel() {
    const sure = await context.confirm({
      title: "Cancel this task?",
      lines: [`It is not attempted any more: ${format.line(task?.url ?? uuid)}`],
      yes: "Cancel it",
    });
    if (!sure) return;
    const result = await act(context, () => context.api.cancel(uuid, queue()));
    if (result) context.tell(format.line(result.text));
    again();
  }

  function again() {
    askedOf = "";
    looking.now();
  }

  async function copy() {
    await navigator.clipboard.writeText(uuid).then(
      () => context.tell("Copied"),
      (error) => context.fail(error),
    );
  }

  async function look() {
    try {
      task = await context.api.task(uuid, context.signal);
      failure.replaceChildren();
    } catch (error) {
      if (context.signal.aborted) return;
      if (!task) failed(error);
    }
    setHidden(waiting, true);
    setHidden(body, false);
    setHidden(lived, !task);
    const waits = !task || !isOver(task.state) || task.state === "buried";
    const what = `${task?.state} ${task?.attempts.length} ${queue()}`;
    if (waits && (what !== askedOf || context.now() >= askedAt + ASK)) {
      askedOf = what;
      askedAt = context.now();
      await ask();
    }
    update();
  }

  /** @param {unknown} error */
  function failed(error) {
    const missing = error instanceof Problem && error.status === 404;
    const title = missing
      ? "The history has no such task"
      : "The history of this task cannot be shown";
    const text = missing
      ? "It may be older than what is kept, or not have been attempted yet."
      : sentence(error);
    const choice = h("ul", { class: "choice" });
    if (!queue()) {
      for (const { name } of context.state().overview?.queues ?? []) {
        choice.append(
          h("li", {}, h("a", { href: taskPath(uuid, name) }, foreign(format.line(name)))),
        );
      }
    }
    const asked = choice.firstChild
      ? h("p", {}, "Does it wait in one of these queues?")
      : null;
    failure.replaceChildren(h("div", {}, nothing(title, text), asked, choice));
  }

  /** Ask why it waits, and offer what can be done about it. */
  async function ask() {
    let reasons = task ? [STATES.get(task.state) ?? task.state] : [];
    if (queue()) {
      try {
        const answer = await context.api.why(uuid, queue(), context.signal);
        why.update(answer, context.now());
        reasons = [answer.reason, ...answer.all.map(({ reason }) => reason)];
      } catch {
        // It may be that this cannot be told at present: the state is known all the same.
        setHidden(why.element, true);
      }
    }
    const waits = reasons.length > 0 && !GONE.has(reasons[0] ?? "");
    setHidden(cancelling, !waits);
    setHidden(running, !waits || !reasons.some((each) => LATER.has(each)));
  }

  function update() {
    if (!task) return;
    const now = context.now();
    setChip(state, format.outcome(task.state), format.tone(task.state));
    /** @type {[string, Node|string][]} */
    const pairs = [
      ["Queue", queueLink(task.queue)],
      ["URL", foreign(format.visible(task.url, 2000), { class: "mono" })],
      [
        "Added",
        task.added === null
          ? format.UNKNOWN
          : `${format.clock(task.added, now)}, ${format.relative(task.added, now)}`,
      ],
    ];
    if (task.due !== null)
      pairs.push([
        "Due",
        `${format.clock(task.due, now)}, ${format.relative(task.due, now)}`,
      ]);
    pairs.push(["Attempts", format.count(task.attempts.length)]);
    if (task.retry_at !== null && !isOver(task.state)) {
      pairs.push([
        "Next attempt",
        `${format.clock(task.retry_at, now)}, ${format.relative(task.retry_at, now)}`,
      ]);
    }
    told.update(pairs);
    items.update(story(task, now));
    life.update(task, now);
    setHidden(gaps, !task.gaps.length);
    gaps.replaceChildren(
      ...task.gaps.map((gap) => h("li", {}, foreign(lostText(gap, now)))),
    );
    const buried = task.state === "buried";
    setHidden(dead, !buried);
    if (buried) setAttribute(dead, "href", deadPath(task.queue, [`uuid=${uuid}`]));
    if (isOver(task.state)) {
      for (const action of [running, cancelling]) setHidden(action, true);
      if (!buried) setHidden(why.element, true);
    }
  }

  const looking = poll(look, LOOK, context.signal);
  return {
    title: `Task ${format.shortUuid(uuid)}`,
    element,
    update,
    keys: {
      r: () => running.hidden || void run(),
      c: () => cancelling.hidden || void cancel(),
    },
    parent: "/tasks",
  };
}
