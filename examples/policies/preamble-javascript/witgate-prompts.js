// Write a prompt builder for Witgate in JavaScript: give `exportPromptBuilder` a function that makes one.
//
// What a builder may know is handed to it: settings, messages, variables, a seed. Treat it as if there were no clock, no file and
// no network: the same inputs must always give the same answer.
import { teller, words } from './witgate.js';

export { Reject, Settings } from './witgate.js';

/** A new message of one text. */
export const message = (role, text) => ({ role, parts: [{ text }] });

/**
 * The messages of a request as they are, to be changed here and there: every part is kept. A part of a prompt is a new `text`; or
 * with a `source` that part of the request (they are counted from 0 over all messages), its words too where there is no `text`.
 */
export function kept(messages) {
  let next = 0;
  return messages.map(({ role, parts }, source) => ({ role, source, parts: parts.map(() => ({ source: next++ })) }));
}

/**
 * The component's exports for a prompt builder. `configure(setup)` makes it, or throws an error about a setting that makes no sense;
 * `write(level, message)` is the gateway's log.
 *
 * A builder has `needs` (`attributes`, `pure`; both may be left out) and `build(request)`, which gives `{ messages, items, note }`, the
 * last two where there are any, or throws a `Reject`.
 */
export function exportPromptBuilder(configure, write) {
  let setup, builder;
  const told = teller(write);
  const lifecycle = {
    configure(given) {
      setup = given;
    },
    save: () => undefined,
  };
  const prompting = {
    start() {
      try {
        builder = configure(setup);
      } catch (error) {
        throw words(error);
      }
      return { attributes: [], pure: false, ...builder.needs };
    },
    build(request) {
      let refused;
      const prompt = told(() => {
        try {
          return builder.build(request);
        } catch (error) {
          if (!error?.refusal) throw error;
          refused = error.refusal;
        }
      });
      if (refused) throw refused.val;
      return { items: [], ...prompt };
    },
  };
  return { lifecycle, prompting };
}
