/**
 * Which dead letters are shown: by their reason, or by what the user writes.
 */

import { foreign, h, keyed, setAttribute, setHidden, setText } from "./dom.js";
import * as format from "./format.js";

const FIELDS = ["reason", "kind", "status", "url", "uuid", "answer", "attempts"];
const SIGNS = [
  ["~", "has"],
  ["!~", "has not"],
  ["=", "is"],
  ["!=", "is not"],
];

/** @typedef {import("./types.js").DeadGroup} DeadGroup */

/**
 * What dead letters match that are in a group. Pure.
 *
 * Its reason has "..." for what differs from task to task, so the longest part counts; where
 * a status is the reason, the status.
 * @param {DeadGroup} group
 * @returns {string[]}
 */
export function groupMatch({ kind, reason }) {
  const match = [`kind=${kind}`];
  const status = /^([1-5][0-9]{2})( |$)/.exec(reason);
  if (status) return [...match, `status=${status[1]}`];
  const parts = reason.split(/\.{3}|…/).map((part) => part.trim());
  const longest = parts.reduce((a, b) => (b.length > a.length ? b : a), "");
  return longest ? [...match, `reason~${longest}`] : match;
}

/**
 * The reasons to choose from: those of all that match, and while one of them is chosen, the
 * others as they were. Pure.
 * @param {readonly DeadGroup[]} before
 * @param {readonly DeadGroup[]} now
 * @param {readonly string[]} matches
 * @returns {DeadGroup[]}
 */
export function choice(before, now, matches) {
  const chosen = before.find((group) => groupMatch(group).join() === matches.join());
  if (!chosen) return [...now];
  /** @param {DeadGroup} group */
  const key = ({ kind, reason }) => `${kind}\n${reason}`;
  const known = new Map(now.map((group) => [key(group), group]));
  const others = before.filter((group) => group !== chosen && !known.has(key(group)));
  return [...now, ...others];
}

/**
 * A match in words. Pure.
 * @param {string} match
 */
export function inWords(match) {
  const found = /^([a-z]+)(!~|!=|~|=)(.*)$/s.exec(match);
  if (!found) return format.line(match);
  const [, field = "", sign = "", text = ""] = found;
  const word = SIGNS.find(([each]) => each === sign)?.[1] ?? sign;
  return `${field} ${word} ${format.line(text, 120) || "empty"}`;
}

/**
 * The reasons as a list of buttons, and the filter below it.
 * @param {string[]} first
 * @param {(matches: string[]) => void} changed
 */
export function deadFilter(first, changed) {
  let matches = first;
  /** @type {DeadGroup[]} */
  let choices = [];
  const list = h("ul", { class: "matches", "aria-label": "Filter" });
  const groups = h("ul", { class: "groups" });
  const field = h(
    "select",
    { "aria-label": "Field" },
    ...FIELDS.map((each) => h("option", { value: each }, each)),
  );
  const sign = h(
    "select",
    { "aria-label": "Comparison" },
    ...SIGNS.map(([value = "", text = ""]) => h("option", { value }, text)),
  );
  const text = h("input", {
    type: "text",
    "aria-label": "Text",
    maxlength: 400,
    autocomplete: "off",
    spellcheck: "false",
  });
  const form = h(
    "form",
    { class: "match", "aria-label": "Add to the filter" },
    field,
    sign,
    text,
    h("button", { type: "submit" }, "Filter"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    // "is" and "is not" may be of nothing: there was no answer.
    if (!text.value && sign.value.endsWith("~")) return;
    change([...matches, `${field.value}${sign.value}${text.value}`]);
    text.value = "";
  });

  const matchList = keyed(
    list,
    (/** @type {string} */ match) => match,
    (match) =>
      h(
        "li",
        {},
        h(
          "button",
          {
            type: "button",
            class: "matched",
            onclick: () => change(matches.filter((each) => each !== match)),
          },
          foreign(inWords(match)),
          h("span", { "aria-hidden": "true" }, " ×"),
          h("span", { class: "unseen" }, ": remove this filter"),
        ),
      ),
    () => {},
  );
  const groupList = keyed(
    groups,
    (/** @type {DeadGroup} */ group) => `${group.kind}\n${group.reason}`,
    (group) =>
      h(
        "li",
        { "data-row": true },
        h(
          "button",
          {
            type: "button",
            class: "group",
            "data-open": true,
            onclick: () => toggle(groupMatch(group)),
          },
          h("span", { class: "number" }),
          h(
            "span",
            {},
            foreign(format.line(group.reason) || "no reason", { class: "reason" }),
            h("span", { class: "dim" }, format.line(group.kind, 30)),
          ),
        ),
      ),
    (item, group) => {
      const pressed = groupMatch(group).every((match) => matches.includes(match));
      const inner = item.querySelector("button");
      if (inner) setAttribute(inner, "aria-pressed", String(pressed));
      const number = item.querySelector(".number");
      if (number) setText(number, format.count(group.count));
    },
  );

  /** @param {string[]} wanted */
  function toggle(wanted) {
    const has = wanted.every((match) => matches.includes(match));
    change(has ? matches.filter((match) => !wanted.includes(match)) : wanted);
  }

  /** @param {string[]} wanted */
  function change(wanted) {
    matches = [...new Set(wanted)];
    show();
    changed(matches);
  }

  function show() {
    matchList.update(matches);
    setHidden(list, !matches.length);
  }

  show();
  return {
    groups,
    list,
    form,
    matches: () => matches,
    /** @param {readonly DeadGroup[]} found */
    update(found) {
      choices = choice(choices, found, matches).sort((a, b) => b.count - a.count);
      groupList.update(choices);
    },
  };
}
