/**
 * Making and changing elements. Texts are only ever set as text: nothing from outside is
 * read as markup. Nothing is written that has not changed.
 */

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {Node|string|null|undefined|false} Child */
/** @typedef {Record<string, string|number|boolean|null|undefined|((event: any) => void)>} Attributes */

/**
 * @param {Element} element
 * @param {Attributes} attributes
 * @param {Child[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), value);
    } else {
      setAttribute(element, name, value);
    }
  }
  for (const child of children) {
    if (child) element.append(child);
  }
}

/**
 * An element of HTML.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} [attributes] a function is a listener, of the event after "on"
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

/**
 * An element of SVG.
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[Tag]}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  fill(element, attributes, children);
  return element;
}

/**
 * @param {Element} element
 * @param {string} name
 * @param {string|number|boolean|null|undefined} value
 */
export function setAttribute(element, name, value) {
  if (name === "style" || name === "srcdoc" || name.startsWith("on")) {
    throw new TypeError(`The page sets no attribute ${name}`);
  }
  if (name === "href" && !/^(\/(?!\/)|#)/.test(String(value))) {
    throw new TypeError("The page links to nothing outside it");
  }
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/**
 * @param {Node} node
 * @param {string|number} text
 */
export function setText(node, text) {
  const wanted = String(text);
  const only = node.firstChild;
  if (only?.nodeType === Node.TEXT_NODE && !only.nextSibling) {
    if (only.nodeValue !== wanted) only.nodeValue = wanted;
  } else if (node.textContent !== wanted || only) {
    node.textContent = wanted;
  }
}

/**
 * @param {Element} element
 * @param {string} name
 * @param {boolean} wanted
 */
export function setClass(element, name, wanted) {
  if (element.classList.contains(name) !== wanted) element.classList.toggle(name, wanted);
}

/**
 * @param {HTMLElement} element
 * @param {boolean} hidden
 */
export function setHidden(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

/**
 * Keep the children of an element as the items of a list: each item keeps its element, by
 * its key, so that focus and scrolling stay.
 * @template Item
 * @template {Element} Made
 * @param {Element} parent
 * @param {(item: Item) => string} key
 * @param {(item: Item) => Made} make
 * @param {(element: Made, item: Item) => void} change
 */
export function keyed(parent, key, make, change) {
  /** @type {Map<string, Made>} */
  let known = new Map();
  return {
    /** @param {readonly Item[]} items */
    update(items) {
      /** @type {Map<string, Made>} */
      const now = new Map();
      let next = parent.firstElementChild;
      for (const item of items) {
        let name = key(item);
        while (now.has(name)) name += "\n"; // Two with one key are two.
        const element = known.get(name) ?? make(item);
        now.set(name, element);
        change(element, item);
        if (element === next) {
          next = next.nextElementSibling;
        } else {
          parent.insertBefore(element, next);
        }
      }
      for (const [name, element] of known) {
        if (!now.has(name)) element.remove();
      }
      known = now;
    },
    /** @param {string} name */
    get(name) {
      return known.get(name);
    },
  };
}

/**
 * A text from outside: what turns its direction ends with it.
 * @param {string} text
 * @param {Attributes} [attributes]
 */
export function foreign(text, attributes = {}) {
  return h("bdi", attributes, text);
}
