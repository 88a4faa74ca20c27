// Sessions of projects: a call on the key of a project, through the roomkey that was built with a
// store, the fake of the Realtime services and a real coturn. The project has one slot, so that
// whatever leaves it taken makes the next call fail.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { join } from 'node:path';
import {
  activeSessions,
  launch,
  newPage,
  operate,
  patience,
  root,
  saveProjectKey,
  sentence,
  serve,
  startRealtime,
  startRoomkey,
  startTurnServer,
  stopAll,
  storeSettings,
  until,
} from './harness.mjs';

const project = 'customer-42';
const projectKey = 'key-of-the-project-at-the-fake';

let realtime, roomkey, origin, browser;
before(async () => {
  realtime = await startRealtime();
  // The service has no key of its own.
  await realtime.control('accept', { keys: [projectKey] });
  const turn = await startTurnServer();
  origin = await serve({
    '/client/': join(root, 'clients/web/dist'),
    '/livekit/': join(root, 'clients/node_modules/livekit-client/dist'),
    '/e2e/': join(root, 'clients/web/e2e'),
  });
  roomkey = await startRoomkey({
    origins: [origin],
    settings: {
      ...storeSettings(project),
      ...turn.settings,
      OPENAI_BASE_URL: `${realtime.url}/v1`,
      ROOMKEY_PROJECT_CONCURRENCY: '1',
      ROOMKEY_PROJECT_RATE_LIMIT: 'off',
    },
  });
  await saveProjectKey(roomkey, project, projectKey);
  browser = await launch({ microphone: sentence('Testing the line.', 3) });
});
after(stopAll);

/**
 * Opens a tab that has loaded the package and keeps the requests that it sends. A function in
 * `voice.fake`, by the end of the address, answers in the place of a server.
 */
async function tab() {
  const page = await newPage(browser);
  page.on('pageerror', (error) => console.error('page:', error.message));
  await page.goto(origin);
  await page.evaluate(
    async ({ url, project }) => {
      await import('/e2e/page.mjs');
      voice.projectId = project;
      voice.fake = {};
      voice.asked = [];
      voice.tracks = [];
      const fetch = globalThis.fetch.bind(globalThis);
      globalThis.fetch = (input, init) => {
        const { pathname } = new URL(input);
        voice.asked.push({ pathname, body: String(init.body) });
        const fake = Object.keys(voice.fake).find((end) => pathname.endsWith(end));
        return fake ? voice.fake[fake](() => fetch(input, init), init) : fetch(input, init);
      };
      const { mediaDevices } = navigator;
      const getUserMedia = mediaDevices.getUserMedia.bind(mediaDevices);
      mediaDevices.getUserMedia = async (constraints) => {
        const stream = await getUserMedia(constraints);
        voice.tracks.push(...stream.getTracks());
        return stream;
      };
      voice.roomkey = new voice.Roomkey({ url });
      voice.connect = async (options) => {
        const call = (voice.call = await voice.roomkey.connectRealtime({
          projectId: project,
          ...options,
        }));
        voice.seen = [];
        // A busy machine may interrupt a call for a moment.
        call.on('state', (state) => state === 'closed' && voice.seen.push(state));
        call.on('endfailed', ({ code }) => voice.seen.push(`endfailed ${code}`));
        voice.meter = new voice.Meter(call.remoteStream.getAudioTracks()[0]);
        return { callId: call.callId, sessionId: call.session.sessionId };
      };
      voice.code = (promise) =>
        promise.then(
          () => null,
          (error) => error.code,
        );
      voice.open = () => voice.tracks.filter(({ readyState }) => readyState === 'live').length;
    },
    { url: roomkey.url, project },
  );
  return page;
}

const close = (page) => page.context().close();
const isFree = (service = roomkey) =>
  until('the slot is free', async () => (await activeSessions(service, project)) === 0);
/** The state of a call at the provider. */
const stateOf = async (callId) =>
  (await realtime.control('calls')).find(({ id }) => id === callId)?.state;
