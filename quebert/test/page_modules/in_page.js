/**
 * What tests look at in the page itself; C{Tab.ask} of quebert.test.page calls these.
 */

globalThis.quebertTest ??= {
  changed: 0,
  moved: 0,
  shift: 0,
  announced: [],

  /** Open all that is folded. */
  unfold() {
    for (const each of document.querySelectorAll("details")) each.open = true;
  },

  /** What axe-core finds that is serious, or worse. */
  async findings() {
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .flatMap(({ id, nodes }) =>
        nodes
          .slice(0, 3)
          .map((each) => `${id}: ${each.html.slice(0, 200)} ${each.failureSummary}`),
      );
  },

  /** Elements and attributes that the page never makes, and links that lead elsewhere. */
  foreign() {
    const kinds = "script, img, iframe, object, embed, style, base, form[action]";
    const all = [...document.querySelectorAll("main, main *, #notices *, title, .told *")];
    const odd = all.filter((each) => {
      const names = each.getAttributeNames();
      return each.matches(kinds) || names.some((name) => /^on|^style$/.test(name));
    });
    const away = [...document.querySelectorAll("[href]")].filter((each) => {
      const href = each.getAttribute("href");
      return !/^(\/(?!\/)|#)/.test(href);
    });
    return [...odd, ...away].map((each) => each.outerHTML.slice(0, 200));
  },

  /** By how many pixels the page is wider than the screen. */
  wider() {
    const { scrollWidth, clientWidth } = document.documentElement;
    return Math.max(0, scrollWidth - clientWidth);
  },

  /**
   * Count from now on what changes within some element, which of its children come and go,
   * what is announced, and by how much the layout shifts.
   */
  watch(selector) {
    const watched = document.querySelector(selector);
    new PerformanceObserver((list) => {
      for (const { value } of list.getEntries()) this.shift += value;
    }).observe({ type: "layout-shift" });
    new MutationObserver((records) => {
      for (const { type, target } of records) {
        this.changed += 1;
        if (type === "childList" && target === watched) this.moved += 1;
        const element = target instanceof Element ? target : target.parentElement;
        const live = element?.closest("[aria-live], [role=status], [role=alert]");
        if (live) this.announced.push(live.textContent);
      }
    }).observe(watched, { childList: true, subtree: true, characterData: true });
  },
};
