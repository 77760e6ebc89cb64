// What the component exports.
import { write } from 'witgate:policy/log@0.1.0';

import { Thrifty } from './thrifty.js';
import { exportRouter } from './witgate.js';

export const { lifecycle, routing } = exportRouter((setup) => new Thrifty(setup), write);
