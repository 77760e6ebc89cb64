// Write a prompt builder for Witgate in JavaScript: give `exportPromptBuilder` a function that makes one.
//
// What a builder may know is handed to it: settings, messages, variables, a seed. Treat it as if there were no clock, no file and
// no network: the same inputs must always give the same answer.
import { inComponent, index, list, shown, teller, text, texts, words } from './witgate.js';

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

const ROLES = ['system', 'developer', 'user', 'assistant', 'tool'];

const source = (what, given) => (given === undefined || given === null ? undefined : index(`the source of a ${what}`, given));

/** What `build` gave, as it crosses. */
function crossed(prompt) {
  const { messages, items = [], note } = prompt ?? {};
  if (!Array.isArray(messages)) throw new TypeError(`\`build\` must give { messages, items, note }, and gave ${shown(prompt)}`);
  return {
    messages: messages.map((message) => {
      if (!ROLES.includes(message?.role)) {
        throw new TypeError(`the role of a message is one of ${ROLES.join(', ')}, which ${shown(message?.role)} is not`);
      }
      const parts = list('the parts of a message', message.parts).map((part) => ({
        source: source('part', part?.source),
        text: part?.text === undefined || part.text === null ? undefined : text('the text of a part', part.text),
      }));
      return { role: message.role, source: source('message', message.source), parts };
    }),
    items: list('the items of a prompt', items).map((item) => index('an item of a prompt', item)),
    note: note === undefined || note === null ? undefined : text('the note of a prompt', note),
  };
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
      inComponent();
      setup = given;
    },
    save: () => undefined,
  };
  const prompting = {
    start() {
      try {
        builder = configure(setup);
        const { attributes = [], pure = false } = builder.needs ?? {};
        return { attributes: texts('needs.attributes', attributes), pure: !!pure };
      } catch (error) {
        throw words(error);
      }
    },
    build(request) {
      let refused;
      const prompt = told(() => {
        try {
          return crossed(builder.build(request));
        } catch (error) {
          if (!error?.refusal) throw error;
          refused = error.refusal;
        }
      });
      if (refused) throw refused.val;
      return prompt;
    },
  };
  return { lifecycle, prompting };
}
