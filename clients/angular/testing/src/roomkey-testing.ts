import {
  DestroyRef,
  EnvironmentProviders,
  Injectable,
  inject,
  makeEnvironmentProviders,
  signal,
} from '@angular/core';
import type { WritableSignal } from '@angular/core';
import { REALTIME_CALL_FACTORY, VOICE_ROOM_FACTORY } from '@roomkey/angular';
import type {
  RealtimeVoiceCall,
  RealtimeVoiceConnect,
  RealtimeVoiceStatus,
  TranscriptEntry,
  VoiceParticipant,
  VoiceRoom,
  VoiceRoomJoin,
  VoiceRoomStatus,
  VoiceRoomToken,
} from '@roomkey/angular';
import type { RoomkeyError } from '@roomkey/client';

/** A voice room without a server: its signals are writable, and it counts what the app asks for. */
export class TestVoiceRoom implements VoiceRoom {
  readonly status: WritableSignal<VoiceRoomStatus> = signal<VoiceRoomStatus>('idle');
  readonly participants: WritableSignal<readonly VoiceParticipant[]> = signal<
    readonly VoiceParticipant[]
  >([]);
  readonly error: WritableSignal<RoomkeyError | undefined> = signal<RoomkeyError | undefined>(
    undefined,
  );
  readonly canSpeak: WritableSignal<boolean> = signal(false);
  readonly isMuted: WritableSignal<boolean> = signal(true);
  readonly isAudioBlocked: WritableSignal<boolean> = signal(false);
  readonly token: WritableSignal<VoiceRoomToken | undefined> = signal<VoiceRoomToken | undefined>(
    undefined,
  );
  readonly renewals: WritableSignal<number> = signal(0);

  /** What `join()` was called with, oldest first. */
  readonly joins: VoiceRoomJoin[] = [];
  /** Failure of each further `join()`; undefined: it succeeds. */
  joinError: RoomkeyError | undefined;

  join(options: VoiceRoomJoin): Promise<void> {
    this.joins.push(options);
    this.error.set(this.joinError);
    if (this.joinError) {
      this.status.set('failed');
      return Promise.resolve();
    }
    const canSpeak = options.role !== 'listener';
    const identity = options.participantIdentity ?? 'guest-test';
    this.canSpeak.set(canSpeak);
    this.isMuted.set(!canSpeak || (options.muted ?? false));
    this.token.set({
      roomName: options.roomName,
      participantIdentity: identity,
      secondsRemaining: () => options.expirationSeconds ?? 3600,
    });
    this.participants.set([
      {
        identity,
        name: options.participantName ?? identity,
        isLocal: true,
        isSpeaking: false,
        level: 0,
        isMuted: this.isMuted(),
        canSpeak,
        quality: 'excellent',
      },
    ]);
    this.status.set('joined');
    return Promise.resolve();
  }

  mute(): Promise<void> {
    this.#setMuted(true);
    return Promise.resolve();
  }

  unmute(): Promise<void> {
    if (this.canSpeak()) {
      this.#setMuted(false);
    }
    return Promise.resolve();
  }

  startAudio(): Promise<void> {
    this.isAudioBlocked.set(false);
    return Promise.resolve();
  }

  leave(): Promise<void> {
    this.status.set('idle');
    this.participants.set([]);
    this.canSpeak.set(false);
    this.isMuted.set(true);
    this.token.set(undefined);
    this.error.set(undefined);
    return Promise.resolve();
  }

  #setMuted(isMuted: boolean): void {
    this.isMuted.set(isMuted);
    this.participants.update((everybody) =>
      everybody.map((one) => (one.isLocal ? { ...one, isMuted } : one)),
    );
  }
}

/** A call without a provider: its signals are writable, and it keeps what the app sends. */
export class TestRealtimeCall implements RealtimeVoiceCall {
  readonly status: WritableSignal<RealtimeVoiceStatus> = signal<RealtimeVoiceStatus>('idle');
  readonly transcript: WritableSignal<readonly TranscriptEntry[]> = signal<
    readonly TranscriptEntry[]
  >([]);
  readonly error: WritableSignal<RoomkeyError | undefined> = signal<RoomkeyError | undefined>(
    undefined,
  );
  readonly isMuted: WritableSignal<boolean> = signal(false);
  readonly isUserSpeaking: WritableSignal<boolean> = signal(false);
  readonly isAssistantSpeaking: WritableSignal<boolean> = signal(false);
  readonly isAudioBlocked: WritableSignal<boolean> = signal(false);

  /** What `connect()` was called with, oldest first. */
  readonly connects: RealtimeVoiceConnect[] = [];
  /** Events that were sent, oldest first. */
  readonly sent: { readonly type: string }[] = [];
  /** Failure of each further `connect()`; undefined: it succeeds. */
  connectError: RoomkeyError | undefined;

  connect(options: RealtimeVoiceConnect = {}): Promise<void> {
    this.connects.push(options);
    this.error.set(this.connectError);
    this.transcript.set([]);
    this.status.set(this.connectError ? 'failed' : 'connected');
    this.isMuted.set(options.muted ?? false);
    return Promise.resolve();
  }

  mute(): void {
    this.isMuted.set(true);
  }

  unmute(): void {
    this.isMuted.set(false);
  }

  startAudio(): Promise<void> {
    this.isAudioBlocked.set(false);
    return Promise.resolve();
  }

  send(event: { readonly type: string }): void {
    if (this.status() === 'connected') {
      this.sent.push(event);
    }
  }

  hangUp(): void {
    this.status.set('idle');
    this.error.set(undefined);
    this.isUserSpeaking.set(false);
    this.isAssistantSpeaking.set(false);
  }
}

/**
 * Hands a test the rooms and calls that components have made.
 *
 * ```ts
 * TestBed.configureTestingModule({ providers: [provideRoomkeyTesting()] });
 * const fixture = TestBed.createComponent(RoomPage);
 * const room = TestBed.inject(RoomkeyTesting).room();
 * ```
 */
@Injectable()
export class RoomkeyTesting {
  /** All rooms, oldest first. */
  readonly rooms: TestVoiceRoom[] = [];
  /** All calls, oldest first. */
  readonly calls: TestRealtimeCall[] = [];

  /** Returns the room that was made last; throws where there is none. */
  room(): TestVoiceRoom {
    const room = this.rooms.at(-1);
    if (!room) {
      throw new Error('No component has called injectVoiceRoom() yet.');
    }
    return room;
  }

  /** Returns the call that was made last; throws where there is none. */
  call(): TestRealtimeCall {
    const call = this.calls.at(-1);
    if (!call) {
      throw new Error('No component has called injectRealtimeCall() yet.');
    }
    return call;
  }
}

/** Provides stand-ins that need no server, no microphone and no browser, and {@link RoomkeyTesting}. */
export function provideRoomkeyTesting(): EnvironmentProviders {
  return makeEnvironmentProviders([
    RoomkeyTesting,
    {
      provide: VOICE_ROOM_FACTORY,
      useFactory: () => {
        const testing = inject(RoomkeyTesting);
        return () => {
          const room = new TestVoiceRoom();
          testing.rooms.push(room);
          inject(DestroyRef).onDestroy(() => void room.leave());
          return room;
        };
      },
    },
    {
      provide: REALTIME_CALL_FACTORY,
      useFactory: () => {
        const testing = inject(RoomkeyTesting);
        return () => {
          const call = new TestRealtimeCall();
          testing.calls.push(call);
          inject(DestroyRef).onDestroy(() => call.hangUp());
          return call;
        };
      },
    },
  ]);
}
