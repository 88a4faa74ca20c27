import { Component } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { provideHttpClient } from '@angular/common/http';
import { provideHttpClientTesting } from '@angular/common/http/testing';
import { Roomkey, RoomkeyError } from '@roomkey/client';
import type { LivekitToken } from '@roomkey/client';
import { injectVoiceRoom, provideRoomkey } from '../public-api';
import type { LivekitSdk } from './livekit-connection';
import { LivekitVoiceRoom } from './voice-room';
import { eventually } from '../../test-setup';

const SECRET = 'eyJ0.secret.token';
type Handler = (...values: never[]) => void;

/** A room of the fake SDK: the test calls its events. */
class FakeRoom {
  readonly handlers = new Map<string, Handler[]>();
  readonly remoteParticipants = new Map<string, unknown>();
  readonly published: FakeTrack[] = [];
  state = 'disconnected';
  canPlaybackAudio = true;
  localParticipant = {
    identity: 'alice',
    name: 'Alice',
    isSpeaking: false,
    connectionQuality: 'excellent',
    permissions: { canPublish: true, canPublishSources: [2] as number[] },
    getTrackPublication: () => {
      const track = this.published[0];
      return track && { isMuted: track.isMuted, track };
    },
    publishTrack: (track: FakeTrack) => {
      this.published.push(track);
      return Promise.resolve();
    },
  };

  constructor(private readonly sdk: FakeSdk) {}

  on(event: string, handler: Handler): this {
    this.handlers.set(event, [...(this.handlers.get(event) ?? []), handler]);
    return this;
  }
  off(): this {
    return this;
  }
  emit(event: string, ...values: unknown[]): void {
    for (const handler of this.handlers.get(event) ?? []) {
      (handler as (...values: unknown[]) => void)(...values);
    }
  }
  connect(_url: string, token: string): Promise<void> {
    this.sdk.connects.push(token);
    const failure = this.sdk.failures.shift();
    if (failure) {
      return Promise.reject(failure as Error);
    }
    this.state = 'connected';
    return Promise.resolve();
  }
  disconnect(): Promise<void> {
    this.state = 'disconnected';
    return Promise.resolve();
  }
  startAudio(): Promise<void> {
    return Promise.resolve();
  }
  removeAllListeners(): void {
    this.handlers.clear();
  }
}

class FakeTrack {
  readonly kind = 'audio';
  isMuted = false;
  isStopped = false;
  mute(): Promise<void> {
    this.isMuted = true;
    return Promise.resolve();
  }
  unmute(): Promise<void> {
    this.isMuted = false;
    return Promise.resolve();
  }
  stop(): void {
    this.isStopped = true;
  }
}

class FakeSdk {
  readonly rooms: FakeRoom[] = [];
  readonly tracks: FakeTrack[] = [];
  readonly connects: string[] = [];
  /** Failures of the next attempts to connect, and of the microphone. */
  readonly failures: unknown[] = [];
  microphoneFailure: unknown;
  /** What the browser's question about the microphone ends with. */
  microphone: Promise<FakeTrack> | undefined;

  readonly module = {
    Room: class {
      constructor() {
        return sdk.add();
      }
    },
    RoomEvent: new Proxy({}, { get: (_, name) => name }),
    ConnectionState: { Connected: 'connected', Disconnected: 'disconnected' },
    ConnectionQuality: { Unknown: 'unknown' },
    Track: { Source: { Microphone: 'microphone' }, Kind: { Audio: 'audio' } },
    DisconnectReason: {
      DUPLICATE_IDENTITY: 2,
      PARTICIPANT_REMOVED: 4,
      ROOM_DELETED: 5,
      ROOM_CLOSED: 10,
    },
    setLogLevel: () => undefined,
    createLocalAudioTrack: () => {
      if (this.microphone) {
        return this.microphone;
      }
      if (this.microphoneFailure) {
        return Promise.reject(this.microphoneFailure as Error);
      }
      const track = new FakeTrack();
      this.tracks.push(track);
      return Promise.resolve(track);
    },
  };

