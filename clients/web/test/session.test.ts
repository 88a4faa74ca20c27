import { inspect } from 'node:util';
import { expect, test, vi } from 'vitest';
import { RoomkeyError, type RealtimeSession } from '../src/index.js';
import { Service, canary, fakeClocks, rejection, settled, type Seen } from './support.js';

fakeClocks();

const id = '8f14e45f-ceea-467f-a0e6-0c8f6b1d2a3b';
const turn = { urls: ['turn:turn.test:3478'], username: '1796003600:00ff', credential: canary };

/** What the service answers to a request for a session. */
function opened(members: object = {}, openedAt = Date.now()): object {
  return {
    id: 'sess_provider',
    model: 'gpt-realtime-2.1',
    voice: 'cedar',
    client_secret: { value: `ek_${canary}`, expires_at: Math.floor(openedAt / 1000) + 60 },
    turn_credentials: { iceServers: [turn] },
    session_id: id,
    webrtc_url: 'https://provider.test/v1/realtime/calls',
    metadata: {
      model: 'gpt-realtime-2.1',
      voice: 'cedar',
      turn_server: turn.urls[0],
      created_at: new Date(openedAt).toISOString(),
    },
    ...members,
  };
}

const isEnd = ({ url }: Seen): boolean => url.endsWith('/api/session/end');

/** A service with one project; `fail` answers first, where it returns something. */
function service(fail?: (seen: Seen, count: number) => Response | Error | 'hang' | undefined) {
  const service = new Service();
  service.override = (seen, count) =>
    fail?.(seen, count) ??
    (isEnd(seen)
      ? service.json(200, {
          success: true,
          session_id: seen.body['session_id'],
          hung_up: 'call_id' in seen.body,
        })
      : service.json(200, opened()));
  return service;
}
const open = (service: Service): Promise<RealtimeSession> =>
  settled(service.roomkey().session({ projectId: 'customer-42' }), 100);
const ends = (service: Service): unknown[] => service.seen.filter(isEnd).map(({ body }) => body);

test('a session is what a call needs, and asks for what the caller names', async () => {
  const asked = service();
  const roomkey = asked.roomkey({ accessToken: () => 'bearer-1' });
  const session = await settled(
    roomkey.session({
      projectId: 'customer-42',
      model: 'gpt-realtime-2.1',
      voice: 'cedar',
      instructions: 'Be brief.',
      turn: true,
    }),
    100,
  );
  expect(asked.seen).toMatchObject([
    {
      url: 'https://service.test/api/session',
      method: 'POST',
      headers: { Authorization: 'Bearer bearer-1' },
    },
  ]);
  expect(asked.seen[0]?.body).toEqual({
    project_id: 'customer-42',
    model: 'gpt-realtime-2.1',
    voice: 'cedar',
    instructions: 'Be brief.',
    turn: true,
  });
  expect(session).toMatchObject({ projectId: 'customer-42', sessionId: id, callId: null });
  expect(session.secret).toMatchObject({
    provider: 'openai',
    sessionId: 'sess_provider',
    model: 'gpt-realtime-2.1',
    voice: 'cedar',
    webrtcUrl: 'https://provider.test/v1/realtime/calls',
  });
  expect(session.secret.token).toBe(`ek_${canary}`);
  const servers = session.iceServers?.map(({ urls, username, credential }) => ({
    urls,
    username,
    credential,
  }));
  expect(servers).toEqual([turn]);
});

test('a session needs no more than a project, and has no TURN servers where the service has none', async () => {
  const asked = service(({ url }) =>
    url.endsWith('/end')
      ? undefined
      : asked.json(200, opened({ id: null, turn_credentials: undefined })),
  );
  const session = await open(asked);
  expect(asked.seen[0]?.body).toEqual({ project_id: 'customer-42' });
  expect(session.iceServers).toBeUndefined();
  expect(session.secret.sessionId).toBe('');
});

test('the secret expires by the clock of the service', async () => {
  const asked: Service = service(() =>
    asked.json(200, opened({}, Date.now() + 5 * 3_600_000)),
  );
  const session = await open(asked);
  expect(session.secret.secondsRemaining()).toBe(59);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(session.secret.isValid()).toBe(false);
});

test('end names the session, and the call once it was reported', async () => {
  const asked = service();
  const session = await open(asked);
  expect(await settled(session.end(), 100)).toEqual({ hungUp: false });
  session.reportCall('/v1/realtime/calls/rtc_one-1?x');
  expect(session.callId).toBe('rtc_one-1');
  expect(await settled(session.end(), 100)).toEqual({ hungUp: true });
  expect(ends(asked)).toEqual([{ session_id: id }, { session_id: id, call_id: 'rtc_one-1' }]);
});

test.each([
  ['rtc_0aZ_-', 'rtc_0aZ_-'],
  ['https://api.openai.com/v1/realtime/calls/rtc_1', 'rtc_1'],
  ['', null],
  [null, null],
  [undefined, null],
  ['/v1/realtime/calls/other_1', null],
  [`/calls/rtc_${'x'.repeat(125)}`, null],
  ['/calls/rtc_a b', null],
])('the call of %j is %j, and what has none changes nothing', async (location, callId) => {
  const session = await open(service());
  session.reportCall(location);
  expect(session.callId).toBe(callId);
  session.reportCall('rtc_last');
  session.reportCall('nonsense');
  expect(session.callId).toBe('rtc_last');
});

