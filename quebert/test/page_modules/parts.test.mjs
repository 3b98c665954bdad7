/**
 * Tests for the pure parts of the page.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createApi, Problem, query, sentence } from "../../web/assets/api.js";
import { chosen } from "../../web/assets/attempt_list.js";
import { lamp, notices } from "../../web/assets/bar.js";
import { choice, groupMatch, inWords } from "../../web/assets/dead_filter.js";
import { bars } from "../../web/assets/due_chart.js";
import { axis, range, shade, summary, totals } from "../../web/assets/heat_map.js";
import { breaker } from "../../web/assets/hosts_view.js";
import { Sequences } from "../../web/assets/keys.js";
import { parts } from "../../web/assets/life_line.js";
import { condition } from "../../web/assets/mediators_view.js";
import { conditions, rested, sum } from "../../web/assets/queues_view.js";
import { deadPath, found, queuePath, routeOf, taskPath } from "../../web/assets/router.js";
import { createSession, sendable, tokenIn } from "../../web/assets/session.js";
import { path } from "../../web/assets/sparkline.js";
import { initial } from "../../web/assets/store.js";
import { lostText, story, title } from "../../web/assets/story.js";
import { compare } from "../../web/assets/table.js";
import { cancelMatch, filterOf, localTime } from "../../web/assets/tasks_view.js";
import { particulars } from "../../web/assets/why_panel.js";

const UUID = "0badc0de-0000-0000-0000-000000000001";

test("an address leads to a view", () => {
  const of = (path, search = "") => {
    const { view, name } = routeOf(path, search);
    return [view, name];
  };
  assert.deepEqual(of("/"), ["queues", ""]);
  assert.deepEqual(of("/queues/mail"), ["queue", "mail"]);
  assert.deepEqual(of("/queues/billing%2Finvoices"), ["queue", "billing/invoices"]);
  assert.deepEqual(of("/queues/billing/invoices"), ["queue", "billing/invoices"]);
  assert.deepEqual(of("/queues/%E0%A4%A"), ["queue", "%E0%A4%A"]);
  assert.deepEqual(of(`/tasks/${UUID}`), ["task", UUID]);
  assert.deepEqual(of("/tasks"), ["tasks", ""]);
  assert.deepEqual(of("/dead"), ["dead", ""]);
  assert.deepEqual(of("/dead/gr%C3%B6%C3%9Fe%3A%CF%80"), ["dead", "größe:π"]);
  assert.deepEqual(of("/hosts/x"), ["missing", "x"]);
  assert.deepEqual(of("/__proto__"), ["missing", ""]);
});

test("addresses lead back to what they were made of", () => {
  for (const name of ["mail", "a/b", "größe:π", "?x=1&y#z", "100%", "<script>"]) {
    assert.equal(routeOf(new URL(queuePath(name), "http://x").pathname).name, name);
    const url = new URL(deadPath(name, ["reason~a&b", "url!=x"]), "http://x");
    assert.equal(routeOf(url.pathname).name, name);
    assert.deepEqual(url.searchParams.getAll("match"), ["reason~a&b", "url!=x"]);
    const task = new URL(taskPath(name, name), "http://x");
    assert.deepEqual(
      [routeOf(task.pathname).name, task.searchParams.get("queue")],
      [name, name],
    );
  }
});

test("what is looked for is a queue, a uuid, or a part of one or of a URL", () => {
  assert.equal(found(" mail ", ["mail"]), "/queues/mail");
  assert.equal(found(UUID.toUpperCase(), []), `/tasks/${UUID.toUpperCase()}`);
  assert.equal(found("0bad", []), "/tasks?q=0bad");
  assert.equal(
    found("https://a.example/x?y", []),
    "/tasks?url=https%3A%2F%2Fa.example%2Fx%3Fy",
  );
  assert.equal(found("  ", []), null);
});

test("a token in a fragment is taken out of it", () => {
  assert.deepEqual(tokenIn("#token=abc"), { token: "abc", rest: "" });
  assert.deepEqual(tokenIn("#token=a%2Bb&x=1"), { token: "a+b", rest: "#x=1" });
  assert.deepEqual(tokenIn("#token=%E0%A4%A"), { token: "%E0%A4%A", rest: "" });
  assert.deepEqual(tokenIn(""), { token: "", rest: "" });
  assert.ok(sendable("abc+/=_-"));
  for (const bad of ["", "a b", "ä", "a\nb"]) assert.ok(!sendable(bad));
});

test("a token is sent, and lasts where there is no storage", () => {
  const forbidden = {
    getItem() {
      throw new Error("no");
    },
    setItem() {
      throw new Error("no");
    },
    removeItem() {
      throw new Error("no");
    },
  };
  for (const storage of [null, forbidden]) {
    const session = createSession(storage);
    assert.deepEqual(session.headers(), {});
    session.keep("abc");
    assert.deepEqual(session.headers(), { Authorization: "Bearer abc" });
  }
});

test("a query has what is not empty", () => {
  assert.equal(query({ a: "", b: null, c: undefined }), "");
  assert.equal(
    query({ match: ["kind=x", "reason~a b"], page_size: 50 }),
    "?match=kind%3Dx&match=reason%7Ea+b&page_size=50",
  );
});

test("requests are made as the API wants them", async () => {
  const sent = [];
  const api = createApi(createSession(null), async (path, { method, body }) => {
    sent.push([method, path, body]);
    return Response.json({});
  });
  await api.change("a/b:c", "pause");
  await api.cancel("u u", "größe");
  await api.dead("mail", { match: ["status="], page_token: "x/y" });
  await api.changeDead("mail", "redrive", ["uuid=1"]);
  assert.deepEqual(sent, [
    ["POST", "/v1/queues/a%2Fb%3Ac:pause", "{}"],
    ["DELETE", "/v1/tasks/u%20u?queue=gr%C3%B6%C3%9Fe", null],
    ["GET", "/v1/queues/mail/dead?match=status%3D&page_token=x%2Fy", null],
    ["POST", "/v1/queues/mail/dead:redrive", '{"match":["uuid=1"]}'],
  ]);
});

test("a problem is told in the words of the server", async () => {
  const answers = [
    new Response('{"title": "Not Found", "status": 404, "detail": "there is no queue x"}', {
      status: 404,
      headers: { "Content-Type": "application/problem+json" },
    }),
    new Response("{", {
      status: 500,
      statusText: "Oops",
      headers: { "Content-Type": "application/problem+json" },
    }),
    new Response("<h1>Bad Gateway</h1>", {
      status: 502,
      headers: { "Content-Type": "text/html" },
    }),
    new Response("{", { status: 200 }),
  ];
  const api = createApi(createSession(null), async () => answers.shift());
  const said = [];
  for (let i = 0; i < 4; i += 1) said.push(await api.overview().catch(sentence));
  assert.deepEqual(said, [
    "Not Found: there is no queue x",
    "Oops",
    "Status 502",
    "No answer: The answer of quebert web broke off.",
  ]);
  const away = createApi(createSession(null), async () => {
    throw new TypeError("failed");
  });
  await assert.rejects(
    away.overview(),
    (error) => error instanceof Problem && error.status === 0,
  );
});

test("the filter of an address", () => {
  assert.deepEqual(filterOf(new URLSearchParams("q=0b&status=503&other=1&reason=")), {
    q: "0b",
    status: "503",
  });
  assert.match(localTime("1700000000"), /^2023-11-1[45]T\d\d:\d\d$/);
  for (const bad of [undefined, "", "x", "1e300"]) assert.equal(localTime(bad), "");
});

test("waiting tasks are cancelled by what messages tell alone", () => {
  assert.equal(cancelMatch({ q: "0b" }), null);
  assert.equal(cancelMatch({ queue: "mail" }), null);
  assert.equal(cancelMatch({ queue: "mail", q: "0b", status: "503" }), null);
  assert.deepEqual(cancelMatch({ queue: "mail", q: "0b", url: "/x" }), [
    "uuid=0b*",
    "url~/x",
  ]);
});

test("the group of a reason is a filter", () => {
  assert.deepEqual(
    groupMatch({ kind: "exhausted", reason: "503 Service Unavailable", count: 1 }),
    ["kind=exhausted", "status=503"],
  );
  assert.deepEqual(
    groupMatch({ kind: "poison", reason: "task ... is not JSON: ...", count: 1 }),
    ["kind=poison", "reason~is not JSON:"],
  );
  assert.deepEqual(groupMatch({ kind: "poison", reason: "", count: 1 }), ["kind=poison"]);
  assert.deepEqual(groupMatch({ kind: "", reason: "5030 of them", count: 1 }), [
    "kind=",
    "reason~5030 of them",
  ]);
});

test("while a reason is chosen the others can be chosen, too", () => {
  const [a, b, c] = ["a", "b", "c"].map((reason) => ({ kind: "poison", reason, count: 2 }));
  assert.deepEqual(choice([], [a, b], []), [a, b]);
  assert.deepEqual(choice([a, b], [{ ...b, count: 1 }], groupMatch(b)), [
    { ...b, count: 1 },
    a,
  ]);
  assert.deepEqual(choice([a, b], [], groupMatch(b)), [a]);
  assert.deepEqual(choice([a, b], [c], ["uuid=1"]), [c]);
  assert.deepEqual(choice([a, b], [a, b, c], []), [a, b, c]);
});

test("a filter in words", () => {
  assert.equal(inWords("reason!~a=b"), "reason has not a=b");
  assert.equal(inWords("status="), "status is empty");
  assert.equal(inWords("url!=x~y"), "url is not x~y");
  assert.equal(inWords("nonsense"), "nonsense");
});

test("keys are alone, or two in a row", () => {
  const bindings = ["g q", "g d", "q", "?"].map((keys) => ({ keys, text: "", act() {} }));
  const keys = new Sequences();
  const press = (key, at) => keys.press(key, at, bindings)?.keys ?? null;
  assert.equal(press("?", 0), "?");
  assert.equal(press("g", 0), null);
  assert.equal(press("d", 1000), "g d");
  assert.equal(press("d", 1100), null);
  assert.equal(press("g", 2000), null);
  assert.equal(press("q", 9000), "q");
  assert.equal(press("g", 9100), null);
  assert.equal(press("g", 9200), null);
  assert.equal(press("q", 9300), "g q");
  assert.equal(press("g", 9400), null);
  assert.equal(press("?", 9500), "?");
});

test("what nobody knows is last, however a table is sorted", () => {
  const sorted = (values, up) => [...values].sort((a, b) => compare(a, b, up));
  assert.deepEqual(sorted([3, null, 1, 2], true), [1, 2, 3, null]);
  assert.deepEqual(sorted([3, null, 1, 2], false), [3, 2, 1, null]);
  assert.deepEqual(sorted(["q10", "q9", "Q1"], true), ["Q1", "q9", "q10"]);
});

test("a sparkline is within its bounds", () => {
  assert.equal(path([], 1), "");
  assert.equal(path([0, 5, 10], 10), "M0 22.5L60 12L120 1.5");
  assert.equal(path([0, -5, 99], 0), "M0 22.5L60 22.5L120 22.5");
  assert.equal(path([1], 1, true), "M0 1.5L0 24L0 24Z");
});

const latency = {
  buckets: [0.01, 0.1, 1],
  columns: [
    { at: 60, counts: [5, 4, 0, 1] },
    { at: 65, counts: [90, 0, 0, 0] },
  ],
};

test("a heat map in words", () => {
  assert.deepEqual(totals(latency), [95, 4, 0, 1]);
  assert.deepEqual(
    [0, 1, 2, 3].map((row) => range(latency.buckets, row)),
    ["up to 10 ms", "10 ms to 100 ms", "100 ms to 1 s", "over 1 s"],
  );
  assert.match(
    summary(latency),
    /^100 requests from \S+ to \S+: half took 10 ms or less, 99 % took 100 ms or less\.$/,
  );
  assert.equal(
    summary({ buckets: [1], columns: [] }),
    "No request has ended in this time.",
  );
  assert.match(
    summary({ buckets: [1], columns: [{ at: 0, counts: [0, 3] }] }),
    /half took over 1 s/,
  );
  assert.ok(
    !summary({ buckets: [1], columns: [{ at: 0, counts: [0, 3] }] }).includes("or less"),
  );
});

test("columns stand where their time is", () => {
  const columns = [600, 660, 840].map((at) => ({ at, counts: [1] }));
  const times = axis({ buckets: [1], columns }, 1000);
  assert.equal(times.number, 40);
  assert.deepEqual([600, 660, 840].map(times.column), [33, 34, 37]);
  assert.deepEqual([37, 39].map(times.at), [840, 960]);
  const one = axis({ buckets: [1], columns: columns.slice(0, 1) }, 590);
  assert.equal(one.column(600), 39);
  assert.equal(axis({ buckets: [], columns: [] }, 5).number, 40);
  const many = axis(
    {
      buckets: [1],
      columns: [
        { at: 0, counts: [] },
        { at: 1, counts: [] },
        { at: 1e6, counts: [] },
      ],
    },
    0,
  );
  assert.equal(many.number, 240);
  assert.ok(many.column(0) < 0);
});

test("few requests are seen beside many", () => {
  assert.equal(shade(0, 10), 0);
  assert.ok(shade(1, 1_000_000) > 0.15);
  assert.equal(shade(7, 7), 1);
  assert.equal(shade(1, 1), 1);
});

test("what is due, in no more bars than there is room", () => {
  assert.deepEqual(bars([]), []);
  assert.deepEqual(bars([{ at: 5, count: 0 }]), []);
  assert.deepEqual(
    bars([
      { at: 9, count: 2 },
      { at: 5, count: 1 },
    ]),
    [
      { at: 5, count: 1 },
      { at: 9, count: 2 },
    ],
  );
  const many = bars(Array.from({ length: 1000 }, (_, i) => ({ at: i, count: 1 })));
  assert.equal(many.length, 40);
  assert.equal(
    many.reduce((total, { count }) => total + count, 0),
    1000,
  );
});

test("attempts stand once each, and those that are done may be left out", () => {
  const one = { uuid: "a", number: 1, ended: 5, outcome: "done" };
  const two = { uuid: "a", number: 2, ended: 6, outcome: "retry" };
  assert.deepEqual(chosen([two, one, { ...one }], false), [two, one]);
  assert.deepEqual(chosen([two, one], true), [two]);
  assert.equal(
    chosen(
      Array.from({ length: 50 }, (_, i) => ({ ...one, ended: i })),
      false,
    ).length,
    20,
  );
});

const tries = [
  {
    number: 1,
    started: 110,
    ended: 111,
    due: 110,
    status: 503,
    outcome: "retry",
    reason: "",
    answer: "",
    retry_at: 115,
  },
  {
    number: 2,
    started: 118,
    ended: 118.01,
    due: 115,
    status: 200,
    outcome: "done",
    reason: "",
    answer: "",
    retry_at: null,
  },
];
const task = (more) => ({
  uuid: UUID,
  queue: "q",
  url: "",
  state: "done",
  added: 100,
  due: 110,
  retry_at: null,
  attempts: tries,
  gaps: [],
  ...more,
});
const shape = (all) => all.map(({ kind, from, to }) => [kind, from, to]);

test("a life is waiting, attempts, and waiting again", () => {
  assert.deepEqual(shape(parts(task(), 200)), [
    ["delayed", 100, 110],
    ["attempt", 110, 111],
    ["delayed", 111, 115],
    ["waits", 115, 118],
    ["attempt", 118, 118.01],
  ]);
  assert.deepEqual(shape(parts(task({ state: "delayed", attempts: [] }), 105)), [
    ["delayed", 100, 110],
  ]);
  assert.deepEqual(
    shape(
      parts(task({ state: "retrying", attempts: tries.slice(0, 1), retry_at: 115 }), 120),
    ).at(-1),
    ["waits", 115, 120],
  );
  assert.deepEqual(
    parts(task({ added: null, due: null, state: "added", attempts: [] }), 5),
    [],
  );
});

test("a task that was added after its first attempt, by another clock, has a life", () => {
  assert.deepEqual(shape(parts(task({ added: 112 }), 200))[0], ["attempt", 110, 111]);
});

test("a story tells what was, and what comes", () => {
  const titles = (more, now) =>
    story(task(more), now).map((event) =>
      event.kind === "point" ? event.title : event.attempt.number,
    );
  assert.deepEqual(titles({}, 200), ["Added", 1, 2]);
  assert.deepEqual(titles({ state: "cancelled", attempts: [] }, 200), [
    "Added",
    "Cancelled",
  ]);
  assert.deepEqual(titles({ state: "delayed", attempts: [] }, 105), ["Added", "Due"]);
  assert.deepEqual(titles({ state: "delayed", attempts: [] }, 205), [
    "Added",
    "Due, and waiting",
  ]);
  assert.deepEqual(
    titles({ state: "retrying", attempts: tries.slice(0, 1), retry_at: 300 }, 205),
    ["Added", 1, "Next attempt"],
  );
  assert.deepEqual(titles({ state: "running", attempts: [] }, 205), [
    "Added",
    "It is running",
  ]);
});

test("what was not attempted is no attempt", () => {
  assert.equal(title({ number: 2, outcome: "retry", status: null }), "Attempt 2");
  assert.equal(title({ number: 2, outcome: "postponed", status: null }), "Not attempted");
});

test("attempts that were lost are told", () => {
  assert.match(
    lostText({ mediator: "m", from: 1, to: 2, count: 3 }, 2),
    /^3 attempts of m from \S+ to \S+ were lost/,
  );
  assert.match(
    lostText({ mediator: "m", from: null, to: null, count: null }, 2),
    /^Attempts of m were lost/,
  );
});

test("what is known of a reason", () => {
  const why = {
    reason: "behind",
    text: "",
    until: null,
    position: 1200,
    rate: 40,
    by: null,
  };
  assert.deepEqual(particulars(why, 0), [
    ["tasks before it", "1,200"],
    ["rate", "40 per second"],
    ["about", "30 s"],
  ]);
  assert.deepEqual(particulars({ ...why, position: 0, rate: 0, by: "anna" }, 0), [
    ["tasks before it", "0"],
    ["rate", "0 per second"],
    ["by", "anna"],
  ]);
});

const queue = {
  name: "q",
  exists: true,
  paused: false,
  consumers: 1,
  breakers: [],
  problems: [],
  ready: 1,
};

test("the worst of a queue is told first", () => {
  const said = (more) => conditions({ ...queue, ...more }).map(({ text }) => text);
  assert.deepEqual(said({}), []);
  assert.deepEqual(said({ exists: null, consumers: null, paused: null }), []);
  assert.deepEqual(said({ exists: false }), ["does not exist"]);
  assert.deepEqual(conditions({ ...queue, consumers: 0 }, true), [
    { text: "resting", tone: "plain" },
  ]);
  // One that was killed is no reason to be calm; nor one that consumes.
  const rests = { consuming: false, rate: null };
  const consumes = { consuming: true, rate: null };
  const limited = { consuming: true, rate: 0.1 };
  const all = [
    { queues: { a: rests, b: consumes, c: limited } },
    { lost: true, queues: { d: rests } },
  ];
  assert.deepEqual([...rested(all)], ["a", "c"]);
  assert.deepEqual(said({ paused: true, consumers: 0 }), ["paused"]);
  assert.deepEqual(said({ consumers: 0, breakers: ["a", "b"], problems: ["x"] }), [
    "no consumer",
    "2 breakers open",
    "1 problem",
  ]);
});

test("a sum is of what is known", () => {
  assert.equal(sum([queue, { ...queue, ready: null }, queue], "ready"), 2);
  assert.equal(sum([{ ...queue, ready: null }], "ready"), null);
  assert.equal(sum([], "ready"), null);
});

test("breakers and mediators in words", () => {
  const host = { breaker: "open", open_until: 20 };
  assert.deepEqual(breaker(host, 5), ["open, 15 s to go", "bad"]);
  assert.deepEqual(breaker(host, 25), ["open", "bad"]);
  assert.deepEqual(breaker({ breaker: "constructor" }, 0), ["constructor", "quiet"]);
  const mediator = { lost: false, lag: 0, at: 0, queues: {} };
  assert.deepEqual(condition(mediator, 0), ["fine", "quiet"]);
  assert.deepEqual(condition({ ...mediator, lost: true }, 40), ["lost 40 s ago", "bad"]);
  const q = { consuming: false, paused: false, rate: null };
  const watching = (watch) => condition({ ...mediator, queues: { q: watch } }, 0);
  assert.deepEqual(watching(q), ["not consuming", "warn"]);
  assert.deepEqual(watching({ ...q, rate: 0.1 }), ["fine", "quiet"]);
  assert.deepEqual(watching({ ...q, paused: true }), ["fine", "quiet"]);
});

test("the lamp tells how old the data is", () => {
  const state = { ...initial(), received: 100 };
  assert.deepEqual(lamp(initial(), 0), { text: "Connecting", tone: "plain", old: false });
  assert.deepEqual(lamp({ ...state, link: { status: "live" } }, 101), {
    text: "Live",
    tone: "good",
    old: false,
  });
  assert.deepEqual(lamp({ ...state, link: { status: "live" } }, 107), {
    text: "7 s old",
    tone: "warn",
    old: true,
  });
  assert.deepEqual(
    lamp({ ...state, link: { status: "lost", text: "", retryAt: 0 } }, 160),
    { text: "1 m 00 s old", tone: "bad", old: true },
  );
  assert.equal(
    lamp({ ...initial(), link: { status: "refused", text: "", code: 401 } }, 0).text,
    "No token",
  );
});

test("what is wrong is said above the view", () => {
  const overview = {
    problems: ["RabbitMQ is away", "RabbitMQ is away"],
    history: { ok: false, problem: "the disk is full.", behind: null },
  };
  const keys = (state) => notices({ ...initial(), ...state }, 100).map(({ key }) => key);
  assert.deepEqual(keys({}), []);
  assert.deepEqual(keys({ overview }), ["pRabbitMQ is away", "history"]);
  assert.deepEqual(
    keys({
      link: { status: "lost", text: "away", retryAt: 105 },
      lost: { count: 3, at: 50 },
    }),
    ["lost", "gap"],
  );
  assert.deepEqual(keys({ lost: { count: 3, at: 30 } }), []);
  const [lost] = notices(
    {
      ...initial(),
      received: 90,
      link: { status: "lost", text: "It ended.", retryAt: 104.2 },
    },
    100,
  );
  const link = { status: "refused", text: "a token is needed", code: 401 };
  assert.match(notices({ ...initial(), link }, 0)[0].text, /^This page needs a token\./);
  const other = { ...link, text: "It is for others", code: 403 };
  assert.equal(notices({ ...initial(), link: other }, 0)[0].text, "It is for others");
  assert.match(lost.text, /^It ended\. Trying again in 5 s\. What you see is from \S+\.$/);
  const behind = { problems: [], history: { ok: true, behind: 12.3 } };
  assert.equal(
    notices({ ...initial(), overview: behind }, 0)[0].text,
    "The history is 12 s behind.",
  );
});
