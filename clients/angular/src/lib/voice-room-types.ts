import type { Signal } from '@angular/core';
import type { RoomkeyError } from '@roomkey/client';

/**
 * States of a voice room.
 *
 * - `idle`: not joined, or left by `leave()`.
 * - `joining`: a token is fetched and the media server is contacted.
 * - `joined`: in the room.
 * - `reconnecting`: the connection was lost and is being restored; nothing needs to be done.
 * - `failed`: `error()` says why; `join()` tries again.
 */
export type VoiceRoomStatus = 'idle' | 'joining' | 'joined' | 'reconnecting' | 'failed';

/** A participant of the room, as a template shows it. A new object is made at each change. */
export interface VoiceParticipant {
  /** Unique in the room. */
  readonly identity: string;
  /** Name to show. */
  readonly name: string;
  /** Whether this is the user of this page. */
  readonly isLocal: boolean;
  /** Whether the participant is heard right now. */
  readonly isSpeaking: boolean;
  /** Loudness from 0 to 1. */
  readonly level: number;
  /** Whether the microphone is off; also true for participants that have none. */
  readonly isMuted: boolean;
  /** Whether the participant is allowed to speak. */
  readonly canSpeak: boolean;
  /** Quality of the participant's connection. */
  readonly quality: 'excellent' | 'good' | 'poor' | 'lost' | 'unknown';
}

/** Fields of {@link VoiceRoom.join}. */
export interface VoiceRoomJoin {
  /** Name of the room: 1 to 128 letters, digits, `-` or `_`. */
  readonly roomName: string;
  /** `speaker` (default) may speak; `listener` only hears. */
  readonly role?: 'speaker' | 'listener';
  /** Name that the others see. */
  readonly participantName?: string;
  /** Identity in the room; roomkey derives it from the sign-in or makes one up. */
  readonly participantIdentity?: string;
  /** Life of the token in seconds; it is needed to join and to rejoin, not during the call. */
  readonly expirationSeconds?: number;
  /** Joins with the microphone off. Default: false. */
  readonly muted?: boolean;
}

/** Life of the room's token. The token itself is not shown. */
export interface VoiceRoomToken {
  /** Room for which the token was issued. */
  readonly roomName: string;
  /** Identity for which the token was issued. */
  readonly participantIdentity: string;
  /** Returns the whole seconds until it expires, 0 when it has; a wrong clock changes nothing. */
  secondsRemaining(): number;
}

/** A room in which people talk. Its members are signals, its methods may be called at any time. */
export interface VoiceRoom {
  /** State of the room. */
  readonly status: Signal<VoiceRoomStatus>;
  /** Everybody in the room, the user of this page first, then in the order of joining. */
  readonly participants: Signal<readonly VoiceParticipant[]>;
  /** Failure that ended the last attempt, or that keeps the microphone off. */
  readonly error: Signal<RoomkeyError | undefined>;
  /** Whether the user is in the room and is allowed to speak. */
  readonly canSpeak: Signal<boolean>;
  /** Whether the user's microphone is off. */
  readonly isMuted: Signal<boolean>;
  /** Whether the browser waits for a click before it plays sound; see {@link startAudio}. */
  readonly isAudioBlocked: Signal<boolean>;
  /** Life of the token of the last join. */
  readonly token: Signal<VoiceRoomToken | undefined>;
  /** Number of tokens that were fetched after the first one, to rejoin. */
  readonly renewals: Signal<number>;
  /**
   * Joins a room, and leaves the one before. Resolves when joined. It never rejects: a failure is
   * in `error()`, and `status()` is `failed`.
   */
  join(options: VoiceRoomJoin): Promise<void>;
  /** Switches the microphone off; the track stays open, so that `unmute` takes effect at once. */
  mute(): Promise<void>;
  /** Switches the microphone on; opens it at the first call. */
  unmute(): Promise<void>;
  /** Plays the others' sound after the browser refused to; call it in a click handler. */
  startAudio(): Promise<void>;
  /** Leaves the room and closes the microphone. */
  leave(): Promise<void>;
}
