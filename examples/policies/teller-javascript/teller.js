// A small API that is nobody's: it takes one prompt and a bound in words, and counts words where others count tokens.
//
//     POST /v1/tell  {"model": "m", "prompt": "hi", "max_words": 75, "stream": false}
//     a reply        {"id": "t1", "answer": "Hello.", "words": {"in": 1, "out": 1}, "cut": false}
//     streamed       lines of the same: each has a piece of the answer, the last one has the words
//     a refusal      {"error": {"name": "too-long", "says": "the prompt is too long"}}
//
// Setting `words_per_100_tokens`: how many words its tokens make; 75 unless given.

import { Fault, Settings, readObject } from './witgate-providers.js';

/** What the API has no words for, and whose loss would change what was asked. */
const REFUSED = ['tools', 'functions', 'stop', 'response_format', 'logprobs'];

export class Teller {
  constructor(setup) {
    const settings = new Settings(setup.settings);
    this.wordsPer100Tokens = settings.whole('words_per_100_tokens', 1, 1000, 75);
    settings.finish();
    // Nothing of one request is remembered at the next.
    this.needs = { framing: 'lines', pure: true };
  }

  encode(request, target) {
    // The bound has had two names; the API wants one, so where a client gave none it is what was reserved. The API always tells
    // what was used.
    const { model, messages = [], stream, max_completion_tokens, max_tokens, stream_options, ...given } = request;
    const prompt = written(messages);
    const tokens = max_completion_tokens ?? max_tokens ?? target.maxOutputTokens;
    const { n = 1, ...rest } = Object.fromEntries(Object.entries(given).filter(([name, value]) => asks(name, value)));
    if (n !== 1) throw new Fault('the provider gives one reply at a time', { param: 'n' });
    const refused = REFUSED.find((name) => name in rest);
    if (refused) throw new Fault(`the provider has no word for \`${refused}\``, { param: refused });
    return {
      path: '/v1/tell',
      body: { model: target.model, prompt, max_words: this.words(tokens), stream: stream === true },
      dropped: Object.keys(rest).sort(),
    };
  }

  /** A whole reply is a stream of one line. */
  decode(body) {
    const events = this.open().push('', body);
    if (events.at(-1)?.tag !== 'end') throw new Fault('the reply has no words counted');
    return events;
  }

  decodeError(status, body) {
    try {
      const { error } = readObject(body);
      if (error) return refused(error);
    } catch {
      // What stands before the API, a proxy perhaps, refuses in words of its own.
    }
    return new Fault(`the provider refused with status ${status}`);
  }

  open() {
    return new Told(this);
  }

  /** So many words fit into these tokens; one at least, for the API takes no bound of none. */
  words(tokens) {
    return Math.max(1, Math.floor((tokens * this.wordsPer100Tokens) / 100));
  }

  /** So many tokens these words are. Rounded up: limits would rather count one too many. */
  tokens(words) {
    return Math.ceil((words * 100) / this.wordsPer100Tokens);
  }
}

/** A reply under way. */
class Told {
  constructor(teller) {
    this.teller = teller;
    this.begun = false;
  }

  push(_, data) {
    const line = readObject(data);
    if (line.error !== undefined) throw refused(line.error);
    const events = [];
    // The API does not say which model answers.
    if (!this.begun) events.push({ tag: 'beginning', val: { id: text(line.id), model: '' } });
    this.begun = true;
    if (text(line.answer)) events.push({ tag: 'text', val: line.answer });
    const counts = [line.words?.in, line.words?.out];
    if (counts.every((count) => Number.isSafeInteger(count) && count >= 0)) {
      const [inputTokens, outputTokens] = counts.map((count) => this.teller.tokens(count));
      events.push({ tag: 'finish', val: line.cut === true ? 'length' : 'stop' });
      events.push({ tag: 'usage', val: { inputTokens, outputTokens } });
      events.push({ tag: 'end' });
    }
    return events;
  }
}

/** One message is the prompt as it stands; of several, each says whose it is. */
function written(messages) {
  const said = messages.map((message, index) => {
    const param = `messages[${index}]`;
    const { role = 'user' } = message;
    const calls = asks('tool_calls', message.tool_calls) || asks('function_call', message.function_call);
    if (calls || role === 'tool' || role === 'function') throw new Fault('the provider calls no tools', { param });
    const words = content(message.content, param);
    return messages.length === 1 ? words : `${role}: ${words}`;
  });
  return said.join('\n\n');
}

function content(given, param) {
  if (!Array.isArray(given)) return text(given);
  const words = given.map((part) => {
    if (part.type === 'text' || part.type === 'refusal') return text(part[part.type]);
    throw new Fault(`the provider takes no content of type \`${part.type}\``, { param });
  });
  return words.join('');
}

/** Whether a field asks for anything: clients send many that say what would be so without them. */
function asks(name, value) {
  if (value === undefined || value === null || value === false) return false;
  if (Array.isArray(value) && value.length === 0) return false;
  return !(name === 'response_format' && value.type === 'text');
}

/** The API's own word for it is the code. */
const refused = (error) => new Fault(text(error?.says), { code: text(error?.name) || undefined });

const text = (value) => (typeof value === 'string' ? value : '');
