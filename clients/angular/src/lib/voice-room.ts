import { signal } from '@angular/core';
import { RoomkeyError } from '@roomkey/client';
import type { LivekitToken, Roomkey } from '@roomkey/client';
import type { DisconnectReason } from 'livekit-client';
import type { Environment } from './environment';
import { LivekitConnection } from './livekit-connection';
import type { LivekitOptions, LivekitSdk } from './livekit-connection';
import { voiceError } from './voice-error';
import type { VoiceErrorCode } from './voice-error';
import type {
  VoiceParticipant,
  VoiceRoom,
  VoiceRoomJoin,
  VoiceRoomStatus,
  VoiceRoomToken,
} from './voice-room-types';

/** Attempts to rejoin end this long after the connection was lost. */
const REJOIN_MS = 300_000;
/** Longest wait between two attempts to rejoin. */
const LONGEST_WAIT_MS = 15_000;
/** A token with less life than this is not used to rejoin. */
const SHORTEST_LIFE_SECONDS = 5;

/**
 * Implements {@link VoiceRoom} with `livekit-client`.
 *
 * The token is needed to join and to rejoin after the server has forgotten the participant; during
 * a call the media server renews the connection itself, so nothing is fetched in the background.
 */
export class LivekitVoiceRoom implements VoiceRoom {
  readonly #status = signal<VoiceRoomStatus>('idle');
  readonly #participants = signal<readonly VoiceParticipant[]>([]);
  readonly #error = signal<RoomkeyError | undefined>(undefined);
  readonly #canSpeak = signal(false);
  readonly #isMuted = signal(true);
  readonly #isAudioBlocked = signal(false);
  readonly #token = signal<VoiceRoomToken | undefined>(undefined);
  readonly #renewals = signal(0);

  readonly status = this.#status.asReadonly();
  readonly participants = this.#participants.asReadonly();
  readonly error = this.#error.asReadonly();
  readonly canSpeak = this.#canSpeak.asReadonly();
  readonly isMuted = this.#isMuted.asReadonly();
  readonly isAudioBlocked = this.#isAudioBlocked.asReadonly();
  readonly token = this.#token.asReadonly();
  readonly renewals = this.#renewals.asReadonly();

  /** The stay that began with the last `join()`; aborted when it ends. */
  #stay: AbortController | undefined;
  #connection: LivekitConnection | undefined;
  #issued: LivekitToken | undefined;
  /** Changes of the microphone run one after the other. */
  #microphone: Promise<void> = Promise.resolve();

  constructor(
    private readonly roomkey: Roomkey,
    private readonly environment: Environment,
    private readonly options: LivekitOptions,
    private readonly load: () => Promise<LivekitSdk> = () => import('livekit-client'),
  ) {}

  async join(options: VoiceRoomJoin): Promise<void> {
    const left = this.leave();
    if (!this.environment.isBrowser) {
      this.#fail(voiceError('not_a_browser'));
      return;
    }
    // Before the first wait: a `leave()` from now on ends this stay.
    const stay = new AbortController();
    this.#stay = stay;
    this.#status.set('joining');
    this.#renewals.set(0);
    this.#isMuted.set(options.role === 'listener' || (options.muted ?? false));
    await this.environment.outsideAngular(async () => {
      try {
        await left;
        await this.#enter(options, stay.signal);
      } catch (error) {
        if (!stay.signal.aborted) {
          this.#end(asRoomkeyError(error));
        }
      }
    });
  }

  mute(): Promise<void> {
    this.#isMuted.set(true);
    return this.#applyMicrophone();
  }

  unmute(): Promise<void> {
    if (!this.#canSpeak()) {
      if (this.#status() === 'joined') {
        this.#error.set(voiceError('speaking_not_allowed'));
      }
      return Promise.resolve();
    }
    this.#isMuted.set(false);
    return this.#applyMicrophone();
  }

  async startAudio(): Promise<void> {
    await this.#connection?.startAudio();
  }

  leave(): Promise<void> {
    this.#stay?.abort();
    this.#stay = undefined;
    this.#issued = undefined;
    this.#token.set(undefined);
    this.#error.set(undefined);
    this.#status.set('idle');
    return this.#disconnect();
  }

