// Write a router for Witgate in JavaScript: give `exportRouter` a function that makes one. Other roles have a module beside this
// one, and share settings with it.
//
// What a policy may know is handed to it: time, seeds, signals. Treat it as if there were no clock, no file and no network:
// the same inputs must always give the same answer.

/** What the router asked to know about each deployment at this moment. */
export class Signals {
  /** `values` holds the columns of `names` one after another, one number for each of `rows` deployments. */
  constructor(names, values, rows) {
    this.names = names;
    this.values = values;
    this.rows = rows;
  }

  /** Where the column of this name begins in `values`; -1 where it was not asked for. Cell `i` is `values[start + i]`. */
  start(name) {
    const column = this.names.indexOf(name);
    return column < 0 ? -1 : column * this.rows;
  }

  /** The column of this name, one number for each deployment; NaN where unknown. */
  column(name) {
    const start = this.start(name);
    return start < 0 ? new Array(this.rows).fill(NaN) : Array.from(this.values.slice(start, start + this.rows));
  }

  /** What is known of one deployment, by name. */
  row(index) {
    return Object.fromEntries(this.names.map((name, column) => [name, this.values[column * this.rows + index]]));
  }
}

/** A deployment for each score, the lowest first; NaN counts as infinite, of equals the first comes first. */
export function rank(scores) {
  const order = new Array(scores.length);
  for (let next = 0; next < scores.length; next++) {
    let score = scores[next];
    if (score !== score) score = scores[next] = Infinity;
    if (scores.length > 24) {
      order[next] = next;
      continue;
    }
    let place = next;
    while (place > 0 && scores[order[place - 1]] > score) {
      order[place] = order[place - 1];
      place--;
    }
    order[place] = next;
  }
  if (scores.length > 24) {
    order.sort((one, other) => (scores[one] < scores[other] ? -1 : scores[one] > scores[other] ? 1 : 0));
  }
  return order;
}

/** Brackets in settings: the engine's reader calls itself for each, and its stack is small. */
const MOST_BRACKETS = 500;

