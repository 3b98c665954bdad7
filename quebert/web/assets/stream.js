/**
 * Server-sent events over fetch: an EventSource can send no token.
 *
 * The connection is made again when it ends, when nothing has come for a while (the server
 * sends at least a comment), and with the id of the last event. It waits longer from
 * failure to failure.
 */

import { Problem } from "./api.js";

/** Seconds without a byte after which a connection is taken for lost. */
const SILENCE = 25;
/** Seconds until the first try, and at most. */
const FIRST = 0.5;
const LONGEST = 10;
/** Characters of an event that has no end: more is nonsense. */
const TOO_LONG = 8 * 1024 * 1024;

/** @typedef {{event: string, data: string, id: string}} ServerEvent */
/** @typedef {{status: "connecting"|"live"} | {status: "lost", text: string, retryAt: number} | {status: "refused", text: string, code: number}} Link */

/** Reads a stream of events, in any pieces. Pure. */
export class EventReader {
  constructor() {
    this.lastId = "";
    this.rest = "";
    this.begun = false;
    /** @type {string[]} */
    this.data = [];
    this.event = "";
    this.id = "";
  }

  /**
   * @param {string} text
   * @returns {ServerEvent[]}
   */
  read(text) {
    this.rest += text;
    if (!this.begun && this.rest) {
      this.begun = true;
      if (this.rest.startsWith("\ufeff")) this.rest = this.rest.slice(1);
    }
    if (this.rest.length > TOO_LONG) throw new Problem(0, "No end", "An event has no end.");
    /** @type {ServerEvent[]} */
    const events = [];
    // A lone CR at the end may be half of a CR LF.
    const lines = this.rest.split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    for (const line of lines) this.#line(line, events);
    return events;
  }

  /**
   * @param {string} line
   * @param {ServerEvent[]} events
   */
  #line(line, events) {
    if (line === "") {
      this.lastId = this.id;
      if (this.data.length) {
        const data = this.data.join("\n");
        events.push({ event: this.event || "message", data, id: this.id });
      }
      this.data = [];
      this.event = "";
      return;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.data.push(value);
    else if (name === "event") this.event = value;
    else if (name === "id" && !value.includes("\0")) this.id = value;
  }
}

/**
 * How long to wait before the next try. Pure.
 * @param {number} failures in a row, from 1
 * @param {number} chance from 0 to 1
 */
export function backoff(failures, chance) {
  const longest = Math.min(LONGEST, FIRST * 2 ** Math.min(failures - 1, 10));
  return longest * (0.5 + chance / 2);
}

/**
 * @param {object} options
 * @param {import("./session.js").Session} options.session
 * @param {(event: ServerEvent) => void} options.onEvent
 * @param {(link: Link) => void} options.onLink
 */
export function createStream({ session, onEvent, onLink }) {
  let path = "";
  let lastId = "";
  let failures = 0;
  /** @type {AbortController|null} */
  let current = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;

  /**
   * @param {AbortController} controller
   */
  async function follow(controller) {
    const reader = new EventReader();
    reader.id = reader.lastId = lastId;
    const response = await fetch(path, {
      headers: {
        Accept: "text/event-stream",
        ...(lastId ? { "Last-Event-ID": lastId } : {}),
        ...session.headers(),
      },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: controller.signal,
    });
    if (!response.ok) throw await Problem.of(response);
    if (!response.body) throw new Problem(0, "No events", "The stream of events is empty.");
    const pieces = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const silence = setTimeout(
        () => controller.abort(new Problem(0, "Silence", "Nothing has come for a while.")),
        SILENCE * 1000,
      );
      const { done, value } = await pieces.read().finally(() => clearTimeout(silence));
      if (done) throw new Problem(0, "Ended", "quebert web has ended the connection.");
      if (current !== controller) return;
      for (const event of reader.read(value)) {
        failures = 0;
        lastId = event.id;
        onLink({ status: "live" });
        onEvent(event);
      }
    }
  }

  async function connect() {
    clearTimeout(timer);
    current?.abort();
    const controller = new AbortController();
    current = controller;
    try {
      await follow(controller);
    } catch (error) {
      if (current === controller) lost(error);
    } finally {
      controller.abort();
    }
  }

  /** @param {unknown} error */
  function lost(error) {
    current = null;
    if (error instanceof Problem && error.forbidden) {
      onLink({ status: "refused", text: error.message, code: error.status });
      return;
    }
    failures += 1;
    const wait = backoff(failures, Math.random());
    const text =
      error instanceof Problem ? error.message : "quebert web cannot be reached.";
    onLink({ status: "lost", text, retryAt: Date.now() / 1000 + wait });
    timer = setTimeout(connect, wait * 1000);
  }

  return {
    /**
     * Follow the events at a path; does nothing if they are followed already.
     * @param {string} wanted
     */
    follow(wanted) {
      if (wanted === path) return;
      path = wanted;
      lastId = "";
      failures = 0;
      void connect();
    },
    /** Try at once. */
    again() {
      if (!path) return;
      failures = 0;
      onLink({ status: "connecting" });
      void connect();
    },
  };
}
