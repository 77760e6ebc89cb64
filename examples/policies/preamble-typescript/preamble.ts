// The operator's instructions come first, then everything the client wrote, as it wrote it.
//
// Setting `text`: the instructions; it must be given.

import { type Needs, type Prompt, type PromptBuilder, type Request, Settings, type Setup, kept, message } from './witgate-prompts.js';

export class Preamble implements PromptBuilder {
  // Nothing of one request is remembered at the next.
  readonly needs: Needs = { pure: true };
  private readonly text: string;

  constructor(setup: Setup) {
    const settings = new Settings(setup.settings);
    this.text = settings.text('text', 'the instructions');
    settings.finish();
  }

  build(request: Request): Prompt {
    return { messages: [message('system', this.text), ...kept(request.messages)] };
  }
}
