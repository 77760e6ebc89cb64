import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Thrifty } from './thrifty.js';
import { Reject, Signals, Wait, exportRouter, placed, words } from './witgate.js';

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

test('mistakes have words', () => {
  for (const milliseconds of [undefined, 1.5, -1, 2 ** 32, '1']) {
    assert.throws(() => new Wait(milliseconds), /must be a whole number from 0 on, which .* is not/);
  }
  assert.deepEqual(new Reject(5).refusal, { tag: 'reject', val: '5' });
  assert.equal(words(new Error('setting `penalty` must be a number')), 'setting `penalty` must be a number');
  assert.equal(words(new TypeError('no function')), 'TypeError: no function');
  assert.equal(words(new Error()), 'Error');
});

test('what is thrown is told in one line with where it was', () => {
  assert.match(placed(new TypeError('no function')), /^TypeError: no function; at [^\n]*thrifty\.test\.js:\d+:\d+[^\n]*$/);
  const deep = (left) => (left ? deep(left - 1) : placed(new Error('too deep')));
  assert.equal(deep(20).split('deep (').length - 1, 5);
  assert.equal(placed({ message: 'no Error' }), '[object Object]');
});

test('answers that are none are told', () => {
  const told = [];
  const write = (level, message) => told.push(message);
  const answered = (answer) => {
    const router = { needs: { signals: [] }, route: () => answer, save: () => answer };
    const { lifecycle, routing } = exportRouter(() => router, write);
    routing.start([]);
    return [() => routing.route({}, [], [], []), () => lifecycle.save()];
  };
  assert.deepEqual(answered([1, 0])[0](), { deployments: [1, 0], propensities: [] });
  assert.deepEqual(answered({ deployments: [1] })[0](), { deployments: [1], propensities: [] });
  const wrong = [undefined, [0.5], ['a'], new Set([0]), [-1], { deployments: [0], propensities: ['x'] }];
  for (const answer of wrong) assert.deepEqual(answered(answer)[0](), { deployments: [], propensities: [0] });
  assert.equal(told.length, wrong.length);
  assert.match(told[0], /`route` must give a list of deployments' indices, .* and gave undefined/);
  const [, save] = answered({ schema: 'a', bytes: 'x' });
  assert.throws(save, /`save` must give { schema, bytes }/);
  assert.throws(() => exportRouter(() => ({ needs: { signals: 'cost-usd' } }), write).routing.start([]), (words) => {
    return words === 'TypeError: needs.signals must be a list, which "cost-usd" is not';
  });
});
