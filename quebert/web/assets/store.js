/**
 * What the page knows, as one value that events lead from one to the next. Pure, but for
 * the subscription at its end.
 */

/** Attempts that are kept. */
const KEPT = 120;
/** Operations that are kept when they are over. */
const OPERATIONS = 20;
/** Seconds over which the rate of attempts is a mean. */
const MEAN = 4;

/**
 * @typedef {object} Stream
 * @property {string} queue whose attempts these are; "" for all
 * @property {number} total since the view was opened
 * @property {number|null} rate per second
 * @property {number} at when the last came, here; 0 for never
 * @property {readonly import("./types.js").Attempt[]} shown the newest first
 */

/**
 * @typedef {object} State
 * @property {import("./stream.js").Link} link
 * @property {import("./types.js").Overview|null} overview
 * @property {number} received when the overview came, by the clock here; 0 for never
 * @property {number} skew seconds by which the server's clock is ahead of the one here
 * @property {Stream} stream
 * @property {Readonly<Record<string, import("./types.js").Operation>>} operations
 * @property {{count: number, at: number}} lost attempts that were lost on their way, and when
 *   the last were, by the clock here
 */

/**
 * @typedef {{type: "link", link: import("./stream.js").Link}
 *   | {type: "overview", overview: import("./types.js").Overview, here: number}
 *   | {type: "attempts", count: number, shown: import("./types.js").Attempt[], here: number}
 *   | {type: "operation", operation: import("./types.js").Operation}
 *   | {type: "gap", count: number, here: number}
 *   | {type: "follow", queue: string}} Action
 */

/** @returns {State} */
export function initial() {
  return {
    link: { status: "connecting" },
    overview: null,
    received: 0,
    skew: 0,
    stream: empty(""),
    operations: {},
    lost: { count: 0, at: 0 },
  };
}

/**
 * @param {string} queue
 * @returns {Stream}
 */
function empty(queue) {
  return { queue, total: 0, rate: null, at: 0, shown: [] };
}

/**
 * @param {State} state
 * @param {Action} action
 * @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "link":
      if (state.link.status === "live" && action.link.status === "live") return state;
      return { ...state, link: action.link };
    case "overview":
      return {
        ...state,
        overview: action.overview,
        received: action.here,
        skew: action.overview.at - action.here,
      };
    case "attempts":
      return { ...state, stream: streamed(state.stream, action) };
    case "operation":
      return { ...state, operations: operated(state.operations, action.operation) };
    case "gap":
      return {
        ...state,
        lost: { count: state.lost.count + action.count, at: action.here },
      };
    case "follow":
      if (state.stream.queue === action.queue) return state;
      return { ...state, stream: empty(action.queue) };
  }
}

/**
 * @param {Stream} stream
 * @param {{count: number, shown: import("./types.js").Attempt[], here: number}} news
 * @returns {Stream}
 */
function streamed(stream, { count, shown, here }) {
  const newest = shown.length > 1 ? [...shown].sort((a, b) => b.ended - a.ended) : shown;
  let rate = stream.rate;
  if (stream.at) {
    const seconds = Math.max(here - stream.at, 0.05);
    const weight = 1 - Math.exp(-seconds / MEAN);
    rate = (rate ?? count / seconds) * (1 - weight) + (count / seconds) * weight;
  }
  return {
    queue: stream.queue,
    total: stream.total + count,
    rate,
    at: here,
    shown: [...newest, ...stream.shown].slice(0, KEPT),
  };
}

/**
 * @param {Readonly<Record<string, import("./types.js").Operation>>} operations
 * @param {import("./types.js").Operation} operation
 */
function operated(operations, operation) {
  const before = operations[operation.operation];
  if (before?.done) return operations; // What comes late changes nothing.
  const all = { ...operations, [operation.operation]: operation };
  const over = Object.keys(all).filter((id) => all[id]?.done);
  for (const id of over.slice(0, Math.max(0, over.length - OPERATIONS))) delete all[id];
  return all;
}

/**
 * The action that an event of the server is; null for one that the page does not know.
 * @param {{event: string, data: string}} event
 * @param {number} here the time here, in seconds
 * @returns {Action|null}
 */
export function understood({ event, data }, here) {
  let told;
  try {
    told = JSON.parse(data);
  } catch {
    return null;
  }
  if (told === null || typeof told !== "object") return null;
  switch (event) {
    case "overview":
      if (!Array.isArray(told.queues) || typeof told.at !== "number") return null;
      return { type: "overview", overview: told, here };
    case "attempts":
      if (typeof told.count !== "number" || !Array.isArray(told.shown)) return null;
      return { type: "attempts", count: told.count, shown: told.shown, here };
    case "operation":
      if (typeof told.operation !== "string") return null;
      return { type: "operation", operation: told };
    case "gap":
      return { type: "gap", count: typeof told.count === "number" ? told.count : 1, here };
    default:
      return null;
  }
}

/**
 * The time by the server's clock.
 * @param {State} state
 * @param {number} here
 */
export function serverTime(state, here) {
  return here + state.skew;
}

/**
 * The state, and who is told when it has changed: once for each frame, however often it did.
 * @param {(callback: () => void) => void} [soon]
 */
export function createStore(soon = (callback) => requestAnimationFrame(callback)) {
  let state = initial();
  let planned = false;
  /** @type {Set<(state: State) => void>} */
  const subscribers = new Set();

  function tell() {
    planned = false;
    for (const subscriber of subscribers) subscriber(state);
  }

  return {
    state: () => state,
    /** @param {Action|null} action */
    dispatch(action) {
      const next = action ? reduce(state, action) : state;
      if (next === state) return;
      state = next;
      if (!planned) {
        planned = true;
        soon(tell);
      }
    },
    /** @param {(state: State) => void} subscriber */
    subscribe(subscriber) {
      subscribers.add(subscriber);
      return () => subscribers.delete(subscriber);
    },
  };
}
