// A fake of Cloudflare's TURN service, as a server that mints credentials sees it, by Cloudflare's documentation of November 2026
// (https://developers.cloudflare.com/realtime/turn/generate-credentials/): `node fake_cloudflare.mjs TURN_PORT TURN_SECRET`.
//
// stdout: its base URL on the first line, the URL of the controls on the second. It runs until it is killed. Its credentials open
// a TURN server on 127.0.0.1:TURN_PORT that has TURN_SECRET as shared secret; as in the service, port 53 is listed too.
//
// The TURN key's id is `turn-key-of-the-fake`, its token `turn-token-of-the-fake`. The controls (on_command.mjs says how they are
// called, and what an order is):
//
//   /mint    an order   for requests with the right token
//   /counts  {}         so far → { asked, mints, refused }
//   /last    {}         the last request for credentials → { method, url, headers, body }

import { createHmac, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { Orders, answer, control, listen } from './on_command.mjs';

/** Stands in all that goes wrong, so that a test can see whether a text of the upstream's went on. */
const canary = 'upstream-canary-7c3a';
const path = '/v1/turn/keys/turn-key-of-the-fake/credentials/generate-ice-servers';
const longestTtl = 172_800;

const [turnPort, turnSecret] = process.argv.slice(2);
const counts = { asked: 0, mints: 0, refused: 0 };
let last = null;

const error = (message) => ({ errors: [{ code: 1000, message: `${message} ${canary}` }] });
const orders = new Orders(
  Object.fromEntries([400, 401, 403, 404, 429, 500, 503].map((status) => [status, () => error(`status ${status}`)])),
);

/** Returns the status and the body of the answer to a request with the right token. */
function minted(body) {
  const { ttl, customIdentifier = randomBytes(8).toString('hex'), ...unknown } = JSON.parse(body);
  const fits = Number.isInteger(ttl) && ttl > 0 && ttl <= longestTtl && typeof customIdentifier === 'string';
  if (!fits || Object.keys(unknown).length) return [400, error('The body is not valid.')];
  const username = `${Math.floor(Date.now() / 1000) + ttl}:${customIdentifier}`;
  const credential = createHmac('sha1', turnSecret).update(username).digest('base64');
  const host = '127.0.0.1';
  counts.mints += 1;
  return [201, {
    iceServers: [
      { urls: [`stun:${host}:${turnPort}`, `stun:${host}:53`] },
      {
        urls: [`turn:${host}:${turnPort}?transport=udp`, `turn:${host}:53?transport=udp`, `turn:${host}:${turnPort}?transport=tcp`],
        username,
        credential,
      },
    ],
  }];
}

async function serve(request, response) {
  const body = await text(request);
  const { method, url, headers } = request;
  const say = ([status, answered]) => answer(response, status, answered, { 'cf-ray': `${randomBytes(8).toString('hex')}-FRA` });
  counts.asked += 1;
  last = { method, url, headers, body };
  if (headers.authorization !== 'Bearer turn-token-of-the-fake') {
    counts.refused += 1;
    return say([401, error('Unauthorized')]);
  }
  if (method !== 'POST' || url !== path) return say([404, error('Not found')]);
  if (await orders.carryOut(request, response)) return;
  say(minted(body));
}

const server = createServer((request, response) => {
  serve(request, response).catch(() => response.destroy());
});
const controls = { mint: (order) => orders.give(order), counts: () => counts, last: () => last };
console.log(`http://127.0.0.1:${await listen(server)}/v1`);
console.log(await control(controls));