  add(): FakeRoom {
    const room = new FakeRoom(this);
    this.rooms.push(room);
    return room;
  }

  get last(): FakeRoom {
    return this.rooms.at(-1) as FakeRoom;
  }
}

let sdk: FakeSdk;
let secondsRemaining: number;
let tokens: { roomName: string; participantIdentity?: string }[];
let refusals: RoomkeyError[];

function makeRoom(isBrowser = true): LivekitVoiceRoom {
  const roomkey = {
    livekitToken: (request: { roomName: string; participantIdentity?: string }) => {
      const refusal = refusals.shift();
      if (refusal) {
        return Promise.reject(refusal);
      }
      tokens.push(request);
      return Promise.resolve({
        token: `${SECRET}-${tokens.length}`,
        serverUrl: 'wss://livekit.example.com',
        roomName: request.roomName,
        participantIdentity: request.participantIdentity ?? 'guest-1',
        secondsRemaining: () => secondsRemaining,
      } as unknown as LivekitToken);
    },
  } as unknown as Roomkey;
  const environment = { isBrowser, outsideAngular: <T>(work: () => T) => work() };
  return new LivekitVoiceRoom(roomkey, environment, {}, () =>
    Promise.resolve(sdk.module as unknown as LivekitSdk),
  );
}

const refusal = (code: string, status: number, retryable = false) =>
  new RoomkeyError({ code, status, title: 'No.', retryable });

beforeEach(() => {
  sdk = new FakeSdk();
  secondsRemaining = 600;
  tokens = [];
  refusals = [];
  // A wait between two attempts is no part of these tests.
  vi.spyOn(Math, 'random').mockReturnValue(0);
});
afterEach(() => vi.restoreAllMocks());

