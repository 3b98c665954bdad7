/**
 * Dark or light, before anything is drawn: a classic script, since modules run later.
 */
(() => {
  "use strict";
  const KEY = "quebert-theme";
  const root = document.documentElement;

  /** @returns {string} "dark", "light", or "" for what the system has. */
  const stored = () => {
    try {
      const value = localStorage.getItem(KEY);
      return value === "dark" || value === "light" ? value : "";
    } catch {
      return ""; // Storage may be forbidden.
    }
  };

  /** @param {string} theme */
  const apply = (theme) => {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
  };

  apply(stored());
  Object.assign(globalThis, {
    quebertTheme: {
      current: () => root.dataset.theme ?? "",
      /** @param {string} theme */
      choose(theme) {
        apply(theme);
        try {
          if (theme) localStorage.setItem(KEY, theme);
          else localStorage.removeItem(KEY);
        } catch {
          // It lasts as long as the page, then.
        }
      },
    },
  });
})();