  /** Fetches a token and joins; throws a `RoomkeyError` where that fails. */
  async #enter(options: VoiceRoomJoin, stay: AbortSignal): Promise<void> {
    const loading = this.load().catch(() => {
      throw voiceError('livekit_missing');
    });
    // A failure of the token is reported first; then nobody waits for the other.
    loading.catch(() => undefined);
    const token = await this.#validToken(options, stay);
    const sdk = await loading;
    if (stay.aborted) {
      return;
    }
    const connection = new LivekitConnection(sdk, this.options, {
      participants: (participants) => this.#participants.set(participants),
      canSpeak: (canSpeak) => this.#canSpeak.set(canSpeak),
      isAudioBlocked: (isBlocked) => this.#isAudioBlocked.set(isBlocked),
      isReconnecting: (isReconnecting) =>
        this.#status.set(isReconnecting ? 'reconnecting' : 'joined'),
      disconnected: (reason) => void this.#lost(sdk, reason, options, stay),
    });
    try {
      await connection.connect(token.serverUrl, token.token);
    } catch (cause) {
      const error = connectError(cause);
      if (error.code === 'livekit_refused') {
        this.#issued = undefined;
      }
      throw error;
    }
    if (stay.aborted) {
      await connection.disconnect();
      return;
    }
    this.#connection = connection;
    this.#status.set('joined');
    if (options.role !== 'listener') {
      await this.#applyMicrophone();
    }
  }

  /** Returns the token of this stay while it is valid, else another one for the same participant. */
  async #validToken(options: VoiceRoomJoin, stay: AbortSignal): Promise<LivekitToken> {
    if (this.#issued && this.#issued.secondsRemaining() >= SHORTEST_LIFE_SECONDS) {
      return this.#issued;
    }
    const before = this.#token();
    const { roomName, role, participantName, expirationSeconds } = options;
    const participantIdentity = before?.participantIdentity ?? options.participantIdentity;
    const token = await this.roomkey.livekitToken({
      roomName,
      signal: stay,
      ...(role !== undefined && { role }),
      ...(participantName !== undefined && { participantName }),
      ...(participantIdentity !== undefined && { participantIdentity }),
      ...(expirationSeconds !== undefined && { expirationSeconds }),
    });
    if (stay.aborted) {
      throw voiceError('connection_lost');
    }
    this.#issued = token;
    this.#token.set({
      roomName: token.roomName,
      participantIdentity: token.participantIdentity,
      secondsRemaining: () => token.secondsRemaining(),
    });
    if (before) {
      this.#renewals.update((count) => count + 1);
    }
    return token;
  }

  /** Rejoins after the media server gave up, or says why that makes no sense. */
  async #lost(
    sdk: LivekitSdk,
    reason: DisconnectReason | undefined,
    options: VoiceRoomJoin,
    stay: AbortSignal,
  ): Promise<void> {
    if (stay.aborted) {
      return;
    }
    const final = finalCause(sdk, reason);
    if (final) {
      this.#end(voiceError(final));
      return;
    }
    this.#status.set('reconnecting');
    await this.#disconnect();
    const began = performance.now();
    for (let attempt = 0; !stay.aborted; attempt += 1) {
      // Full jitter: the participants of a restarted server do not come back all at once.
      const wait = Math.random() * Math.min(LONGEST_WAIT_MS, 500 * 2 ** attempt);
      await pause(wait, stay);
      if (stay.aborted) {
        return;
      }
      try {
        await this.#enter(options, stay);
        return;
      } catch (cause) {
        if (stay.aborted) {
          return;
        }
        const error = asRoomkeyError(cause);
        // The key of the server may have changed: one more try, with another token.
        const isRefusedOnce = error.code === 'livekit_refused' && attempt === 0;
        const isOver = performance.now() - began > REJOIN_MS;
        const isTooLong = (error.retryAfterMs ?? 0) > LONGEST_WAIT_MS;
        if (isOver || isTooLong || !(error.retryable || isRefusedOnce)) {
          this.#end(isOver ? voiceError('connection_lost') : error);
          return;
        }
        await pause(error.retryAfterMs ?? 0, stay);
      }
    }
  }

  /** Brings the microphone to the state that was asked for last. */
  #applyMicrophone(): Promise<void> {
    this.#microphone = this.#microphone.then(async () => {
      const connection = this.#connection;
      if (!connection || !this.#canSpeak()) {
        return;
      }
      try {
        await this.environment.outsideAngular(() => connection.setMicrophone(!this.#isMuted()));
        if (this.#connection === connection) {
          this.#error.set(undefined);
        }
      } catch (error) {
        if (this.#connection === connection) {
          this.#isMuted.set(true);
          this.#error.set(asRoomkeyError(error));
        }
      }
    });
    return this.#microphone;
  }

  #end(error: RoomkeyError): void {
    this.#stay?.abort();
    this.#stay = undefined;
    this.#issued = undefined;
    this.#token.set(undefined);
    void this.#disconnect();
    this.#fail(error);
  }

  #fail(error: RoomkeyError): void {
    this.#error.set(error);
    this.#status.set('failed');
  }

  async #disconnect(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    // The next connection does not wait for a question of the browser that nobody has answered.
    this.#microphone = Promise.resolve();
    this.#participants.set([]);
    this.#canSpeak.set(false);
    this.#isAudioBlocked.set(false);
    await connection?.disconnect();
  }
}

function asRoomkeyError(error: unknown): RoomkeyError {
  return error instanceof RoomkeyError ? error : voiceError('livekit_unreachable');
}

function connectError(error: unknown): RoomkeyError {
  const status = (error as { status?: unknown } | null)?.status;
  return status === 401 || status === 403
    ? voiceError('livekit_refused', status)
    : voiceError('livekit_unreachable');
}

/** Returns the code of a disconnection after which rejoining would be wrong. */
function finalCause(
  { DisconnectReason }: LivekitSdk,
  reason: DisconnectReason | undefined,
): VoiceErrorCode | undefined {
  switch (reason) {
    case DisconnectReason.DUPLICATE_IDENTITY:
      return 'joined_elsewhere';
    case DisconnectReason.PARTICIPANT_REMOVED:
      return 'removed';
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return 'room_closed';
    default:
      return undefined;
  }
}

/** Waits; ends early when the stay ends or the network comes back. */
function pause(milliseconds: number, stay: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      stay.removeEventListener('abort', end);
      window.removeEventListener('online', end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    stay.addEventListener('abort', end);
    window.addEventListener('online', end);
    if (stay.aborted) {
      end();
    }
  });
}
