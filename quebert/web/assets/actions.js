/**
 * What the user does to queues and tasks: asked for, permitted, done, and told.
 */

import { Problem } from "./api.js";
import * as format from "./format.js";

/** @typedef {import("./types.js").Context} Context */

/**
 * @template Result
 * @param {Context} context
 * @param {() => Promise<Result>} request
 * @returns {Promise<Result|null>} null where it was not done
 */
export async function act(context, request) {
  if (!(await context.permitted())) return null;
  try {
    return await request();
  } catch (error) {
    context.fail(error);
    return null;
  }
}

/**
 * @param {Context} context
 * @param {import("./types.js").Queue} queue
 */
export async function pauseOrResume(context, queue) {
  const action = queue.paused ? "resume" : "pause";
  const done = await act(context, () => context.api.change(queue.name, action));
  if (done)
    context.tell(`${action === "pause" ? "Paused" : "Resumed"} ${format.line(queue.name)}`);
}

/**
 * @param {Context} context
 * @param {import("./types.js").Queue} queue
 */
export async function purge(context, queue) {
  const sure = await context.confirm({
    title: "Purge this queue?",
    lines: [
      `All tasks that wait in ${format.line(queue.name)} are dropped, ` +
        `${format.count(queue.ready)} at the moment. They cannot be brought back.`,
    ],
    yes: "Purge",
    type: queue.name,
  });
  if (!sure) return;
  const found = await act(context, () => context.api.change(queue.name, "purge"));
  if (found)
    context.tell(
      `Purged ${format.line(queue.name)}: ${format.counted(found.count, "task")}` +
        (found.done ? "" : "; there are more: purge it again"),
    );
}

/**
 * Follow an operation until it is over.
 * @param {Context} context
 * @param {string} id
 * @param {(operation: import("./types.js").Operation) => void} changed
 * @returns {Promise<import("./types.js").Operation|null>} null where the view was left
 */
export async function follow(context, id, changed) {
  let failures = 0;
  while (!context.signal.aborted) {
    let operation = context.state().operations[id];
    if (!operation?.done) {
      try {
        operation = { ...(await context.api.operation(id)), operation: id };
        failures = 0;
      } catch (error) {
        failures += 1;
        const gone = error instanceof Problem && error.status >= 400 && error.status < 500;
        if (gone || failures > 20) throw error;
      }
    }
    if (context.signal.aborted) break;
    if (operation) changed(operation);
    if (operation?.done) return operation;
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
  return null;
}
