/**
 * The dead letters of a queue: why they died, and what becomes of them.
 */

import { act, follow } from "./actions.js";
import { sentence } from "./api.js";
import { deadFilter, inWords } from "./dead_filter.js";
import { foreign, h, setAttribute, setHidden, setText } from "./dom.js";
import * as format from "./format.js";
import { button, chip, heading, loading, nothing, section, taskLink } from "./parts.js";
import { deadPath } from "./router.js";
import { table } from "./table.js";

const PAGE = 50;

/** @typedef {import("./types.js").Dead} Dead */
/** @typedef {"redrive"|"discard"} DeadAction */

/**
 * @param {import("./types.js").Context} context
 * @param {import("./router.js").Route} route
 * @returns {import("./types.js").View}
 */
export function open(context, { name, search }) {
  const shown = format.line(name);
  /** @type {Dead[]} */
  let letters = [];
  /** @type {number|null} */
  let total = null;
  /** @type {string|null} */
  let next = null;
  let asked = 0;
  let busy = false;
  /** @type {Set<string>} */
  const selected = new Set();

  const waiting = loading();
  const failure = h("div", { role: "alert" });
  const filter = deadFilter(search.getAll("match").filter(Boolean), (matches) => {
    context.replace(deadPath(name, matches));
    selected.clear();
    void look();
  });
  const redriving = button("Redrive", () => void operate("redrive"), { class: "main" });
  const discarding = button("Discard…", () => void operate("discard"), { class: "danger" });
  const bar = h("progress", { max: 1, "aria-label": "Progress" });
  const said = h("span", { class: "dim" });
  const progress = h("div", { class: "progress", hidden: true }, bar, said);
  const all = h("input", {
    type: "checkbox",
    "aria-label": "Select all that are shown",
    onchange: () => selectAll(all.checked),
  });
  const more = button("Show more", () => void look(true));
  const list = table({
    caption: `Dead letters of ${shown}`,
    class: "letters",
    heads: false,
    key: (/** @type {Dead} */ letter) => `${letter.uuid} ${letter.last} ${letter.first}`,
    empty: nothing("No dead letter is here"),
    columns: [
      { title: "", class: "select", make: selector, change: checked },
      { title: "Task", class: "task", make: (letter) => taskLink(letter.uuid, name) },
      { title: "Kind", class: "kind", make: kind },
      { title: "Status", class: "number status", make: status },
      {
        title: "Tries",
        class: "number tries",
        text: (letter) => format.count(letter.attempts),
      },
      {
        title: "Given up",
        class: "number when",
        text: (letter) => format.clock(letter.last, context.now()),
        change: (cell, letter) => setAttribute(cell, "title", format.moment(letter.last)),
      },
      { title: "URL and reason", class: "what tall", make: what },
    ],
  });
  list.element.querySelector("th")?.append(all);
  const reasons = section("By reason", {}, filter.groups);
  const body = h(
    "div",
    { class: "letters-of", hidden: true },
    reasons,
    section(
      "Letters",
      { aside: h("div", { class: "aside" }, redriving, discarding) },
      progress,
      filter.list,
      filter.form,
      list.element,
      h("div", { class: "more" }, more),
    ),
  );
  const top = h("div", { class: "top" }, heading(name, "Dead letters of"));
  const element = h("div", { class: "view" }, top, failure, waiting, body);

  /** @param {Dead} letter */
  function selector(letter) {
    const label = format.line(letter.uuid, 40) || "a letter without uuid";
    const box = h("input", { type: "checkbox", "aria-label": `Select ${label}` });
    // Only its uuid tells it from the others.
    box.disabled = !letter.uuid;
    box.addEventListener("change", () => {
      if (box.checked) selected.add(letter.uuid);
      else selected.delete(letter.uuid);
      show();
    });
    return box;
  }

  /**
   * @param {HTMLElement} cell
   * @param {Dead} letter
   */
  function checked(cell, letter) {
    const box = cell.firstElementChild;
    if (box instanceof HTMLInputElement) box.checked = selected.has(letter.uuid);
  }

  /** @param {boolean} wanted */
  function selectAll(wanted) {
    selected.clear();
    if (wanted) for (const { uuid } of letters) if (uuid) selected.add(uuid);
    show();
  }

  /** @param {boolean} [further] */
  async function look(further = false) {
    const mine = (asked += 1);
    more.disabled = true;
    try {
      const token = further && next ? { page_token: next } : {};
      const wanted = { match: filter.matches(), page_size: PAGE, ...token };
      const page = await context.api.dead(name, wanted, context.signal);
      if (mine !== asked) return;
      letters = further ? [...letters, ...page.dead] : page.dead;
      total = page.count;
      next = page.next_page_token;
      failure.replaceChildren();
      filter.update(page.groups);
      setHidden(reasons, !filter.groups.firstChild);
      setHidden(body, false);
    } catch (error) {
      if (context.signal.aborted || mine !== asked) return;
      failure.replaceChildren(nothing("The dead letters cannot be shown", sentence(error)));
    }
    more.disabled = false;
    setHidden(waiting, true);
    show();
  }

  function show() {
    list.update(letters);
    setHidden(more, !next);
    all.checked =
      selected.size > 0 && selected.size === letters.filter(({ uuid }) => uuid).length;
    all.indeterminate = selected.size > 0 && !all.checked;
    const these = filter.matches().length ? "these" : "all";
    const which = selected.size
      ? `${format.count(selected.size)} selected`
      : `${these} ${format.count(total)}`;
    setText(redriving, `Redrive ${which}`);
    setText(discarding, `Discard ${which}…`);
    for (const action of [redriving, discarding]) {
      action.disabled = busy || !(selected.size || total);
    }
  }

  /** @param {DeadAction} action */
  async function operate(action) {
    // Several matches must all hold, so each letter that is selected is one operation.
    const wanted = selected.size
      ? [...selected].map((uuid) => [`uuid=${uuid}`])
      : [filter.matches()];
    const number = selected.size || total;
    if (busy || !(await isSure(action, number)) || !(await context.permitted())) return;
    busy = true;
    show();
    setHidden(progress, false);
    try {
      const done = await operateAll(action, wanted, number);
      if (done) context.tell(`${format.counted(done, "dead letter")} ${past(action)}`);
    } catch (error) {
      context.fail(error);
    }
    busy = false;
    selected.clear();
    setHidden(progress, true);
    await look();
  }

  /**
   * @param {DeadAction} action
   * @param {string[][]} wanted
   * @param {number|null} number
   */
  async function operateAll(action, wanted, number) {
    let done = 0;
    for (const match of wanted) {
      const before = done;
      const started = await act(context, () => context.api.changeDead(name, action, match));
      if (!started) break;
      const over = await follow(context, started.operation, ({ count }) => {
        done = before + (count ?? 0);
        setAttribute(bar, "max", Math.max(number ?? 1, done, 1));
        setAttribute(bar, "value", done);
        setText(said, `${format.count(done)} of ${format.count(number)} ${past(action)}`);
      });
      if (over?.problem) throw new Error(over.problem);
      if (!over) break;
    }
    return done;
  }

  /**
   * @param {DeadAction} action
   * @param {number|null} number
   */
  async function isSure(action, number) {
    const matches = filter.matches();
    const everything = !selected.size && !matches.length;
    if (action === "redrive" && !everything) return true;
    const which = selected.size
      ? "that you have selected"
      : everything
        ? `of ${shown}`
        : `with ${matches.map(inWords).join(" and ")}`;
    const letters = `${format.counted(number, "dead letter")} ${which}`;
    if (action === "redrive") {
      const text = `${letters}: each goes back into its queue, and is attempted anew.`;
      return context.confirm({ title: "Redrive all?", lines: [text], yes: "Redrive" });
    }
    return context.confirm({
      title: "Discard for ever?",
      lines: [`${letters}: they cannot be brought back.`],
      yes: "Discard",
      ...(everything ? { type: name } : {}),
    });
  }

  void look();
  return { title: `Dead letters of ${shown}`, element, parent: "/dead" };
}

/** @param {DeadAction} action */
function past(action) {
  return action === "redrive" ? "redriven" : "discarded";
}

/** @param {Dead} letter */
function kind(letter) {
  const tone = letter.kind === "exhausted" ? "warn" : "bad";
  return chip(format.line(letter.kind, 30) || "unknown", tone);
}

/** @param {Dead} letter */
function status(letter) {
  const text = format.line(letter.status ?? "") || format.UNKNOWN;
  return h("span", { class: format.statusTone(letter.status) }, text);
}

/** @param {Dead} letter */
function what(letter) {
  const answer = format.visible(letter.answer);
  return h(
    "div",
    {},
    foreign(format.line(letter.url)),
    foreign(format.visible(format.shortReason(letter), 600), { class: "dim block" }),
    answer
      ? h(
          "details",
          {},
          h("summary", {}, "Answer"),
          h("pre", { tabindex: 0, "aria-label": "Answer" }, answer),
        )
      : null,
  );
}