test('ending twice asks once, at the same time and later', async () => {
  const asked = service();
  const session = await open(asked);
  session.reportCall('rtc_1');
  const both = Promise.all([session.end(), session.end()]);
  expect(await settled(both, 100)).toEqual([{ hungUp: true }, { hungUp: true }]);
  expect(await settled(session.end(), 100)).toEqual({ hungUp: true });
  expect(ends(asked).length).toBe(1);
});

test('the request that ends a session outlives the page', async () => {
  const asked = service();
  const seen: RequestInit[] = [];
  const fetch = (url: string, init: RequestInit): Promise<Response> => {
    seen.push(init);
    return asked.fetch(url, init);
  };
  const session = await settled(asked.roomkey({ fetch }).session({ projectId: 'p' }), 100);
  await settled(session.end(), 100);
  expect(seen.map(({ keepalive = false }) => keepalive)).toEqual([false, true]);
});

test.each<[string, number, string, (seen: Seen) => Response | Error]>([
  ['a dead connection', 4, 'network', () => new TypeError('Failed to fetch')],
  [
    'a provider that does not hang up',
    4,
    'upstream_timeout',
    () => new Service().problem(504, 'upstream_timeout'),
  ],
  [
    'a session that is not the caller’s',
    1,
    'not_found',
    () => new Service().problem(404, 'not_found'),
  ],
])('an end that fails is told after the usual attempts, and may be tried again: %s', async (...row) => {
  const [, attempts, code, fail] = row;
  let isDown = true;
  const asked = service((seen) => (isDown && isEnd(seen) ? fail(seen) : undefined));
  const session = await open(asked);
  const error = await rejection(session.end());
  expect(error).toBeInstanceOf(RoomkeyError);
  expect(error).toMatchObject({ code });
  expect(ends(asked).length).toBe(attempts);
  isDown = false;
  expect(await settled(session.end(), 100)).toEqual({ hungUp: false });
  expect(ends(asked).length).toBe(attempts + 1);
});

test('a caller who waits no longer for an end leaves it to the others', async () => {
  const asked = service();
  const session = await open(asked);
  const abort = new AbortController();
  const [first, second] = [session.end(), session.end({ signal: abort.signal })];
  abort.abort();
  expect(await rejection(second, 0)).toMatchObject({ code: 'aborted' });
  expect(await settled(first, 100)).toEqual({ hungUp: false });
  expect(ends(asked).length).toBe(1);
});

test('requests at the same time open a session each: each has its own slot and its own end', async () => {
  let count = 0;
  const asked = service((seen) =>
    isEnd(seen) ? undefined : asked.json(200, opened({ session_id: `session-${(count += 1)}` })),
  );
  const roomkey = asked.roomkey();
  const both = Promise.all([1, 2].map(() => roomkey.session({ projectId: 'customer-42' })));
  const sessions = await settled(both, 100);
  expect(sessions.map(({ sessionId }) => sessionId)).toEqual(['session-1', 'session-2']);
});

test('a project that is unknown or not the caller’s is an error at once', async () => {
  const asked = service(() => asked.problem(404, 'not_found'));
  const error = await rejection(asked.roomkey().session({ projectId: 'other' }));
  expect(error).toMatchObject({ status: 404, code: 'not_found', retryable: false });
  expect(asked.seen.length).toBe(1);
});

test('a project without a free slot says how long to wait, and is asked again if that is soon', async () => {
  const full = (seconds: string) =>
    service((_, count) =>
      count === 1
        ? new Service().problem(429, 'concurrency_limited', {}, { 'retry-after': seconds })
        : undefined,
    );
  const long = full('1800');
  expect(await rejection(long.roomkey().session({ projectId: 'customer-42' }))).toMatchObject({
    status: 429,
    code: 'concurrency_limited',
    retryable: true,
    retryAfterMs: 1_800_000,
  });
  expect(long.seen.length).toBe(1);
  const short = full('30');
  const session = await settled(short.roomkey().session({ projectId: 'customer-42' }));
  expect(session.sessionId).toBe(id);
  expect(short.seen[1]?.at).toBeGreaterThanOrEqual(30_000);
});

test('a refusal of the service is repeated, since it has opened nothing', async () => {
  const asked = service((_, count) =>
    count < 4 ? asked.problem(503, 'upstream_unavailable', {}, { 'retry-after': '1' }) : undefined,
  );
  expect((await settled(asked.roomkey().session({ projectId: 'p' }))).sessionId).toBe(id);
  expect(asked.seen.length).toBe(4);
});

