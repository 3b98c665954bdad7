/**
 * Tests for store.js.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  createStore,
  initial,
  reduce,
  serverTime,
  understood,
} from "../../web/assets/store.js";

const overview = (at) => ({
  at,
  queues: [],
  hosts: [],
  mediators: [],
  problems: [],
  history: { ok: true },
});
const attempt = (ended, uuid = `u${ended}`) => ({
  uuid,
  number: 1,
  ended,
  started: ended,
  outcome: "done",
});
const event = (name, value) => ({ event: name, data: JSON.stringify(value) });

test("an overview is kept with when it came, and how the clocks differ", () => {
  const state = reduce(initial(), {
    type: "overview",
    overview: overview(1000),
    here: 990,
  });
  assert.equal(state.received, 990);
  assert.equal(serverTime(state, 991), 1001);
});

test("attempts are counted to the unit, and the newest come first", () => {
  let state = initial();
  state = reduce(state, {
    type: "attempts",
    count: 5000,
    shown: [attempt(1), attempt(3), attempt(2)],
    here: 10,
  });
  state = reduce(state, { type: "attempts", count: 7, shown: [attempt(4)], here: 10.5 });
  assert.equal(state.stream.total, 5007);
  assert.deepEqual(
    state.stream.shown.map(({ ended }) => ended),
    [4, 3, 2, 1],
  );
});

test("however many attempts come, few are kept", () => {
  let state = initial();
  for (let i = 0; i < 100; i += 1) {
    const shown = Array.from({ length: 30 }, (_, j) => attempt(i * 30 + j));
    state = reduce(state, { type: "attempts", count: 10_000, shown, here: i / 2 });
  }
  assert.equal(state.stream.shown.length, 120);
  assert.equal(state.stream.total, 1_000_000);
  assert.ok(Math.abs((state.stream.rate ?? 0) - 20_000) < 1);
});

test("two events at once give no endless rate", () => {
  let state = initial();
  for (const here of [5, 5, 4])
    state = reduce(state, { type: "attempts", count: 10, shown: [], here });
  assert.ok(Number.isFinite(state.stream.rate));
});

test("another queue begins anew, the same one goes on", () => {
  let state = reduce(initial(), {
    type: "attempts",
    count: 5,
    shown: [attempt(1)],
    here: 1,
  });
  assert.equal(reduce(state, { type: "follow", queue: "" }), state);
  state = reduce(state, { type: "follow", queue: "mail" });
  assert.deepEqual(state.stream, { queue: "mail", total: 0, rate: null, at: 0, shown: [] });
});

test("an operation that is over stays so", () => {
  const told = (count, done) => ({
    type: "operation",
    operation: { operation: "a", done, count, total: 9, problem: "" },
  });
  let state = reduce(initial(), told(3, false));
  state = reduce(state, told(9, true));
  state = reduce(state, told(5, false));
  assert.deepEqual(state.operations.a, told(9, true).operation);
});

test("operations that are over are forgotten, those that go on are not", () => {
  let state = initial();
  for (let i = 0; i < 100; i += 1) {
    const operation = { operation: `o${i}`, done: i > 0, count: 0, total: 0, problem: "" };
    state = reduce(state, { type: "operation", operation });
  }
  assert.equal(Object.keys(state.operations).length, 21);
  assert.ok(state.operations.o0);
});

test("a link that is live again is the same state", () => {
  const state = reduce(initial(), { type: "link", link: { status: "live" } });
  assert.equal(reduce(state, { type: "link", link: { status: "live" } }), state);
});

test("events that are not understood are left out", () => {
  for (const [name, data] of [
    ["overview", "{"],
    ["overview", "null"],
    ["overview", "[]"],
    ["overview", '{"at": "now", "queues": []}'],
    ["attempts", '{"count": 3}'],
    ["attempts", '"text"'],
    ["operation", "{}"],
    ["something new", "{}"],
  ]) {
    assert.equal(understood({ event: name, data }, 0), null, `${name} ${data}`);
  }
});

test("events of the server are actions", () => {
  assert.deepEqual(understood(event("overview", overview(1)), 2), {
    type: "overview",
    overview: overview(1),
    here: 2,
  });
  assert.deepEqual(understood(event("attempts", { count: 1, shown: [] }), 2), {
    type: "attempts",
    count: 1,
    shown: [],
    here: 2,
  });
  assert.deepEqual(understood(event("gap", { mediator: "m", count: null }), 2), {
    type: "gap",
    count: 1,
    here: 2,
  });
  assert.deepEqual(reduce(initial(), { type: "gap", count: 4, here: 9 }).lost, {
    count: 4,
    at: 9,
  });
});

test("subscribers are told once for each frame", () => {
  const planned = [];
  const store = createStore((callback) => planned.push(callback));
  const seen = [];
  store.subscribe((state) => seen.push(state.stream.total));
  for (let i = 0; i < 50; i += 1)
    store.dispatch({ type: "attempts", count: 1, shown: [], here: i });
  store.dispatch(null);
  assert.equal(planned.length, 1);
  planned.pop()();
  assert.deepEqual(seen, [50]);
});
