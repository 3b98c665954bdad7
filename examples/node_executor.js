// An executor in Node without packages.
//
//     $ node examples/node_executor.js
//     tasks at http://127.0.0.1:8000/
//
// The body of a request is a task as JSON.  2xx is done; after anything else the task
// comes again.
"use strict";
const http = require("node:http");

const LARGEST = 16 * 2 ** 20; // bytes, as much as a task may have

async function greet(params) {
  if (typeof params?.name !== "string") {
    throw new GiveUp("a greeting needs a name");
  }
  return { said: `hello, ${params.name}` };
}

async function refuse() {
  throw new Error("not today");
}

const functions = { "/hello": greet, "/refuse": refuse };

// What no further attempt would mend.
class GiveUp extends Error {}

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
    return [200, await functions[path](task.params)];
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
