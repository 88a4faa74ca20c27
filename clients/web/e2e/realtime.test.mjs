// Realtime calls: a client secret from the roomkey that was built, an SDP exchange with the fake of
// the Realtime services, and the sound that comes back, measured in a real Chromium. The fake says
// again what it heard once the speaker has paused.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { join } from 'node:path';
import {
  launch,
  newPage,
  patience,
  realtimeKey,
  root,
  sentence,
  serve,
  startRealtime,
  startRoomkey,
  stopAll,
  until,
} from './harness.mjs';

let realtime, roomkey, origin, browser, lost;
before(async () => {
  realtime = await startRealtime();
  origin = await serve({
    '/client/': join(root, 'clients/web/dist'),
    '/livekit/': join(root, 'clients/node_modules/livekit-client/dist'),
    '/e2e/': join(root, 'clients/web/e2e'),
    '/agents/': join(root, 'clients/node_modules/@openai/agents-realtime/dist/bundle'),
  });
  roomkey = await startRoomkey({ origins: [origin], realtime });
  browser = await launch({ microphone: sentence('Testing the line.', 3) });
  lost = lose();
  // It is awaited at the end.
  lost.catch(() => undefined);
});
after(stopAll);

/** Opens a tab that has loaded the packages, and counts what it opens. */
async function tab(url = roomkey.url) {
  const page = await newPage(browser);
  page.on('pageerror', (error) => console.error('page:', error.message));
  await page.goto(origin);
  await page.evaluate(async (url) => {
    await import('/e2e/page.mjs');
    voice.roomkey = new voice.Roomkey({ url });
    const open = (voice.open = { tracks: [], peers: [], mints: 0, offers: 0 });
    const { mediaDevices } = navigator;
    const getUserMedia = mediaDevices.getUserMedia.bind(mediaDevices);
    mediaDevices.getUserMedia = async (constraints) => {
      const stream = await (voice.microphone ?? getUserMedia)(constraints);
      open.tracks.push(...stream.getTracks());
      return stream;
    };
    const Peer = RTCPeerConnection;
    globalThis.RTCPeerConnection = class extends Peer {
      constructor(...configuration) {
        super(...configuration);
        open.peers.push(this);
      }
    };
    const fetch = globalThis.fetch.bind(globalThis);
    globalThis.fetch = (input, init) => {
      const isOffer = String(input).includes('/realtime/calls');
      open[isOffer ? 'offers' : 'mints'] += 1;
      const fake = isOffer ? voice.answerOffer : voice.answerMint;
      return fake ? fake(input, init) : fetch(input, init);
    };
    voice.stillOpen = () => ({
      tracks: open.tracks.filter(({ readyState }) => readyState === 'live').length,
      peers: open.peers.filter(
        ({ connectionState, signalingState }) =>
          connectionState !== 'closed' && signalingState !== 'closed',
      ).length,
    });
  }, url);
  return page;
}

/** Opens a call and keeps it, its events and a meter of what is heard. */
const call = (page, options = {}) =>
  page.evaluate(async (options) => {
    const began = performance.now();
    const call = (voice.call = await voice.roomkey.connectRealtime({
      provider: 'openai',
      ...options,
    }));
    voice.began = began;
    voice.seen = [];
    voice.states = [];
    call.events.on('event', ({ type }) =>
      voice.seen.push({ type, ms: Math.round(performance.now() - began) }),
    );
    call.on('state', (state) => voice.states.push(state));
    call.on('error', ({ code }) => voice.states.push(code));
    voice.meter = new voice.Meter(call.remoteStream.getAudioTracks()[0]);
    return { ms: Math.round(performance.now() - began), callId: call.callId, state: call.state };
  }, options);
const heard = (page) =>
  page.evaluate((patience) => voice.heardWithin(() => voice.meter, patience), patience);
const seen = (page, type) =>
  page.evaluate((type) => voice.seen.filter((event) => event.type === type).length, type);
const sent = (page) => page.evaluate(() => voice.sent(voice.call.peer.getStats()));
/** Waits until the microphone has sent so much more, a packet being 20 ms. */
async function speak(page, milliseconds) {
  const before = await sent(page);
  await until('packets', async () => (await sent(page)) - before >= milliseconds / 20);
}
/** How a call ended; before that, a busy machine may have interrupted it for a moment. */
const ended = async (page) =>
  (await page.evaluate(() => voice.states)).filter(
    (state) => !['interrupted', 'connected'].includes(state),
  );
