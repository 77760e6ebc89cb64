// The cheapest deployment first, where each failure makes a deployment dearer.
//
// What a request is expected to cost counts times `1 + penalty × failure-rate`. An unknown failure rate is none; a deployment
// whose cost is unknown comes last; of equals the one named first.
//
// Settings: `penalty`, a number from 0 to 1000, 10 unless given.

import { Settings, rank } from './witgate.js';

export class Thrifty {
  constructor(setup) {
    const settings = new Settings(setup.settings);
    this.penalty = settings.number('penalty', 0, 1000, 10);
    settings.finish();
    // Its answers depend on its arguments alone: several instances may serve at once.
    this.needs = { signals: ['cost-usd', 'failure-rate'], pure: true };
  }

  route(_ask, { values, rows }) {
    const scores = new Array(rows);
    for (let index = 0; index < rows; index++) {
      const failures = values[rows + index];
      scores[index] = values[index] * (1 + this.penalty * (failures === failures ? failures : 0));
    }
    return rank(scores);
  }
}
