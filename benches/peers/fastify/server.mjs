// The endpoint for anyone.

import { listen } from './endpoint.mjs';

await listen();