const stillOpen = (page) => page.evaluate(() => voice.stillOpen());
const close = (page) => page.context().close();

test('a call is answered: what was said is heard, with its events and its transcript', async (t) => {
  const page = await tab();
  // The microphone and the code that answers are slower the first time.
  await call(page);
  await page.evaluate(() => voice.call.close());
  const { ms, callId, state } = await call(page, { voice: 'cedar' });
  assert.equal(state, 'connected');
  assert.match(callId, /^rtc_/);
  const sound = await heard(page);
  assert.ok(sound, 'something is heard');
  const sounded = await page.evaluate(() => Math.round(performance.now() - voice.began));
  // Sound and events take two ways: either may be the first.
  await until('the answer has begun', () => seen(page, 'output_audio_buffer.started'));
  const spoke = await page.evaluate(
    () => voice.seen.find(({ type }) => type === 'output_audio_buffer.started').ms,
  );
  t.diagnostic(
    `click to open call ${ms} ms; answer begun to sound ${sounded - spoke} ms, level ${sound.level.toFixed(3)}`,
  );
  await until('the answer is over', () => seen(page, 'response.done'));
  const types = await page.evaluate(() => voice.seen.map(({ type }) => type));
  const expected = [
    'session.created',
    'input_audio_buffer.speech_stopped',
    'input_audio_buffer.committed',
    'conversation.item.input_audio_transcription.completed',
    'response.created',
    'output_audio_buffer.started',
    'response.output_audio_transcript.delta',
    'response.output_audio_transcript.done',
    'response.done',
  ];
  assert.deepEqual(
    expected.filter((type) => types.includes(type)),
    expected,
  );
  const stats = await page.evaluate(() => voice.received(voice.call.peer.getStats()));
  assert.ok(stats.energy > 0.001 && stats.bytes > 1000, JSON.stringify(stats));
  t.diagnostic(`${stats.bytes} bytes, energy ${stats.energy.toFixed(3)}, lost ${stats.lost}`);

  await page.evaluate(() => {
    voice.call.close();
    voice.call.close();
  });
  assert.deepEqual(await stillOpen(page), { tracks: 0, peers: 0 });
  assert.deepEqual(await ended(page), ['closed']);
  const isOver = async () =>
    (await realtime.control('calls')).find(({ id }) => id === callId).state === 'closed';
  await until('the provider has noticed', isOver);
  await close(page);
});

test('the provider hears nothing of a muted call, and hears it again at once', async () => {
  const page = await tab();
  await call(page, { muted: true });
  assert.equal(await page.evaluate(() => voice.call.isMuted), true);
  // More than the sentence and its pause.
  await speak(page, 5000);
  assert.equal(await seen(page, 'input_audio_buffer.speech_started'), 0);
  await page.evaluate(() => voice.call.unmute());
  await until('speech', () => seen(page, 'input_audio_buffer.speech_started'));
  await page.evaluate(() => voice.call.mute());
  assert.deepEqual(await stillOpen(page), { tracks: 1, peers: 1 }, 'the microphone stays open');
  await close(page);
});

test('holding a button to talk works with events alone', async () => {
  const page = await tab();
  await call(page, { muted: true });
  const send = (type, members = {}) =>
    page.evaluate((event) => voice.call.events.send(event), { type, ...members });
  await send('session.update', {
    session: { type: 'realtime', audio: { input: { turn_detection: null } } },
  });
  await until('the update', () => seen(page, 'session.updated'));
  await send('input_audio_buffer.clear');
  await page.evaluate(() => voice.call.unmute());
  await speak(page, 1500);
  await page.evaluate(() => voice.call.mute());
  assert.equal(await seen(page, 'response.created'), 0, 'nothing answers before it is asked to');
  await send('input_audio_buffer.commit');
  await send('response.create');
  await until('the answer', () => seen(page, 'output_audio_buffer.started'));
  await send('response.cancel');
  await send('output_audio_buffer.clear');
  await until('its end', () => seen(page, 'response.done'));
  await send('no.such.event');
  await until('the refusal', () => seen(page, 'error'));
  await page.evaluate(() => voice.call.close());
  const error = await page.evaluate(() => {
    try {
      voice.call.events.send({ type: 'response.create' });
    } catch (error) {
      return error.code;
    }
  });
  assert.equal(error, 'closed');
  await close(page);
});

