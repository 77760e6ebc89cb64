import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Thrifty } from './thrifty.js';
import { Signals } from './witgate.js';

/** The order of deployments that cost and fail so much. */
function order(settings, costs, failures) {
  const router = new Thrifty({ settings, deployments: [], seed: 1n });
  return router.route({}, new Signals(router.needs.signals, [...costs, ...failures], costs.length));
}

test('the cheapest comes first and an unknown price last', () => {
  assert.deepEqual(order('{}', [NaN, 0.03, 0.01], [0, 0, NaN]), [2, 1, 0]);
});

test('failures make it dearer', () => {
  assert.deepEqual(order('{}', [0.01, 0.02], [0.5, 0]), [1, 0]);
  assert.deepEqual(order('{"penalty": 0}', [0.01, 0.02], [0.5, 0]), [0, 1]);
});

test('a large group is ranked as a small one', () => {
  const costs = Array.from({ length: 100 }, (_, index) => (index * 37) % 100);
  const ranked = order('{}', costs, costs.map(() => 0));
  assert.deepEqual(ranked.map((index) => costs[index]), costs.map((_, index) => index));
});

test('settings that make no sense are refused', () => {
  assert.throws(() => order('{"penalty": -1}', [], []), { message: 'setting `penalty` must be a number, 0 to 1000' });
  assert.throws(() => order('{"limit": 1}', [], []), { message: 'unknown setting `limit`; this policy knows: penalty' });
});
