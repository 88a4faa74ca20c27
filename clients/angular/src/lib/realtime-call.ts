import { signal } from '@angular/core';
import { RoomkeyError } from '@roomkey/client';
import type { RealtimeCall, Roomkey } from '@roomkey/client';
import type { Environment } from './environment';
import type {
  RealtimeVoiceCall,
  RealtimeVoiceConnect,
  RealtimeVoiceStatus,
  TranscriptEntry,
} from './realtime-call-types';
import { voiceError } from './voice-error';

/** Implements {@link RealtimeVoiceCall} with `Roomkey.connectRealtime()`. */
export class ProviderRealtimeCall implements RealtimeVoiceCall {
  readonly #status = signal<RealtimeVoiceStatus>('idle');
  readonly #transcript = signal<readonly TranscriptEntry[]>([]);
  readonly #error = signal<RoomkeyError | undefined>(undefined);
  readonly #isMuted = signal(false);
  readonly #isUserSpeaking = signal(false);
  readonly #isAssistantSpeaking = signal(false);
  readonly #isAudioBlocked = signal(false);

  readonly status = this.#status.asReadonly();
  readonly transcript = this.#transcript.asReadonly();
  readonly error = this.#error.asReadonly();
  readonly isMuted = this.#isMuted.asReadonly();
  readonly isUserSpeaking = this.#isUserSpeaking.asReadonly();
  readonly isAssistantSpeaking = this.#isAssistantSpeaking.asReadonly();
  readonly isAudioBlocked = this.#isAudioBlocked.asReadonly();

  /** The attempt or call that `connect()` began; aborted when it ends. */
  #current: AbortController | undefined;
  #call: RealtimeCall | undefined;

  constructor(
    private readonly roomkey: Roomkey,
    private readonly environment: Environment,
  ) {}

  async connect(options: RealtimeVoiceConnect = {}): Promise<void> {
    this.hangUp();
    if (!this.environment.isBrowser) {
      this.#end('failed', voiceError('not_a_browser'));
      return;
    }
    const current = new AbortController();
    this.#current = current;
    this.#transcript.set([]);
    this.#isMuted.set(options.muted ?? false);
    this.#status.set('connecting');
    await this.environment.outsideAngular(async () => {
      try {
        const call = await this.roomkey.connectRealtime({ ...options, signal: current.signal });
        call.on('endfailed', (error) => {
          // It comes after the end: a call that was begun since, and the reason of the end, go first.
          if (!this.#current && !this.#error()) {
            this.#error.set(error);
          }
        });
        if (current.signal.aborted) {
          call.close();
          return;
        }
        this.#call = call;
        this.#follow(call);
        this.#applyMute();
        this.#status.set('connected');
      } catch (error) {
        if (!current.signal.aborted) {
          this.#end(
            'failed',
            error instanceof RoomkeyError ? error : voiceError('connection_lost'),
          );
        }
      }
    });
  }

  mute(): void {
    this.#isMuted.set(true);
    this.#applyMute();
  }

  unmute(): void {
    this.#isMuted.set(false);
    this.#applyMute();
  }

  send(event: { readonly type: string; readonly [member: string]: unknown }): void {
    if (this.#status() === 'connected') {
      this.#call?.events.send(event);
    }
  }

  async startAudio(): Promise<void> {
    await this.#call?.startAudio();
    this.#isAudioBlocked.set(false);
  }

  hangUp(): void {
    this.#end('idle', undefined);
  }

  #applyMute(): void {
    if (this.#isMuted()) {
      this.#call?.mute();
    } else {
      this.#call?.unmute();
    }
  }

  #end(status: RealtimeVoiceStatus, error: RoomkeyError | undefined): void {
    const call = this.#call;
    this.#call = undefined;
    this.#current?.abort();
    this.#current = undefined;
    call?.close();
    this.#isUserSpeaking.set(false);
    this.#isAssistantSpeaking.set(false);
    this.#isAudioBlocked.set(false);
    // Nothing more will be written; the places that were kept stay empty.
    this.#transcript.update((entries) =>
      entries
        .filter((entry) => entry.text !== '')
        .map((entry) => (entry.isFinal ? entry : { ...entry, isFinal: true })),
    );
    this.#error.set(error);
    this.#status.set(status);
  }

  #follow(call: RealtimeCall): void {
    const { events } = call;
    // Events that are still in the channel when the call ends belong to nobody.
    const during =
      <Event>(handle: (event: Event) => void) =>
      (event: Event): void => {
        if (this.#call === call) {
          handle(event);
        }
      };
    call.on('error', during((error: RoomkeyError) => this.#end('ended', error)));
    call.on('audioblocked', during(() => this.#isAudioBlocked.set(true)));
    call.on(
      'state',
      during((state) => {
        if (state !== 'closed') {
          this.#status.set(state === 'interrupted' ? 'interrupted' : 'connected');
        }
      }),
    );
    events.on(
      'input_audio_buffer.speech_started',
      during(({ item_id }) => {
        this.#isUserSpeaking.set(true);
        // Its text may arrive after the answer has begun: the place is kept.
        this.#write(item_id, 'user', '', false);
      }),
    );
    events.on(
      'input_audio_buffer.speech_stopped',
      during(() => this.#isUserSpeaking.set(false)),
    );
    events.on(
      'conversation.item.input_audio_transcription.delta',
      during(({ item_id, delta }) => this.#append(item_id, 'user', delta)),
    );
    events.on(
      'conversation.item.input_audio_transcription.completed',
      during(({ item_id, transcript }) => this.#write(item_id, 'user', transcript, true)),
    );
    events.on(
      'conversation.item.input_audio_transcription.failed',
      during(({ item_id }) => this.#remove(String(item_id))),
    );
    for (const part of ['output_audio_transcript', 'output_text'] as const) {
      events.on(
        `response.${part}.delta`,
        during(({ item_id, delta }) => this.#append(item_id, 'assistant', delta)),
      );
    }
    events.on(
      'response.output_audio_transcript.done',
      during(({ item_id, transcript }) => this.#write(item_id, 'assistant', transcript, true)),
    );
    events.on(
      'response.output_text.done',
      during(({ item_id, text }) => this.#write(item_id, 'assistant', text, true)),
    );
    events.on(
      'output_audio_buffer.started',
      during(() => this.#isAssistantSpeaking.set(true)),
    );
    for (const type of ['output_audio_buffer.stopped', 'output_audio_buffer.cleared'] as const) {
      events.on(
        type,
        during(() => this.#isAssistantSpeaking.set(false)),
      );
    }
  }

  #append(id: string, speaker: TranscriptEntry['speaker'], delta: string): void {
    const before = this.#transcript().find((entry) => entry.id === id);
    this.#write(id, speaker, (before?.text ?? '') + delta, false);
  }

  #write(id: string, speaker: TranscriptEntry['speaker'], text: string, isFinal: boolean): void {
    const written: TranscriptEntry = { id, speaker, text, isFinal };
    this.#transcript.update((entries) =>
      entries.some((entry) => entry.id === id)
        ? entries.map((entry) => (entry.id === id ? written : entry))
        : [...entries, written],
    );
  }

  #remove(id: string): void {
    this.#transcript.update((entries) => entries.filter((entry) => entry.id !== id));
  }
}