test('Azure is called as it wants to be, and its filter hides the session', async () => {
  const azure = await startRoomkey({
    origins: [origin],
    settings: {
      AZURE_OPENAI_ENDPOINT: realtime.url,
      AZURE_OPENAI_API_KEY: realtimeKey,
      AZURE_OPENAI_DEPLOYMENT: 'voice-deployment',
    },
  });
  const page = await tab(azure.url);
  await call(page, { provider: 'azure-openai' });
  assert.ok(await heard(page));
  const types = await page.evaluate(() => voice.seen.map(({ type }) => type));
  assert.ok(
    types.includes('output_audio_buffer.started') && !types.includes('session.created'),
    types.join(),
  );
  await azure.end();
  await close(page);
});

test("OpenAI's own SDK for browsers calls the fake with our secret, and has nothing against what it says", async () => {
  const page = await tab();
  await page.evaluate(async () => {
    const { OpenAIRealtimeWebRTC } = await import('/agents/openai-realtime-agents.mjs');
    const { token, webrtcUrl } = await voice.roomkey.realtimeSecret({ provider: 'openai' });
    voice.heard = { errors: [], words: '', turns: 0 };
    voice.sdk = new OpenAIRealtimeWebRTC();
    voice.sdk.on('error', (error) => voice.heard.errors.push(error));
    voice.sdk.on('audio_transcript_delta', ({ delta }) => (voice.heard.words += delta));
    voice.sdk.on('turn_done', () => (voice.heard.turns += 1));
    await voice.sdk.connect({
      apiKey: token,
      url: webrtcUrl,
      initialSessionConfig: { instructions: 'Be brief.' },
    });
  });
  const heard = await until(
    'a turn',
    () => page.evaluate(() => voice.heard.turns > 0 && voice.heard),
  );
  assert.deepEqual(heard, { errors: [], words: 'This is what I heard, number 1.', turns: 1 });
  const { callId, status } = await page.evaluate(() => ({
    callId: voice.sdk.callId,
    status: voice.sdk.status,
  }));
  assert.match(callId, /^rtc_/);
  assert.equal(status, 'connected');
  await close(page);
});

test('a warmed lease makes no second mint, and a stream of the app stays open', async () => {
  const page = await tab();
  const outcome = await page.evaluate(async () => {
    const secret = voice.roomkey.lease({ kind: 'realtime', provider: 'openai' });
    secret.warm();
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const call = await voice.roomkey.connectRealtime({ secret, microphone: stream, audio: false });
    const { callId } = call;
    call.close();
    secret.close();
    return { callId, mints: voice.open.mints, stillOpen: voice.stillOpen() };
  });
  assert.match(outcome.callId, /^rtc_/);
  assert.equal(outcome.mints, 1);
  assert.deepEqual(outcome.stillOpen, { tracks: 1, peers: 0 });
  await close(page);
});

test('a call that the provider ends says so, once, and closes everything', async () => {
  const page = await tab();
  await call(page);
  await realtime.control('end');
  await until('the end', () => page.evaluate(() => voice.call.state === 'closed'));
  assert.deepEqual(await ended(page), ['closed', 'connection_lost']);
  assert.deepEqual(await stillOpen(page), { tracks: 0, peers: 0 });
  await close(page);
});

/**
 * Loses a provider of its own in the middle of a call. It takes a while, so it runs beside the
 * other tests.
 */
async function lose() {
  const own = await startRealtime();
  const { url } = await startRoomkey({ origins: [origin], realtime: own });
  const page = await tab(url);
  await call(page);
  await own.control('vanish');
  const began = performance.now();
  await until('the end', () => page.evaluate(() => voice.call.state === 'closed'));
  const ms = Math.round(performance.now() - began);
  const states = await page.evaluate(() => voice.states);
  const open = await stillOpen(page);
  const again = await call(page);
  await close(page);
  return { ms, states, open, again };
}

test('a provider that vanishes is noticed, and the next call works', async (t) => {
  const { ms, states, open, again } = await lost;
  t.diagnostic(`noticed after ${ms} ms: ${states.join(', ')}`);
  assert.deepEqual(states, ['interrupted', 'closed', 'connection_lost']);
  assert.deepEqual(open, { tracks: 0, peers: 0 });
  assert.equal(again.state, 'connected');
});

