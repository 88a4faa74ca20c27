import { HttpErrorResponse, provideHttpClient, withInterceptors } from '@angular/common/http';
import type { HttpInterceptorFn, HttpRequest } from '@angular/common/http';
import { HttpTestingController, provideHttpClientTesting } from '@angular/common/http/testing';
import { InjectionToken, PLATFORM_ID, inject } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { Roomkey } from '@roomkey/client';
import type { RoomkeyError } from '@roomkey/client';
import { injectRealtimeCall, injectVoiceRoom, provideRoomkey, ROOMKEY_REQUEST } from '../public-api';
import { httpClientFetch } from './http-fetch';
import { eventually } from '../../test-setup';

const url = 'https://roomkey.example.com';
const answer = {
  provider: 'livekit',
  token: 'header.payload.signature',
  expiresAt: new Date(Date.now() + 600_000).toISOString(),
  refreshAt: new Date(Date.now() + 590_000).toISOString(),
  roomName: 'standup-42',
  participantIdentity: 'alice',
  serverUrl: 'wss://livekit.example.com',
};

/** What the interceptor of a sign-in library does. */
const seen: HttpRequest<unknown>[] = [];
const bearer: HttpInterceptorFn = (request, next) => {
  const signedIn = request.clone({ setHeaders: { Authorization: 'Bearer of-the-app' } });
  seen.push(signedIn);
  return next(request.context.get(ROOMKEY_REQUEST) ? signedIn : request);
};

function setUp(options: Parameters<typeof provideRoomkey>[0] = { url, retry: { attempts: 1 } }) {
  seen.length = 0;
  TestBed.configureTestingModule({
    providers: [
      provideHttpClient(withInterceptors([bearer])),
      provideHttpClientTesting(),
      provideRoomkey(options),
    ],
  });
  return { roomkey: TestBed.inject(Roomkey), http: TestBed.inject(HttpTestingController) };
}

/** Waits until a request was made: it is sent after a few turns of the event loop. */
const request = (http: HttpTestingController, address: string) =>
  eventually(() => http.expectOne(address));

