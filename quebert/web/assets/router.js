/**
 * Addresses and views: reading one, writing one, and going there without loading the page
 * again.
 */

/** @typedef {{view: "queues"|"queue"|"tasks"|"task"|"dead"|"hosts"|"mediators"|"missing", name: string, search: URLSearchParams}} Route */

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * What an address leads to. Pure.
 * @param {string} path
 * @param {string} [search]
 * @returns {Route}
 */
export function routeOf(path, search = "") {
  const [first = "", ...rest] = path.replace(/^\/+|\/+$/g, "").split("/");
  // A server may have taken the %2F of a name for a slash.
  const name = decoded(rest.join("/"));
  const found = { name, search: new URLSearchParams(search) };
  switch (first) {
    case "":
    case "queues":
      return { view: name ? "queue" : "queues", ...found };
    case "tasks":
      return { view: name ? "task" : "tasks", ...found };
    case "dead":
      return { view: "dead", ...found };
    case "hosts":
    case "mediators":
      return { view: name ? "missing" : first, ...found };
    default:
      return { view: "missing", ...found };
  }
}

/** @param {string} name */
export function queuePath(name) {
  return `/queues/${encodeURIComponent(name)}`;
}

/**
 * @param {string} uuid
 * @param {string} [queue]
 */
export function taskPath(uuid, queue = "") {
  const search = queue ? `?queue=${encodeURIComponent(queue)}` : "";
  return `/tasks/${encodeURIComponent(uuid)}${search}`;
}

/**
 * @param {string} name
 * @param {string[]} [match]
 */
export function deadPath(name, match = []) {
  const search = match.map((each) => `match=${encodeURIComponent(each)}`).join("&");
  return `/dead/${encodeURIComponent(name)}${search && `?${search}`}`;
}

/**
 * Where a text in the search field leads.  Pure.
 * @param {string} text
 * @param {readonly string[]} queues
 */
export function found(text, queues) {
  const wanted = text.trim();
  if (!wanted) return null;
  if (queues.includes(wanted)) return queuePath(wanted);
  if (/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(wanted)) {
    return taskPath(wanted);
  }
  const field = /[/:.]/.test(wanted) ? "url" : "q";
  return `/tasks?${field}=${encodeURIComponent(wanted)}`;
}

/**
 * @param {(route: Route, moved: boolean) => void} show is called with each new route, and
 *   whether the user has moved: not at first
 */
export function createRouter(show) {
  let shown = "";

  /** @param {boolean} moved */
  function arrive(moved) {
    shown = location.pathname + location.search;
    show(routeOf(location.pathname, location.search), moved);
  }

  /** @param {string} address */
  function go(address) {
    if (address === location.pathname + location.search) return;
    history.pushState(null, "", address);
    arrive(true);
  }

  return {
    go,
    /** Show the view of this address anew. */
    again: () => arrive(false),
    /** @param {string} address */
    replace(address) {
      history.replaceState(null, "", address);
      shown = location.pathname + location.search;
    },
    start() {
      addEventListener("popstate", () => {
        if (location.pathname + location.search !== shown) arrive(true);
      });
      document.addEventListener("click", (event) => {
        if (event.defaultPrevented || event.button !== 0) return;
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
        const target = event.target instanceof Element ? event.target.closest("a") : null;
        const address = target?.getAttribute("href");
        if (!target || !address?.startsWith("/") || target.target) return;
        if (address.startsWith("/v1/")) return; // Of the API, and its page.
        event.preventDefault();
        go(address);
      });
      arrive(false);
    },
  };
}
