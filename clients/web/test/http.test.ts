import { describe, expect, test, vi } from 'vitest';
import { RoomkeyError, type LivekitToken } from '../src/index.js';
import { Service, fakeClocks, minute, rejection, settled } from './support.js';

fakeClocks();

const room = { roomName: 'standup-42' };
const gone = (): Error => new TypeError('Failed to fetch');

describe('a request', () => {
  test('carries what the service knows, and nothing that is undefined', async () => {
    const service = new Service();
    const roomkey = service.roomkey({
      url: 'https://service.test/',
      accessToken: () => 'bearer-1',
    });
    await settled(roomkey.livekitToken({ ...room, role: 'listener', expirationSeconds: 60 }));
    await settled(roomkey.realtimeSecret({ provider: 'openai', voice: 'cedar' }));
    expect(service.seen).toMatchObject([
      {
        url: 'https://service.test/api/token',
        method: 'POST',
        headers: {
          Accept: 'application/json',
          'Content-Type': 'application/json',
          Authorization: 'Bearer bearer-1',
        },
      },
      { url: 'https://service.test/api/token', headers: { Authorization: 'Bearer bearer-1' } },
    ]);
    expect(service.seen.map(({ body }) => body)).toEqual([
      { provider: 'livekit', roomName: 'standup-42', role: 'listener', expirationSeconds: 60 },
      { provider: 'openai', voice: 'cedar' },
    ]);
  });

  test('goes to the origin of the page without a url, and without a bearer where there is none', async () => {
    const service = new Service();
    await settled(service.roomkey({ url: '', accessToken: async () => null }).livekitToken(room));
    expect(service.seen[0]?.url).toBe('/api/token');
    expect(service.seen[0]?.headers).not.toHaveProperty('Authorization');
  });

  const realtime = { token: 'ek_1', webrtcUrl: 'https://provider.test/v1/realtime/calls' };
  const both = ['azure-openai', 'openai'];
  const wrong = (field: string) => ({ errors: [{ field, message: 'is wrong' }] });
  test.each([
    ['the default of the service', 'openai', 'openai', [undefined]],
    ['Azure, where the default is LiveKit', 'livekit', 'azure-openai', [undefined, 'azure-openai']],
    ['OpenAI, where LiveKit gives a token', 'token', 'openai', [undefined, ...both]],
    ['OpenAI, where there is no default', 'none', 'openai', [undefined, ...both]],
  ])('takes %s, and remembers it', async (_, standard, taken, asked) => {
    const service = new Service();
    const answers: Record<string, () => Response> = {
      livekit: () => service.problem(400, 'invalid_request', wrong('roomName')),
      none: () => service.problem(400, 'invalid_request', wrong('provider')),
      token: () => service.json(200, { provider: 'livekit', token: service.jwt(0, 60_000) }),
    };
    service.override = ({ body: { provider } }) => {
      if (provider === undefined && answers[standard]) return answers[standard]();
      if (provider !== undefined && provider !== taken)
        return service.problem(400, 'invalid_request', wrong('provider'));
      const expiresAt = new Date(service.now() + minute).toISOString();
      return service.json(200, { ...realtime, provider: taken, expiresAt });
    };
    const roomkey = service.roomkey();
    expect((await settled(roomkey.realtimeSecret({ roomName: 'r' }))).provider).toBe(taken);
    await settled(roomkey.realtimeSecret());
    expect(service.seen.map(({ body }) => body['provider'])).toEqual([...asked, taken]);
  });

  test('asks no other provider where the wish is wrong, or the service fails', async () => {
    const service = new Service();
    service.override = () => service.problem(400, 'invalid_request', wrong('voice'));
    expect(await rejection(service.roomkey().realtimeSecret({ voice: 'x' }))).toMatchObject({
      fields: [{ field: 'voice' }],
    });
    expect(service.seen.map(({ body }) => body['provider'])).toEqual([undefined, 'azure-openai']);
    service.seen = [];
    service.override = () => service.problem(403, 'room_forbidden');
    await rejection(service.roomkey().realtimeSecret());
    expect(service.seen).toHaveLength(1);
  });
});

