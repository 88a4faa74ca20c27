import { describe, expect, test, vi } from 'vitest';
import type { Lease, RealtimeSecret, RoomkeyError } from '../src/index.js';
import { Page, Service, fakeClocks, hour, minute, rejection, settled } from './support.js';

fakeClocks();

const pass = (milliseconds: number): Promise<unknown> => vi.advanceTimersByTimeAsync(milliseconds);
const livekit = { kind: 'livekit', roomName: 'standup-42' } as const;

/** Counts the events of a lease. */
function heard(lease: Pick<Lease<RealtimeSecret>, 'on'>): {
  renewed: number;
  expired: number;
  errors: RoomkeyError[];
} {
  const counts = { renewed: 0, expired: 0, errors: [] as RoomkeyError[] };
  lease.on('renewed', () => (counts.renewed += 1));
  lease.on('expired', () => (counts.expired += 1));
  lease.on('error', (error) => counts.errors.push(error));
  return counts;
}

/** The service is gone: each request fails as `fetch` fails. */
const gone = (): Error => new TypeError('Failed to fetch');

describe('renewal', () => {
  test('begins ten seconds before the end, and there is never a moment without a value', async () => {
    const service = new Service();
    const lease = service.roomkey().lease({ ...livekit, expirationSeconds: 600 });
    service.life = 600;
    await settled(lease.ready, 100);
    for (let second = 0; second < 3600; second += 1) {
      await pass(1000);
      expect(lease.isValid()).toBe(true);
    }
    const gaps = service.seen.slice(1).map(({ at }, index) => at - (service.seen[index]?.at ?? 0));
    expect(gaps.length).toBe(6);
    for (const gap of gaps) expect(gap).toBeCloseTo(590_000, -3);
    lease.close();
  });

  test.each([-5, 7, 30 * 24])(
    'is the same when the clock of the machine is %i hours off',
    async (skew) => {
      vi.setSystemTime(Date.now() + skew * hour);
      const service = new Service();
      const lease = service.roomkey().lease(livekit);
      const { expired } = heard(lease);
      const token = await settled(lease.ready, 100);
      expect(token.secondsRemaining()).toBe(3599);
      await pass(3_589_000);
      expect(service.mints).toBe(1);
      await pass(2000);
      expect(service.mints).toBe(2);
      expect(expired).toBe(0);
      lease.close();
    },
  );

  test.each([-3, 3])(
    'survives a clock that is set %i hours forward in the middle',
    async (step) => {
      const service = new Service();
      const lease = service.roomkey().lease(livekit);
      await settled(lease.ready, 100);
      await pass(10 * minute);
      vi.setSystemTime(Date.now() + step * hour);
      await pass(minute);
      // Forward looks like sleep: one more token. Back changes nothing.
      expect(service.mints).toBe(step > 0 ? 2 : 1);
      expect(lease.isValid()).toBe(true);
      await pass(2 * hour);
      expect(service.mints).toBe(step > 0 ? 4 : 3);
      lease.close();
    },
  );

  test('reads the issue time from the answer, the JWT, and the Date header, in this order', async () => {
    const service = new Service();
    service.showsDate = true;
    const lease = service.roomkey().lease(livekit);
    vi.setSystemTime(Date.now() - 9 * hour);
    service.override = () =>
      service.json(200, {
        provider: 'livekit',
        token: 'not-a-jwt',
        roomName: 'r',
        participantIdentity: 'p',
        serverUrl: 'wss://livekit.test',
        expiresAt: new Date(service.now() + 600_000).toISOString(),
      });
    // The clock of the machine is off, so only the Date header can tell.
    const token = await settled(lease.renew(), 100);
    expect(token.secondsRemaining()).toBeGreaterThanOrEqual(598);
    expect(token.secondsRemaining()).toBeLessThanOrEqual(601);
    lease.close();
  });

  test('shows nothing that has expired, even before a late timer has noticed', async () => {
    const service = new Service();
    const lease = service.roomkey().lease(livekit);
    const counts = heard(lease);
    await settled(lease.ready, 100);
    // The machine sleeps: its monotonic clock stands still, and no timer fires.
    vi.setSystemTime(Date.now() + 8 * hour);
    service.pass(8 * hour);
    expect(lease.current).toBeUndefined();
    expect(lease.isValid()).toBe(false);
    expect(lease.secondsRemaining()).toBe(0);
    // Nobody touches the page; it notices by itself.
    await pass(30_500);
    expect(lease.isValid()).toBe(true);
    expect(counts).toEqual({ renewed: 2, expired: 1, errors: [] });
    lease.close();
  });

  test.each(['visibilitychange', 'online', 'pageshow'])(
    'catches up at once when the page wakes with %s',
    async (event) => {
      const page = new Page();
      const service = new Service();
      const lease = service.roomkey().lease(livekit);
      await settled(lease.ready, 100);
      await pass(2000);
      vi.setSystemTime(Date.now() + 8 * hour);
      service.pass(8 * hour);
      (event === 'visibilitychange' ? page.document : page.window).dispatchEvent(new Event(event));
      await pass(service.latencyMs);
      expect(lease.isValid()).toBe(true);
      expect(service.mints).toBe(2);
      lease.close();
    },
  );

  test('never shows an expired value though timers are throttled to one a minute', async () => {
    const service = new Service();
    service.life = 90;
    const real = globalThis.setTimeout;
    vi.stubGlobal('setTimeout', (run: () => void, milliseconds = 0) =>
      real(run, milliseconds > 100 ? Math.ceil(milliseconds / minute) * minute : milliseconds),
    );
    const lease = service.roomkey().lease({ ...livekit, expirationSeconds: 90 });
    const counts = heard(lease);
    await settled(lease.ready, 200);
    for (let second = 0; second < 1800; second += 1) {
      await pass(1000);
      const { current } = lease;
      if (current) expect(current.expiresAt.getTime()).toBeGreaterThan(service.now());
    }
    // One timer a minute is too few for a life of 90 s, and each gap is known.
    expect(counts.expired).toBeLessThanOrEqual(counts.renewed);
    expect(service.mints).toBeLessThanOrEqual(31);
    expect(service.mints).toBeGreaterThanOrEqual(14);
    lease.close();
  });
});