describe('provideRoomkey', () => {
  it('sends requests through the interceptors of the app', async () => {
    const { roomkey, http } = setUp();
    const token = roomkey.livekitToken({ roomName: 'standup-42' });
    const sent = await request(http, `${url}/api/token`);
    expect(sent.request.method).toBe('POST');
    expect(sent.request.headers.get('Authorization')).toBe('Bearer of-the-app');
    expect(sent.request.headers.get('Content-Type')).toBe('application/json');
    expect(JSON.parse(sent.request.body as string)).toEqual({
      provider: 'livekit',
      roomName: 'standup-42',
    });
    sent.flush(JSON.stringify(answer));
    expect((await token).token).toBe(answer.token);
  });

  it('opens and ends a session through the interceptors, and lets its end outlive the page', async () => {
    const { roomkey, http } = setUp();
    const opening = roomkey.session({ projectId: 'customer-42' });
    const opened = await request(http, `${url}/api/session`);
    expect(JSON.parse(opened.request.body as string)).toEqual({ project_id: 'customer-42' });
    expect(opened.request.keepalive).toBe(false);
    const session_id = '8f14e45f-ceea-467f-a0e6-0c8f6b1d2a3b';
    opened.flush(
      JSON.stringify({
        client_secret: { value: 'ek_1', expires_at: Date.now() / 1000 + 60 },
        session_id,
        webrtc_url: 'https://api.openai.com/v1/realtime/calls',
        metadata: { created_at: new Date().toISOString() },
      }),
    );
    const end = (await opening).end();
    const ended = await request(http, `${url}/api/session/end`);
    expect(ended.request.headers.get('Authorization')).toBe('Bearer of-the-app');
    expect(ended.request.keepalive).toBe(true);
    ended.flush(JSON.stringify({ success: true, session_id, hung_up: false }));
    expect(await end).toEqual({ hungUp: false });
  });

  it('never puts an answer into the state that a server hands to the browser', async () => {
    const { roomkey, http } = setUp();
    void roomkey.livekitToken({ roomName: 'standup-42' }).catch(() => undefined);
    const sent = await request(http, `${url}/api/token`);
    expect(sent.request.transferCache).toBe(false);
  });

  it('expects the service at the origin of the page without options', async () => {
    const { roomkey, http } = setUp({});
    void roomkey.livekitToken({ roomName: 'standup-42' }).catch(() => undefined);
    await request(http, '/api/token');
  });

  it('takes a function that injects, and calls it once', () => {
    const URL_OF_APP = new InjectionToken<string>('URL_OF_APP', { factory: () => url });
    const options = vi.fn(() => ({ url: inject(URL_OF_APP) }));
    setUp(options);
    TestBed.runInInjectionContext(() => [injectVoiceRoom(), injectRealtimeCall()]);
    expect(options).toHaveBeenCalledTimes(1);
  });

  it('hands on what the service says of a refusal', async () => {
    const { roomkey, http } = setUp();
    const failure = roomkey.livekitToken({ roomName: 'x' }).catch((error: RoomkeyError) => error);
    (await request(http, `${url}/api/token`)).flush(
      JSON.stringify({
        title: 'Too many requests.',
        code: 'rate_limited',
        requestId: 'id-1',
        retryable: true,
        remediation: 'Wait.',
      }),
      { status: 429, statusText: 'Too Many Requests', headers: { 'Retry-After': '7' } },
    );
    expect(await failure).toMatchObject({
      status: 429,
      code: 'rate_limited',
      requestId: 'id-1',
      remediation: 'Wait.',
      retryAfterMs: 7000,
    });
  });

  it('calls a service that is down unreachable', async () => {
    const { roomkey, http } = setUp();
    const failure = roomkey.livekitToken({ roomName: 'x' }).catch((error: RoomkeyError) => error);
    (await request(http, `${url}/api/token`)).error(new ProgressEvent('error'));
    expect(await failure).toMatchObject({ code: 'network', status: 0 });
  });

  it('cancels the request when nobody waits any more', async () => {
    const { roomkey, http } = setUp();
    const abort = new AbortController();
    const failure = roomkey
      .livekitToken({ roomName: 'x', signal: abort.signal })
      .catch((error: RoomkeyError) => error);
    const sent = await request(http, `${url}/api/token`);
    abort.abort();
    expect(await failure).toMatchObject({ code: 'aborted' });
    expect(sent.cancelled).toBe(true);
  });

  it('leaves other addresses to the fetch of the browser, and to no interceptor', async () => {
    setUp();
    const native = vi.spyOn(globalThis, 'fetch').mockResolvedValue(new Response('v=0'));
    const send = httpClientFetch(TestBed.inject(HttpTestingController) as never, `${url}/api/`);
    for (const other of ['https://api.openai.com/v1/realtime/calls', `${url}.evil.test/api/token`]) {
      await send(other, { method: 'POST', body: 'v=0' });
    }
    expect(native).toHaveBeenCalledTimes(2);
    expect(seen).toEqual([]);
    native.mockRestore();
  });

  it('says what is missing where nothing was provided', () => {
    TestBed.runInInjectionContext(() => {
      expect(() => injectVoiceRoom()).toThrow(/provideRoomkey\(\)/);
      expect(() => injectRealtimeCall()).toThrow(/provideRoomkey\(\)/);
    });
  });

  it('fetches and opens nothing on a server', async () => {
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(),
        provideHttpClientTesting(),
        provideRoomkey({ url }),
        { provide: PLATFORM_ID, useValue: 'server' },
      ],
    });
    const room = TestBed.runInInjectionContext(injectVoiceRoom);
    const call = TestBed.runInInjectionContext(injectRealtimeCall);
    await Promise.all([room.join({ roomName: 'x' }), call.connect()]);
    expect([room.status(), room.error()?.code]).toEqual(['failed', 'not_a_browser']);
    expect([call.status(), call.error()?.code]).toEqual(['failed', 'not_a_browser']);
    TestBed.inject(HttpTestingController).verify();
  });

  it('keeps the error of an interceptor out of what users see', async () => {
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(
          withInterceptors([
            () => {
              throw new HttpErrorResponse({ error: 'secret of the sign-in', status: 0 });
            },
          ]),
        ),
        provideRoomkey({ url, retry: { attempts: 1 } }),
      ],
    });
    const failure: unknown = await TestBed.inject(Roomkey)
      .livekitToken({ roomName: 'x' })
      .catch((error: unknown) => error);
    expect(JSON.stringify(failure)).not.toContain('secret');
    expect(String(failure)).not.toContain('secret');
  });
});