test.each<[string, string, () => Response | Error | 'hang']>([
  ['a connection that broke', 'network', () => new TypeError('Failed to fetch')],
  ['an answer that never comes', 'timeout', () => 'hang'],
  [
    'a gateway that gave up',
    'http_error',
    () => new Response('<html>', { status: 504, headers: { 'retry-after': '1' } }),
  ],
  [
    'a gateway that answers with JSON',
    'GatewayTimeout',
    () => new Service().json(502, { code: 'GatewayTimeout' }),
  ],
])('what may have opened a session is not repeated: %s', async (_, code, fail) => {
  const asked = service(fail);
  const error = await rejection(asked.roomkey().session({ projectId: 'customer-42' }));
  // The caller may decide to try again.
  expect(error).toMatchObject({ code, retryable: true });
  expect(asked.seen.length).toBe(1);
});

test('a 401 asks for another bearer once, and then fails', async () => {
  const asked = service(() => asked.problem(401, 'unauthenticated'));
  const accessToken = vi.fn(() => 'bearer-1');
  const error = await rejection(asked.roomkey({ accessToken }).session({ projectId: 'p' }));
  expect(error).toMatchObject({ code: 'unauthenticated' });
  expect(accessToken.mock.calls).toEqual([[{ refresh: false }], [{ refresh: true }]]);
});

test('an abort ends the wait at once, and the session that is answered after it', async () => {
  const asked = service();
  const abort = new AbortController();
  const opening = asked.roomkey().session({ projectId: 'customer-42', signal: abort.signal });
  await vi.advanceTimersByTimeAsync(10);
  abort.abort();
  expect(await rejection(opening, 0)).toMatchObject({ code: 'aborted' });
  expect(ends(asked)).toEqual([]);
  await vi.advanceTimersByTimeAsync(100);
  expect(ends(asked)).toEqual([{ session_id: id }]);
});

test('an abort sends nothing any more: before, at once, while a token is acquired, and between attempts', async () => {
  const aborts = async (asked: Service, options: object, milliseconds: number): Promise<number> => {
    const abort = new AbortController();
    const opening = asked.roomkey(options).session({ projectId: 'p', signal: abort.signal });
    opening.catch(() => undefined);
    if (milliseconds > 0) await vi.advanceTimersByTimeAsync(milliseconds);
    abort.abort();
    expect(await rejection(opening)).toMatchObject({ code: 'aborted' });
    return asked.seen.length;
  };
  const slow = { accessToken: () => new Promise((resolve) => setTimeout(resolve, 500, 'bearer')) };
  const busy = service(() =>
    busy.problem(429, 'rate_limited', {}, { 'retry-after': '30' }),
  );
  const before = new AbortController();
  before.abort();
  const asked = service();
  const given = asked.roomkey().session({ projectId: 'p', signal: before.signal });
  expect(await rejection(given)).toMatchObject({ code: 'aborted' });
  expect(asked.seen).toEqual([]);
  expect(await aborts(service(), {}, 0)).toBe(0);
  expect(await aborts(service(), slow, 100)).toBe(0);
  expect(await aborts(busy, {}, 10_000)).toBe(1);
});

test.each<[string, object]>([
  ['no id', { session_id: undefined }],
  ['no secret', { client_secret: undefined }],
  ['a secret that is none', { client_secret: canary }],
  ['a secret without an end', { client_secret: { value: `ek_${canary}` } }],
  ['a secret that has expired', { client_secret: { value: `ek_${canary}`, expires_at: 1 } }],
  ['no address', { webrtc_url: 7 }],
  ['TURN servers that are none', { turn_credentials: { iceServers: [] } }],
  ['TURN servers without a credential', { turn_credentials: null }],
])('an answer that cannot be used is an error, and its session is ended: %s', async (...row) => {
  const [what, members] = row;
  const asked = service((seen) => (isEnd(seen) ? undefined : asked.json(200, opened(members))));
  const error = await rejection(asked.roomkey().session({ projectId: 'customer-42' }));
  expect(error).toBeInstanceOf(RoomkeyError);
  expect(error).toMatchObject({ code: 'invalid_response', status: 200 });
  expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(canary);
  expect(ends(asked)).toEqual(what === 'no id' ? [] : [{ session_id: id }]);
});

test('the secret and the credential are shown only to who asks for them', async () => {
  const session = await open(service());
  const copy = { ...session };
  const texts = [
    String(session),
    JSON.stringify(session),
    JSON.stringify([copy, session.secret]),
    inspect(session, { depth: 9, showHidden: true }),
    JSON.stringify(structuredClone({ ...session.secret })),
  ];
  expect(texts.join()).not.toContain(canary);
  expect(JSON.parse(texts[1]!)).toMatchObject({
    projectId: 'customer-42',
    sessionId: id,
    callId: null,
    secret: { provider: 'openai' },
    iceServers: [{ urls: turn.urls }],
  });
});

test('no error shows what a proxy echoes', async () => {
  const echo = `You sent bearer-${canary} and got ek_${canary}`;
  const asked = service(() => asked.json(403, { code: echo, title: echo, detail: echo }));
  const roomkey = asked.roomkey({ accessToken: () => `bearer-${canary}` });
  const error = await rejection(roomkey.session({ projectId: 'p' }));
  expect(`${inspect(error, { showHidden: true })}${JSON.stringify(error)}`).not.toContain(canary);
});
