import { afterEach, beforeEach, vi } from 'vitest';
import { Roomkey, type RoomkeyOptions } from '../src/index.js';

/** Stands in everything secret, so that a test can see where it went. */
export const canary = 'canary5e1f';
export const minute = 60_000;
export const hour = 60 * minute;

/** A request as the service saw it. */
export interface Seen {
  readonly url: string;
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body: Record<string, unknown>;
  /** When, in milliseconds since the test began. */
  readonly at: number;
}

type Reply = Response | Error | 'hang';

/** A service with a clock of its own, which the page's clock does not follow. */
export class Service {
  /** Seconds that what it issues lives. */
  life = 3600;
  seen: Seen[] = [];
  /** Answers in place of the usual answer, as long as it returns one. */
  override: ((seen: Seen, count: number) => Reply | undefined) | undefined;
  /** Whether scripts may read the `Date` header. */
  showsDate = false;
  latencyMs = 20;
  #startedAt = Date.UTC(2026, 10, 30);

  now(): number {
    return this.#startedAt + performance.now();
  }

  /** Lets time pass for the service alone: the client's machine sleeps. */
  pass(milliseconds: number): void {
    this.#startedAt += milliseconds;
  }

  fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const body = init.body ? (JSON.parse(String(init.body)) as Record<string, unknown>) : {};
    const headers = init.headers as Record<string, string>;
    const seen: Seen = { url, method: init.method ?? 'GET', headers, body, at: performance.now() };
    this.seen.push(seen);
    const reply = this.override?.(seen, this.seen.length) ?? this.#answer(seen);
    await new Promise((resolve, reject) => {
      // As fetch does: whoever aborts waits no longer.
      init.signal?.addEventListener('abort', () => reject(init.signal?.reason));
      if (reply !== 'hang') setTimeout(resolve, this.latencyMs);
    });
    if (reply instanceof Error) throw reply;
    return reply as Response;
  };

  #answer({ url, body }: Seen): Response {
    const { pathname } = new URL(url, 'http://page.test');
    if (pathname === '/api/health') return this.json(200, { status: 'ok', version: '1.2.3' });
    if (pathname === '/api/health/ready')
      return this.json(200, { status: 'ready', dependencies: [] });
    const [issuedAt, expiresAt] = [this.now(), this.now() + this.life * 1000];
    const refreshAt = Math.max(issuedAt + this.life * 500, expiresAt - 10_000);
    const text = (time: number): string => new Date(time).toISOString();
    const times = { expiresAt: text(expiresAt), refreshAt: text(refreshAt) };
    if (pathname === '/api/connection-details') {
      return this.json(201, {
        server_url: 'wss://livekit.test',
        participant_token: this.jwt(issuedAt, expiresAt),
        room_name: body['room_name'],
        participant_name: 'guest',
      });
    }
    if (body['provider'] === 'livekit') {
      const { roomName, participantIdentity = 'guest-1' } = body;
      const token = this.jwt(issuedAt, expiresAt);
      return this.json(200, {
        provider: 'livekit',
        token,
        ...times,
        roomName,
        participantIdentity,
        serverUrl: 'wss://livekit.test',
      });
    }
    return this.json(200, {
      provider: body['provider'],
      token: `ek_${canary}${this.seen.length}`,
      issuedAt: text(issuedAt),
      ...times,
      sessionId: 'sess_1',
      model: 'gpt-realtime-2.1',
      voice: body['voice'] ?? 'marin',
      webrtcUrl: 'https://provider.test/v1/realtime/calls',
    });
  }

  /** A JWT whose every part names the canary. */
  jwt(iat: number, exp: number): string {
    const part = (value: object): string => btoa(JSON.stringify(value)).replaceAll('=', '');
    const claims = {
      iat: Math.floor(iat / 1000),
      exp: Math.floor(iat / 1000) + Math.round((exp - iat) / 1000),
      jti: canary,
    };
    return `${part({ alg: 'HS256', typ: 'JWT', kid: canary })}.${part(claims)}.${canary}${this.seen.length}`;
  }

  json(status: number, body: object, headers: Record<string, string> = {}): Response {
    const date = this.showsDate ? { date: new Date(this.now()).toUTCString() } : undefined;
    return new Response(JSON.stringify(body), {
      status,
      headers: { 'content-type': 'application/json', ...date, ...headers },
    });
  }

  problem(
    status: number,
    code: string,
    members: object = {},
    headers: Record<string, string> = {},
  ): Response {
    const retryable = [429, 503, 504].includes(status) || code === 'upstream_error';
    const body = {
      type: `urn:roomkey:error:${code}`,
      title: 'A title.',
      status,
      detail: 'A detail.',
      code,
      requestId: 'req-1',
      retryable,
      ...members,
    };
    return this.json(status, body, headers);
  }

  roomkey(options: RoomkeyOptions = {}): Roomkey {
    return new Roomkey({ url: 'https://service.test', fetch: this.fetch, ...options });
  }

  /** How many secrets were asked for. */
  get mints(): number {
    return this.seen.filter(({ method }) => method === 'POST').length;
  }
}

/** The parts of a page that a lease listens to. */
export class Page {
  readonly document = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  readonly window = new EventTarget();

  constructor() {
    vi.stubGlobal('document', this.document);
    vi.stubGlobal('window', this.window);
  }

  show(visibilityState: 'visible' | 'hidden'): void {
    this.document.visibilityState = visibilityState;
    this.document.dispatchEvent(new Event('visibilitychange'));
  }

  online(): void {
    this.window.dispatchEvent(new Event('online'));
  }
}

/** Fakes both clocks and every timer, from the same moment in each test. */
export function fakeClocks(): void {
  beforeEach(() => {
    vi.useFakeTimers({ now: Date.UTC(2026, 10, 30) });
  });
  afterEach(() => {
    vi.useRealTimers();
  });
}

/** Follows a promise to its end while time passes. */
export async function settled<T>(promise: Promise<T>, milliseconds = 10 * minute): Promise<T> {
  const outcome = promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  await vi.advanceTimersByTimeAsync(milliseconds);
  const end = await Promise.race([outcome, Promise.resolve(undefined)]);
  if (!end) throw new Error(`not settled within ${milliseconds} ms`);
  if ('error' in end) throw end.error;
  return end.value;
}

/** Returns what a promise rejects with. */
export async function rejection(
  promise: Promise<unknown>,
  milliseconds?: number,
): Promise<unknown> {
  try {
    await settled(promise, milliseconds);
  } catch (error) {
    return error;
  }
  throw new Error('it did not reject');
}
