import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Clip, Clipped } from './clip.js';
import { type Delta } from './witgate-replies.js';

const text = (val: string): Delta => ({ tag: 'text', val });

test('characters are counted over all pieces', () => {
  const reply = new Clipped(4);
  assert.deepEqual(reply.push(text('äö')), [text('äö')]);
  assert.deepEqual(reply.push(text('ü😀yz')), [text('ü😀')]);
  assert.deepEqual(reply.push(text('more')), []);
});

test('settings that make no sense are refused', () => {
  const configured = (settings: string) => new Clip({ settings, seed: 1n });
  assert.equal(configured('{"most": 10}').most, 10);
  for (const settings of ['{"most": 0}', '{"most": "all"}', '{"least": 1}']) assert.throws(() => configured(settings));
});
