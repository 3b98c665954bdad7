/**
 * What an OpenAPI document says, as the page of the API shows it. Pure.
 */

/** @typedef {Record<string, any>} Schema a part of the document */
/** @typedef {string|{schema: string}} Word of a type: a text, or the name of a schema */
/** @typedef {{name: string, required: boolean, type: Word[], note: string}} Field */
/** @typedef {{status: string, text: string, headers: string[], content: string, schema: Schema|null}} Answer */
/** @typedef {{type: string, status: number, text: string}} ProblemType */

/**
 * @typedef {object} Operation
 * @property {string} id
 * @property {string} method
 * @property {string} path
 * @property {string} group
 * @property {string} summary
 * @property {string} right that a token must have; empty for none
 * @property {boolean} open whether this machine needs no token
 * @property {(Field & {place: string})[]} parameters
 * @property {{content: string, required: boolean, schema: Schema}|null} body
 * @property {Answer[]} answers
 */

const PREFIX = "#/components/schemas/";

/**
 * All operations, in their order.
 * @param {Schema} document
 * @returns {Operation[]}
 */
export function operationsOf(document) {
  return Object.entries(document.paths ?? {}).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) =>
      operationOf(path, method.toUpperCase(), operation),
    ),
  );
}

/**
 * @param {string} path
 * @param {string} method
 * @param {Schema} operation
 * @returns {Operation}
 */
function operationOf(path, method, operation) {
  /** @type {Schema[]} */
  const security = operation.security ?? [];
  const rights = security.flatMap((each) => Object.values(each).flat());
  return {
    id: operation.operationId,
    method,
    path,
    group: groupOf(path),
    summary: operation.summary ?? "",
    right: rights.join(", "),
    open: security.some((each) => !Object.keys(each).length),
    parameters: (operation.parameters ?? []).map((/** @type {Schema} */ each) => ({
      place: each.in,
      ...fieldOf(each.name, each.schema ?? {}, Boolean(each.required)),
    })),
    body: bodyOf(operation.requestBody),
    answers: Object.entries(operation.responses ?? {}).map(([status, answer]) => ({
      status,
      text: answer.description ?? "",
      headers: Object.keys(answer.headers ?? {}),
      ...contentOf(answer.content),
    })),
  };
}

/** @param {string} path */
function groupOf(path) {
  const [, version, noun = ""] = path.replace(/:.*/, "").split("/");
  if (version !== "v1" || noun.includes(".")) return "The server";
  if (["tasks", "queues", "leases"].includes(noun)) {
    return noun.charAt(0).toUpperCase() + noun.slice(1);
  }
  return "The cluster";
}

/** @param {Schema|undefined} content */
function contentOf(content) {
  const [found] = Object.entries(content ?? {});
  return { content: found?.[0] ?? "", schema: found?.[1].schema ?? null };
}

/** @param {Schema|undefined} body */
function bodyOf(body) {
  if (!body) return null;
  const { content, schema } = contentOf(body.content);
  return { content, required: Boolean(body.required), schema: schema ?? {} };
}

/**
 * The types of problems.
 * @param {Schema} document
 * @returns {ProblemType[]}
 */
export function problemTypesOf(document) {
  const told = document.components?.schemas?.Problem?.properties?.type?.oneOf ?? [];
  return told.map((/** @type {Schema} */ each) => ({
    type: each.const,
    status: each["x-status"],
    text: each.description ?? "",
  }));
}

/**
 * @param {string} name
 * @param {Schema} schema
 * @param {boolean} required
 * @returns {Field}
 */
function fieldOf(name, schema, required) {
  return { name, required, type: typeOf(schema), note: noteOf(schema) };
}

/**
 * The fields of an object, with those of objects in it.
 * @param {Schema} schema
 * @param {string} [prefix]
 * @returns {Field[]}
 */
export function fieldsOf(schema, prefix = "") {
  if (schema.type === "array") return fieldsOf(schema.items ?? {}, `${prefix}[].`);
  const required = schema.required ?? [];
  return Object.entries(schema.properties ?? {}).flatMap(([name, each]) => {
    const inner = each.type === "array" ? (each.items ?? {}) : each;
    const path = `${prefix}${name}${each.type === "array" ? "[]" : ""}.`;
    return [
      fieldOf(prefix + name, each, required.includes(name)),
      ...(inner.properties ? fieldsOf(inner, path) : []),
    ];
  });
}

/**
 * The choices of a schema; not that of an empty text, which is as good as none.
 * @param {Schema} schema
 * @returns {Schema[]}
 */
