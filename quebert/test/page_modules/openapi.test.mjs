/**
 * Tests for what the page of the API reads in its document.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  curlOf,
  exampleOf,
  fieldsOf,
  matches,
  noteOf,
  operationsOf,
  problemTypesOf,
  typeOf,
} from "../../web/assets/openapi_document.js";

const PROBLEM = { "application/problem+json": { schema: { $ref: "#/x" } } };
const MAKE = {
  operationId: "makeThing",
  summary: "Make it.",
  parameters: [
    { name: "Idempotency-Key", in: "header", schema: { type: "string", pattern: "^x" } },
  ],
  requestBody: {
    required: true,
    content: {
      "application/json": {
        schema: {
          type: "object",
          required: ["url"],
          properties: {
            url: { type: "string", minLength: 1, maxLength: 20, examples: ["http://o'x/"] },
            ttl: { type: ["number", "null"], description: "Seconds." },
          },
        },
      },
    },
  },
  responses: {
    201: {
      description: "Created",
      headers: { Location: {} },
      content: {
        "application/json": { schema: { $ref: "#/components/schemas/Thing" } },
      },
    },
    404: { description: "Not Found", content: PROBLEM },
  },
  security: [{ token: ["add"] }],
};
const DOCUMENT = {
  paths: {
    "/v1/tasks": { post: MAKE },
    "/v1/tasks/{uuid}:run": {
      delete: { operationId: "run", security: [{ token: ["read"] }, {}] },
    },
    "/healthz": { get: { operationId: "health" } },
  },
  components: {
    schemas: {
      Problem: {
        properties: {
          type: {
            oneOf: [{ const: "/problems/a", "x-status": 404, description: "no a" }],
          },
        },
      },
    },
  },
};

test("each operation has its right, its fields and its answers", () => {
  const [make, run, health] = operationsOf(DOCUMENT);
  assert.deepEqual([make.method, make.path, make.group], ["POST", "/v1/tasks", "Tasks"]);
  assert.deepEqual([make.right, make.open], ["add", false]);
  assert.deepEqual([run.right, run.open, run.body], ["read", true, null]);
  assert.deepEqual([health.right, health.group], ["", "The server"]);
  assert.equal(make.parameters[0].place, "header");
  assert.deepEqual(
    fieldsOf(make.body.schema).map(({ name, required }) => [name, required]),
    [
      ["url", true],
      ["ttl", false],
    ],
  );
  assert.deepEqual(
    make.answers.map(({ status, headers, content }) => [status, headers.length, content]),
    [
      ["201", 1, "application/json"],
      ["404", 0, "application/problem+json"],
    ],
  );
  assert.deepEqual(typeOf(make.answers[0].schema), [{ schema: "Thing" }]);
});

test("types and bounds are told in words", () => {
  const said = (schema) =>
    typeOf(schema)
      .map((each) => each.schema ?? each)
      .join("");
  assert.equal(said({}), "any JSON");
  assert.equal(said({ type: ["string", "null"] }), "string or null");
  assert.equal(said({ type: "array", items: { enum: ["a", "b"] } }), "array of a | b");
  const empty = { type: "string", maxLength: 0 };
  const size = { anyOf: [{ type: "integer", minimum: 1, maximum: 5 }, empty], default: 2 };
  assert.equal(said(size), "integer");
  assert.equal(noteOf(size), "by default 2; 1 to 5");
  assert.equal(
    said({ anyOf: [{ $ref: "#/components/schemas/A" }, { type: "null" }] }),
    "A or null",
  );
  assert.equal(
    said({ type: "object", additionalProperties: { type: "string" } }),
    "object of string",
  );
  assert.equal(said({ type: "object", additionalProperties: false }), "object");
  assert.equal(noteOf({ description: "Seconds.", minimum: 0 }), "Seconds; at least 0");
  assert.equal(noteOf({ maxLength: 9, pattern: "^[^\\u0000]*$" }), "up to 9 characters");
  assert.equal(
    noteOf({ maxItems: 20, contentEncoding: "base64" }),
    "up to 20 items; base64",
  );
});

test("objects within are told, too", () => {
  const inner = { type: "object", properties: { b: { type: "string" } } };
  const schema = { properties: { a: inner, all: { type: "array", items: inner } } };
  assert.deepEqual(
    fieldsOf(schema).map(({ name }) => name),
    ["a", "a.b", "all", "all[].b"],
  );
});

test("a command has what is needed, and can be pasted", () => {
  const [make, run, health] = operationsOf(DOCUMENT);
  assert.equal(
    curlOf(make, "http://h"),
    [
      "curl -X POST 'http://h/v1/tasks'",
      '-H "Authorization: Bearer $QUEBERT_TOKEN"',
      "-H 'Content-Type: application/json'",
      `--data '{"url":"http://o'\\''x/"}'`,
    ].join(" \\\n  "),
  );
  assert.match(
    curlOf(run, "http://h"),
    /^curl -X DELETE 'http:\/\/h\/v1\/tasks\/UUID:run'/,
  );
  assert.equal(curlOf(health, "http://h"), "curl 'http://h/healthz'");
  assert.deepEqual(
    exampleOf({ type: "array", items: { type: "integer", minimum: 3 } }),
    [3],
  );
});

test("words of what is shown find an operation", () => {
  const [make] = operationsOf(DOCUMENT);
  for (const text of [
    "",
    "post tasks",
    "IDEMPOTENCY",
    "ttl 404",
    "location",
    "makething",
  ]) {
    assert.ok(matches(make, text), text);
  }
  assert.ok(!matches(make, "post queues"));
});

test("types of problems have their statuses", () => {
  assert.deepEqual(problemTypesOf(DOCUMENT), [
    { type: "/problems/a", status: 404, text: "no a" },
  ]);
  assert.deepEqual(problemTypesOf({}), []);
});
