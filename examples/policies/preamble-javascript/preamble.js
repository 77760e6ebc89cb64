// The operator's instructions come first, then everything the client wrote, as it wrote it.
//
// Setting `text`: the instructions; it must be given.

import { Settings, kept, message } from './witgate-prompts.js';

export class Preamble {
  constructor(setup) {
    const settings = new Settings(setup.settings);
    this.text = settings.text('text', 'the instructions');
    settings.finish();
    // Nothing of one request is remembered at the next.
    this.needs = { pure: true };
  }

  build(request) {
    return { messages: [message('system', this.text), ...kept(request.messages)] };
  }
}