test('whatever fails before the call is open closes the microphone and the connection, and shows no secret', async (t) => {
  const page = await tab();
  const problem = (status, code) =>
    `async () => new Response(JSON.stringify({ code: '${code}', title: 'T', status: ${status}, retryable: false }), { status: ${status} })`;
  const named = (name) => `async () => { throw new DOMException('Bearer ek_canary', '${name}') }`;
  const offer = (text) =>
    `async (_, { headers }) => ${text.replace('SECRET', 'headers.Authorization')}`;
  // What is replaced, by what, which code that gives, and how many mints and offers it costs.
  for (const [what, by, code, mints, offers] of [
    ['microphone', named('NotAllowedError'), 'microphone_denied', 0, 0],
    ['microphone', named('NotFoundError'), 'microphone_unavailable', 0, 0],
    ['microphone', named('NotReadableError'), 'microphone_unavailable', 0, 0],
    ['answerMint', problem(403, 'room_forbidden'), 'room_forbidden', 1, 0],
    ['answerMint', problem(429, 'rate_limited'), 'rate_limited', 1, 0],
    ['answerMint', 'async () => new Response("{}")', 'invalid_response', 1, 0],
    ['answerOffer', offer('new Response(SECRET, { status: 401 })'), 'realtime_refused', 1, 1],
    ['answerOffer', offer('new Response(SECRET, { status: 500 })'), 'realtime_refused', 1, 1],
    [
      'answerOffer',
      offer('new Response(JSON.stringify({ error: SECRET }), { status: 201 })'),
      'realtime_refused',
      1,
      1,
    ],
    [
      'answerOffer',
      offer('new Response("v=0 " + SECRET, { status: 201 })'),
      'realtime_refused',
      1,
      1,
    ],
    [
      'answerOffer',
      'async (_, { headers }) => { throw new TypeError(headers.Authorization) }',
      'network',
      1,
      1,
    ],
  ]) {
    const outcome = await page.evaluate(
      async ([what, by]) => {
        Object.assign(voice.open, { mints: 0, offers: 0 });
        voice[what] = eval(by);
        const error = await voice.roomkey.connectRealtime({ provider: 'openai' }).then(
          () => null,
          (error) => error,
        );
        voice[what] = undefined;
        const texts = [
          String(error),
          JSON.stringify(error),
          error?.stack,
          String(error?.cause),
        ].join();
        const { mints, offers } = voice.open;
        return {
          code: error?.code,
          isOurs: error instanceof voice.client.RoomkeyError,
          shows: /ek_|Bearer/.test(texts),
          mints,
          offers,
          ...voice.stillOpen(),
        };
      },
      [what, by],
    );
    assert.deepEqual(
      outcome,
      { code, isOurs: true, shows: false, mints, offers, tracks: 0, peers: 0 },
      `${what} ${by}`,
    );
  }
  // Aborted at each step: before, while the browser asks, while the secret or the answer comes,
  // while the connection is made.
  const never =
    'async (_, init) => new Promise((_, reject) => init?.signal?.addEventListener("abort", () => reject(init.signal.reason)))';
  for (const [what, by] of [
    ['nothing', 'null'],
    [
      'microphone',
      'async () => { await voice.sleep(400); return new MediaStream([voice.audio.createMediaStreamDestination().stream.getAudioTracks()[0]]) }',
    ],
    ['answerMint', never],
    ['answerOffer', never],
  ]) {
    const outcome = await page.evaluate(
      async ([what, by]) => {
        voice[what] = eval(by);
        const abort = new AbortController();
        if (what === 'nothing') abort.abort();
        else setTimeout(() => abort.abort(), 200);
        const error = await voice.roomkey
          .connectRealtime({ provider: 'openai', signal: abort.signal })
          .then(
            () => null,
            (error) => error,
          );
        await voice.sleep(400);
        voice[what] = undefined;
        return { code: error?.code, ...voice.stillOpen() };
      },
      [what, by],
    );
    assert.deepEqual(outcome, { code: 'aborted', tracks: 0, peers: 0 }, `aborted: ${what}`);
  }
  t.diagnostic('15 ways to fail');
  await close(page);
});
