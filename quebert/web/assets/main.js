/**
 * The page: brings the store, the stream, the views and the keys together.
 */

import { createApi, Problem, sentence } from "./api.js";
import { h, keyed, setAttribute } from "./dom.js";
import { createKeys, moveRow } from "./keys.js";
import { createRouter, found } from "./router.js";
import { createSession, tokenIn } from "./session.js";
import { createStore, serverTime, understood } from "./store.js";
import { createStream } from "./stream.js";
import { byId, createBar, createTeller, createThemeButton } from "./bar.js";
import { askToken, confirm, showKeys } from "./dialogs.js";
import * as dead from "./dead_view.js";
import * as hosts from "./hosts_view.js";
import * as mediators from "./mediators_view.js";
import * as missing from "./missing_view.js";
import * as queue from "./queue_view.js";
import * as queues from "./queues_view.js";
import * as task from "./task_view.js";
import * as tasks from "./tasks_view.js";

/** @type {Record<string, (context: import("./types.js").Context, route: import("./router.js").Route) => import("./types.js").View>} */
const VIEWS = {
  queues: queues.open,
  queue: queue.open,
  tasks: tasks.open,
  task: task.open,
  dead: dead.open,
  hosts: hosts.open,
  mediators: mediators.open,
  missing: missing.open,
};
/** Which entry of the navigation a view belongs to. */
const ENTRIES = new Map([
  ["queue", "queues"],
  ["task", "tasks"],
]);

/** @returns {Storage|null} */
function storage() {
  try {
    return sessionStorage;
  } catch {
    return null; // It may be forbidden.
  }
}

const here = () => Date.now() / 1000;
const session = createSession(storage());
const { token: given, rest } = tokenIn(location.hash);
if (given) {
  session.keep(given);
  history.replaceState(null, "", location.pathname + location.search + rest);
}
const api = createApi(session);
const store = createStore();
const teller = createTeller();
const main = byId("main");
const find = /** @type {HTMLInputElement} */ (byId("find"));
/** @type {import("./types.js").View|null} */
let view = null;
let leaving = new AbortController();

const stream = createStream({
  session,
  onEvent: (event) => store.dispatch(understood(event, here())),
  onLink(link) {
    if (link.status === "refused" && link.code === 401 && session.token()) {
      // It may be of a server that was started anew; reading may need none.
      session.keep("");
      teller.tell("The server does not know the token: the page has forgotten it");
      stream.again();
      return;
    }
    const before = store.state().link.status;
    if (link.status === "live" && before !== "live" && store.state().received)
      teller.tell("Connected again");
    store.dispatch({ type: "link", link });
  },
});
const bar = createBar({
  again: () => stream.again(),
  token: () => void giveToken("This server wants a token, also for looking."),
});

/** @param {unknown} error */
function fail(error) {
  if (error instanceof DOMException && error.name === "AbortError") return;
  teller.fail(sentence(error));
}

/**
 * @param {string} why
 * @returns {Promise<boolean>} whether there is one
 */
async function giveToken(why) {
  const token = await askToken(why);
  if (token === null) return false;
  session.keep(token);
  stream.again();
  if (view) router.again();
  return true;
}

/** @returns {Promise<boolean>} */
async function permitted() {
  let why = "What changes something needs a token with the right \u201coperate\u201d.";
  for (;;) {
    try {
      if ((await api.overview()).may_operate) return true;
    } catch (error) {
      if (!(error instanceof Problem && error.forbidden)) {
        fail(error);
        return false;
      }
    }
    const token = await askToken(why);
    if (token === null) return false;
    session.keep(token);
    stream.again();
    why = "This token does not have the right \u201coperate\u201d.";
  }
}

/**
 * @param {import("./router.js").Route} route
 * @param {boolean} moved
 */
function show(route, moved) {
  leaving.abort();
  view?.close?.();
  leaving = new AbortController();
  view = (VIEWS[route.view] ?? missing.open)(
    {
      api,
      state: store.state,
      now: () => serverTime(store.state(), here()),
      go: router.go,
      replace: router.replace,
      tell: teller.tell,
      fail,
      confirm,
      permitted,
      signal: leaving.signal,
    },
    route,
  );
  main.replaceChildren(view.element);
  document.title = `${view.title} · quebert`;
  const entry = ENTRIES.get(route.view) ?? route.view;
  for (const link of document.querySelectorAll("nav [data-view]")) {
    setAttribute(
      link,
      "aria-current",
      link.getAttribute("data-view") === entry ? "page" : null,
    );
  }
  const wanted = view.queue ?? "";
  store.dispatch({ type: "follow", queue: wanted });
  stream.follow(`/v1/events${wanted ? `?queue=${encodeURIComponent(wanted)}` : ""}`);
  render();
  if (moved) {
    scrollTo(0, 0);
    main.querySelector("h1")?.focus({ preventScroll: true });
  }
}

const names = keyed(
  byId("queue-names"),
  (/** @type {string} */ name) => name,
  (name) => h("option", { value: name }),
  () => {},
);
let named = "";

function render() {
  const state = store.state();
  bar.update(state, here());
  view?.update?.(state);
  const queues = state.overview?.queues.map(({ name }) => name) ?? [];
  if (queues.join("\n") !== named) {
    named = queues.join("\n");
    names.update(queues);
  }
}

/** Opens the view above, or leaves a field. */
function back() {
  if (document.activeElement instanceof HTMLInputElement) document.activeElement.blur();
  else if (view?.parent) router.go(view.parent);
}

function focusFind() {
  find.focus();
  find.select();
}

/** @returns {import("./keys.js").Binding[]} */
function bindings() {
  const words = {
    p: "pause or resume the queue",
    ".": "hold the attempts still, or let them go",
    r: "run the task now",
    c: "cancel the task",
  };
  return [
    { keys: "j", text: "to the next row", act: () => moveRow(1) },
    { keys: "k", text: "to the row before", act: () => moveRow(-1) },
    { keys: "/", text: "find a task or a queue", act: focusFind },
    { keys: "g q", text: "queues", act: () => router.go("/") },
    { keys: "g t", text: "tasks", act: () => router.go("/tasks") },
    { keys: "g d", text: "dead letters", act: () => router.go("/dead") },
    { keys: "g h", text: "hosts", act: () => router.go("/hosts") },
    { keys: "g m", text: "mediators", act: () => router.go("/mediators") },
    ...Object.entries(view?.keys ?? {}).map(([keys, act]) => ({
      keys,
      text: words[/** @type {keyof typeof words} */ (keys)] ?? "",
      act,
    })),
    { keys: "Escape", text: "leave a field, or go up", act: back, always: true },
    { keys: "?", text: "this list", act: help, always: true },
  ];
}

function help() {
  const enter = { keys: "Enter", text: "open the row", act: () => {} };
  const [down, up, ...others] = bindings();
  void showKeys([...(down && up ? [down, up] : []), enter, ...others], keys);
}

const router = createRouter(show);
const keys = createKeys(bindings);
byId("help").addEventListener("click", help);
createThemeButton(() => view?.redraw?.());
find.form?.addEventListener("submit", (event) => {
  event.preventDefault();
  const address = found(
    find.value,
    store.state().overview?.queues.map(({ name }) => name) ?? [],
  );
  if (!address) return;
  find.value = "";
  find.blur();
  router.go(address);
});
store.subscribe(render);
setInterval(render, 1000);
keys.start();
router.start();
