// No answer is longer than so many characters. What is within them passes as it comes; the rest is left out.
//
// Setting `most`: how many; 2000 unless given.

import { type Delta, type Needs, type Reply, type ResponseParser, Settings, type Setup } from './witgate-replies.js';

export class Clip implements ResponseParser {
  // Of all that a model gives, the text alone; nothing of one reply is remembered at the next.
  readonly needs: Needs = { deltas: { text: true }, pure: true };
  readonly most: number;

  constructor(setup: Setup) {
    const settings = new Settings(setup.settings);
    this.most = settings.whole('most', 1, 1000000, 2000);
    settings.finish();
  }

  open(): Clipped {
    return new Clipped(this.most);
  }
}

/** One answer: how many characters are left. */
export class Clipped implements Reply {
  private left: number;

  constructor(most: number) {
    this.left = most;
  }

  push(delta: Delta): Delta[] {
    if (delta.tag !== 'text') return [delta];
    let words = '';
    for (const character of delta.val) {
      if (this.left === 0) break;
      this.left--;
      words += character;
    }
    return words ? [{ tag: 'text', val: words }] : [];
  }

  finish(): Delta[] {
    return [];
  }
}
