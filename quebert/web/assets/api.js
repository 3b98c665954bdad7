/**
 * The requests that the page makes.
 */

/** Seconds until a request is given up. */
const PATIENCE = 20;

/** @typedef {ReturnType<typeof createApi>} Api */

/** An answer that is none, as RFC 9457 tells it, or no answer. */
export class Problem extends Error {
  /**
   * @param {number} status 0 where nobody answered
   * @param {string} title
   * @param {string} [detail]
   * @param {string} [field]
   */
  constructor(status, title, detail = "", field = "") {
    super(detail || title);
    this.name = "Problem";
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.field = field;
  }

  /** Whether a token would help, or another one. */
  get forbidden() {
    return this.status === 401 || this.status === 403;
  }

  /** @param {Response} response */
  static async of(response) {
    const fallback = response.statusText || `Status ${response.status}`;
    if (!/\bjson\b/.test(response.headers.get("content-type") ?? "")) {
      return new Problem(response.status, fallback);
    }
    const told = await response.json().catch(() => ({}));
    /** @param {string} name */
    const field = (name) => (typeof told?.[name] === "string" ? told[name] : "");
    return new Problem(
      response.status,
      field("title") || fallback,
      field("detail"),
      field("field"),
    );
  }
}

/**
 * What a failure is to be called.
 * @param {unknown} error
 */
export function sentence(error) {
  if (!(error instanceof Problem))
    return error instanceof Error ? error.message : String(error);
  if (!error.detail || error.detail === error.title) return error.title;
  // The detail alone says what is away; "Service Unavailable" adds nothing.
  if (error.status === 503) return error.detail.charAt(0).toUpperCase() + error.detail.slice(1);
  return `${error.title.replace(/[.:]$/, "")}: ${error.detail}`;
}

/**
 * A query, without what is empty.
 * @param {Record<string, string|number|string[]|null|undefined>} values
 */
export function query(values) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "")
        search.append(name, String(each));
    }
  }
  const text = search.toString();
  return text && `?${text}`;
}

/**
 * @param {import("./session.js").Session} session
 * @param {typeof fetch} [send]
 */
export function createApi(session, send = (...all) => fetch(...all)) {
  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   */
  async function ask(method, path, body, signal) {
    const patience = AbortSignal.timeout(PATIENCE * 1000);
    let response;
    try {
      response = await send(path, {
        method,
        headers: {
          Accept: "application/json",
          ...(body === undefined ? {} : { "Content-Type": "application/json" }),
          ...session.headers(),
        },
        body: body === undefined ? null : JSON.stringify(body),
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: signal ? AbortSignal.any([signal, patience]) : patience,
      });
      if (!response.ok) throw await Problem.of(response);
      return await response.json();
    } catch (error) {
      if (error instanceof Problem || signal?.aborted) throw error;
      if (patience.aborted) {
        throw new Problem(
          0,
          "No answer",
          `quebert web has not answered for ${PATIENCE} s.`,
        );
      }
      if (response?.ok)
        throw new Problem(0, "No answer", "The answer of quebert web broke off.");
      throw new Problem(0, "No answer", "quebert web cannot be reached.");
    }
  }

  /** @param {string} name */
  const queue = (name) => `/v1/queues/${encodeURIComponent(name)}`;
  /** @param {string} uuid */
  const task = (uuid) => `/v1/tasks/${encodeURIComponent(uuid)}`;

  return {
    /** @returns {Promise<import("./types.js").Overview>} */
    overview: () => ask("GET", "/v1/overview"),
    /**
     * @param {string} name
     * @param {AbortSignal} [signal]
     * @returns {Promise<import("./types.js").QueueDetail>}
     */
    queue: (name, signal) => ask("GET", queue(name), undefined, signal),
    /**
     * @param {string} name
     * @param {"pause"|"resume"|"purge"} action
     * @returns {Promise<{done: boolean, count: number|null}>}
     */
    change: (name, action) => ask("POST", `${queue(name)}:${action}`, {}),
    /**
     * @param {string} name
     * @param {{match?: string[], page_token?: string, page_size?: number}} filter
     * @param {AbortSignal} [signal]
     * @returns {Promise<import("./types.js").DeadPage>}
     */
    dead: (name, filter, signal) =>
      ask("GET", `${queue(name)}/dead${query(filter)}`, undefined, signal),
    /**
     * @param {string} name
     * @param {"redrive"|"discard"} action
     * @param {string[]} match
     * @returns {Promise<{operation: string}>}
     */
    changeDead: (name, action, match) =>
      ask("POST", `${queue(name)}/dead:${action}`, { match }),
    /**
     * @param {string} id
     * @returns {Promise<import("./types.js").Operation>}
     */
    operation: (id) => ask("GET", `/v1/operations/${encodeURIComponent(id)}`),
    /**
     * @param {import("./types.js").TaskFilter & {page_token?: string, page_size?: number}} filter
     * @param {AbortSignal} [signal]
     * @returns {Promise<{tasks: import("./types.js").Task[], next_page_token: string|null}>}
     */
    tasks: (filter, signal) =>
      ask("GET", `/v1/tasks${query({ ...filter })}`, undefined, signal),
    /**
     * @param {string} uuid
     * @param {AbortSignal} [signal]
     * @returns {Promise<import("./types.js").TaskDetail>}
     */
    task: (uuid, signal) => ask("GET", task(uuid), undefined, signal),
    /**
     * @param {string} uuid
     * @param {string} name of the queue
     * @param {AbortSignal} [signal]
     * @returns {Promise<import("./types.js").WhyAnswer>}
     */
    why: (uuid, name, signal) =>
      ask("GET", `${task(uuid)}/why${query({ queue: name })}`, undefined, signal),
    /**
     * @param {string} uuid
     * @param {string} name of the queue
     * @returns {Promise<{result: string, text: string}>}
     */
    run: (uuid, name) => ask("POST", `${task(uuid)}:run`, { queue: name }),
    /**
     * @param {string} uuid
     * @param {string} name of the queue
     * @returns {Promise<{result: string, text: string}>}
     */
    cancel: (uuid, name) => ask("DELETE", `${task(uuid)}${query({ queue: name })}`),
    /**
     * @param {string} name of the queue
     * @param {string[]} match
     * @returns {Promise<{operation: string}>}
     */
    cancelMatching: (name, match) =>
      ask("POST", "/v1/tasks:cancel", { queue: name, match }),
  };
}
