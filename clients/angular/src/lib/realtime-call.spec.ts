import { RoomkeyError } from '@roomkey/client';
import type { RealtimeCall, Roomkey } from '@roomkey/client';
import { ProviderRealtimeCall } from './realtime-call';

type Handler = (value: unknown) => void;

class FakeEvents {
  readonly handlers: [string, Handler][] = [];
  on(event: string, handler: Handler): () => void {
    this.handlers.push([event, handler]);
    return () => undefined;
  }
  emit(event: string, value: unknown = {}): void {
    for (const [name, handler] of this.handlers) {
      if (name === event) {
        handler(value);
      }
    }
  }
}

class FakeCall extends FakeEvents {
  readonly sent: unknown[] = [];
  readonly events = Object.assign(new FakeEvents(), { send: (event: unknown) => this.sent.push(event) });
  isClosed = false;
  isMuted = false;
  close(): void {
    this.isClosed = true;
  }
  mute(): void {
    this.isMuted = true;
  }
  unmute(): void {
    this.isMuted = false;
  }
  startAudio(): Promise<void> {
    return Promise.resolve();
  }
}

let calls: FakeCall[];
let failure: unknown;
let signals: AbortSignal[];
let asked: object[];

function make(): ProviderRealtimeCall {
  const roomkey = {
    connectRealtime: ({ signal, ...options }: { signal: AbortSignal }) => {
      signals.push(signal);
      asked.push(options);
      if (failure) {
        return Promise.reject(failure as Error);
      }
      const call = new FakeCall();
      calls.push(call);
      return Promise.resolve(call as unknown as RealtimeCall);
    },
  } as unknown as Roomkey;
  return new ProviderRealtimeCall(roomkey, { isBrowser: true, outsideAngular: (work) => work() });
}

async function connected(): Promise<{ call: ProviderRealtimeCall; events: FakeEvents; fake: FakeCall }> {
  const call = make();
  await call.connect();
  const fake = calls[0] as FakeCall;
  return { call, fake, events: fake.events };
}

beforeEach(() => {
  calls = [];
  signals = [];
  asked = [];
  failure = undefined;
});

describe('a call with an assistant', () => {
  it('connects, mutes and hangs up', async () => {
    const { call, fake } = await connected();
    expect(call.status()).toBe('connected');
    call.mute();
    expect([call.isMuted(), fake.isMuted]).toEqual([true, true]);
    call.send({ type: 'response.create' });
    expect(fake.sent).toEqual([{ type: 'response.create' }]);
    call.hangUp();
    expect([call.status(), fake.isClosed, signals[0]?.aborted]).toEqual(['idle', true, true]);
    call.send({ type: 'response.create' });
    expect(fake.sent.length).toBe(1);
  });

  it('keeps what the user says before the answer, though its text comes later', async () => {
    const { call, events } = await connected();
    events.emit('input_audio_buffer.speech_started', { item_id: 'u1' });
    expect(call.isUserSpeaking()).toBe(true);
    events.emit('input_audio_buffer.speech_stopped');
    events.emit('output_audio_buffer.started');
    events.emit('response.output_audio_transcript.delta', { item_id: 'a1', delta: 'Good ' });
    events.emit('response.output_audio_transcript.delta', { item_id: 'a1', delta: 'morning' });
    expect(call.isAssistantSpeaking()).toBe(true);
    events.emit('conversation.item.input_audio_transcription.completed', {
      item_id: 'u1',
      transcript: 'Hello.',
    });
    events.emit('response.output_audio_transcript.done', { item_id: 'a1', transcript: 'Good morning.' });
    events.emit('output_audio_buffer.stopped');
    expect(call.transcript()).toEqual([
      { id: 'u1', speaker: 'user', text: 'Hello.', isFinal: true },
      { id: 'a1', speaker: 'assistant', text: 'Good morning.', isFinal: true },
    ]);
    expect([call.isUserSpeaking(), call.isAssistantSpeaking()]).toEqual([false, false]);
  });

  it('takes back what the provider could not understand', async () => {
    const { call, events } = await connected();
    events.emit('input_audio_buffer.speech_started', { item_id: 'u1' });
    events.emit('conversation.item.input_audio_transcription.failed', { item_id: 'u1' });
    expect(call.transcript()).toEqual([]);
  });

  it('says why a call could not be made, and does not reject', async () => {
    failure = new RoomkeyError({ code: 'rate_limited', title: 'Too many requests.', status: 429 });
    const call = make();
    await call.connect();
    expect([call.status(), call.error()?.code]).toEqual(['failed', 'rate_limited']);
  });

  it('ends with the call of the provider, keeps the transcript, and ignores what comes late', async () => {
    const { call, fake, events } = await connected();
    events.emit('response.output_text.delta', { item_id: 'a1', delta: 'I am' });
    events.emit('input_audio_buffer.speech_started', { item_id: 'u1' });
    fake.emit('error', new RoomkeyError({ code: 'connection_lost', title: 'The call has ended.' }));
    expect([call.status(), call.error()?.code, fake.isClosed]).toEqual(['ended', 'connection_lost', true]);
    events.emit('response.output_text.delta', { item_id: 'a1', delta: ' late' });
    expect(call.transcript()).toEqual([
      { id: 'a1', speaker: 'assistant', text: 'I am', isFinal: true },
    ]);
    await call.connect();
    expect([call.status(), call.transcript(), call.error()]).toEqual(['connected', [], undefined]);
  });

  it('shows a disturbed connection and its return', async () => {
    const { call, fake } = await connected();
    fake.emit('state', 'interrupted');
    expect(call.status()).toBe('interrupted');
    fake.emit('state', 'connected');
    expect(call.status()).toBe('connected');
  });

  it('closes a call that arrives after it was given up', async () => {
    const call = make();
    const connecting = call.connect();
    call.hangUp();
    await connecting;
    expect([call.status(), calls[0]?.isClosed]).toEqual(['idle', true]);
  });

  it('calls on the key of a project', async () => {
    const options = { projectId: 'customer-42', voice: 'cedar', instructions: 'Be brief.' };
    await make().connect(options);
    expect(asked).toEqual([options]);
  });

  it('says that the session could not be ended, until the next call', async () => {
    const { call, fake } = await connected();
    const failure = new RoomkeyError({ code: 'network', title: 'The service could not be reached.' });
    call.hangUp();
    fake.emit('endfailed', failure);
    expect([call.status(), call.error()?.code]).toEqual(['idle', 'network']);
    await call.connect();
    expect([call.status(), call.error()]).toEqual(['connected', undefined]);
    fake.emit('endfailed', failure);
    expect([call.status(), call.error()]).toEqual(['connected', undefined]);
  });

  it('keeps the reason of the end when the session cannot be ended either', async () => {
    const { call, fake } = await connected();
    fake.emit('error', new RoomkeyError({ code: 'connection_lost', title: 'The call has ended.' }));
    fake.emit('endfailed', new RoomkeyError({ code: 'network', title: 'Unreachable.' }));
    expect([call.status(), call.error()?.code]).toEqual(['ended', 'connection_lost']);
  });

  it('says that the session of a call that was given up could not be ended', async () => {
    const call = make();
    const connecting = call.connect();
    call.hangUp();
    await connecting;
    calls[0]?.emit('endfailed', new RoomkeyError({ code: 'network', title: 'Unreachable.' }));
    expect([call.status(), call.error()?.code]).toEqual(['idle', 'network']);
  });
});
