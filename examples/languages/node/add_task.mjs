// Tasks over HTTP with Node 18 or newer: add two, look at one, and delete it.
//
//     $ export QUEBERT_URL=http://localhost:8080 QUEBERT_TOKEN=qbt_...
//     $ node add_task.mjs 4711
import process from "node:process";

const { QUEBERT_URL, QUEBERT_TOKEN, EXECUTOR_URL } = process.env;
const api = `${QUEBERT_URL ?? "http://localhost:8080"}/v1`;
const executor = EXECUTOR_URL ?? "http://localhost:8000";
const order = process.argv[2];

async function call(method, path, body, key) {
  const headers = { Authorization: `Bearer ${QUEBERT_TOKEN}` };
  if (body) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  const answer = await fetch(api + path, {
    method,
    headers,
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(30_000),
  });
  if (answer.ok) return answer.json();
  // The problem, as JSON.
  console.error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  process.exit(1);
}

// The key makes it one task, however often this request is made.
const greeting = await call(
  "POST",
  "/tasks",
  { url: `${executor}/hello`, params: { name: "Ada" }, name: `greeting-${order}` },
  `greeting-${order}`,
);
console.log("added", greeting.uuid);

// One that is not due for a week is there, until it is deleted.
const { uuid } = await call("POST", "/tasks", {
  url: `${executor}/hello`,
  params: { name: "Ada, again" },
  name: `reminder-${order}`,
  delay: 7 * 86_400,
});
const { created } = await call("GET", `/tasks/${uuid}`);
console.log("state", created.state);
const { result } = await call("DELETE", `/tasks/${uuid}`);
console.log("result", result);