describe('an outage', () => {
  test('is tried through with bounded waits, expires once, and ends with the first answer', async () => {
    const service = new Service();
    const lease = service.roomkey().lease(livekit);
    const counts = heard(lease);
    await settled(lease.ready, 100);
    service.override = gone;
    await pass(3_590_000 + hour);
    expect(lease.current).toBeUndefined();
    expect(counts.expired).toBe(1);
    const at = service.seen.slice(1).map(({ at }) => at);
    const gaps = at.slice(1).map((time, index) => time - (at[index] ?? 0) - service.latencyMs);
    for (const gap of gaps) {
      expect(gap).toBeGreaterThanOrEqual(1000);
      expect(gap).toBeLessThanOrEqual(30_001);
    }
    // Ever rarer, then every 15 to 30 seconds: 120 to 250 in an hour.
    expect(at.length).toBeGreaterThan(120);
    expect(at.length).toBeLessThan(260);
    expect(counts.errors.length).toBe(at.length);
    service.override = undefined;
    await pass(31_000);
    expect(lease.isValid()).toBe(true);
    expect(counts).toMatchObject({ renewed: 2, expired: 1 });
    // And the next outage expires once more.
    service.override = gone;
    await pass(2 * hour);
    expect(counts.expired).toBe(2);
    lease.close();
  });

  test('ends at once when the network is back', async () => {
    const page = new Page();
    const service = new Service();
    service.override = gone;
    const lease = service.roomkey().lease(livekit);
    await pass(20 * minute);
    service.override = undefined;
    const before = service.mints;
    page.online();
    await pass(1000 + service.latencyMs);
    expect(service.mints).toBe(before + 1);
    expect(lease.isValid()).toBe(true);
    lease.close();
  });

  test('is no reason to hurry when the network comes and goes many times a second', async () => {
    const page = new Page();
    const service = new Service();
    service.override = gone;
    const lease = service.roomkey().lease(livekit);
    for (let tenth = 0; tenth < 600; tenth += 1) {
      page.online();
      page.show(tenth % 2 ? 'visible' : 'hidden');
      await pass(100);
    }
    expect(service.mints).toBeLessThanOrEqual(60);
    lease.close();
  });

  test('waits as long as the service asks, whoever asks meanwhile', async () => {
    const page = new Page();
    const service = new Service();
    const lease = service.roomkey().lease(livekit);
    await settled(lease.ready, 100);
    service.override = () => service.problem(429, 'rate_limited', {}, { 'retry-after': '300' });
    await pass(hour);
    const before = service.mints;
    page.online();
    const error = await rejection(lease.renew(), 1);
    expect(error).toMatchObject({ code: 'rate_limited', retryAfterMs: 300_000 });
    expect(service.mints).toBe(before);
    lease.close();
  });

  test('of a lasting kind is tried again too, and rarely', async () => {
    const service = new Service();
    service.override = () => service.problem(403, 'room_forbidden');
    const lease = service.roomkey().lease(livekit);
    await pass(hour);
    expect(service.mints).toBeGreaterThan(100);
    expect(service.mints).toBeLessThan(260);
    service.override = undefined;
    await pass(31_000);
    expect(lease.isValid()).toBe(true);
    lease.close();
  });
});

