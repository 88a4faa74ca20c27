// Rooms: what `@roomkey/client` fetches from the roomkey that was built, livekit-client takes to a
// real LiveKit server in a real Chromium, and the sound is measured where it is heard.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  launch,
  newPage,
  patience,
  root,
  sentence,
  serve,
  startLiveKit,
  startRoomkey,
  stopAll,
  until,
} from './harness.mjs';

/** Loud enough to be speech; silence is 0 here. */
const threshold = 0.01;
/** How long the network is away. */
const outageMs = 4000;

let livekit, roomkey, origin, browser, staysAway;
before(async () => {
  livekit = await startLiveKit();
  origin = await serve({
    '/client/': join(root, 'clients/web/dist'),
    '/livekit/': join(root, 'clients/node_modules/livekit-client/dist'),
    '/e2e/': join(root, 'clients/web/e2e'),
  });
  roomkey = await startRoomkey({ origins: [origin], livekit });
  browser = await launch({
    microphone: sentence('The quick brown fox jumps over the lazy dog.', 0.2),
  });
  staysAway = outage();
  // It is awaited at the end.
  staysAway.catch(() => undefined);
});
after(stopAll);

/** Opens a tab that has loaded the packages. */
async function tab(from = origin) {
  const page = await newPage(browser);
  page.on('pageerror', (error) => console.error('page:', error.message));
  await page.goto(from);
  await page.evaluate(() => import('/e2e/page.mjs'));
  return page;
}

/** Joins a room through a token source, as an app of LiveKit's does, and speaks if it is to. */
const joinRoom = (page, roomName, { url = roomkey.url, speak = false, request = {} } = {}) =>
  page.evaluate(
    async ({ url, roomName, speak, request }) => {
      const began = performance.now();
      const source = new voice.Roomkey({ url }).tokenSource();
      const { serverUrl, participantToken } = await source.fetch({ roomName, ...request });
      const me = (voice.me = new voice.Participant());
      const identity = await me.join(serverUrl, participantToken);
      if (speak) await me.room.localParticipant.setMicrophoneEnabled(true);
      return { identity, ms: Math.round(performance.now() - began) };
    },
    { url, roomName, speak, request },
  );

/** Joins with a token of a role, which only `livekitToken` asks for. */
const joinAs = (page, request) =>
  page.evaluate(
    async ({ url, request }) => {
      const { serverUrl, token } = await new voice.Roomkey({ url }).livekitToken(request);
      const me = (voice.me = new voice.Participant());
      return me.join(serverUrl, token);
    },
    { url: roomkey.url, request },
  );

const hear = (page, identity, milliseconds = patience) =>
  page.evaluate(
    ([identity, milliseconds, threshold]) =>
      voice.heardWithin(() => voice.me.meter(identity), milliseconds, threshold),
    [identity, milliseconds, threshold],
  );
/** Hears nothing for 1.5 s: the fake microphone beeps once a second. */
const isSilent = async (page) =>
  (await page.evaluate(() => voice.loudest(() => voice.me.meter(), 1500))) < threshold / 10;
const stats = (page) => page.evaluate(() => voice.me.stats());
const events = (page) => page.evaluate(() => voice.me.events);
const close = (...pages) => Promise.all(pages.map((page) => page.context().close()));

