import type { Signal } from '@angular/core';
import type { RoomkeyError } from '@roomkey/client';

/**
 * States of a call with an assistant.
 *
 * - `idle`: no call, or ended by `hangUp()`.
 * - `connecting`: a client secret is fetched, the microphone opened and the provider called.
 * - `connected`: the assistant hears the user.
 * - `interrupted`: the connection is disturbed and may return by itself.
 * - `ended`: the provider or the network ended the call.
 * - `failed`: `error()` says why; `connect()` tries again.
 */
export type RealtimeVoiceStatus = 
  | 'idle'
  | 'connecting'
  | 'connected'
  | 'interrupted'
  | 'ended'
  | 'failed';

/** Something that was said, as a template shows it. A new object is made at each change. */
export interface TranscriptEntry {
  /** Unique in the call; fit for `@for (… ; track entry.id)`. */
  readonly id: string;
  /** Who said it. */
  readonly speaker: 'user' | 'assistant';
  /** The text so far. */
  readonly text: string;
  /** Whether the text is complete. */
  readonly isFinal: boolean;
}

/** Fields of {@link RealtimeVoiceCall.connect}. */
export interface RealtimeVoiceConnect {
  /** Provider, where roomkey has more than one. */
  readonly provider?: 'azure-openai' | 'openai';
  /** Voice of the assistant, from the operator's list. */
  readonly voice?: string;
  /** Model, from the operator's list. */
  readonly model?: string;
  /** Room to which the call belongs; roomkey applies its rules for rooms to it. */
  readonly roomName?: string;
  /**
   * Project whose key pays for the call. A session of it is opened, and ended with the call. It
   * goes together with neither `roomName` nor a provider other than `openai`.
   */
  readonly projectId?: string;
  /** Instructions for the session of a project, where the operator lets callers choose them. */
  readonly instructions?: string;
  /** Microphone constraints, or an open stream or track of the app's own. */
  readonly microphone?: MediaTrackConstraints | MediaStream | MediaStreamTrack;
  /** Connects with the microphone off. Default: false. */
  readonly muted?: boolean;
}

/** A call with a voice assistant. Its members are signals, its methods may be called any time. */
export interface RealtimeVoiceCall {
  /** State of the call. */
  readonly status: Signal<RealtimeVoiceStatus>;
  /** What was said, oldest first. It stays after the end of the call, until the next one. */
  readonly transcript: Signal<readonly TranscriptEntry[]>;
  /**
   * Failure that ended the last attempt or the call, or that kept roomkey from ending its session:
   * the session then takes a slot of its project until it expires.
   */
  readonly error: Signal<RoomkeyError | undefined>;
  /** Whether the user's microphone is off. */
  readonly isMuted: Signal<boolean>;
  /** Whether the provider hears the user speak. */
  readonly isUserSpeaking: Signal<boolean>;
  /** Whether the assistant speaks. */
  readonly isAssistantSpeaking: Signal<boolean>;
  /** Whether the browser waits for a click before it plays sound; see {@link startAudio}. */
  readonly isAudioBlocked: Signal<boolean>;
  /**
   * Calls the assistant, and ends the call before. Resolves when connected. It never rejects: a
   * failure is in `error()`, and `status()` is `failed`.
   */
  connect(options?: RealtimeVoiceConnect): Promise<void>;
  /** Switches the microphone off. */
  mute(): void;
  /** Switches the microphone on. */
  unmute(): void;
  /** Sends a client event of the Realtime API. Without a call it does nothing. */
  send(event: { readonly type: string; readonly [member: string]: unknown }): void;
  /** Plays the assistant's voice after the browser refused to; call it in a click handler. */
  startAudio(): Promise<void>;
  /** Ends the call, closes the microphone, and ends the session of a project. */
  hangUp(): void;
}
