import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Preamble } from './preamble.js';

const configured = (settings) => new Preamble({ settings, seed: 1n });

test('the instructions come first and the rest is kept', () => {
  const said = { role: 'user', parts: [{ kind: 'text', text: 'hi' }, { kind: 'other', text: '' }] };
  assert.deepEqual(configured('{"text": "Be brief."}').build({ messages: [said] }).messages, [
    { role: 'system', parts: [{ text: 'Be brief.' }] },
    { role: 'user', source: 0, parts: [{ source: 0 }, { source: 1 }] },
  ]);
});

test('settings that make no sense are refused', () => {
  for (const settings of ['{}', '{"text": 3}', '{"text": "x", "more": 1}']) assert.throws(() => configured(settings));
});
