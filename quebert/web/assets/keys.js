/**
 * Keys, and sequences of two such as "g q". They can be turned off, since some people
 * speak to their computers, or press keys without wanting to (WCAG 2.1.4).
 */

/** Milliseconds in which the second key of a sequence must come. */
const SEQUENCE = 1500;
const STORED = "quebert-keys";

/** @typedef {{keys: string, text: string, act: () => void, always?: boolean}} Binding */
/** @typedef {ReturnType<typeof createKeys>} Keys */

/**
 * Finds what keys mean. Pure: the time is passed in.
 */
export class Sequences {
  constructor() {
    this.before = "";
    this.at = -Infinity;
  }

  /**
   * @param {string} key
   * @param {number} now in milliseconds
   * @param {readonly Binding[]} bindings the first that fits is taken
   * @returns {Binding|null}
   */
  press(key, now, bindings) {
    const before = now - this.at <= SEQUENCE ? this.before : "";
    const both = before ? `${before} ${key}` : "";
    this.before = "";
    const found =
      (both && bindings.find((binding) => binding.keys === both)) ||
      bindings.find((binding) => binding.keys === key);
    if (found) return found;
    if (bindings.some((binding) => binding.keys.startsWith(`${key} `))) {
      this.before = key;
      this.at = now;
    }
    return null;
  }
}

/**
 * Whether keys that are pressed there are a text.
 * @param {EventTarget|null} target
 */
function writes(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) {
    return !["checkbox", "radio", "button", "submit"].includes(target.type);
  }
  return target.isContentEditable || target.matches("textarea, select");
}

/**
 * @param {() => Binding[]} bindings
 */
export function createKeys(bindings) {
  const sequences = new Sequences();
  let on = true;
  try {
    on = localStorage.getItem(STORED) !== "off";
  } catch {
    // Storage may be forbidden.
  }

  /** @param {KeyboardEvent} event */
  function pressed(event) {
    if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey) return;
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    if (writes(event.target) && event.key !== "Escape") return;
    const wanted = bindings().filter((binding) => on || binding.always);
    const found = sequences.press(event.key, event.timeStamp, wanted);
    if (!found || (event.repeat && !["j", "k"].includes(event.key))) return;
    event.preventDefault();
    found.act();
  }

  return {
    start: () => document.addEventListener("keydown", pressed),
    on: () => on,
    /** @param {boolean} wanted */
    turn(wanted) {
      on = wanted;
      try {
        localStorage.setItem(STORED, wanted ? "on" : "off");
      } catch {
        // It lasts as long as the page, then.
      }
    },
  };
}

/**
 * Move the focus among the rows: elements with data-row, or a link in them.
 * @param {1|-1} step
 */
export function moveRow(step) {
  const rows = [...document.querySelectorAll("main [data-row]:not(.vacant)")].filter(
    (row) => row instanceof HTMLElement && row.offsetParent !== null,
  );
  if (!rows.length) return;
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : at + step;
  const row = rows[Math.min(Math.max(next, 0), rows.length - 1)];
  const target = row?.querySelector("[data-open]") ?? row;
  if (target instanceof HTMLElement) {
    target.focus({ preventScroll: true });
    row?.scrollIntoView({ block: "nearest" });
  }
}
