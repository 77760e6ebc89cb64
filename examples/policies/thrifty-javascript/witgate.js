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

/** Throw it from `route` to be asked again in so many milliseconds. */
export class Wait {
  constructor(milliseconds) {
    this.refusal = { tag: 'wait', val: milliseconds };
  }
}

/** Throw it to end the request in these words, which needs a grant. */
export class Reject {
  constructor(words) {
    this.refusal = { tag: 'reject', val: words };
  }
}

/** What was thrown, in words. */
export const words = (error) => (error instanceof Error ? error.message : String(error));

/** Calls, and writes what is thrown into the gateway's log: an error of the engine says nothing of it. */
export const teller = (write) => (call) => {
  try {
    return call();
  } catch (error) {
    write('warn', `${words(error)}\n${error?.stack ?? ''}`);
    throw error;
  }
};

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
      setup = given;
    },
    save: () => told(() => router?.save?.() ?? undefined),
  };
  const routing = {
    start(deployments) {
      try {
        router = configure({ ...setup, deployments });
      } catch (error) {
        throw words(error);
      }
      needs = { features: [], attributes: [], exactTokens: false, pure: false, ...router.needs };
      rows = deployments.length;
      return needs;
    },
    route(request, values, features, attributes) {
      let answer;
      try {
        request.features = features;
        request.attributes = attributes;
        answer = router.route(request, new Signals(needs.signals, values, rows));
        if (!Array.isArray(answer) && !Array.isArray(answer?.deployments)) {
          throw new Error(`route returned ${answer instanceof Promise ? 'a promise: it must not be async' : 'no indices of deployments'}`);
        }
      } catch (error) {
        if (error?.refusal) throw error.refusal;
        write('warn', `${words(error)}\n${error?.stack ?? ''}`);
        // One propensity of no deployment stands for a failure: the gateway counts it and takes its built-in order.
        return { deployments: [], propensities: [0] };
      }
      return Array.isArray(answer) ? { deployments: answer, propensities: [] } : answer;
    },
    observe: (outcome) => told(() => router.observe?.(outcome)),
  };
  return { lifecycle, routing };
}