/** Says why no session can be opened, and takes no slot otherwise. */
const refusal = (page) =>
  page.evaluate(() =>
    voice.roomkey.session({ projectId: voice.projectId }).then(
      (session) => session.end().then(() => null),
      ({ code, status, retryAfterMs }) => ({ code, status, waits: retryAfterMs > 0 }),
    ),
  );

test('a call on the key of a project is answered through its TURN servers, is hung up, and frees its slot', async (t) => {
  const page = await tab();
  const began = performance.now();
  const { callId, sessionId } = await page.evaluate(() =>
    voice.connect({ voice: 'cedar', rtcConfiguration: { iceTransportPolicy: 'relay' } }),
  );
  t.diagnostic(`open after ${Math.round(performance.now() - began)} ms`);
  const { headers } = await realtime.control('last');
  assert.equal(headers.authorization, `Bearer ${projectKey}`);
  const heard = await page.evaluate(
    (patience) => voice.heardWithin(() => voice.meter, patience),
    patience,
  );
  assert.ok(heard, 'the answer sounds');
  const candidate = await page.evaluate(async () => {
    const stats = await voice.call.peer.getStats();
    const { selectedCandidatePairId } = [...stats.values()].find(({ type }) => type === 'transport');
    return stats.get(stats.get(selectedCandidatePairId).localCandidateId).candidateType;
  });
  assert.equal(candidate, 'relay');

  assert.equal(await activeSessions(roomkey, project), 1);
  const refused = { code: 'concurrency_limited', status: 429, waits: true };
  assert.deepEqual(await refusal(page), refused);
  assert.equal(await page.evaluate(() => voice.code(voice.connect())), 'concurrency_limited');

  const ends = await page.evaluate(async () => {
    const { call } = voice;
    call.close();
    call.close();
    return Promise.all([call.session.end(), call.session.end()]);
  });
  assert.deepEqual(ends, [{ hungUp: true }, { hungUp: true }]);
  const sent = await page.evaluate(() =>
    voice.asked.filter(({ pathname }) => pathname === '/api/session/end').map(({ body }) => body),
  );
  assert.deepEqual(sent.map(JSON.parse), [{ session_id: sessionId, call_id: callId }]);
  assert.equal(await stateOf(callId), 'closed');
  assert.equal(await refusal(page), null, 'the slot is free');
  assert.equal(await page.evaluate(() => voice.open()), 0);
  const { logs } = await operate(roomkey, `/api/audit-logs?project_id=${project}`);
  const ofSession = logs.filter(({ session_id }) => session_id === sessionId);
  assert.deepEqual(
    ofSession.map(({ event_type }) => event_type),
    ['session_ended', 'session_created'],
  );
  await close(page);
});

test('a page that goes away in a call hangs up and frees the slot', async () => {
  const page = await tab();
  const { callId } = await page.evaluate(() => voice.connect());
  await page.goto('about:blank');
  await isFree();
  await until('the provider has hung up', async () => (await stateOf(callId)) === 'closed');
  await close(page);
});

test('a call that the provider ends frees the slot', async () => {
  const page = await tab();
  await page.evaluate(() => voice.connect());
  await realtime.control('end');
  await isFree();
  assert.deepEqual(await page.evaluate(() => voice.seen), ['closed']);
  await close(page);
});

test('a session of the app’s own learns of its call, and only the app ends it', async () => {
  const page = await tab();
  const callId = await page.evaluate(async () => {
    const { projectId } = voice;
    const session = (voice.session = await voice.roomkey.session({ projectId, turn: false }));
    return (await voice.connect({ projectId: undefined, session })).callId;
  });
  assert.match(callId, /^rtc_/);
  assert.equal(await page.evaluate(() => voice.session.callId), callId);
  assert.equal(await page.evaluate(() => voice.session.iceServers), undefined);
  assert.deepEqual(await page.evaluate(() => voice.session.end()), { hungUp: true });
  await until('the call is over', () => page.evaluate(() => voice.call.state === 'closed'));
  const fresh = await page.evaluate(async () => {
    const { projectId } = voice;
    const session = (voice.session = await voice.roomkey.session({ projectId }));
    await voice.connect({ projectId: undefined, session });
    voice.call.close();
    await voice.sleep(0);
    return voice.asked.filter(({ pathname }) => pathname === '/api/session/end').length;
  });
  assert.equal(fresh, 1);
  assert.equal((await refusal(page)).code, 'concurrency_limited');
  await page.evaluate(() => voice.session.end());
  await isFree();
  await close(page);
});

