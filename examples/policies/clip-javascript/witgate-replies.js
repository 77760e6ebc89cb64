// Write a response parser for Witgate in JavaScript: give `exportResponseParser` a function that makes one.
//
// What a parser may know is handed to it: settings, the reply, a note. Treat it as if there were no clock, no file and no network:
// the same inputs must always give the same answer.
import { crossing, inComponent, list, pieceOfReply, shown, teller, texts, words } from './witgate.js';

export { Settings } from './witgate.js';

/** Throw it from `finish`: what is wrong with the reply, and what to tell the model so that it does better, if anything. */
export class Complaint {
  constructor(problem, repair) {
    const told = repair === undefined || repair === null ? undefined : crossing(repair);
    this.complaint = { problem: crossing(problem), repair: told };
  }
}

const KINDS = ['text', 'reasoning', 'refusal', 'toolCalls'];

/** A delta as it crosses. */
function crossed(delta) {
  const piece = pieceOfReply('a delta', delta);
  if (piece) return piece;
  throw new TypeError(`${shown(delta)} is no delta`);
}

/**
 * The component's exports for a response parser. `configure(setup)` makes it, or throws an error about a setting that makes no sense;
 * `write(level, message)` is the gateway's log.
 *
 * A parser has `needs` (`deltas`: which of `text`, `reasoning`, `refusal`, `toolCalls` are true, all others pass untouched; `attributes`
 * and `pure`, which may be left out) and `open(about)`, which gives what reads one alternative of one reply: `push(delta)` gives a list
 * of what the client gets in the delta's place, and `finish(reason)` what was held back, or throws a `Complaint`. A delta has a `tag`
 * (`text`, `reasoning`, `refusal`, `tool-call`, `tool-arguments`) and a `val`.
 */
export function exportResponseParser(configure, write) {
  let setup, parser;
  const told = teller(write);
  const lifecycle = {
    configure(given) {
      inComponent();
      setup = given;
    },
    save: () => undefined,
  };
  class Parser {
    constructor(about) {
      this.reply = told(() => parser.open(about));
    }

    push(delta) {
      return told(() => list('what `push` gives', this.reply.push(delta)).map(crossed));
    }

    finish(reason) {
      let complaint;
      const held = told(() => {
        try {
          return list('what `finish` gives', this.reply.finish(reason)).map(crossed);
        } catch (error) {
          if (!error?.complaint) throw error;
          complaint = error.complaint;
        }
      });
      if (complaint) throw complaint;
      return held;
    }
  }
  const parsing = {
    start() {
      try {
        parser = configure(setup);
        const { deltas, attributes = [], pure = false } = parser.needs;
        const unknown = Object.keys(Object(deltas)).find((kind) => !KINDS.includes(kind));
        if (unknown !== undefined || typeof deltas !== 'object') {
          throw new TypeError(`needs.deltas says which of ${KINDS.join(', ')} are true, and is ${shown(deltas)}`);
        }
        const wanted = Object.fromEntries(KINDS.map((kind) => [kind, !!deltas[kind]]));
        return { deltas: wanted, attributes: texts('needs.attributes', attributes), pure: !!pure };
      } catch (error) {
        throw words(error);
      }
    },
    Parser,
  };
  return { lifecycle, parsing };
}
