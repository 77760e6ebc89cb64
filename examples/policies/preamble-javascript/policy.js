// What the component exports.
import { write } from 'witgate:policy/log@0.1.0';

import { Preamble } from './preamble.js';
import { exportPromptBuilder } from './witgate-prompts.js';

export const { lifecycle, prompting } = exportPromptBuilder((setup) => new Preamble(setup), write);