describe('a voice room', () => {
  it('joins, speaks, mutes without closing the microphone, and leaves', async () => {
    const room = makeRoom();
    expect(room.status()).toBe('idle');
    const joined = room.join({ roomName: 'standup-42' });
    expect(room.status()).toBe('joining');
    await joined;
    expect(room.status()).toBe('joined');
    expect([room.canSpeak(), room.isMuted()]).toEqual([true, false]);
    expect(room.participants()).toMatchObject([{ identity: 'alice', isLocal: true, isMuted: false }]);
    expect(room.token()).toMatchObject({ roomName: 'standup-42', participantIdentity: 'guest-1' });

    await room.mute();
    expect(room.participants()[0]?.isMuted).toBe(true);
    await room.unmute();
    expect(sdk.tracks.length).toBe(1);
    expect(sdk.tracks[0]?.isMuted).toBe(false);

    await room.leave();
    expect(sdk.tracks[0]?.isStopped).toBe(true);
    expect(sdk.last.state).toBe('disconnected');
    expect([room.status(), room.participants().length, room.token()]).toEqual(['idle', 0, undefined]);
  });

  it('sends nothing before the first press where it joins muted', async () => {
    const room = makeRoom();
    await room.join({ roomName: 'standup-42', muted: true });
    expect(sdk.last.published[0]?.isMuted).toBe(true);
  });

  it('follows fast presses to the last one', async () => {
    const room = makeRoom();
    await room.join({ roomName: 'standup-42', muted: true });
    await Promise.all([room.unmute(), room.mute(), room.unmute(), room.mute()]);
    expect([room.isMuted(), sdk.tracks[0]?.isMuted]).toEqual([true, true]);
  });

  it('opens no microphone for a listener', async () => {
    const room = makeRoom();
    const join = room.join({ roomName: 'standup-42', role: 'listener' });
    await join;
    sdk.last.localParticipant.permissions = { canPublish: false, canPublishSources: [] };
    sdk.last.emit('ParticipantPermissionsChanged');
    await room.unmute();
    expect(sdk.tracks).toEqual([]);
    expect(room.error()?.code).toBe('speaking_not_allowed');
  });

  it.each([
    ['unauthenticated', 401],
    ['room_forbidden', 403],
    ['rate_limited', 429],
    ['network', 0],
  ])('shows the refusal %s and does not reject', async (code, status) => {
    refusals = [refusal(code, status)];
    const room = makeRoom();
    await room.join({ roomName: 'standup-42' });
    expect([room.status(), room.error()?.code]).toEqual(['failed', code]);
    await room.join({ roomName: 'standup-42' });
    expect([room.status(), room.error()]).toEqual(['joined', undefined]);
  });

  it('never shows what livekit-client says, since that may contain the token', async () => {
    sdk.failures.push(Object.assign(new Error(`invalid token: ${SECRET}-1`), { status: 401 }));
    const room = makeRoom();
    await room.join({ roomName: 'standup-42' });
    expect(room.error()?.code).toBe('livekit_refused');
    const shown = [String(room.error()), JSON.stringify(room.error()), room.error()?.stack].join();
    expect(shown).not.toContain(SECRET);
    expect(JSON.stringify(room.token() ?? {})).not.toContain(SECRET);
  });

  it('rejoins with the token that it has, and with the microphone as it was', async () => {
    const room = makeRoom();
    await room.join({ roomName: 'standup-42', muted: true });
    sdk.last.emit('Disconnected', undefined);
    expect(room.status()).toBe('reconnecting');
    await eventually(() => expect(room.status()).toBe('joined'));
    expect(sdk.connects).toEqual([`${SECRET}-1`, `${SECRET}-1`]);
    expect([room.renewals(), room.isMuted(), sdk.tracks[1]?.isMuted]).toEqual([0, true, true]);
  });

  it('rejoins under the same identity with another token when the first has expired', async () => {
    const room = makeRoom();
    await room.join({ roomName: 'standup-42' });
    secondsRemaining = 0;
    sdk.last.emit('Disconnected', undefined);
    await eventually(() => expect(room.status()).toBe('joined'));
    expect(tokens.map((request) => request.participantIdentity)).toEqual([undefined, 'guest-1']);
    expect(room.renewals()).toBe(1);
  });

  it('fetches nothing while the media server is away, and another token when it refuses this one', async () => {
    const room = makeRoom();
    await room.join({ roomName: 'standup-42' });
    sdk.failures.push(new Error('unreachable'), new Error('unreachable'));
    sdk.last.emit('Disconnected', undefined);
    await eventually(() => expect(sdk.connects.length).toBe(4));
    await eventually(() => expect(room.status()).toBe('joined'));
    expect([tokens.length, room.renewals()]).toEqual([1, 0]);

    sdk.failures.push(Object.assign(new Error('unauthorized'), { status: 401 }));
    sdk.last.emit('Disconnected', undefined);
    await eventually(() => expect(sdk.connects.length).toBe(6));
    await eventually(() => expect(room.status()).toBe('joined'));
    expect([tokens.length, room.renewals()]).toEqual([2, 1]);
  });

  it('goes on trying while the network is away, and stops where trying is no use', async () => {
    const room = makeRoom();
    await room.join({ roomName: 'standup-42' });
    secondsRemaining = 0;
    refusals = [refusal('network', 0, true), refusal('network', 0, true), refusal('room_forbidden', 403)];
    sdk.last.emit('Disconnected', undefined);
    await eventually(() => expect(room.status()).toBe('failed'));
    expect(room.error()?.code).toBe('room_forbidden');
    expect(refusals).toEqual([]);
  });

  it.each([
    [2, 'joined_elsewhere'],
    [4, 'removed'],
    [5, 'room_closed'],
    [10, 'room_closed'],
  ])('does not rejoin after reason %s', async (reason, code) => {
    const room = makeRoom();
    await room.join({ roomName: 'standup-42' });
    sdk.last.emit('Disconnected', reason);
    expect([room.status(), room.error()?.code]).toEqual(['failed', code]);
    expect(sdk.tracks[0]?.isStopped).toBe(true);
    expect(sdk.connects.length).toBe(1);
  });

  it('shows a short interruption and its end', async () => {
    const room = makeRoom();
    await room.join({ roomName: 'standup-42' });
    sdk.last.emit('SignalReconnecting');
    expect(room.status()).toBe('reconnecting');
    sdk.last.emit('Reconnected');
    expect(room.status()).toBe('joined');
  });

  it('stays in the room without a microphone, and tries it again on request', async () => {
    sdk.microphoneFailure = new DOMException('', 'NotAllowedError');
    const room = makeRoom();
    await room.join({ roomName: 'standup-42' });
    expect([room.status(), room.error()?.code, room.isMuted()]).toEqual([
      'joined',
      'microphone_denied',
      true,
    ]);
    sdk.microphoneFailure = undefined;
    await room.unmute();
    expect([room.error(), room.isMuted()]).toEqual([undefined, false]);
  });

  it('does not wait for a question about the microphone that nobody answered', async () => {
    sdk.microphone = new Promise(() => undefined);
    const room = makeRoom();
    void room.join({ roomName: 'standup-42' });
    await eventually(() => expect(room.status()).toBe('joined'));
    sdk.microphone = undefined;
    await room.join({ roomName: 'standup-43' });
    expect(room.participants()[0]?.isMuted).toBe(false);
  });

  it('closes the microphone that is allowed after the user has left', async () => {
    const track = new FakeTrack();
    let allow = (_: FakeTrack): void => undefined;
    sdk.microphone = new Promise((resolve) => (allow = resolve));
    const room = makeRoom();
    const joined = room.join({ roomName: 'standup-42' });
    await eventually(() => expect(room.status()).toBe('joined'));
    await room.leave();
    allow(track);
    await joined;
    expect(track.isStopped).toBe(true);
  });

  it('is left by leave() also while it is joined', async () => {
    const room = makeRoom();
    const joined = room.join({ roomName: 'standup-42' });
    await room.leave();
    await joined;
    expect(room.status()).toBe('idle');
    expect(sdk.rooms.every(({ state }) => state === 'disconnected')).toBe(true);
    expect(sdk.tracks.every(({ isStopped }) => isStopped)).toBe(true);
  });

  it('asks for the browser to play sound where it does not', async () => {
    const room = makeRoom();
    await room.join({ roomName: 'standup-42' });
    sdk.last.canPlaybackAudio = false;
    sdk.last.emit('AudioPlaybackStatusChanged');
    expect(room.isAudioBlocked()).toBe(true);
  });

  it('is left when its component is destroyed', () => {
    TestBed.configureTestingModule({
      providers: [provideHttpClient(), provideHttpClientTesting(), provideRoomkey()],
    });
    @Component({ template: '{{ room.status() }}' })
    class Page {
      readonly room = injectVoiceRoom();
    }
    const fixture = TestBed.createComponent(Page);
    const leave = vi.spyOn(fixture.componentInstance.room, 'leave');
    fixture.destroy();
    expect(leave).toHaveBeenCalledTimes(1);
  });

  it('renders without zone.js and without a call of detectChanges', async () => {
    TestBed.configureTestingModule({
      providers: [provideHttpClient(), provideHttpClientTesting(), provideRoomkey()],
    });
    @Component({ template: '{{ room.status() }}: {{ room.participants().length }}' })
    class Page {
      readonly room = makeRoom();
    }
    const fixture = TestBed.createComponent(Page);
    await fixture.whenStable();
    expect(fixture.nativeElement.textContent).toBe('idle: 0');
    await fixture.componentInstance.room.join({ roomName: 'standup-42' });
    await fixture.whenStable();
    expect(fixture.nativeElement.textContent).toBe('joined: 1');
    expect('Zone' in globalThis).toBe(false);
  });
});