test('two tabs join a room and hear each other, and nothing of one who is muted', async (t) => {
  const [alice, bob] = await Promise.all([tab(), tab()]);
  await joinRoom(bob, 'standup-1');
  const began = performance.now();
  const { identity, ms } = await joinRoom(alice, 'standup-1', { speak: true });
  const heard = await hear(bob, identity);
  assert.ok(heard, 'bob hears alice');
  t.diagnostic(
    `click to joined and speaking ${ms} ms, to sound in the other tab ${Math.round(performance.now() - began)} ms, level ${heard.level.toFixed(3)}`,
  );

  const other = await bob.evaluate(async () => {
    await voice.me.room.localParticipant.setMicrophoneEnabled(true);
    return voice.me.room.localParticipant.identity;
  });
  assert.ok(await hear(alice, other), 'alice hears bob');

  const first = await stats(bob);
  const second = await until('two seconds of sound', async () => {
    const now = await stats(bob);
    return now.seconds - first.seconds >= 2 && now;
  });
  assert.ok(
    second.energy - first.energy > 0.01 && second.bytes > first.bytes + 2000,
    JSON.stringify({ first, second }),
  );
  t.diagnostic(
    `in 2 s ${second.bytes - first.bytes} bytes, energy ${(second.energy - first.energy).toFixed(3)}, lost ${second.lost}`,
  );

  await alice.evaluate(() => voice.me.room.localParticipant.setMicrophoneEnabled(false));
  await until('silence', async () => {
    const before = await stats(bob);
    const silent = await isSilent(bob);
    return silent && (await stats(bob)).energy - before.energy < 0.0001;
  });

  const again = performance.now();
  await alice.evaluate(() => voice.me.room.localParticipant.setMicrophoneEnabled(true));
  assert.ok(await hear(bob, identity));
  t.diagnostic(`unmuted to sound ${Math.round(performance.now() - again)} ms`);
  await close(alice, bob);
});

test('a listener hears, and the server takes no sound of it though its client was patched', async () => {
  const [speaker, listener] = await Promise.all([tab(), tab()]);
  const { identity } = await joinRoom(speaker, 'lecture', { speak: true });
  const other = await joinAs(listener, {
    roomName: 'lecture',
    role: 'listener',
    participantIdentity: 'listener-1',
  });
  assert.equal(other, 'listener-1');
  assert.ok(await hear(listener, identity));
  const outcome = await listener.evaluate(async () => {
    const me = voice.me.room.localParticipant;
    const refused = await me.setMicrophoneEnabled(true).then(
      () => null,
      (error) => error.name,
    );
    me.hasPermissionsToPublish = () => true;
    const forced = me.setMicrophoneEnabled(true).then(
      () => 'published',
      () => 'refused',
    );
    return {
      refused,
      forced: await Promise.race([forced, voice.sleep(4000).then(() => 'unanswered')]),
    };
  });
  assert.equal(outcome.refused, 'PublishTrackError');
  assert.notEqual(outcome.forced, 'published');
  assert.equal(await speaker.evaluate(() => voice.me.meters.size), 0, 'nobody heard the listener');
  await close(speaker, listener);
});

test('camera, data and video that says it is a microphone reach nobody', async () => {
  const [speaker, listener] = await Promise.all([tab(), tab()]);
  await joinRoom(speaker, 'audio-only', { speak: true });
  const { identity } = await joinRoom(listener, 'audio-only');
  assert.ok(identity);
  const outcome = await speaker.evaluate(async () => {
    const { room } = voice.me;
    const me = room.localParticipant;
    const within = (promise) =>
      Promise.race([
        promise.then(
          () => 'published',
          () => 'refused',
        ),
        voice.sleep(4000).then(() => 'unanswered'),
      ]);
    const camera = await me.setCameraEnabled(true).then(
      () => 'published',
      (error) => error.name,
    );
    me.hasPermissionsToPublish = () => true;
    const [track] = (await navigator.mediaDevices.getUserMedia({ video: true })).getVideoTracks();
    const disguised = await within(
      me.publishTrack(track, { source: voice.livekit.Track.Source.Microphone }),
    );
    await me
      .publishData(new TextEncoder().encode('data'), { reliable: true })
      .catch(() => undefined);
    return { camera, disguised };
  });
  assert.equal(outcome.camera, 'PublishTrackError');
  // The server settles on no codec for it, whatever the client believes: nothing of it arrives.
  assert.ok(await hear(listener, undefined), 'the voice goes on');
  assert.deepEqual(
    (await events(listener)).filter((event) => event === 'video' || event === 'data'),
    [],
  );
  const publications = await listener.evaluate(() =>
    [...voice.me.room.remoteParticipants.values()].flatMap(({ trackPublications }) =>
      [...trackPublications.values()].map(({ kind }) => kind),
    ),
  );
  assert.deepEqual(publications, ['audio']);
  await close(speaker, listener);
});

