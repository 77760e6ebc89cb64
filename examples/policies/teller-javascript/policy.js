// What the component exports.
import { write } from 'witgate:policy/log@0.1.0';

import { Teller } from './teller.js';
import { exportProvider } from './witgate-providers.js';

export const { lifecycle, providing } = exportProvider((setup) => new Teller(setup), write);
