import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Teller } from './teller.js';
import { Fault, type JsonObject } from './witgate-providers.js';

const configured = (settings: string) => new Teller({ settings, seed: 1n });
const teller = configured('{}');
const bytes = (text: string) => new TextEncoder().encode(text);
const sent = (request: JsonObject) => teller.encode(request, { model: 'm', maxOutputTokens: 100 }).body;

test('tokens become words and words become tokens', () => {
  assert.deepEqual([100, 0].map((tokens) => teller.words(tokens)), [75, 1]);
  assert.deepEqual([75, 1, 0].map((words) => teller.tokens(words)), [100, 2, 0]);
});

test('a conversation says who said what', () => {
  const hi = { role: 'user', content: 'hi' };
  const one = sent({ messages: [hi], max_tokens: 8 });
  assert.deepEqual(one, { model: 'm', prompt: 'hi', max_words: 6, stream: false });
  const two = sent({ messages: [{ role: 'system', content: 'Be brief.' }, hi] });
  assert.deepEqual(two, { model: 'm', prompt: 'system: Be brief.\n\nuser: hi', max_words: 75, stream: false });
});

test('what has no words there is refused by name', () => {
  const blames = (request: JsonObject, param: string) => assert.throws(() => sent(request), { param });
  blames({ n: 2 }, 'n');
  blames({ stop: 'x' }, 'stop');
  blames({ messages: [{ role: 'tool', tool_call_id: 'c', content: '1' }] }, 'messages[0]');
  // These ask for nothing.
  sent({ messages: [], n: 1, tools: [], response_format: { type: 'text' } });
});

test('a stream begins once and ends with its words', () => {
  const stream = teller.open();
  const push = (line: object) => stream.push('', bytes(JSON.stringify(line)));
  const first = [{ tag: 'beginning', val: { id: 't1', model: '' } }, { tag: 'text', val: 'Grüße' }];
  assert.deepEqual(push({ id: 't1', answer: 'Grüße' }), first);
  assert.deepEqual(push({ answer: ' 世界' }), [{ tag: 'text', val: ' 世界' }]);
  const last = push({ words: { in: 1, out: 3 }, cut: true });
  assert.deepEqual(last, [{ tag: 'finish', val: 'length' }, { tag: 'usage', val: { inputTokens: 2, outputTokens: 4 } }, { tag: 'end' }]);
});

test('what is no reply is a fault', () => {
  const none = ['', '[]', '{}', '['.repeat(100000), '{"answer": "So"}', '{"error": {"says": "no"}}', '{"answer": "\\ud800"}'];
  for (const body of [...none.map(bytes), Uint8Array.of(255)]) assert.throws(() => teller.decode(body), Fault);
  assert.equal(teller.decodeError(502, bytes('<html>')).message, 'the provider refused with status 502');
});

test('settings that make no sense are refused', () => {
  assert.equal(configured('{"words_per_100_tokens": 60}').wordsPer100Tokens, 60);
  for (const settings of ['{"words_per_100_tokens": 0}', '{"words_per_100_tokens": "all"}', '{"least": 1}']) {
    assert.throws(() => configured(settings));
  }
});
