/**
 * One queue: how long its requests take, what is due when, and its attempts as they come.
 */

import { pauseOrResume, purge } from "./actions.js";
import { Problem, sentence } from "./api.js";
import { h, setAttribute, setClass, setHidden, setText } from "./dom.js";
import * as format from "./format.js";
import { poll } from "./poll.js";
import { deadPath } from "./router.js";
import { attemptList } from "./attempt_list.js";
import { dueChart } from "./due_chart.js";
import { heatMap } from "./heat_map.js";
import {
  button,
  chip,
  figures,
  heading,
  loading,
  nothing,
  section,
  setChip,
} from "./parts.js";
import { sparkline } from "./sparkline.js";
import { conditions, problemList, rested } from "./queues_view.js";

/** Seconds from one look at the latencies to the next. */
const LOOK = 3;

/**
 * @param {import("./types.js").Context} context
 * @param {import("./router.js").Route} route
 * @returns {import("./types.js").View}
 */
export function open(context, { name }) {
  const shown = format.line(name);
  const strip = figures([
    { key: "in", label: "In/s" },
    { key: "out", label: "Out/s" },
    { key: "ready", label: "Ready" },
    { key: "running", label: "Running" },
    { key: "delayed", label: "Delayed" },
    { key: "retrying", label: "Retrying" },
    { key: "dead", label: "Dead", tone: "bad" },
    { key: "p50", label: "p50" },
    { key: "p99", label: "p99" },
    { key: "oldest", label: "Oldest" },
    { key: "consumers", label: "Consumers" },
  ]);
  const spark = sparkline();
  const state = chip("…", "plain");
  const pausing = button("Pause", () => void toggle(), { keys: "p" });
  const purging = button(
    "Purge…",
    () => void (queue() && purge(context, /** @type {any} */ (queue()))),
    { class: "danger" },
  );
  const problems = problemList();
  const heat = heatMap();
  const due = dueChart();
  const attempts = attemptList(`Attempts in ${shown}, the newest first`);
  const waiting = loading();
  const failure = h("div", { role: "alert" });
  const dead = h("a", { class: "button", href: deadPath(name) }, "Dead letters");
  const tasks = h(
    "a",
    { class: "button", href: `/tasks?queue=${encodeURIComponent(name)}` },
    "Its tasks",
  );
  const body = h(
    "div",
    { class: "parts" },
    h(
      "div",
      { class: "pair" },
      section("How long requests take", {}, heat.element),
      section("Due when", { class: "narrow" }, due.element),
    ),
    section("Attempts", { aside: attempts.aside }, attempts.element),
  );
  const element = h(
    "div",
    { class: "view" },
    h(
      "div",
      { class: "top" },
      h("div", { class: "title" }, heading(name, "Queue"), state),
      h("div", { class: "aside" }, tasks, dead, pausing, purging),
    ),
    strip.element,
    spark.element,
    problems.element,
    failure,
    waiting,
    body,
  );
  spark.element.classList.add("wide");
  setHidden(body, true);
  /** @type {import("./types.js").QueueDetail|null} */
  let detail = null;

  /** @returns {import("./types.js").Queue|null} */
  function queue() {
    return context.state().overview?.queues.find((each) => each.name === name) ?? detail;
  }

  async function toggle() {
    const now = queue();
    if (!now) return;
    pausing.disabled = true;
    await pauseOrResume(context, now);
    pausing.disabled = false;
    looking.now();
  }

  async function look() {
    try {
      detail = await context.api.queue(name, context.signal);
      for (const part of [state, strip.element]) setHidden(part, false);
      failure.replaceChildren();
    } catch (error) {
      if (context.signal.aborted) return;
      const missing = error instanceof Problem && error.status === 404;
      if (missing && detail) detail = null;
      for (const part of [state, strip.element]) setHidden(part, missing);
      // What was seen before stays, with a word that it is old.
      if (!detail)
        failure.replaceChildren(
          nothing(
            missing ? "There is no such queue" : "This queue cannot be shown",
            missing ? "" : sentence(error),
          ),
        );
    }
    setHidden(waiting, true);
    setHidden(body, !detail);
    if (detail) {
      heat.update(detail.latency, context.now());
      due.update(detail.due, context.now());
      update(context.state());
    }
  }

  /** @param {import("./store.js").State} state_ */
  function update(state_) {
    const now = queue();
    setHidden(pausing, !now);
    setHidden(purging, !now);
    if (now) figured(now);
    const { stream } = state_;
    const mine = stream.queue === name ? stream.shown : [];
    const told = `${format.rate(stream.rate ?? 0)} per second, ${format.count(stream.total)} since you came`;
    attempts.update([...mine, ...(detail?.attempts ?? [])], stream.total ? told : "");
  }

  /** @param {import("./types.js").Queue} now */
  function figured(now) {
    strip.set("in", format.rate(now.rate_in));
    strip.set("out", format.rate(now.rate_out));
    for (const field of /** @type {const} */ ([
      "ready",
      "running",
      "delayed",
      "retrying",
      "dead",
      "consumers",
    ])) {
      strip.set(field, format.count(now[field]), Boolean(now[field]));
    }
    strip.set("p50", format.duration(now.p50));
    strip.set("p99", format.duration(now.p99));
    strip.set("oldest", format.age(now.oldest));
    spark.update(now.series);
    const mediators = context.state().overview?.mediators ?? [];
    const [first] = conditions(now, rested(mediators).has(name));
    setChip(state, first?.text ?? "fine", first?.tone ?? "good");
    setText(pausing, now.paused ? "Resume" : "Pause");
    setClass(pausing, "main", Boolean(now.paused));
    setAttribute(pausing, "data-paused", now.paused ? "yes" : "no");
    problems.update([
      ...now.breakers.map(
        (origin) => `The circuit breaker of ${format.line(origin)} is open.`,
      ),
      ...now.problems,
    ]);
  }

  const looking = poll(look, LOOK, context.signal);
  return {
    title: shown,
    element,
    queue: name,
    update,
    close: () => heat.close(),
    redraw: () => heat.draw(),
    keys: { p: () => void toggle(), ".": () => attempts.hold() },
    parent: "/",
  };
}