describe('no hot loop is possible', () => {
  const broken: [string, (service: Service) => object][] = [
    [
      'a refreshAt in the past',
      (service) => ({ refreshAt: new Date(service.now() - hour).toISOString() }),
    ],
    ['a refreshAt that is no time', () => ({ refreshAt: 'soon' })],
    [
      'a life of ten milliseconds',
      (service) => ({ expiresAt: new Date(service.now() + 10).toISOString() }),
    ],
    [
      'an expiresAt in the past',
      (service) => ({ expiresAt: new Date(service.now() - hour).toISOString() }),
    ],
    ['no expiresAt', () => ({ expiresAt: undefined })],
    ['no token', () => ({ token: '' })],
  ];
  test.each(broken)('with %s', async (_, change) => {
    const service = new Service();
    service.override = () => {
      const now = service.now();
      const text = (time: number): string => new Date(time).toISOString();
      const good = {
        provider: 'openai',
        token: 'ek_x',
        issuedAt: text(now),
        expiresAt: text(now + 60_000),
        webrtcUrl: 'https://p.test/',
      };
      return service.json(200, { ...good, ...change(service) });
    };
    const lease = service
      .roomkey()
      .lease({ kind: 'realtime', provider: 'openai', renewal: 'always' });
    await pass(minute);
    expect(service.mints).toBeGreaterThan(0);
    expect(service.mints).toBeLessThanOrEqual(61);
    lease.close();
  });

  test('and a refreshAt that is too early waits for half of the life', async () => {
    const service = new Service();
    service.life = 60;
    service.override = () => {
      const [now, text] = [service.now(), (time: number): string => new Date(time).toISOString()];
      const times = {
        issuedAt: text(now),
        refreshAt: text(now + 1),
        expiresAt: text(now + 60_000),
      };
      return service.json(200, {
        provider: 'openai',
        token: 'ek_x',
        ...times,
        webrtcUrl: 'https://p.test/',
      });
    };
    const lease = service
      .roomkey()
      .lease({ kind: 'realtime', provider: 'openai', renewal: 'always' });
    await pass(10 * minute);
    expect(service.mints).toBeGreaterThanOrEqual(20);
    expect(service.mints).toBeLessThanOrEqual(21);
    lease.close();
  });

  test('with a clock that jumps forward every second', async () => {
    const service = new Service();
    const lease = service.roomkey().lease(livekit);
    for (let second = 0; second < 60; second += 1) {
      vi.setSystemTime(Date.now() + 2 * hour);
      lease.isValid();
      await pass(1000);
    }
    expect(service.mints).toBeLessThanOrEqual(61);
    lease.close();
  });

  test('with a handler that asks for another value whenever one comes', async () => {
    const service = new Service();
    const lease = service.roomkey().lease(livekit);
    lease.on('renewed', () => void lease.renew());
    await pass(minute);
    expect(service.mints).toBeLessThanOrEqual(61);
    lease.close();
  });
});

describe('a budget', () => {
  test('of eight hours with a LiveKit lease is nine tokens', async () => {
    const service = new Service();
    const lease = service.roomkey().lease(livekit);
    await pass(8 * hour);
    expect(service.mints).toBe(9);
    lease.close();
  });

  test('of eight hours with a Realtime lease that nobody asks is nothing', async () => {
    new Page();
    const service = new Service();
    service.life = 60;
    const lease = service.roomkey().lease({ kind: 'realtime' });
    await pass(8 * hour);
    expect(service.mints).toBe(0);
    lease.close();
  });

  test('of eight idle hours after one use of a Realtime lease is two secrets', async () => {
    new Page();
    const service = new Service();
    service.life = 60;
    const lease = service.roomkey().lease({ kind: 'realtime', provider: 'openai' });
    const counts = heard(lease);
    lease.warm();
    await pass(8 * hour);
    expect(service.mints).toBe(2);
    expect(counts).toEqual({ renewed: 2, expired: 1, errors: [] });
    expect(vi.getTimerCount()).toBe(0);
    lease.close();
  });

  test('of an hour in constant use is a secret every 50 seconds, and of a hidden page nothing', async () => {
    const page = new Page();
    const service = new Service();
    service.life = 60;
    const lease = service.roomkey().lease({ kind: 'realtime', provider: 'openai' });
    for (let second = 0; second < 3600; second += 10) {
      await settled(lease.ready, 10_000);
    }
    expect(service.mints).toBeGreaterThanOrEqual(70);
    expect(service.mints).toBeLessThanOrEqual(73);
    page.show('hidden');
    const before = service.mints;
    await pass(hour);
    expect(service.mints).toBe(before);
    page.show('visible');
    await pass(hour);
    expect(service.mints).toBe(before);
    lease.close();
  });

  test('with renewal never is one secret for each time that one is needed', async () => {
    const service = new Service();
    service.life = 60;
    const lease = service
      .roomkey()
      .lease({ kind: 'realtime', provider: 'openai', renewal: 'never' });
    await settled(lease.ready, hour);
    await settled(lease.ready, hour);
    expect(service.mints).toBe(2);
    lease.close();
  });
});

