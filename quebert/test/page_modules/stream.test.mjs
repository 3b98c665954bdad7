/**
 * Tests for stream.js.
 */

import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";

import { createSession } from "../../web/assets/session.js";
import { backoff, createStream, EventReader } from "../../web/assets/stream.js";

const TEXT =
  ': hello\n\nevent: overview\nid: a-1\ndata: {"at": 1}\n\ndata: x\r\ndata:y\r\n\r\nid: a-2\rdata\r\r' +
  "event: ü🦊\ndata: é\n\nevent: none\n\n";
const EVENTS = [
  { event: "overview", data: '{"at": 1}', id: "a-1" },
  { event: "message", data: "x\ny", id: "a-1" },
  { event: "message", data: "", id: "a-2" },
  { event: "ü🦊", data: "é", id: "a-2" },
];

test("events are read, in whatever pieces they come", () => {
  for (const size of [1, 2, 3, 7, 1000]) {
    const reader = new EventReader();
    const events = [];
    for (let i = 0; i < TEXT.length; i += size)
      events.push(...reader.read(TEXT.slice(i, i + size)));
    assert.deepEqual(events, EVENTS, `pieces of ${size}`);
  }
});

test("a mark of the byte order is no part of the first event", () => {
  assert.equal(new EventReader().read("\ufeffdata: x\n\n")[0]?.data, "x");
});

test("an event without end is refused", () => {
  const reader = new EventReader();
  assert.throws(() => {
    for (let i = 0; i < 20; i += 1) reader.read("x".repeat(1024 * 1024));
  }, /no end/);
});

test("tries come less and less often, within bounds", () => {
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 60, 6000].map((n) => backoff(n, 1)),
    [0.5, 1, 2, 4, 8, 10, 10, 10],
  );
  assert.equal(backoff(1, 0), 0.25);
});

/** A server whose connections the test writes to, and ends. */
function server() {
  const requests = [];
  globalThis.fetch = async (path, options) => {
    const request = { path, headers: options.headers, signal: options.signal };
    requests.push(request);
    const answer = server.answers.shift() ?? { status: 200 };
    if (answer.fails) throw new TypeError("network");
    const body = new ReadableStream({
      start(controller) {
        request.write = (text) => controller.enqueue(new TextEncoder().encode(text));
        request.end = () => controller.close();
        options.signal.addEventListener("abort", () => {
          try {
            controller.error(options.signal.reason);
          } catch {
            // It has ended.
          }
        });
      },
    });
    return new Response(answer.status === 200 ? body : "", answer);
  };
  return requests;
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
async function turns() {
  for (let i = 0; i < 20; i += 1) await turn();
}

afterEach(() => {
  mock.timers.reset();
  server.answers = [];
});
server.answers = [];

function follow(session = createSession(null)) {
  const links = [];
  const events = [];
  const stream = createStream({
    session,
    onEvent: (event) => events.push(event),
    onLink: (link) => links.push(link.status),
  });
  stream.follow("/v1/events");
  return { stream, links, events };
}

test("a connection that ends is made again, with the id of the last event", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const requests = server();
  const { links, events } = follow();
  await turns();
  requests[0].write("id: b-7\ndata: 1\n\n");
  await turns();
  requests[0].end();
  await turns();
  assert.deepEqual(links, ["live", "lost"]);
  mock.timers.tick(600);
  await turns();
  assert.equal(requests.length, 2);
  assert.equal(requests[0].headers["Last-Event-ID"], undefined);
  assert.equal(requests[1].headers["Last-Event-ID"], "b-7");
  requests[1].write("data: 2\n\n");
  await turns();
  assert.deepEqual(
    events.map(({ data }) => data),
    ["1", "2"],
  );
  assert.equal(links.at(-1), "live");
});

test("a connection on which nothing comes is given up", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const requests = server();
  const { links } = follow();
  await turns();
  requests[0].write(": hello\n\n");
  await turns();
  mock.timers.tick(24_000);
  await turns();
  assert.deepEqual(links, []);
  requests[0].write(": hello\n\n");
  await turns();
  mock.timers.tick(24_000);
  await turns();
  assert.deepEqual(links, []);
  mock.timers.tick(2_000);
  await turns();
  assert.deepEqual(links, ["lost"]);
  assert.ok(requests[0].signal.aborted);
});

test("a server that is away is asked again and again", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const requests = server();
  server.answers = [{ fails: true }, { status: 503 }, { fails: true }];
  const { links } = follow();
  for (let i = 0; i < 4; i += 1) {
    await turns();
    mock.timers.tick(10_000);
  }
  await turns();
  assert.equal(requests.length, 4);
  assert.deepEqual(links, ["lost", "lost", "lost"]);
});

test("without a token that it takes, a server is not asked again", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const requests = server();
  server.answers = [{ status: 401 }];
  const session = createSession(null);
  const { stream, links } = follow(session);
  await turns();
  mock.timers.tick(60_000);
  await turns();
  assert.deepEqual([requests.length, links], [1, ["refused"]]);
  session.keep("secret");
  stream.again();
  await turns();
  assert.equal(requests[1].headers.Authorization, "Bearer secret");
});

test("following another path ends the connection before, and begins anew", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const requests = server();
  const { stream, events, links } = follow();
  await turns();
  requests[0].write("id: b-7\ndata: 1\n\n");
  await turns();
  stream.follow("/v1/events?queue=mail");
  await turns();
  stream.follow("/v1/events?queue=mail");
  await turns();
  assert.equal(requests.length, 2);
  assert.ok(requests[0].signal.aborted);
  assert.equal(requests[1].headers["Last-Event-ID"], undefined);
  assert.deepEqual([events.length, links], [1, ["live"]]);
});
