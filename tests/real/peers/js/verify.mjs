// Asks LiveKit's JavaScript server SDK what it thinks of tokens.
//
// stdin:  a JSON array of { apiKey, apiSecret, token }
// stdout: a JSON array, same order, of { ok: true, claims } with the whole payload, or { ok: false, error } with the
//         name of the error's class.

import { text } from 'node:stream/consumers';
import { TokenVerifier } from 'livekit-server-sdk';

async function verdict({ apiKey, apiSecret, token }) {
  try {
    return { ok: true, claims: await new TokenVerifier(apiKey, apiSecret).verify(token) };
  } catch (error) {
    return { ok: false, error: error.constructor.name };
  }
}

const cases = JSON.parse(await text(process.stdin));
console.log(JSON.stringify(await Promise.all(cases.map(verdict))));
