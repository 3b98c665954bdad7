/**
 * Tests for format.js.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import * as format from "../../web/assets/format.js";

test("a count is told to the unit", () => {
  assert.equal(format.count(1234567), "1,234,567");
  assert.equal(format.count(0), "0");
  assert.equal(format.count(null), "–");
  assert.equal(format.count(undefined), "–");
  assert.equal(format.count(NaN), "–");
  assert.equal(format.counted(1, "task"), "1 task");
  assert.equal(format.counted(0, "task"), "0 tasks");
  assert.equal(format.counted(null, "task"), "– tasks");
  assert.equal(format.found(0, false, false), "");
  assert.equal(format.found(1, false, false), "1 task");
  assert.equal(format.found(2, true, false), "2 tasks, and more");
  assert.equal(format.found(0, true, false), "none so far; there may be older ones");
  assert.equal(format.found(0, true, true), "none so far; looking further back");
});

test("a rate has few digits, and a small one is not nothing", () => {
  assert.deepEqual([0, 0.004, 0.26, 9.94, 9.96, 20114.4, -1, null].map(format.rate), [
    "0",
    "<0.1",
    "0.3",
    "9.9",
    "10",
    "20,114",
    "0",
    "–",
  ]);
});

test("a duration has the unit that fits", () => {
  assert.deepEqual(
    [0, 0.0004, 0.0096, 0.0123, 0.9994, 0.9996, 9.996, 59.94, 59.96, 61, 3599.9].map(
      format.duration,
    ),
    [
      "0 s",
      "0.4 ms",
      "9.6 ms",
      "12 ms",
      "999 ms",
      "1.00 s",
      "10.0 s",
      "59.9 s",
      "1 m 00 s",
      "1 m 01 s",
      "1 h 00 m",
    ],
  );
  assert.equal(format.duration(90061), "1 d 01 h");
  assert.equal(format.duration(3e9), "95.1 years");
  assert.equal(format.duration(-2), "−2.00 s");
  assert.equal(format.duration(null), "–");
});

test("times to come are rounded up, those gone by down", () => {
  assert.equal(format.relative(10.2, 0), "in 11 s");
  assert.equal(format.relative(0, 10.8), "10 s ago");
  assert.equal(format.relative(0, 0.5), "now");
  assert.equal(format.relative(null, 0), "–");
  assert.equal(format.relative(Infinity, 0), "–");
});

test("a time that no date can hold is unknown", () => {
  assert.equal(format.clock(1e300), "–");
  assert.equal(format.moment(1e300), "–");
  assert.match(format.moment(0.5), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.500$/);
});

test("the date is told with a time of another day", () => {
  assert.match(format.clock(0, 1e9), /^19\d\d-\d\d-\d\d \d\d:\d\d:\d\d$/);
  assert.match(format.clock(1e9, 1e9), /^\d\d:\d\d:\d\d$/);
});

test("nothing in a text from outside is unseen", () => {
  assert.equal(format.visible("a\u202eb\u0000c\u200bd"), "a\\u{202e}b\\u{0}c\\u{200b}d");
  assert.equal(format.visible("\ud800x"), "\ufffdx");
  assert.equal(format.visible("größe 🦊"), "größe 🦊");
  assert.equal(format.visible("line\nline\tx"), "line\nline\tx");
  assert.equal(format.visible("tag \u{e0041}"), "tag \\u{e0041}");
  assert.equal(format.visible(null), "");
  assert.equal(format.visible(42), "42");
});

test("a text from outside is not without end", () => {
  assert.equal(format.visible("a".repeat(1e6)).length, 4097);
  assert.equal(format.line("a\n b   c"), "a b c");
  assert.equal(format.line("a".repeat(400), 10), "aaaaaaaaaa…");
});

test("half a character at the end of what is shown is none", () => {
  assert.equal(format.visible("🦊🦊", 3), "🦊\ufffd…");
});

test("bytes and shares", () => {
  assert.deepEqual([0, 1023, 1024, 80_000_000, 5e12, null].map(format.bytes), [
    "0 B",
    "1023 B",
    "1.0 KiB",
    "76 MiB",
    "4.5 TiB",
    "–",
  ]);
  assert.equal(format.percent(0.414), "41 %");
  assert.equal(format.percent(null), "–");
});

test("words for what became of a task", () => {
  assert.equal(format.outcome("retry"), "retried");
  assert.equal(format.outcome("done"), "done");
  assert.equal(format.outcome(""), "–");
  assert.equal(format.tone("buried"), "bad");
  assert.equal(format.tone("something new"), "plain");
  assert.equal(format.whyTitle("breaker_open"), "Circuit breaker open");
  assert.equal(format.whyTitle("something_new"), "something new");
  assert.equal(format.whyTitle("constructor"), "constructor");
  assert.deepEqual([204, "404", 500, null, "", "x"].map(format.statusTone), [
    "good",
    "warn",
    "bad",
    "plain",
    "plain",
    "plain",
  ]);
});

test("a uuid is short, and another text is not long", () => {
  assert.equal(format.shortUuid("0badc0de-0000-0000-0000-000000000001"), "0badc0de");
  assert.equal(format.shortUuid("<script>alert(1)</script>"), "<script>aler…");
});

test("the reason of a dead letter does not repeat its uuid and URL", () => {
  const uuid = "5d0c1f7e-6a52-4c39-b0a7-2f3e4d5c6b7a";
  const reason = `task ${uuid} for /mail is given up after 2 attempts: 500`;
  const letter = { uuid, url: "/mail", reason };
  assert.equal(format.shortReason(letter), "given up after 2 attempts: 500");
  assert.equal(format.shortReason({ ...letter, url: "/other" }), reason);
});