describe('repetition', () => {
  test('doubles the longest wait, stays below it, and stops after four attempts', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1);
    const service = new Service();
    service.override = gone;
    const error = await rejection(service.roomkey().livekitToken(room));
    expect(error).toMatchObject({ code: 'network', status: 0, retryable: true });
    const at = service.seen.map(({ at }) => at);
    const waits = at
      .slice(1)
      .map((time, index) => Math.round(time - (at[index] ?? 0) - service.latencyMs));
    expect(waits).toEqual([500, 1000, 2000]);
  });

  test('takes the jitter from nothing to the longest wait, and that never above maxMs', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0);
    const service = new Service();
    service.override = gone;
    await rejection(service.roomkey({ retry: { attempts: 10 } }).livekitToken(room));
    expect(service.seen.at(-1)?.at).toBeLessThan(10 * (service.latencyMs + 2));
    vi.spyOn(Math, 'random').mockReturnValue(0.999999);
    service.seen = [];
    await rejection(service.roomkey({ retry: { attempts: 8, maxMs: 3000 } }).livekitToken(room));
    const at = service.seen.map(({ at }) => at);
    expect(Math.max(...at.slice(1).map((time, index) => time - (at[index] ?? 0)))).toBeLessThan(
      3000 + service.latencyMs + 2,
    );
  });

  test('ends within two minutes in all', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.999999);
    const service = new Service();
    service.override = gone;
    const began = performance.now();
    await rejection(service.roomkey({ retry: { attempts: 1000 } }).livekitToken(room), 120_000);
    expect(service.seen.at(-1)?.at).toBeLessThan(began + 120_000);
    expect(service.seen.length).toBeLessThan(12);
  });

  test.each([
    ['429 with Retry-After in seconds', 429, { 'retry-after': '7' }, 7000],
    [
      '503 with Retry-After as a date',
      503,
      { 'retry-after': 'Mon, 30 Nov 2026 00:00:09 GMT', date: 'Mon, 30 Nov 2026 00:00:00 GMT' },
      9000,
    ],
    ['504 without', 504, {}, 0],
  ])('waits as long as asked: %s', async (_, status, headers, atLeast) => {
    const service = new Service();
    service.override = (_, count) =>
      count === 1 ? service.problem(status, 'overloaded', {}, headers as never) : undefined;
    await settled(service.roomkey().livekitToken(room));
    const [first, second] = service.seen;
    const wait = (second?.at ?? 0) - (first?.at ?? 0) - service.latencyMs;
    expect(wait).toBeGreaterThanOrEqual(atLeast);
    expect(wait).toBeLessThanOrEqual(atLeast + 501);
  });

  test('does not begin where the service asks for more than the two minutes', async () => {
    const service = new Service();
    service.override = () => service.problem(429, 'rate_limited', {}, { 'retry-after': '600' });
    const error = await rejection(service.roomkey().livekitToken(room), 100);
    expect(error).toMatchObject({ code: 'rate_limited', retryAfterMs: 600_000, retryable: true });
    expect(service.seen.length).toBe(1);
  });

  test.each([
    [400, 'invalid_request'],
    [401, 'unauthenticated'],
    [403, 'room_forbidden'],
    [404, 'not_found'],
    [500, 'internal'],
    [502, 'upstream_credentials_rejected'],
  ])('is for what may pass: %i %s is final', async (status, code) => {
    const service = new Service();
    service.override = () => service.problem(status, code);
    expect(await rejection(service.roomkey().livekitToken(room))).toMatchObject({
      status,
      code,
      retryable: false,
    });
    expect(service.seen.length).toBe(1);
  });

  test.each([502, 503, 504])(
    'is for a %i of something before the service too, which has no body of ours',
    async (status) => {
      const service = new Service();
      service.override = (_, count) =>
        count === 1 ? new Response('<html>', { status }) : undefined;
      await settled(service.roomkey().livekitToken(room));
      expect(service.seen.length).toBe(2);
    },
  );
});

