import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { RoomkeyError } from '../src/index.js';
import { Service, canary, fakeClocks, rejection, settled } from './support.js';

fakeClocks();

const stun = { urls: ['stun:turn.test:3478'] };
const turn = {
  urls: ['turn:turn.test:3478?transport=udp', 'turns:turn.test:443'],
  username: '1796003600:00ff',
  credential: canary,
};

/** A service that answers with these servers. */
function service(iceServers: unknown): Service {
  const service = new Service();
  service.override = () =>
    service.json(200, { iceServers, expiresAt: '2026-11-30T01:00:00.000Z', ttlSeconds: 3600 });
  return service;
}

test('TURN credentials are what RTCPeerConnection takes', async () => {
  const asked = service([stun, turn]);
  const servers = await settled(asked.roomkey({ accessToken: () => 'bearer-1' }).turnCredentials());
  // As WebIDL reads a dictionary: by name.
  const read = servers.map(({ urls, username, credential }) => ({ urls, username, credential }));
  expect(read).toEqual([{ ...stun, username: undefined, credential: undefined }, turn]);
  expect(asked.seen).toMatchObject([
    {
      url: 'https://service.test/api/turn-credentials',
      method: 'GET',
      headers: { Authorization: 'Bearer bearer-1' },
    },
  ]);
});

test('a single URL is as good as a list', async () => {
  const servers = await settled(
    service([{ ...turn, urls: 'turns:turn.test:443' }]).roomkey().turnCredentials(),
  );
  expect(servers[0]?.urls).toEqual(['turns:turn.test:443']);
});

test.each([
  undefined,
  null,
  'turn:turn.test',
  [],
  [null],
  [stun],
  [{ ...stun, username: 'u', credential: canary }],
  [{ urls: turn.urls, username: 'u' }],
  [{ urls: turn.urls, username: 'u', credential: 7 }],
  [{ urls: 7, username: 'u', credential: canary }],
  [{ username: 'u', credential: canary }],
])('an answer without a relay is an error, never STUN alone: %j', async (iceServers) => {
  const error = await rejection(service(iceServers).roomkey().turnCredentials());
  expect(error).toBeInstanceOf(RoomkeyError);
  expect(error).toMatchObject({ code: 'invalid_response', status: 200 });
  expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(canary);
});

test('the credential is shown only to who asks for it', async () => {
  const servers = await settled(service([turn]).roomkey().turnCredentials());
  const texts = [JSON.stringify(servers), String(servers), inspect(servers, { showHidden: true })];
  expect(texts.join()).not.toContain(canary);
  expect(servers[0]?.credential).toBe(canary);
});

test('a provider that fails is asked again, and a service without TURN is not', async () => {
  const failing = service([turn]);
  const answer = failing.override!;
  failing.override = (seen, count) =>
    count === 1
      ? failing.problem(503, 'upstream_unavailable', {}, { 'retry-after': '1' })
      : answer(seen, count);
  await settled(failing.roomkey().turnCredentials());
  expect(failing.seen.length).toBe(2);
  const without = new Service();
  without.override = () => without.problem(404, 'not_found');
  expect(await rejection(without.roomkey().turnCredentials())).toMatchObject({ code: 'not_found' });
  expect(without.seen.length).toBe(1);
});

test('requests at the same time share one fetch, and an abort ends the wait', async () => {
  const asked = service([turn]);
  const roomkey = asked.roomkey();
  const abort = new AbortController();
  const [first, second] = [
    roomkey.turnCredentials(),
    roomkey.turnCredentials({ signal: abort.signal }),
  ];
  abort.abort();
  expect(await rejection(second, 0)).toMatchObject({ code: 'aborted' });
  expect(await settled(first)).toHaveLength(1);
  expect(asked.seen.length).toBe(1);
});
