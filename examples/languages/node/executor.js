// An executor in Node without packages.
//
//     $ node executor.js
//     tasks at http://127.0.0.1:8000/
//
// The body of a request is a task as JSON.  2xx is done; after anything else the task
// comes again.  With TASK_SECRET=whsec_... only requests are taken that are signed with
// this secret: a line of the file that "quebert secret" has made.
"use strict";
const crypto = require("node:crypto");
const http = require("node:http");
const { setTimeout: pass } = require("node:timers/promises");

const LARGEST = 16 * 2 ** 20; // bytes, as much as a task may have
const SECRET = Buffer.from((process.env.TASK_SECRET ?? "").slice(6), "base64");
const LEASED = Symbol("leased");

// What no further attempt would mend.
class GiveUp extends Error {}

async function greet(params) {
  if (typeof params?.name !== "string") throw new GiveUp("a greeting needs a name");
  return { said: `hello, ${params.name}` };
}

// Goes on for up to an hour after the answer.
async function encode(params, lease) {
  if (!lease) throw new Error("the queue has no leases");
  encodeAll(lease).catch(console.error);
  return LEASED;
}

async function encodeAll(lease) {
  try {
    // The work.
  } catch (error) {
    console.error(error);
    return tell(`${lease}:fail`, { seconds: 60 });
  }
  return tell(`${lease}:complete`, {});
}

// Tell quebert, which may be about to start.
async function tell(url, body) {
  const headers = { "Content-Type": "application/json" };
  const request = { method: "POST", headers, body: JSON.stringify(body) };
  for (const pause of [1, 5, 25, 125]) {
    const answer = await fetch(url, request).catch(() => null);
    if (answer?.ok) return;
    // 409: the lease was lost.
    if (answer && answer.status !== 503) throw new Error(await answer.text());
    await pass(pause * 1000);
  }
  throw new Error(`${new URL(url).host} does not answer`);
}

// Whether a mediator has signed the request, in the last five minutes.
function isSigned(headers, body) {
  const stamp = headers["webhook-timestamp"] ?? "";
  if (!/^\d+$/.test(stamp) || Math.abs(Date.now() / 1000 - stamp) > 300) return false;
  const hmac = crypto.createHmac("sha256", SECRET);
  hmac.update(`${headers["webhook-id"]}.${stamp}.`).update(body);
  const right = Buffer.from(`v1,${hmac.digest("base64")}`);
  return (headers["webhook-signature"] ?? "")
    .split(" ")
    .map((each) => Buffer.from(each))
    .some(
      (each) => each.length === right.length && crypto.timingSafeEqual(each, right),
    );
}

const functions = { "/hello": greet, "/encode": encode };

// The whole body, always: a client may otherwise not see the answer.
async function read(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size <= LARGEST) parts.push(part);
  }
  return size <= LARGEST ? Buffer.concat(parts) : null;
}

async function answer(request) {
  const body = await read(request);
  if (body === null) return [413, "the task is too large"];
  if (request.method !== "POST") return [405, "tasks are POSTed"];
  if (SECRET.length && !isSigned(request.headers, body)) {
    return [401, "the request is not signed"];
  }
  const [path] = request.url.split("?", 1);
  if (!Object.hasOwn(functions, path)) return [404, `no function does ${path}`];
  let task;
  try {
    task = JSON.parse(body.toString("utf8"));
  } catch {
    return [400, "the body is no JSON"];
  }
  if (task === null || typeof task !== "object") return [400, "the body is no task"];
  try {
    const lease = request.headers["quebert-lease-url"];
    const result = await functions[path](task.params, lease);
    if (result === LEASED) return [202, "it goes on", { "Quebert-Lease": "3600" }];
    return [200, result];
  } catch (error) {
    const sentence = String(error?.message ?? error);
    if (error instanceof GiveUp) {
      // A header has characters of Latin-1 alone.
      const reason = sentence.replace(/[^ -~]/g, "?");
      return [422, sentence, { "Quebert-Outcome": `bury; ${reason}` }];
    }
    console.error(error);
    return [500, sentence, { "Retry-After": "5" }];
  }
}

let ending = false;
const server = http.createServer(async (request, response) => {
  try {
    const [status, said, headers] = await answer(request);
    const text = typeof said === "string";
    if (ending) response.setHeader("Connection", "close");
    response.writeHead(status, {
      "Content-Type": text ? "text/plain; charset=utf-8" : "application/json",
      ...headers,
    });
    response.end(text ? said : JSON.stringify(said));
  } catch (error) {
    response.destroy(error); // the client has hung up
  }
});
// More than the four seconds for which a mediator keeps an idle connection.
server.keepAliveTimeout = 60_000;
// SIGTERM: running tasks end, no others begin.
process.on("SIGTERM", () => {
  ending = true;
  server.close();
  server.closeIdleConnections();
});
const port = Number(process.env.PORT ?? 8000);
server.listen(port, "127.0.0.1", () => {
  console.log(`tasks at http://127.0.0.1:${port}/`);
});
