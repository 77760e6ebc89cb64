// Write a provider for Witgate in JavaScript: give `exportProvider` a function that makes one.
//
// What a provider may know is handed to it: settings, requests, replies. Where requests go and what they are authorised with it is
// never told. Treat it as if there were no clock, no file and no network: the same inputs must always give the same answer.
import { crossing, inComponent, list, pieceOfReply, shown, teller, text, texts, words } from './witgate.js';

export { Settings } from './witgate.js';

/** Throw it: what cannot be written, or is no reply, with the provider's word for it and the field of the request to blame. */
export class Fault {
  constructor(message, { code, param } = {}) {
    this.message = message;
    this.code = code;
    this.param = param;
  }
}

/** How deep JSON may go: the engine's reader calls itself for each bracket, and its stack is small. */
const DEEPEST = 500;
/** Characters whose codes are handed to a function at once. */
const PIECE = 8192;

/** A JSON object in bytes; throws a `Fault` where it is none. */
export function readObject(bytes) {
  let value;
  try {
    const text = decodeURIComponent(escape(binary(bytes)));
    if (text.split(/[[{]/).length > DEEPEST) bound(text);
    value = JSON.parse(text);
    // Half of a pair is no text, and is the one thing that is still escaped when it is written.
    if (hasHalf(text) && hasHalf(JSON.stringify(value))) throw new Error('half of a pair in a text');
  } catch (error) {
    throw new Fault(`this is no JSON object: ${words(error)}`);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Fault('this is no JSON object');
  return value;
}

/** A letter for each byte. */
function binary(bytes) {
  let letters = '';
  for (let at = 0; at < bytes.length; at += PIECE) {
    letters += String.fromCharCode.apply(null, bytes.subarray(at, at + PIECE));
  }
  return letters;
}

function bound(text) {
  let depth = 0;
  for (const [bracket] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}]/gs)) {
    if (bracket === '[' || bracket === '{') depth++;
    else if (bracket === ']' || bracket === '}') depth--;
    if (depth > DEEPEST) throw new Error('it is nested too deeply');
  }
}

const hasHalf = (text) => /\\ud[89a-f]/i.test(text.replaceAll('\\\\', ''));

/** UTF-8: the engine has no encoder of its own. */
function written(text) {
  const letters = unescape(encodeURIComponent(text));
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at++) bytes[at] = letters.charCodeAt(at);
  return bytes;
}

const NOTHING = { cacheReadTokens: 0, cacheWriteTokens: 0, reasoningTokens: 0 };

const FRAMINGS = ['server-sent-events', 'lines', 'bytes'];
const FINISHES = ['stop', 'length', 'tool-calls', 'content-filter', 'refusal', 'other'];

/** One of these words, which `what` is to be. */
function oneOf(what, known, given) {
  if (known.includes(given)) return given;
  throw new TypeError(`${what} is one of ${known.join(', ')}, which ${shown(given)} is not`);
}

/** An event as it crosses: no field of a record may be left out. */
function crossed(event) {
  const { tag, val } = event ?? {};
  switch (tag) {
    case 'beginning':
      return { tag, val: { id: text('the id of a reply', val?.id), model: text('the model of a reply', val.model ?? '') } };
    case 'finish':
      return { tag, val: oneOf('the reason to finish', FINISHES, val) };
    case 'usage':
      return { tag, val: { ...NOTHING, ...val } };
    case 'end':
      return { tag };
    default: {
      const piece = pieceOfReply('an event', event);
      if (piece) return piece;
      throw new TypeError(`${shown(event)} is no event`);
    }
  }
}

const events = (given) => list('what is read', given).map(crossed);

/**
 * The component's exports for a provider. `configure(setup)` makes it, or throws an error about a setting that makes no sense;
 * `write(level, message)` is the gateway's log.
 *
 * A provider has
 * - `needs`: `framing`, how streams are cut (`server-sent-events`, `lines`, or `bytes` as they come), and `pure`, true where nothing of
 *   one request is remembered at the next, which may be left out;
 * - `encode(request, target)`: an OpenAI chat completion, whatever API the client spoke, into `{ path, body }` and, where there are any,
 *   `headers` (an object) and `dropped` (a list of names);
 * - `decode(body)`: a whole reply, in bytes, into a list of events;
 * - `decodeError(status, body)`: the words of a refusal as a `Fault`, given or thrown; what its status means the gateway knows;
 * - `open()`, which gives what reads one stream: `push(name, data)` is the next piece, with the event's name ('' where it has none, or
 *   there are no events), and gives a list of events.
 *
 * An event has a `tag` (`beginning`, `text`, `reasoning`, `refusal`, `tool-call`, `tool-arguments`, `finish`, `usage`, `end`) and, but for
 * the last, a `val`. All but `open` may throw a `Fault`.
 */
export function exportProvider(configure, write) {
  let setup, provider;
  const told = teller(write);
  const lifecycle = {
    configure(given) {
      inComponent();
      setup = given;
    },
    save: () => undefined,
  };
  const maybe = (given) => (given === undefined || given === null ? undefined : crossing(given));
  const plain = (fault) => {
    if (!(fault instanceof Fault)) throw new TypeError(`\`decodeError\` must give a Fault, and gave ${shown(fault)}`);
    return { message: crossing(fault.message), code: maybe(fault.code), param: maybe(fault.param) };
  };
  /** A fault is an answer and not told in the log. */
  const answered = (call) => {
    let fault;
    const answer = told(() => {
      try {
        return call();
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        fault = error;
      }
    });
    if (fault) throw plain(fault);
    return answer;
  };
  class Decoder {
    constructor() {
      this.stream = told(() => provider.open());
    }

    push(name, data) {
      return answered(() => events(this.stream.push(name, data)));
    }
  }
  const providing = {
    start() {
      try {
        provider = configure(setup);
        const { framing, pure = false } = provider.needs;
        return { framing: oneOf('needs.framing', FRAMINGS, framing), pure: !!pure };
      } catch (error) {
        throw words(error);
      }
    },
    encode(request, target) {
      return answered(() => {
        const { path, body, headers = {}, dropped = [] } = provider.encode(readObject(request), target);
        const listed = Object.entries(headers).map(([name, value]) => ({ name, value: text(`the header \`${name}\``, value) }));
        const json = text('the body as JSON', JSON.stringify(body));
        return { path: text('the path', path), headers: listed, body: written(json), dropped: texts('dropped', dropped) };
      });
    },
    decode: (body) => answered(() => events(provider.decode(body))),
    decodeError: (status, body) =>
      told(() => {
        try {
          return plain(provider.decodeError(status, body));
        } catch (error) {
          if (!(error instanceof Fault)) throw error;
          return plain(error);
        }
      }),
    Decoder,
  };
  return { lifecycle, providing };
}