test('whatever fails after the session was opened ends it, and closes the microphone', async (t) => {
  const page = await tab();
  const never =
    '(_, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))';
  // Which address is answered by what, after how many milliseconds the caller gives up, and the code.
  for (const [end, by, abortAfter, code] of [
    ['/realtime/calls', 'async () => new Response("", { status: 401 })', 0, 'realtime_refused'],
    ['/realtime/calls', 'async () => { throw new TypeError("x") }', 0, 'network'],
    [
      '/realtime/calls',
      'async () => new Response("v=0 nonsense", { status: 201, headers: { location: "/rtc_1" } })',
      0,
      'realtime_refused',
    ],
    ['/realtime/calls', never, 500, 'aborted'],
    // The service has opened it, and its answer comes after the caller has gone.
    [
      '/api/session',
      'async (ask) => { const answer = await ask(); await voice.sleep(500); return answer }',
      250,
      'aborted',
    ],
  ]) {
    const outcome = await page.evaluate(
      async ([end, by, abortAfter]) => {
        voice.fake = { [end]: eval(by) };
        const abort = new AbortController();
        if (abortAfter) setTimeout(() => abort.abort(), abortAfter);
        const code = await voice.code(voice.connect({ signal: abort.signal }));
        voice.fake = {};
        return { code, open: voice.open() };
      },
      [end, by, abortAfter],
    );
    assert.deepEqual(outcome, { code, open: 0 }, `${end} ${by}`);
    await until('the session was ended', () =>
      page.evaluate(() => {
        const count = (path) => voice.asked.filter(({ pathname }) => pathname === path).length;
        return count('/api/session/end') === count('/api/session');
      }),
    );
    await isFree();
  }
  t.diagnostic('5 ways to fail');
  await close(page);
});

test('what does not open a session says why, and opens no call', async () => {
  const page = await tab();
  for (const [options, code, field] of [
    [{ projectId: 'customer-43' }, 'not_found'],
    [{ projectId: 'no project' }, 'invalid_request', 'project_id'],
    [{ instructions: 'Be brief.' }, 'invalid_request', 'instructions'],
    // These do not go together with a project.
    [{ provider: 'azure-openai' }, 'invalid_request', 'provider'],
    [{ roomName: 'standup-42' }, 'invalid_request', 'roomName'],
  ]) {
    const outcome = await page.evaluate(async (options) => {
      const error = await voice.connect(options).catch((error) => error);
      return { code: error.code, fields: error.fields.map(({ field }) => field), open: voice.open() };
    }, options);
    assert.deepEqual(outcome, { code, fields: field ? [field] : [], open: 0 });
  }
  const paths = await page.evaluate(() => voice.asked.map(({ pathname }) => pathname));
  assert.deepEqual([...new Set(paths)], ['/api/session']);
  await close(page);
});

test('a session that cannot be ended is told, and can be ended later', async () => {
  const page = await tab();
  await page.evaluate(() => voice.connect({ provider: 'openai' }));
  const problem = { code: 'internal', title: 'T', status: 500, retryable: false };
  await page.evaluate((problem) => {
    voice.fake = {
      '/api/session/end': async () => new Response(JSON.stringify(problem), { status: 500 }),
    };
    voice.call.close();
  }, problem);
  await until('the failure', () => page.evaluate(() => voice.seen.length === 2));
  assert.deepEqual(await page.evaluate(() => voice.seen), ['closed', 'endfailed internal']);
  assert.equal(await activeSessions(roomkey, project), 1);
  const end = await page.evaluate(() => {
    voice.fake = {};
    return voice.call.session.end();
  });
  assert.deepEqual(end, { hungUp: true });
  assert.equal(await activeSessions(roomkey, project), 0);
  await close(page);
});
