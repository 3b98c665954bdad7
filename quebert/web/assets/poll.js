/**
 * Asking again and again, as long as a view is open and the page is looked at.
 */

/**
 * @param {() => Promise<boolean|void>} ask false ends it; it tells of its own failures
 * @param {number} seconds between an answer and the next question
 * @param {AbortSignal} signal
 */
export function poll(ask, seconds, signal) {
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  let asking = false;
  let again = false;
  let over = false;

  async function once() {
    clearTimeout(timer);
    if (signal.aborted) return;
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    again = false;
    try {
      if (!document.hidden) over = (await ask()) === false;
    } finally {
      asking = false;
    }
    if (again) void once();
    else if (!over && !signal.aborted) timer = setTimeout(once, seconds * 1000);
  }

  signal.addEventListener("abort", () => clearTimeout(timer));
  void once();
  return { now: () => void once() };
}
