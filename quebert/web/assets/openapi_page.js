/**
 * The page of the API: all routes of the OpenAPI document that this server serves.
 */

import { createTeller, createThemeButton } from "./bar.js";
import { foreign, h, setHidden, setText } from "./dom.js";
import { createKeys, moveRow } from "./keys.js";
import {
  curlOf,
  fieldsOf,
  matches,
  operationsOf,
  problemTypesOf,
  typeOf,
} from "./openapi_document.js";
import { button, chip } from "./parts.js";

/** @typedef {import("./openapi_document.js").Operation} Operation */
/** @typedef {import("./openapi_document.js").Field} Field */
/** @typedef {import("./openapi_document.js").Schema} Schema */
/** @typedef {import("./openapi_document.js").Word} Word */

const DOCUMENT = "/v1/openapi.json";
const teller = createTeller();

/** @param {string} id */
function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`There is no element ${id}`);
  return found;
}

/** @param {readonly Word[]} words */
function typed(words) {
  return words.map((each) =>
    typeof each === "string"
      ? foreign(each)
      : h("a", { href: `#schema-${each.schema}` }, each.schema),
  );
}

/**
 * @param {string} caption
 * @param {readonly (Field & {place?: string})[]} fields
 */
function fieldTable(caption, fields) {
  const rows = fields.map(({ name, place, required, type, note }) =>
    h(
      "div",
      {},
      h(
        "dt",
        {},
        h("code", {}, foreign(name)),
        place ? h("span", { class: "dim" }, ` ${place}`) : null,
        required ? h("span", { class: "needed" }, " required") : null,
      ),
      h(
        "dd",
        {},
        h("span", { class: "type" }, ...typed(type)),
        note ? foreign(note) : null,
      ),
    ),
  );
  return part(caption, h("dl", { class: "fields" }, ...rows));
}

/**
 * @param {string} title
 * @param {...(Node|null)} children
 */
function part(title, ...children) {
  return h("section", {}, h("h4", {}, title), ...children);
}

/**
 * What stands in a fold; it is made once that is opened.
 * @param {HTMLDetailsElement} fold
 * @param {() => Node[]} make
 */
function lazily(fold, make) {
  const fill = () => {
    if (!fold.open) return;
    fold.removeEventListener("toggle", fill);
    fold.append(h("div", { class: "inside" }, ...make()));
  };
  fold.addEventListener("toggle", fill);
  return fold;
}

/** @param {Operation} operation */
function rightOf({ right, open }) {
  if (!right) return "Needs no token.";
  const needed = `Needs a token with the right ${right}`;
  return open
    ? `${needed}; none on the same machine, unless that is forbidden.`
    : `${needed}.`;
}

/**
 * @param {Operation} operation
 * @param {ReadonlySet<number>} typedStatuses those of which problems have types
 */
function inside(operation, typedStatuses) {
  const { parameters, body, answers } = operation;
  const command = h("pre", { tabindex: 0 }, curlOf(operation, location.origin));
  const copy = button("Copy", () => copied(command));
  const needed = body?.required ? "" : ", which may be left out";
  return [
    h("p", {}, rightOf(operation)),
    h("div", { class: "command" }, command, copy),
    parameters.length ? fieldTable("Parameters", parameters) : null,
    body ? fieldTable(`The body, ${body.content}${needed}`, fieldsOf(body.schema)) : null,
    part(
      "Answers",
      h(
        "dl",
        { class: "fields" },
        ...answers.map((each) => answerRow(each, typedStatuses.has(Number(each.status)))),
      ),
    ),
  ].filter((each) => each !== null);
}

/**
 * @param {import("./openapi_document.js").Answer} answer
 * @param {boolean} hasTypes whether there are types of such problems
 */
function answerRow({ status, text, headers, content, schema }, hasTypes) {
  const isProblem = content === "application/problem+json";
  const fields = schema && !isProblem ? fieldsOf(schema) : [];
  return h(
    "div",
    {},
    h("dt", {}, chip(status, isProblem ? "warn" : "good"), ` ${text}`),
    h(
      "dd",
      {},
      h("span", { class: "type" }, content, " "),
      ...(schema && !fields.length ? typed(typeOf(schema)) : []),
      ...(isProblem && hasTypes
        ? [" of ", h("a", { href: `#problems-${status}` }, "these types")]
        : []),
      headers.length ? h("span", { class: "dim" }, ` with ${headers.join(", ")}`) : null,
      fields.length ? fieldTable("Its fields", fields) : null,
    ),
  );
}

/** @param {HTMLElement} element */
async function copied(element) {
  try {
    await navigator.clipboard.writeText(element.textContent ?? "");
    teller.tell("Copied");
  } catch {
    // Without https a browser has no clipboard.
    getSelection()?.selectAllChildren(element);
    teller.tell("Selected: Ctrl-C copies it");
  }
}

/**
 * @param {Operation} operation
 * @param {ReadonlySet<number>} typedStatuses
 */
