import { Emitter } from './emitter.js';
import { RoomkeyError } from './error.js';

/** An event that the provider sends. The members beside these two are the provider's. */
export interface RealtimeServerEvent {
  readonly type: string;
  readonly event_id?: string;
  readonly [member: string]: unknown;
}

/**
 * An event for the provider, as its documentation lists them: `response.create`, `session.update`
 * and so on.
 */
export interface RealtimeClientEvent {
  readonly type: string;
  readonly event_id?: string;
  readonly [member: string]: unknown;
}

/** What events about one item of the conversation have in common. */
interface OfItem extends RealtimeServerEvent {
  readonly item_id: string;
}

/** What events about one part of a response have in common. */
interface OfResponse extends OfItem {
  readonly response_id: string;
  readonly content_index: number;
}

/**
 * The events that most apps use, with the members that they read. Every other type arrives as it
 * is.
 */
export interface RealtimeEventMap {
  /** Every event. */
  event: RealtimeServerEvent;
  error: RealtimeServerEvent & {
    readonly error: {
      readonly type: string;
      readonly code?: string | null;
      readonly message: string;
    };
  };
  'session.created': RealtimeServerEvent & {
    readonly session: { readonly [member: string]: unknown };
  };
  'session.updated': RealtimeServerEvent & {
    readonly session: { readonly [member: string]: unknown };
  };
  'input_audio_buffer.speech_started': OfItem & { readonly audio_start_ms: number };
  'input_audio_buffer.speech_stopped': OfItem & { readonly audio_end_ms: number };
  'conversation.item.input_audio_transcription.delta': OfItem & { readonly delta: string };
  'conversation.item.input_audio_transcription.completed': OfItem & { readonly transcript: string };
  'response.created': RealtimeServerEvent & {
    readonly response: { readonly [member: string]: unknown };
  };
  'response.done': RealtimeServerEvent & {
    readonly response: { readonly status?: string; readonly [member: string]: unknown };
  };
  'response.output_audio_transcript.delta': OfResponse & { readonly delta: string };
  'response.output_audio_transcript.done': OfResponse & { readonly transcript: string };
  'response.output_text.delta': OfResponse & { readonly delta: string };
  'response.output_text.done': OfResponse & { readonly text: string };
  'response.function_call_arguments.done': OfItem & {
    readonly call_id: string;
    readonly name?: string;
    readonly arguments: string;
  };
  'output_audio_buffer.started': RealtimeServerEvent & { readonly response_id: string };
  'output_audio_buffer.stopped': RealtimeServerEvent & { readonly response_id: string };
  'output_audio_buffer.cleared': RealtimeServerEvent & { readonly response_id: string };
}

/** So many events are kept for the first handler. */
const mostKept = 100;

/** The events of a call, over its data channel. */
export class RealtimeEvents {
  readonly #emitter = new Emitter<Record<string, RealtimeServerEvent>>();
  readonly #channel: RTCDataChannel;
  /** What came before anybody listened; `undefined` once somebody did. */
  #kept: RealtimeServerEvent[] | undefined = [];

  /** @internal */
  constructor(channel: RTCDataChannel) {
    this.#channel = channel;
    channel.addEventListener('message', ({ data }) => {
      const event = parse(data);
      if (!event) return;
      if (!this.#kept) this.#deliver(event);
      else if (this.#kept.length < mostKept) this.#kept.push(event);
    });
  }

  /**
   * Adds a handler for events of a type, or for every `event`, and returns the function that
   * removes it.
   *
   * Events that came before the first handler was added are delivered to it and to those that are
   * added in the same turn of the event loop.
   */
  on<Type extends keyof RealtimeEventMap>(
    type: Type,
    handler: (event: RealtimeEventMap[Type]) => void,
  ): () => void;
  on(type: string & {}, handler: (event: RealtimeServerEvent) => void): () => void;
  on(type: string, handler: (event: never) => void): () => void {
    if (this.#kept) {
      setTimeout(() => {
        const kept = this.#kept ?? [];
        this.#kept = undefined;
        for (const event of kept) this.#deliver(event);
      });
    }
    return this.#emitter.on(type, handler as (event: RealtimeServerEvent) => void);
  }

  /**
   * Sends an event to the provider. Throws a {@link RoomkeyError} with the code `closed` when the
   * call is over.
   */
  send(event: RealtimeClientEvent): void {
    if (this.#channel.readyState !== 'open') {
      throw new RoomkeyError({ code: 'closed', title: 'The call is over.' });
    }
    this.#channel.send(JSON.stringify(event));
  }

  #deliver(event: RealtimeServerEvent): void {
    this.#emitter.emit('event', event);
    if (event.type !== 'event') this.#emitter.emit(event.type, event);
  }
}

function parse(data: unknown): RealtimeServerEvent | undefined {
  try {
    const event = JSON.parse(String(data)) as RealtimeServerEvent | null;
    return typeof event?.type === 'string' ? event : undefined;
  } catch {
    return undefined;
  }
}
