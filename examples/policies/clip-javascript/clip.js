// No answer is longer than so many characters. What is within them passes as it comes; the rest is left out.
//
// Setting `most`: how many; 2000 unless given.

import { Settings } from './witgate-replies.js';

export class Clip {
  constructor(setup) {
    const settings = new Settings(setup.settings);
    this.most = settings.whole('most', 1, 1000000, 2000);
    settings.finish();
    // Of all that a model gives, the text alone; nothing of one reply is remembered at the next.
    this.needs = { deltas: { text: true }, pure: true };
  }

  open() {
    return new Clipped(this.most);
  }
}

/** One answer: how many characters are left. */
export class Clipped {
  constructor(left) {
    this.left = left;
  }

  push(delta) {
    if (delta.tag !== 'text') return [delta];
    let words = '';
    for (const character of delta.val) {
      if (this.left === 0) break;
      this.left--;
      words += character;
    }
    return words ? [{ tag: 'text', val: words }] : [];
  }

  finish() {
    return [];
  }
}