function operationFold(operation, typedStatuses) {
  const { id, method, path, summary, right } = operation;
  const fold = h(
    "details",
    { id, class: "operation", "data-row": true },
    h(
      "summary",
      { "data-open": true },
      h("span", { class: `method ${method.toLowerCase()}` }, method),
      h("h3", { class: "mono" }, path),
      h("span", { class: "summary" }, summary),
      right ? chip(right, "quiet") : null,
    ),
  );
  return lazily(fold, () => inside(operation, typedStatuses));
}

/**
 * @param {string} name
 * @param {Schema} schema
 */
function schemaFold(name, schema) {
  const id = `schema-${name}`;
  const fold = h(
    "details",
    { id, class: "operation", "data-row": true },
    h("summary", { "data-open": true }, h("h3", { class: "mono" }, name)),
  );
  return lazily(fold, () => [fieldTable("Fields", fieldsOf(schema))]);
}

/** @param {readonly import("./openapi_document.js").ProblemType[]} types */
function problemList(types) {
  const rows = types.map(({ type, status, text }, n) =>
    h(
      "div",
      { id: types[n - 1]?.status === status ? null : `problems-${status}` },
      h("dt", {}, chip(String(status), "warn"), " ", h("code", {}, type)),
      h("dd", {}, foreign(text)),
    ),
  );
  return h("dl", { class: "fields" }, ...rows);
}

/**
 * @param {string} title
 * @param {...Node} children
 */
function group(title, ...children) {
  const id = `group-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return h(
    "section",
    { "aria-labelledby": id, class: "group" },
    h("h2", { id }, title),
    ...children,
  );
}

/** @param {Schema} told */
function show(told) {
  const operations = operationsOf(told);
  const types = problemTypesOf(told);
  const typedStatuses = new Set(types.map(({ status }) => status));
  /** @type {Map<string, HTMLElement[]>} */
  const folds = new Map();
  const shown = operations.map((operation) => {
    const fold = operationFold(operation, typedStatuses);
    folds.set(operation.group, [...(folds.get(operation.group) ?? []), fold]);
    return { operation, fold };
  });
  const order = ["Tasks", "Queues", "Leases", "The cluster", "The server"];
  const groups = order.flatMap((each) => {
    const found = folds.get(each);
    return found ? [group(each, ...found)] : [];
  });
  const schemas = Object.entries(told.components?.schemas ?? {});
  const rest = [
    group("Types of problems", problemList(types)),
    group("Schemas", ...schemas.map(([name, each]) => schemaFold(name, each))),
  ];
  const count = h("p", { class: "dim", role: "status" });
  byId("main").replaceChildren(
    h(
      "div",
      { class: "view api" },
      h("h1", {}, "The HTTP API"),
      h(
        "p",
        {},
        `quebert ${told.info?.version ?? ""} at ${location.origin}. `,
        h("a", { href: DOCUMENT }, "The OpenAPI document"),
        " has the same for programs. A token is made by ",
        h("code", {}, "quebert token"),
        ", and sent as ",
        h("code", {}, "Authorization: Bearer TOKEN"),
        ".",
      ),
      count,
      ...groups,
      ...rest,
    ),
  );

  /** @param {string} text */
  function filter(text) {
    let found = 0;
    for (const { operation, fold } of shown) {
      const fits = matches(operation, text);
      setHidden(fold, !fits);
      found += Number(fits);
    }
    for (const each of groups)
      setHidden(each, !each.querySelector("details:not([hidden])"));
    for (const each of rest) setHidden(each, text.trim() !== "");
    setText(count, text.trim() ? `${found} of ${shown.length} routes` : `${found} routes`);
  }

  return filter;
}

/** Show what the address names. */
function arrive() {
  const found = location.hash && document.getElementById(location.hash.slice(1));
  if (!found || found.id === "main") return;
  if (found instanceof HTMLDetailsElement) found.open = true;
  found.querySelector("summary")?.focus({ preventScroll: true });
  found.scrollIntoView({ block: "start" });
}

/** @param {(text: string) => void} filter */
function listen(filter) {
  const field = byId("find");
  if (!(field instanceof HTMLInputElement)) return;
  filter(field.value);
  field.addEventListener("input", () => filter(field.value));
  field.form?.addEventListener("submit", (event) => {
    event.preventDefault();
    moveRow(1);
  });
  const leave = () => {
    field.value = "";
    filter("");
    field.blur();
  };
  const keys = createKeys(() => [
    { keys: "/", text: "Find", act: () => field.select() },
    { keys: "j", text: "Down", act: () => moveRow(1) },
    { keys: "k", text: "Up", act: () => moveRow(-1) },
    { keys: "Escape", text: "All routes", act: leave, always: true },
  ]);
  keys.start();
  addEventListener("hashchange", () => {
    leave();
    arrive();
  });
  arrive();
}

async function start() {
  createThemeButton(() => {});
  const answer = await fetch(DOCUMENT);
  if (!answer.ok) throw new Error(`${DOCUMENT}: ${answer.status}`);
  listen(show(await answer.json()));
}

start().catch((error) => teller.fail(`The document cannot be shown: ${error.message}`));