/** Reads settings, a JSON object: ask for each by name, then call `finish`. */
export class Settings {
  constructor(text) {
    if (text.split(/[[{]/).length > MOST_BRACKETS) throw new Error('settings are nested too deeply');
    const given = JSON.parse(text);
    if (given === null || typeof given !== 'object' || Array.isArray(given)) {
      throw new Error('settings must be a JSON object');
    }
    this.given = given;
    this.asked = [];
  }

  /** The setting of this name as it was given; `other` where it is not. */
  take(name, other) {
    this.asked.push(name);
    return this.given[name] ?? other;
  }

  /** A number from `least` to `most`. */
  number(name, least, most, other) {
    const value = this.take(name, other);
    if (typeof value === 'number' && value >= least && value <= most) return value;
    throw new Error(`setting \`${name}\` must be a number, ${least} to ${most}`);
  }

  /** A whole number from `least` to `most`. */
  whole(name, least, most, other) {
    const value = this.take(name, other);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new Error(`setting \`${name}\` must be a whole number from ${least} to ${most}`);
  }

  /** A text, which must be given; `what` says what it is. */
  text(name, what) {
    const value = this.take(name);
    if (typeof value === 'string' && !/\p{Surrogate}/u.test(value)) return value;
    throw new Error(`setting \`${name}\` must be a text: ${what}`);
  }

  /** Refuses a setting that nobody asked for. */
  finish() {
    const unknown = Object.keys(this.given).find((name) => !this.asked.includes(name));
    if (unknown === undefined) return;
    const known = this.asked.length ? `this policy knows: ${this.asked.join(', ')}` : 'this policy has no settings';
    throw new Error(`unknown setting \`${unknown}\`; ${known}`);
  }
}

/** Throw it from `route` to be asked again in so many milliseconds, a whole number. */
export class Wait {
  constructor(milliseconds) {
    index('the milliseconds of a Wait', milliseconds);
    this.refusal = { tag: 'wait', val: milliseconds };
  }
}

/** Throw it to end the request in these words, which needs a grant. */
export class Reject {
  constructor(words) {
    this.refusal = { tag: 'reject', val: crossing(words ?? '') };
  }
}

/** A text as it may cross: half of a pair of surrogates is none. */
export const crossing = (text) => String(text).replace(/\p{Surrogate}/gu, '\ufffd');

/** What was thrown, in words: an Error's own; of an error of another class, which is a mistake of the policy's own, its name too. */
export function words(error) {
  if (!(error instanceof Error)) return crossing(error);
  const name = error.name === 'Error' && error.message ? '' : error.message ? `${error.name}: ` : error.name;
  return crossing(name + error.message);
}

/** The same with where it was, in one line: the place first, then who called it, as far as that helps. */
export function placed(error) {
  const lines = String(error?.stack ?? '').split('\n', 100).map((line) => line.trim());
  const places = lines.filter((line) => line.startsWith('at ')).map((line) => line.slice(3));
  return crossing(places.length ? `${words(error)}; at ${places.slice(0, 5).join(', ')}` : words(error));
}

/** Calls, and writes what is thrown into the gateway's log: an error of the engine says nothing of it. */
export const teller = (write) => (call) => {
  try {
    return call();
  } catch (error) {
    write('warn', placed(error));
    throw error;
  }
};

/** A value as an error shows it. */
export function shown(value) {
  let text;
  try {
    const isPlain = typeof value !== 'object' || Array.isArray(value) || value?.constructor === Object;
    text = isPlain ? JSON.stringify(value) : undefined;
  } catch {
    // What is no JSON.
  }
  text ??= String(value);
  return text.length > 100 ? `${text.slice(0, 100)}...` : text;
}

/** A text, which `what` is to be. */
export function text(what, given) {
  if (typeof given === 'string') return crossing(given);
  throw new TypeError(`${what} must be a text, which ${shown(given)} is not`);
}

/** A number of 32 bits, which `what` is to be. */
export function index(what, given) {
  if (typeof given === 'number' && given >>> 0 === given) return given;
  throw new TypeError(`${what} must be a whole number from 0 on, which ${shown(given)} is not`);
}

/** A list, which `what` is to be. */
export function list(what, given) {
  if (Array.isArray(given)) return given;
  throw new TypeError(`${what} must be a list, which ${shown(given)} is not`);
}

/** A list of texts, which `what` is to be. */
export const texts = (what, given) => list(what, given).map((each) => text(`each of ${what}`, each));

/** What a reply is made of, whoever tells it, as it crosses; undefined where it is none of that. `what` is it in an error. */
export function pieceOfReply(what, told) {
  const { tag, val } = told ?? {};
  switch (tag) {
    case 'text':
    case 'reasoning':
    case 'refusal':
      return { tag, val: text(`the \`val\` of ${what} \`${tag}\``, val) };
    case 'tool-call':
      return {
        tag,
        val: {
          index: index('the index of a tool call', val?.index),
          id: text('the id of a tool call', val.id),
          name: text('the name of a tool call', val.name),
        },
      };
    case 'tool-arguments':
      return {
        tag,
        val: { index: index("the index of a call's arguments", val?.index), fragment: text('a fragment', val.fragment) },
      };
    default:
      return undefined;
  }
}

/** For a component that begins to run: there is no clock in it, and the engine's own ends the instance without a word. */
export function inComponent() {
  const absent = () => {
    throw new Error('Date: there is no clock in a component');
  };
  const { Date } = globalThis;
  Date.now = absent;
  const construct = (made, given, of) => (given.length ? Reflect.construct(made, given, of) : absent());
  globalThis.Date = new Proxy(Date, { apply: absent, construct });
}

/** Whether all of these are indices. */
function areIndices(given) {
  for (let at = 0; at < given.length; at++) {
    if (given[at] >>> 0 !== given[at]) return false;
  }
  return true;
}

/** What `route` gave, as a ranking. */
function ranking(answer) {
  const { deployments, propensities = [] } = Array.isArray(answer) ? { deployments: answer } : (answer ?? {});
  const ways = "a list of deployments' indices, or { deployments, propensities }";
  if (!Array.isArray(deployments) || !areIndices(deployments)) {
    const gave = answer instanceof Promise ? 'a promise: it must not be async' : shown(answer);
    throw new TypeError(`\`route\` must give ${ways}, and gave ${gave}`);
  }
  if (!Array.isArray(propensities) || !propensities.every((each) => typeof each === 'number')) {
    throw new TypeError(`the propensities of a ranking must be a list of numbers, which ${shown(propensities)} is not`);
  }
  return { deployments, propensities };
}

/** What `save` gave, as a state. */
function state(saved) {
  if (saved === undefined || saved === null) return undefined;
  if (typeof saved.schema === 'string' && saved.bytes instanceof Uint8Array) return saved;
  throw new TypeError(`\`save\` must give { schema, bytes }, a text and a Uint8Array, or nothing, and gave ${shown(saved)}`);
}

/**
 * The component's exports for a router. `configure(setup)` makes it, or throws an error about a setting that makes no sense;
 * `write(level, message)` is the gateway's log.
 *
 * A router has `needs` (`signals`, `features`, `attributes`, `exactTokens`, `pure`; all but the first may be left out) and
 * `route(ask, signals)`, which gives the indices of deployments, best first, or `{ deployments, propensities }`. It may have
 * `observe(outcome)` and `save()`, which gives `{ schema, bytes }` or nothing.
 */
export function exportRouter(configure, write) {
  let setup, router, needs, rows;
  const told = teller(write);
  const lifecycle = {
    configure(given) {
      inComponent();
      setup = given;
    },
    save: () => told(() => state(router?.save?.())),
  };
  const routing = {
    start(deployments) {
      try {
        router = configure({ ...setup, deployments });
        const { signals, features = [], attributes = [], exactTokens = false, pure = false } = router.needs;
        needs = {
          signals: texts('needs.signals', signals),
          features: texts('needs.features', features),
          attributes: texts('needs.attributes', attributes),
          exactTokens: !!exactTokens,
          pure: !!pure,
        };
      } catch (error) {
        throw words(error);
      }
      rows = deployments.length;
      return needs;
    },
    route(request, values, features, attributes) {
      try {
        request.features = features;
        request.attributes = attributes;
        const answer = router.route(request, new Signals(needs.signals, values, rows));
        if (Array.isArray(answer) && areIndices(answer)) return { deployments: answer, propensities: [] };
        return ranking(answer);
      } catch (error) {
        if (error?.refusal) throw error.refusal;
        write('warn', placed(error));
        // One propensity of no deployment stands for a failure: the gateway counts it and takes its built-in order.
        return { deployments: [], propensities: [0] };
      }
    },
    observe: (outcome) => told(() => router.observe?.(outcome)),
  };
  return { lifecycle, routing };
}