test('a second tab of one identity takes the place of the first, which does not fight for it', async () => {
  const [first, second] = await Promise.all([tab(), tab()]);
  const request = { participantIdentity: 'alice' };
  await joinRoom(first, 'one-user', { request });
  await joinRoom(second, 'one-user', { request });
  await until(
    'the first is out',
    async () => (await events(first)).includes('disconnected DUPLICATE_IDENTITY'),
  );
  assert.ok(!(await events(first)).some((event) => event.includes('reconnect')));
  await until('the second is alone', () =>
    second.evaluate(() => voice.me.room.remoteParticipants.size === 0),
  );
  assert.equal(await second.evaluate(() => voice.me.room.state), 'connected');
  await close(first, second);
});

test('a token that was changed is refused by the server, and one for a room opens no other', async () => {
  const page = await tab();
  const outcome = await page.evaluate(async (url) => {
    const { serverUrl, token } = await new voice.Roomkey({ url }).livekitToken({
      roomName: 'room-a',
      participantIdentity: 'alice',
    });
    const [header, payload, signature] = token.split('.');
    const claims = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/')));
    const encoded = (value) =>
      btoa(JSON.stringify(value)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
    const status = async (change) => {
      const forged = `${header}.${encoded({ ...claims, ...change })}.${signature}`;
      return new voice.Participant().join(serverUrl, forged).then(
        () => 'joined',
        (error) => error.status ?? error.name,
      );
    };
    return [
      await status({ sub: 'bob' }),
      await status({ video: { ...claims.video, room: 'room-b' } }),
      await status({ exp: claims.exp + 1 }),
    ];
  }, roomkey.url);
  assert.deepEqual(outcome, [401, 401, 401]);
  await close(page);
});

test('a page of another origin gets no token, and the diagnosis says why', async () => {
  const foreign = await serve({
    '/client/': join(root, 'clients/web/dist'),
    '/livekit/': join(root, 'clients/node_modules/livekit-client/dist'),
    '/e2e/': join(root, 'clients/web/e2e'),
  });
  const page = await tab(foreign);
  const { error, diagnosis } = await page.evaluate(async (url) => {
    const roomkey = new voice.Roomkey({ url, retry: { attempts: 1 } });
    const error = await roomkey.livekitToken({ roomName: 'r' }).then(
      () => null,
      (error) => error.toJSON(),
    );
    return { error, diagnosis: await roomkey.diagnose() };
  }, roomkey.url);
  assert.equal(error?.code, 'network');
  assert.equal(diagnosis.ok, false);
  const cors = diagnosis.checks.find(({ name }) => name === 'cors');
  assert.equal(cors?.remediation, `Add ${foreign} to cors.allowedOrigins in host.json.`);
  const own = await (async () => {
    const page = await tab();
    const diagnosis = await page.evaluate(
      (url) => new voice.Roomkey({ url }).diagnose(),
      roomkey.url,
    );
    await close(page);
    return diagnosis;
  })();
  assert.equal(own.ok, true, JSON.stringify(own));
  await close(page);
});

test('a 429 says how long to wait, to a page of another origin too', async () => {
  const limited = await startRoomkey({
    origins: [origin],
    livekit,
    settings: { ROOMKEY_RATE_LIMIT: '2/15m' },
  });
  const page = await tab();
  const error = await page.evaluate(async (url) => {
    const roomkey = new voice.Roomkey({ url });
    await roomkey.livekitToken({ roomName: 'r' });
    await roomkey.livekitToken({ roomName: 'r' });
    return roomkey.livekitToken({ roomName: 'r' }).then(
      () => null,
      (error) => error.toJSON(),
    );
  }, limited.url);
  assert.equal(error?.code, 'rate_limited');
  assert.equal(error.status, 429);
  assert.ok(error.retryAfterMs > 120_000 && error.retryAfterMs <= 900_000, JSON.stringify(error));
  assert.match(error.requestId, /^[0-9a-f-]{36}$/);
  await limited.end();
  await close(page);
});

test('a lease goes on after a sleep that was longer than its token, and the new token joins', async () => {
  const page = await tab();
  const outcome = await page.evaluate(async (url) => {
    const lease = new voice.Roomkey({ url }).lease({
      kind: 'livekit',
      roomName: 'night',
      expirationSeconds: 60,
    });
    const events = [];
    lease.on('renewed', () => events.push('renewed'));
    // Read at once: a new token may be there some milliseconds later.
    let shown;
    lease.on('expired', () => {
      events.push('expired');
      shown = lease.current;
    });
    const first = await lease.ready;
    // The machine wakes up eight hours later: the wall clock has gone on, timers have not.
    const now = Date.now.bind(Date);
    Date.now = () => now() + 8 * 3_600_000;
    while (!events.includes('expired')) await voice.sleep(20);
    window.dispatchEvent(new Event('pageshow'));
    const second = await lease.ready;
    const identity = await new voice.Participant().join(second.serverUrl, second.token);
    lease.close();
    return {
      events,
      wasShown: Boolean(shown),
      isNew: first.token !== second.token,
      identity: Boolean(identity),
    };
  }, roomkey.url);
  assert.deepEqual(outcome, {
    events: ['renewed', 'expired', 'renewed'],
    wasShown: false,
    isNew: true,
    identity: true,
  });
  await close(page);
});

test('the network drops for some seconds, and the voice comes back by itself', async (t) => {
  const [speaker, listener] = await Promise.all([tab(), tab()]);
  await joinRoom(listener, 'storm');
  const { identity } = await joinRoom(speaker, 'storm', { speak: true });
  assert.ok(await hear(listener, identity));
  livekit.pause();
  await until('silence', () => isSilent(listener));
  await sleep(outageMs);
  livekit.resume();
  const began = performance.now();
  assert.ok(await hear(listener, identity));
  t.diagnostic(`sound ${Math.round(performance.now() - began)} ms after the network was back`);
  await close(speaker, listener);
});

test('the LiveKit server is killed and started again in the middle of a call, and the voice comes back without a new token', async (t) => {
  const [speaker, listener] = await Promise.all([tab(), tab()]);
  await joinRoom(listener, 'crash');
  const { identity } = await joinRoom(speaker, 'crash', { speak: true });
  assert.ok(await hear(listener, identity));
  await livekit.kill();
  await until('silence', () => isSilent(listener));
  await listener.evaluate(() => voice.me.meters.clear());
  await livekit.start();
  const began = performance.now();
  assert.ok(
    await hear(listener, identity),
    JSON.stringify([await events(speaker), await events(listener)]),
  );
  t.diagnostic(`sound ${Math.round(performance.now() - began)} ms after the server was back`);
  await close(speaker, listener);
});

/**
 * Kills a LiveKit server of its own for good. It takes the better part of a minute, so it runs
 * beside the other tests.
 */
async function outage() {
  const [own, speaker, listener] = await Promise.all([startLiveKit(), tab(), tab()]);
  const { url } = await startRoomkey({ origins: [origin], livekit: own });
  await Promise.all([
    joinRoom(listener, 'outage', { url }),
    joinRoom(speaker, 'outage', { url, speak: true }),
  ]);
  await own.kill();
  const down = performance.now();
  const isOut = async (page) =>
    (await events(page)).some((event) => event.startsWith('disconnected'));
  await until(
    'both gave up',
    async () => (await isOut(speaker)) && (await isOut(listener)),
    3 * patience,
    500,
  );
  const gaveUpMs = Math.round(performance.now() - down);
  await own.start();
  const began = performance.now();
  await joinRoom(listener, 'outage', { url });
  const { identity } = await joinRoom(speaker, 'outage', { url, speak: true });
  const heard = await hear(listener, identity);
  const backMs = Math.round(performance.now() - began);
  await close(speaker, listener);
  return { gaveUpMs, heard, backMs };
}

test('a server that stays away ends the call, and joining again takes a new token and the microphone', async (t) => {
  const { gaveUpMs, heard, backMs } = await staysAway;
  t.diagnostic(`gave up after ${gaveUpMs} ms; sound ${backMs} ms after joining again`);
  assert.ok(heard);
});
