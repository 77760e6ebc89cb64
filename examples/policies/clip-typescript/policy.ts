// What the component exports.
import { write } from 'witgate:policy/log@0.1.0';

import { Clip } from './clip.js';
import { exportResponseParser } from './witgate-replies.js';

export const { lifecycle, parsing } = exportResponseParser((setup) => new Clip(setup), write);