describe('ready', () => {
  test('is one mint for all who ask at once', async () => {
    const service = new Service();
    const lease = service.roomkey().lease({ kind: 'realtime', provider: 'openai' });
    const all = await settled(
      Promise.all([lease.ready, lease.ready, lease.renew(), lease.ready]),
      100,
    );
    expect(new Set(all).size).toBe(1);
    expect(service.mints).toBe(1);
    lease.close();
  });

  test('gets all attempts, though the lease itself had just failed with one', async () => {
    const service = new Service();
    service.override = (_, count) => (count < 4 ? gone() : undefined);
    const lease = service.roomkey().lease(livekit);
    const token = await settled(lease.ready, minute);
    expect(token.isValid()).toBe(true);
    lease.close();
  });

  test('rejects with the reason when the attempts are used up', async () => {
    const service = new Service();
    service.override = gone;
    const lease = service.roomkey().lease(livekit);
    expect(await rejection(lease.ready, minute)).toMatchObject({
      code: 'network',
      retryable: true,
    });
    lease.close();
  });
});

describe('the end', () => {
  test('leaves no timer, no listener and no value, and aborts what is under way', async () => {
    const page = new Page();
    const removed = [
      vi.spyOn(page.document, 'removeEventListener'),
      vi.spyOn(page.window, 'removeEventListener'),
    ];
    const service = new Service();
    service.override = () => 'hang';
    const lease = service.roomkey().lease(livekit);
    const counts = heard(lease);
    const waiting = rejection(lease.ready, 100);
    lease.close();
    lease.close();
    expect(await waiting).toMatchObject({ code: expect.stringMatching(/aborted|closed/) });
    expect(vi.getTimerCount()).toBe(0);
    expect(removed.map(({ mock }) => mock.calls.length)).toEqual([1, 2]);
    expect(lease.current).toBeUndefined();
    expect(await rejection(lease.ready, 1)).toMatchObject({ code: 'closed' });
    await pass(hour);
    expect(service.mints).toBe(1);
    expect(counts).toEqual({ renewed: 0, expired: 0, errors: [] });
  });

  test('comes by using too', async () => {
    const service = new Service();
    const lease = service.roomkey().lease(livekit);
    await settled(lease.ready, 100);
    lease[Symbol.dispose]();
    expect(lease.current).toBeUndefined();
    expect(vi.getTimerCount()).toBe(0);
  });

  test('of a value by revoke drops it until the lease is asked again', async () => {
    const service = new Service();
    const lease = service.roomkey().lease(livekit);
    await settled(lease.ready, 100);
    lease.revoke();
    expect(lease.current).toBeUndefined();
    await pass(8 * hour);
    expect(service.mints).toBe(1);
    expect((await settled(lease.ready, 100)).isValid()).toBe(true);
    expect(service.mints).toBe(2);
    await pass(hour);
    expect(service.mints).toBe(3);
    lease.close();
  });

  test('of a value that is still on its way by revoke keeps it out', async () => {
    const service = new Service();
    const lease = service.roomkey().lease(livekit);
    const counts = heard(lease);
    lease.revoke();
    await pass(minute);
    expect(lease.current).toBeUndefined();
    expect(counts).toEqual({ renewed: 0, expired: 0, errors: [] });
    lease.close();
  });
});

describe('handlers', () => {
  test('that throw stop neither others nor renewals', async () => {
    const service = new Service();
    const reported: unknown[] = [];
    vi.stubGlobal('queueMicrotask', (run: () => void) => {
      try {
        run();
      } catch (error) {
        reported.push(error);
      }
    });
    const lease = service.roomkey().lease(livekit);
    lease.on('renewed', () => {
      throw new Error('of the app');
    });
    const counts = heard(lease);
    await pass(2 * hour);
    expect(counts.renewed).toBe(3);
    expect(reported.length).toBe(3);
    lease.close();
  });

  test('are removed by what adding them returned, each for itself', async () => {
    const service = new Service();
    const lease = service.roomkey().lease(livekit);
    const handler = vi.fn();
    const remove = lease.on('renewed', handler);
    lease.on('renewed', handler);
    remove();
    remove();
    await settled(lease.ready, 100);
    expect(handler).toHaveBeenCalledTimes(1);
    lease.close();
  });

  test('may close the lease', async () => {
    const service = new Service();
    service.life = 60;
    const lease = service.roomkey().lease({ ...livekit, expirationSeconds: 60 });
    lease.on('expired', () => lease.close());
    await settled(lease.ready, 100);
    service.override = gone;
    await pass(hour);
    expect(vi.getTimerCount()).toBe(0);
  });
});
