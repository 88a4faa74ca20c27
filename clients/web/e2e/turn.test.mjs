// TURN: two tabs reach each other through a real coturn and in no other way, with credentials that
// `@roomkey/client` fetches from the roomkey that was built.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { join } from 'node:path';
import {
  launch,
  newPage,
  patience,
  root,
  sentence,
  serve,
  startRoomkey,
  startTurnServer,
  stopAll,
  turnCredential,
} from './harness.mjs';

const threshold = 0.01;

let turn, roomkey, origin, browser;
before(async () => {
  turn = await startTurnServer();
  origin = await serve({
    '/client/': join(root, 'clients/web/dist'),
    '/livekit/': join(root, 'clients/node_modules/livekit-client/dist'),
    '/e2e/': join(root, 'clients/web/e2e'),
  });
  roomkey = await startRoomkey({ origins: [origin], settings: turn.settings });
  browser = await launch({
    microphone: sentence('The quick brown fox jumps over the lazy dog.', 0.2),
  });
});
after(stopAll);

async function tab() {
  const page = await newPage(browser);
  page.on('pageerror', (error) => console.error('page:', error.message));
  await page.goto(origin);
  await page.evaluate(() => import('/e2e/page.mjs'));
  return page;
}

/** Makes a connection that may use relays only, and returns how many of them it found. */
const makePeer = (page, iceServers) =>
  page.evaluate(
    async ({ url, iceServers }) => {
      iceServers ??= await new voice.Roomkey({ url }).turnCredentials();
      voice.peer = await voice.Peer.make({ iceServers, iceTransportPolicy: 'relay' });
    },
    { url: roomkey.url, iceServers },
  );
const call = (page, method, ...args) =>
  page.evaluate(([method, args]) => voice.peer[method](...args), [method, args]);

test('two tabs hear each other through a real TURN server and in no other way', async (t) => {
  const [alice, bob] = await Promise.all([tab(), tab()]);
  await Promise.all([makePeer(alice), makePeer(bob)]);
  const began = performance.now();
  const answer = await call(bob, 'answer', await call(alice, 'offer'));
  await call(alice, 'accept', answer);
  for (const page of [alice, bob]) {
    const heard = await page.evaluate(
      ([patience, threshold]) => voice.heardWithin(() => voice.peer.meter, patience, threshold),
      [patience, threshold],
    );
    assert.ok(heard, 'sound arrives');
    assert.equal(await call(page, 'usedCandidate'), 'relay');
    const ms = Math.round(performance.now() - began);
    t.diagnostic(`level ${heard.level.toFixed(3)} after ${ms} ms`);
  }
  await Promise.all([alice, bob].map((page) => page.context().close()));
});

test('credentials that have expired give no way through', async () => {
  const page = await tab();
  await makePeer(page, turnCredential(turn, -5));
  assert.doesNotMatch(await call(page, 'offer'), /a=candidate/);
  await makePeer(page, turnCredential(turn, 60));
  assert.match(await call(page, 'offer'), /a=candidate:.* typ relay /);
  await page.context().close();
});
