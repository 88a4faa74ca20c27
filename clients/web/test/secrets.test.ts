import { inspect } from 'node:util';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { RoomkeyError, type ExpiringSecret } from '../src/index.js';
import { Service, canary, fakeClocks, rejection, settled } from './support.js';

fakeClocks();

/** What was written to the console. */
let written: string[] = [];
beforeEach(() => {
  written = [];
  for (const name of ['log', 'info', 'warn', 'error', 'debug', 'trace', 'dir'] as const) {
    vi.spyOn(console, name).mockImplementation(
      (...words: unknown[]) => void written.push(inspect(words, { depth: 9 })),
    );
  }
});
afterEach(() => expect(written).toEqual([]));

/** All texts that an object turns into without being asked for its secret. */
function texts(value: object): string {
  const copy = { ...value };
  const shown = [
    String(value),
    JSON.stringify(value),
    JSON.stringify([value, copy]),
    inspect(value, { depth: 9, showHidden: true }),
  ];
  const stack = value instanceof Error ? [value.stack, value.message, inspect(value.cause)] : [];
  return [...shown, ...stack, Object.keys(value), Object.values(value).join()].join('\n');
}

const bearer = `bearer-${canary}`;

test('no object shows its secret, unless it is asked for', async () => {
  const service = new Service();
  const roomkey = service.roomkey({ accessToken: () => bearer });
  const token = await settled(roomkey.livekitToken({ roomName: 'r' }), 100);
  const secret = await settled(roomkey.realtimeSecret({ provider: 'openai' }), 100);
  const lease = roomkey.lease({ kind: 'livekit', roomName: 'r' });
  await settled(lease.ready, 100);
  const source = roomkey.tokenSource();
  await settled(source.fetch({ roomName: 'r' }), 100);
  for (const value of [roomkey, token, secret, lease, source])
    expect(texts(value)).not.toContain(canary);
  for (const value of [token, secret] satisfies ExpiringSecret[])
    expect(value.token).toContain(canary);
  expect(structuredClone({ ...token })).not.toHaveProperty('token');
  expect(JSON.parse(JSON.stringify(token))).toMatchObject({ provider: 'livekit', roomName: 'r' });
  lease.close();
});

const failures: [
  string,
  (service: Service, seen: { headers: Record<string, string> }) => Response | Error | 'hang',
][] = [
  [
    'a network error that quotes the request',
    () => new TypeError(`Failed to fetch with ${bearer}`),
  ],
  ['an answer that never comes', () => 'hang'],
  ['an answer that is no JSON', () => new Response(`<html>${canary}`)],
  [
    'an answer with a token and without the rest',
    (service) => service.json(200, { token: `ek_${canary}`, expiresAt: canary }),
  ],
  [
    'a redirect with a token in it',
    () => new Response(null, { status: 302, headers: { location: `https://x.test/#${canary}` } }),
  ],
  ...[400, 401, 403, 429, 500, 502, 503].map((status): (typeof failures)[number] => [
    `a ${status} of a proxy that echoes`,
    (service, { headers }) => {
      const echo = `You sent ${headers['Authorization']} and got ek_${canary} and ${service.jwt(0, 1000)}`;
      const errors = [{ field: echo, message: echo }];
      return service.json(status, {
        title: echo,
        detail: echo,
        code: echo,
        remediation: echo,
        requestId: echo,
        errors,
      });
    },
  ]),
];
test.each(failures)('no error shows one: %s', async (_, fail) => {
  const service = new Service();
  service.override = (seen) => fail(service, seen);
  const roomkey = service.roomkey({ accessToken: () => bearer, retry: { attempts: 2 } });
  const lease = roomkey.lease({ kind: 'realtime', provider: 'openai' });
  const errors: unknown[] = [];
  lease.on('error', (error) => errors.push(error));
  errors.push(await rejection(lease.ready));
  errors.push(await rejection(roomkey.livekitToken({ roomName: 'r' })));
  errors.push(await rejection(roomkey.tokenSource().fetch({ roomName: 'r' })));
  expect(errors.length).toBeGreaterThanOrEqual(4);
  for (const error of errors) {
    expect(error).toBeInstanceOf(RoomkeyError);
    expect(texts(error as object)).not.toContain(canary);
  }
  lease.close();
});

test('no error shows what a sign-in says', async () => {
  const accessToken = async (): Promise<never> => {
    throw new Error(`the refresh token ${canary} has expired`);
  };
  const error = await rejection(
    new Service().roomkey({ accessToken }).livekitToken({ roomName: 'r' }),
  );
  expect(texts(error as object)).not.toContain(canary);
});
