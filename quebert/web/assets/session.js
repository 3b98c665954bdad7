/**
 * The token, which lasts as long as the tab. It comes in the fragment of the address, which
 * browsers send to nobody, or from a question to the user.
 */

const KEY = "quebert-token";

/** @typedef {ReturnType<typeof createSession>} Session */

/**
 * The token in a fragment, and what is left without it. Pure.
 * @param {string} fragment such as "#token=abc"
 * @returns {{token: string, rest: string}}
 */
export function tokenIn(fragment) {
  const parts = fragment.replace(/^#/, "").split("&").filter(Boolean);
  const found = parts.find((part) => part.startsWith("token="));
  const rest = parts.filter((part) => part !== found).join("&");
  let token = found ? found.slice("token=".length) : "";
  try {
    token = decodeURIComponent(token);
  } catch {
    // It is taken as it is.
  }
  return { token, rest: rest && `#${rest}` };
}

/**
 * Whether this can be sent as a token at all.
 * @param {string} token
 */
export function sendable(token) {
  return /^[\x21-\x7e]+$/.test(token);
}

/**
 * @param {Pick<Storage, "getItem"|"setItem"|"removeItem">|null} storage
 */
export function createSession(storage) {
  let token = "";
  try {
    token = storage?.getItem(KEY) ?? "";
  } catch {
    // Storage may be forbidden.
  }
  return {
    token: () => token,
    /** @param {string} wanted */
    keep(wanted) {
      token = wanted;
      try {
        if (wanted) storage?.setItem(KEY, wanted);
        else storage?.removeItem(KEY);
      } catch {
        // It lasts as long as the page, then.
      }
    },
    /** @returns {Record<string, string>} */
    headers: () => (token ? { Authorization: `Bearer ${token}` } : {}),
  };
}
