/**
 * What is above every view: whether data comes, what is wrong, and the colours.
 */

import { button } from "./parts.js";
import { foreign, h, keyed, setAttribute, setHidden, setText } from "./dom.js";
import * as format from "./format.js";

/** Seconds from which on data is called old. */
const OLD = 5;
/** Seconds for which a loss is told. */
const RECENT = 60;
const THEMES = /** @type {const} */ ([
  ["", "◐", "as the system"],
  ["dark", "●", "dark"],
  ["light", "○", "light"],
]);

/** @typedef {import("./store.js").State} State */
/** @typedef {{key: string, tone: string, text: string, act?: string}} Notice */

/**
 * @param {string} id
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element ${id}`);
  return element;
}

/**
 * What the lamp says. Pure.
 * @param {State} state
 * @param {number} here
 * @returns {{text: string, tone: "good"|"warn"|"bad"|"plain", old: boolean}}
 */
export function lamp({ link, received }, here) {
  const seconds = received ? here - received : 0;
  const old = received > 0 && seconds >= OLD;
  const data = received ? `${format.age(seconds)} old` : "";
  switch (link.status) {
    case "live":
      return old ? { text: data, tone: "warn", old } : { text: "Live", tone: "good", old };
    case "connecting":
      return { text: received ? data : "Connecting", tone: "plain", old };
    case "refused":
      return { text: "No token", tone: "bad", old };
    case "lost":
      return { text: data || "Not connected", tone: "bad", old };
  }
}

/**
 * What is said above the view, the worst first. Pure.
 * @param {State} state
 * @param {number} here
 * @returns {Notice[]}
 */
export function notices({ link, overview, received, lost }, here) {
  /** @type {Notice[]} */
  const all = [];
  if (link.status === "refused") {
    const text =
      link.code === 401
        ? "This page needs a token. Whoever runs quebert web makes one with quebert token."
        : link.text;
    all.push({ key: "refused", tone: "bad", text, act: "Give a token" });
  } else if (link.status === "lost") {
    const wait = format.wait(Math.max(0, link.retryAt - here));
    const since = received ? ` What you see is from ${format.clock(received)}.` : "";
    all.push({
      key: "lost",
      tone: "bad",
      text: `${link.text} Trying again in ${wait}.${since}`,
      act: "Try now",
    });
  }
  if (overview) {
    for (const text of new Set(overview.problems))
      all.push({ key: `p${text}`, tone: "bad", text });
    if (!overview.history.ok) {
      const problem = overview.history.problem.trim().replace(/\.$/, "");
      const why = problem.replace(/^the history in /, "") || "it does not answer";
      const text = `The history is away: ${why}. Attempts since then may be missing here; no task is touched.`;
      all.push({ key: "history", tone: "warn", text });
    } else if ((overview.history.behind ?? 0) >= OLD) {
      all.push({
        key: "behind",
        tone: "warn",
        text: `The history is ${format.age(overview.history.behind)} behind.`,
      });
    }
  }
  if (lost.count && here - lost.at < RECENT) {
    const text = `${format.counted(lost.count, "attempt")} got lost on the way here, and are not counted. No task was lost.`;
    all.push({ key: "gap", tone: "plain", text });
  }
  return all;
}

/**
 * @param {{again: () => void, token: () => void}} acts
 */
export function createBar({ again, token }) {
  const link = byId("link");
  const text = byId("link-text");
  const main = byId("main");
  const list = h("ul", {});
  byId("notices").append(list);
  const shown = keyed(
    list,
    (/** @type {Notice} */ notice) => notice.key,
    (notice) =>
      h(
        "li",
        { "data-notice": notice.key.charAt(0) === "p" ? "problem" : notice.key },
        foreign(""),
        notice.act ? button(notice.act, notice.key === "refused" ? token : again) : null,
      ),
    (item, notice) => {
      setAttribute(item, "class", `notice ${notice.tone}`);
      if (item.firstElementChild)
        setText(item.firstElementChild, format.visible(notice.text, 800));
    },
  );
  return {
    /**
     * @param {State} state
     * @param {number} here
     */
    update(state, here) {
      const { text: said, tone, old } = lamp(state, here);
      setText(text, said);
      setAttribute(link, "class", `link ${tone}`);
      setAttribute(link, "data-status", state.link.status);
      main.classList.toggle("old", old);
      const all = notices(state, here);
      shown.update(all);
      setHidden(byId("notices"), !all.length);
    },
  };
}

/**
 * The button that changes the colours.
 * @param {() => void} changed
 */
export function createThemeButton(changed) {
  /** @type {{current: () => string, choose: (theme: string) => void}} */
  const theme = /** @type {any} */ (globalThis).quebertTheme;
  const element = byId("theme");

  function show() {
    const [, sign, name] = THEMES.find(([value]) => value === theme.current()) ?? THEMES[0];
    setText(element, sign);
    setAttribute(element, "aria-label", `Colours: ${name}`);
    setAttribute(element, "title", `Colours: ${name}`);
  }

  element.addEventListener("click", () => {
    const at = THEMES.findIndex(([value]) => value === theme.current());
    theme.choose((THEMES[(at + 1) % THEMES.length] ?? THEMES[0])[0]);
    show();
    changed();
  });
  show();
}

/** Texts that are said once, and seen for a while. */
export function createTeller() {
  const told = byId("told");
  const failed = byId("failed");
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  const close = h(
    "button",
    {
      type: "button",
      class: "quiet",
      "aria-label": "Close",
      onclick: () => setHidden(failed, true),
    },
    "×",
  );
  setHidden(failed, true);
  setHidden(told, false);
  return {
    /** @param {string} text */
    tell(text) {
      clearTimeout(timer);
      told.replaceChildren(foreign(format.visible(text, 400)));
      told.classList.add("shown");
      timer = setTimeout(() => {
        told.classList.remove("shown");
        told.replaceChildren();
      }, 6000);
    },
    /** @param {string} text */
    fail(text) {
      setHidden(failed, false);
      failed.replaceChildren(foreign(format.visible(text, 800)), close);
      failed.classList.add("shown");
    },
  };
}