function choices(schema) {
  return (schema.anyOf ?? schema.oneOf ?? []).filter(
    (/** @type {Schema} */ each) => each.maxLength !== 0 && !("const" in each),
  );
}

/**
 * The type of a value, in words.
 * @param {Schema} schema
 * @returns {Word[]}
 */
export function typeOf(schema) {
  if (schema.$ref) return [{ schema: schema.$ref.slice(PREFIX.length) }];
  if (schema.enum) return [schema.enum.join(" | ")];
  const all = choices(schema);
  if (all.length) {
    return all.flatMap((each, n) => [...(n ? [" or "] : []), ...typeOf(each)]);
  }
  if (schema.type === "array") return ["array of ", ...typeOf(schema.items ?? {})];
  if (schema.type === "object" && schema.additionalProperties?.type !== undefined) {
    return ["object of ", ...typeOf(schema.additionalProperties)];
  }
  if (schema.type === undefined) return [schema.properties ? "object" : "any JSON"];
  return [[schema.type].flat().join(" or ")];
}

/**
 * What holds for a value beside its type, in words.
 * @param {Schema} schema
 * @returns {string}
 */
export function noteOf(schema) {
  const { minLength, maxLength, minItems, maxItems, minimum, maximum } = schema;
  // That a text has no NUL need not be said.
  const pattern = schema.pattern?.includes("u0000") ? "" : schema.pattern;
  const all = [
    schema.description,
    between(minLength, maxLength, "characters"),
    between(minItems, maxItems, "items"),
    between(minimum, maximum ?? schema.exclusiveMaximum, ""),
    schema.maxProperties === undefined ? "" : `up to ${schema.maxProperties} fields`,
    schema.contentEncoding,
    schema.format,
    pattern ? `matches ${pattern}` : "",
    schema.default === undefined ? "" : `by default ${JSON.stringify(schema.default)}`,
    ...choices(schema).map(noteOf),
  ];
  const said = all.map((each) => String(each ?? "").replace(/\.$/, "")).filter(Boolean);
  return said.join("; ");
}

/**
 * @param {number|undefined} least
 * @param {number|undefined} most
 * @param {string} unit
 */
function between(least, most, unit) {
  if (least === undefined && most === undefined) return "";
  const range =
    most === undefined
      ? `at least ${least}`
      : least
        ? `${least} to ${most}`
        : `up to ${most}`;
  return unit ? `${range} ${unit}` : range;
}

/**
 * A value that a client may send: with what is needed, and what has an example.
 * @param {Schema} schema
 * @returns {unknown}
 */
export function exampleOf(schema) {
  if (schema.examples?.length) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  const required = schema.required ?? [];
  const fields = Object.entries(schema.properties ?? {}).filter(
    ([name, each]) => required.includes(name) || each.examples,
  );
  if (schema.properties) {
    return Object.fromEntries(fields.map(([name, each]) => [name, exampleOf(each)]));
  }
  if (schema.type === "array") return [exampleOf(schema.items ?? {})];
  if (schema.type === "number" || schema.type === "integer") return schema.minimum ?? 1;
  return schema.type === "boolean" ? true : "…";
}

/**
 * A command that makes the request.
 * @param {Operation} operation
 * @param {string} origin of the server
 */
export function curlOf(operation, origin) {
  const { method, path, body } = operation;
  const place = path.replace(/\{(\w+)\}/g, (_, name) => name.toUpperCase());
  const isStream = operation.answers.some((each) => each.content === "text/event-stream");
  const verb = method === "GET" ? "" : ` -X ${method}`;
  const lines = [`curl${isStream ? " -N" : ""}${verb} '${origin}${place}'`];
  if (operation.right) lines.push('-H "Authorization: Bearer $QUEBERT_TOKEN"');
  if (body?.required) {
    const text = JSON.stringify(exampleOf(body.schema)).replaceAll("'", "'\\''");
    lines.push(`-H 'Content-Type: ${body.content}'`, `--data '${text}'`);
  }
  return lines.join(" \\\n  ");
}

/**
 * Whether each of some words is in what is shown of an operation.
 * @param {Operation} operation
 * @param {string} text
 */
export function matches(operation, text) {
  const { id, method, path, summary, right, parameters, body, answers } = operation;
  const fields = [...parameters, ...fieldsOf(body?.schema ?? {})];
  const shown = [
    ...[id, method, path, summary, right],
    ...fields.flatMap(({ name, note }) => [name, note]),
    ...answers.flatMap(({ status, text: said, headers }) => [status, said, ...headers]),
  ];
  const all = shown.join("\n").toLowerCase();
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => all.includes(word));
}