describe('a deadline', () => {
  test('ends an attempt, also of a fetch function that ignores the signal', async () => {
    const service = new Service();
    let calls = 0;
    const fetch = (): Promise<Response> => {
      calls += 1;
      return new Promise(() => undefined);
    };
    const error = await rejection(
      service.roomkey({ fetch, timeoutMs: 2000, retry: { attempts: 2 } }).livekitToken(room),
      6000,
    );
    expect(error).toMatchObject({ code: 'timeout', retryable: true });
    expect(calls).toBe(2);
  });

  test('counts the body', async () => {
    const fetch = async (): Promise<Response> =>
      new Response(new ReadableStream({ start: () => undefined }));
    const roomkey = new Service().roomkey({ fetch, timeoutMs: 2000, retry: { attempts: 1 } });
    expect(await rejection(roomkey.livekitToken(room), 2500)).toMatchObject({ code: 'timeout' });
  });

  test('ends a sign-in that never ends', async () => {
    const service = new Service();
    const roomkey = service.roomkey({
      accessToken: () => new Promise(() => undefined),
      retry: { attempts: 1 },
    });
    expect(await rejection(roomkey.livekitToken(room), 121_000)).toMatchObject({ code: 'timeout' });
    expect(service.seen.length).toBe(0);
  });

  test('leaves no timer behind', async () => {
    const service = new Service();
    await settled(service.roomkey().livekitToken(room), 100);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('identical requests in flight', () => {
  test('share one fetch, and different ones do not', async () => {
    const service = new Service();
    const roomkey = service.roomkey();
    const all = Promise.all([
      ...Array.from({ length: 40 }, () => roomkey.livekitToken(room)),
      roomkey.livekitToken({ roomName: 'other' }),
      roomkey.livekitToken({ ...room, role: 'listener' }),
    ]);
    const tokens = (await settled(all)).map(({ token }) => token);
    expect(service.seen.length).toBe(3);
    expect(new Set(tokens.slice(0, 40)).size).toBe(1);
    await settled(roomkey.livekitToken(room));
    expect(service.seen.length).toBe(4);
  });

  test('share a failure with its repetitions', async () => {
    const service = new Service();
    service.override = gone;
    const roomkey = service.roomkey();
    const all = Promise.allSettled([
      roomkey.livekitToken(room),
      roomkey.livekitToken(room),
      roomkey.livekitToken(room),
    ]);
    expect((await settled(all)).every(({ status }) => status === 'rejected')).toBe(true);
    expect(service.seen.length).toBe(4);
  });

  test('go on for the others when one caller aborts', async () => {
    const service = new Service();
    const roomkey = service.roomkey();
    const abort = new AbortController();
    const first = roomkey
      .livekitToken({ ...room, signal: abort.signal })
      .catch((error: unknown) => error);
    const second = roomkey.livekitToken(room);
    abort.abort();
    expect(await first).toMatchObject({ code: 'aborted', retryable: false });
    expect((await settled(second)).isValid()).toBe(true);
    expect(service.seen.length).toBe(1);
  });

  test('end when the last caller aborts, and the next caller begins anew', async () => {
    const service = new Service();
    service.override = () => 'hang';
    const signals: AbortSignal[] = [];
    const fetch: typeof service.fetch = (url, init) => {
      signals.push(init.signal as AbortSignal);
      return service.fetch(url, init);
    };
    const roomkey = service.roomkey({ fetch });
    const aborts = [new AbortController(), new AbortController()];
    const ends = aborts.map(({ signal }) =>
      roomkey.livekitToken({ ...room, signal }).catch((error: unknown) => error),
    );
    await vi.advanceTimersByTimeAsync(1);
    aborts[0]?.abort();
    expect(signals[0]?.aborted).toBe(false);
    aborts[1]?.abort();
    expect(signals[0]?.aborted).toBe(true);
    for (const end of ends) expect(await end).toMatchObject({ code: 'aborted' });
    service.override = undefined;
    expect((await settled(roomkey.livekitToken(room))).isValid()).toBe(true);
    expect(service.seen.length).toBe(2);
  });

  test('are not sent at all for who has aborted before', async () => {
    const service = new Service();
    const error = await rejection(
      service.roomkey().livekitToken({ ...room, signal: AbortSignal.abort() }),
      1,
    );
    expect(error).toMatchObject({ code: 'aborted' });
    expect(service.seen.length).toBe(0);
  });

  test('stop waiting between two attempts', async () => {
    const service = new Service();
    service.override = () => service.problem(503, 'overloaded', {}, { 'retry-after': '60' });
    const abort = new AbortController();
    const end = service
      .roomkey()
      .livekitToken({ ...room, signal: abort.signal })
      .catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(100);
    abort.abort();
    expect(await end).toMatchObject({ code: 'aborted' });
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('a 401', () => {
  test('asks for the access token once more, saying that the last one was refused', async () => {
    const service = new Service();
    service.override = ({ headers }) =>
      headers['Authorization'] === 'Bearer fresh'
        ? undefined
        : service.problem(401, 'unauthenticated');
    const accessToken = vi.fn(({ refresh }: { refresh: boolean }) => (refresh ? 'fresh' : 'stale'));
    await settled(service.roomkey({ accessToken }).livekitToken(room));
    expect(accessToken.mock.calls).toEqual([[{ refresh: false }], [{ refresh: true }]]);
    expect(service.seen.length).toBe(2);
  });

  test('fails when the second one is refused too', async () => {
    const service = new Service();
    service.override = () => service.problem(401, 'unauthenticated');
    const accessToken = vi.fn(() => 'stale');
    const error = await rejection(service.roomkey({ accessToken }).livekitToken(room));
    expect(error).toMatchObject({ status: 401, code: 'unauthenticated' });
    expect(accessToken).toHaveBeenCalledTimes(2);
    expect(service.seen.length).toBe(2);
  });

  test('fails at once where nobody can be asked', async () => {
    const service = new Service();
    service.override = () => service.problem(401, 'unauthenticated');
    await rejection(service.roomkey().livekitToken(room));
    expect(service.seen.length).toBe(1);
  });

  test('never keeps the access token: it is asked for before each request', async () => {
    const service = new Service();
    let number = 0;
    const roomkey = service.roomkey({ accessToken: () => `bearer-${(number += 1)}` });
    await settled(roomkey.livekitToken(room));
    await settled(roomkey.livekitToken(room));
    expect(service.seen.map(({ headers }) => headers['Authorization'])).toEqual([
      'Bearer bearer-1',
      'Bearer bearer-2',
    ]);
  });

  test('is not what a failing sign-in of the app is', async () => {
    const service = new Service();
    const accessToken = (): never => {
      throw new Error('interaction_required');
    };
    expect(await rejection(service.roomkey({ accessToken }).livekitToken(room))).toMatchObject({
      code: 'access_token_failed',
    });
    expect(service.seen.length).toBe(0);
  });
});

describe('an error', () => {
  test('has what the service says', async () => {
    const service = new Service();
    const errors = [{ field: 'roomName', message: 'must be 1 to 128 letters' }];
    service.override = () =>
      service.problem(400, 'invalid_request', { errors, remediation: 'Do this.' });
    const error = (await rejection(service.roomkey().livekitToken(room))) as RoomkeyError;
    expect(error).toBeInstanceOf(RoomkeyError);
    expect(error).toBeInstanceOf(Error);
    expect(error.toJSON()).toEqual({
      name: 'RoomkeyError',
      message: 'A title. A detail.',
      status: 400,
      code: 'invalid_request',
      title: 'A title.',
      detail: 'A detail.',
      retryable: false,
      retryAfterMs: undefined,
      remediation: 'Do this.',
      requestId: 'req-1',
      fields: errors,
    });
  });

  test.each<[string, Response]>([
    ['HTML', new Response('<html>')],
    ['nothing', new Response('')],
    ['a list', new Response('[]')],
    ['null', new Response('null')],
    ['an object of something else', new Response('{"hello":"world"}')],
  ])('is invalid_response where the answer is %s', async (_, response) => {
    const service = new Service();
    service.override = () => response;
    expect(await rejection(service.roomkey().livekitToken(room))).toMatchObject({
      code: 'invalid_response',
      retryable: false,
    });
    expect(service.seen.length).toBe(1);
  });

  test.each([-1, 0])(
    'is invalid_response where a token expires %i ms after it was issued',
    async (life) => {
      const service = new Service();
      service.override = () => {
        const [issuedAt, expiresAt] = [0, life].map((offset) =>
          new Date(service.now() + offset).toISOString(),
        );
        return service.json(200, {
          provider: 'openai',
          token: 'ek_x',
          issuedAt,
          expiresAt,
          webrtcUrl: 'https://p.test/',
        });
      };
      const request = service.roomkey().realtimeSecret({ provider: 'openai' });
      expect(await rejection(request)).toMatchObject({ code: 'invalid_response' });
    },
  );

  test('names a redirect to a sign-in page for what it is', async () => {
    const service = new Service();
    service.override = () =>
      new Response(null, { status: 302, headers: { location: 'https://login.test' } });
    expect(await rejection(service.roomkey().livekitToken(room))).toMatchObject({
      code: 'redirected',
      status: 302,
    });
  });

  test.each(['not an object', 17, null, { errors: 'x' }, { errors: [null, 5, { field: 1 }] }])(
    'survives a problem that is %j',
    async (body) => {
      const service = new Service();
      service.override = () => service.json(400, body as object);
      expect(await rejection(service.roomkey().livekitToken(room))).toMatchObject({
        status: 400,
        code: 'http_error',
      });
    },
  );
});

describe('a token source', () => {
  test('satisfies livekit-client, asks the standard endpoint, and keeps the answer until shortly before its end', async () => {
    const service = new Service();
    service.life = 600;
    const source = service.roomkey().tokenSource();
    const options = {
      roomName: 'standup-42',
      participantName: 'Alice',
      agentName: 'notes',
      agentMetadata: 'm',
    };
    const first = await settled(source.fetch(options), 100);
    expect(first.serverUrl).toBe('wss://livekit.test');
    expect(service.seen[0]).toMatchObject({
      url: 'https://service.test/api/connection-details',
      body: {
        room_name: 'standup-42',
        participant_name: 'Alice',
        room_config: { agents: [{ agent_name: 'notes', metadata: 'm' }] },
      },
    });
    // Other objects with the same members are the same options.
    expect(await settled(source.fetch({ ...options }), 588_000)).toEqual(first);
    expect(service.seen.length).toBe(1);
    await vi.advanceTimersByTimeAsync(2500);
    expect(await settled(source.fetch(options), 100)).not.toEqual(first);
    await settled(source.fetch({ ...options, roomName: 'other' }), 100);
    await settled(source.fetch({ ...options, roomName: 'other' }, true), 100);
    expect(service.seen.length).toBe(4);
  });

  test('gives one answer to all who ask at once', async () => {
    const service = new Service();
    const source = service.roomkey().tokenSource();
    const all = await settled(
      Promise.all(Array.from({ length: 20 }, () => source.fetch({ roomName: 'r' }))),
      100,
    );
    expect(new Set(all.map(({ participantToken }) => participantToken)).size).toBe(1);
    expect(service.seen.length).toBe(1);
  });

  test('refuses what belongs to an agent without a name of one', async () => {
    const source = new Service().roomkey().tokenSource();
    expect(await rejection(source.fetch({ agentMetadata: 'm' }), 1)).toMatchObject({
      code: 'invalid_request',
    });
  });
});

describe('a diagnosis', () => {
  test('says what was found, and mints nothing', async () => {
    const service = new Service();
    service.showsDate = true;
    vi.stubGlobal('isSecureContext', true);
    vi.stubGlobal('RTCPeerConnection', class {});
    vi.setSystemTime(Date.now() + 3 * 60 * minute);
    const diagnosis = await settled(service.roomkey({ accessToken: () => 'x' }).diagnose(), minute);
    expect(diagnosis).toMatchObject({ ok: true, version: '1.2.3' });
    expect(diagnosis.clockSkewMs).toBeCloseTo(3 * 60 * minute, -4);
    const states = Object.fromEntries(diagnosis.checks.map(({ name, state }) => [name, state]));
    expect(states).toEqual({
      secure_context: 'ok',
      webrtc: 'ok',
      microphone: 'unknown',
      reachable: 'ok',
      clock: 'warning',
      ready: 'ok',
    });
    expect(service.mints).toBe(0);
    expect(service.seen.every(({ headers }) => !headers['Authorization'])).toBe(true);
  });

  test.each([
    ['that the origin is not allowed', true, 'cors'],
    ['that nothing answers', false, 'reachable'],
  ])('tells %s', async (_, answersWithoutCors, failed) => {
    vi.stubGlobal('fetch', async () => {
      if (!answersWithoutCors) throw gone();
      return new Response(null);
    });
    vi.stubGlobal('location', { origin: 'https://page.test' });
    vi.stubGlobal('isSecureContext', true);
    vi.stubGlobal('RTCPeerConnection', class {});
    const service = new Service();
    service.override = gone;
    const { ok, checks } = await settled(service.roomkey().diagnose(), minute);
    expect(ok).toBe(false);
    expect(checks.filter(({ state }) => state === 'failed').map(({ name }) => name)).toEqual([
      failed,
    ]);
    if (failed === 'cors')
      expect(JSON.stringify(checks)).toContain('Add https://page.test to cors.allowedOrigins');
  });

  test.each([
    ['a refusal of the service', 421, { title: 'T.', remediation: 'R.' }, 'T.', 'R.'],
    ['another service', 404, { message: 'no' }, /status 404/, undefined],
    ['another service that is well', 200, { status: 'up' }, /unusable/, /url/],
  ])('tells that the url is not that of a service: %s', async (_, status, body, detail, remedy) => {
    vi.stubGlobal('isSecureContext', true);
    vi.stubGlobal('RTCPeerConnection', class {});
    const service = new Service();
    service.override = () => service.json(status, body);
    const { ok, checks } = await settled(service.roomkey().diagnose(), minute);
    expect(ok).toBe(false);
    const failed = checks.filter(({ state }) => state === 'failed');
    expect(failed).toHaveLength(1);
    expect(failed[0]?.name).toBe('reachable');
    expect(failed[0]?.detail).toMatch(detail);
    if (remedy) expect(failed[0]?.remediation).toMatch(remedy);
  });

  test('tells that the service is not ready', async () => {
    vi.stubGlobal('isSecureContext', true);
    vi.stubGlobal('RTCPeerConnection', class {});
    const service = new Service();
    service.override = ({ url }) =>
      url.endsWith('ready') ? service.json(503, { status: 'waiting' }) : undefined;
    const { checks } = await settled(service.roomkey().diagnose(), minute);
    expect(checks.find(({ name }) => name === 'ready')).toMatchObject({ state: 'failed' });
  });

  test('can be aborted', async () => {
    const service = new Service();
    service.override = () => 'hang';
    const abort = new AbortController();
    const end = service
      .roomkey()
      .diagnose({ signal: abort.signal })
      .catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(50);
    abort.abort();
    expect(await end).toMatchObject({ code: 'aborted' });
  });
});

test('a token is what its name says', async () => {
  const token: LivekitToken = await settled(
    new Service().roomkey().livekitToken({ ...room, participantIdentity: 'alice' }),
  );
  expect(token).toMatchObject({
    provider: 'livekit',
    roomName: 'standup-42',
    participantIdentity: 'alice',
    serverUrl: 'wss://livekit.test',
  });
});
