/**
 * Questions: whether something may be destroyed, which token there is, and what keys do.
 */

import { foreign, h, setText } from "./dom.js";
import * as format from "./format.js";
import { sendable } from "./session.js";
import { button } from "./parts.js";

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string[]} lines what will happen
 * @property {string} yes what the button says
 * @property {string} [type] what must be written first, such as the name of the queue
 */

/**
 * Open a dialog, and wait until it is closed. The browser gives the focus back.
 * @template Result
 * @param {string} title
 * @param {(close: (result: Result) => void) => (Node|null)[]} fill
 * @param {Result} otherwise where it is closed with Esc
 * @returns {Promise<Result>}
 */
function open(title, fill, otherwise) {
  return new Promise((resolve) => {
    let result = otherwise;
    /** @param {Result} value */
    const close = (value) => {
      result = value;
      dialog.close();
    };
    const dialog = h(
      "dialog",
      { "aria-labelledby": "dialog-title" },
      h("h2", { id: "dialog-title" }, title),
    );
    dialog.append(...fill(close).filter((node) => node !== null));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Ask before something is destroyed. The safe answer has the focus.
 * @param {Question} question
 * @returns {Promise<boolean>}
 */
export function confirm({ title, lines, yes, type }) {
  return open(
    title,
    (close) => {
      const doing = h("button", { class: "danger", type: "submit" }, yes);
      const written = type
        ? h("input", {
            type: "text",
            autocomplete: "off",
            spellcheck: "false",
            autofocus: true,
          })
        : null;
      if (written) {
        doing.disabled = true;
        written.addEventListener("input", () => {
          doing.disabled = written.value.trim() !== type;
        });
      }
      const form = h(
        "form",
        { method: "dialog" },
        ...lines.map((text) => h("p", {}, foreign(format.visible(text)))),
        written
          ? h(
              "label",
              { class: "typed" },
              "Write ",
              h("b", {}, foreign(format.line(type))),
              " to go on",
              written,
            )
          : null,
        h(
          "div",
          { class: "buttons" },
          h(
            "button",
            { type: "button", autofocus: !written, onclick: () => close(false) },
            "Leave it",
          ),
          doing,
        ),
      );
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        if (!doing.disabled) close(true);
      });
      return [form];
    },
    false,
  );
}

/**
 * Ask for a token.
 * @param {string} why
 * @returns {Promise<string|null>}
 */
export function askToken(why) {
  return open(
    "A token, please",
    (close) => {
      const field = h("input", {
        type: "password",
        id: "token",
        autocomplete: "off",
        autofocus: true,
        "aria-describedby": "token-problem",
      });
      const problem = h("p", { class: "bad", id: "token-problem", "aria-live": "polite" });
      const form = h(
        "form",
        { method: "dialog" },
        h("p", {}, foreign(format.visible(why))),
        h("label", { for: "token", class: "typed" }, "Token", field),
        problem,
        h("p", { class: "dim" }, "It is kept until this tab is closed."),
        h(
          "div",
          { class: "buttons" },
          button("Leave it", () => close(null)),
          h("button", { type: "submit", class: "main" }, "Use it"),
        ),
      );
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        const token = field.value.trim();
        if (sendable(token)) close(token);
        else setText(problem, "A token has no spaces, and only ASCII characters.");
      });
      return [form];
    },
    /** @type {string|null} */ (null),
  );
}

/**
 * Show what keys do.
 * @param {readonly import("./keys.js").Binding[]} bindings
 * @param {import("./keys.js").Keys} keys
 */
export function showKeys(bindings, keys) {
  return open(
    "Keys",
    (close) => {
      const list = h("dl", { class: "keys" });
      for (const { keys: pressed, text } of bindings) {
        const all = pressed
          .split(" ")
          .flatMap((key) => [" ", h("kbd", {}, key === "Escape" ? "Esc" : key)]);
        list.append(h("div", {}, h("dt", {}, ...all), h("dd", {}, text)));
      }
      const on = h("input", {
        type: "checkbox",
        checked: keys.on(),
        onchange: () => keys.turn(on.checked),
      });
      return [
        list,
        h("label", { class: "check" }, on, " Keys without Ctrl or Alt do something"),
        h("p", { class: "beside" }, h("a", { href: "/v1/openapi" }, "The HTTP API")),
        h(
          "div",
          { class: "buttons" },
          button("Close", () => close(undefined)),
        ),
      ];
    },
    undefined,
  );
}
