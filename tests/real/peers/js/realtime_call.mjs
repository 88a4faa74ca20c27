// The answering side of a Realtime call over WebRTC, as both vendors document it, with a parrot in the model's place: it
// says what it heard, packet by packet, after the speaker has paused.
//
// The offer has one audio track and the data channel `oai-events`. The events are those of the vendors' documentation of
// November 2026, in its order: speech_started, speech_stopped, committed, the item and its transcript, the response with
// its item, its transcript and its end, and the output buffer's start and stop. Speech is told from silence by the audio
// level that a browser puts into each packet (RFC 6464). OpenAI's own SDK for browsers is run
// against it (clients/web/e2e). Everything stays on the loopback interface.

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters, RtpHeader, RtpPacket, useAudioLevelIndication, useSdesMid,
} from 'werift';

/** Speech is louder than this, in dBov, and louder than the room by so many dB. */
const leastSpeech = -55;
const overRoom = 10;
/** How fast the room is thought to become louder, in dB a packet: speech must not pass for it. */
const roomRise = 0.02;
const packetMs = 20;
const samplesPerPacket = 960;
/** Speech is cut off here, and so much is said again at most. */
const longestMs = 10_000;

/** The events that Azure lets through with `webrtcfilter=on`. */
const filtered = new Set([
  'input_audio_buffer.speech_started', 'input_audio_buffer.speech_stopped', 'output_audio_buffer.started', 'output_audio_buffer.stopped',
  'output_audio_buffer.cleared', 'conversation.item.added', 'conversation.item.created', 'conversation.item.input_audio_transcription.completed',
  'response.output_text.delta', 'response.output_text.done', 'response.output_audio_transcript.delta', 'response.output_audio_transcript.done',
]);

const id = (prefix) => `${prefix}_${randomBytes(10).toString('hex')}`;

/** One call. */
export class RealtimeCall {
  id = id('rtc');
  /** Types of the events that the client sent. */
  received = [];
  #peer;
  #channel;
  #session;
  #isFiltered;
  #track = new MediaStreamTrack({ kind: 'audio' });
  /** Packets since the last silence, and those that a response is for. */
  #heard = [];
  #committed = [];
  #items = new Map();
  #isSpeech = false;
  #quietMs = 0;
  #room = leastSpeech;
  #heardMs = 0;
  #response;
  #sequence = 0;
  #timestamp = 0;
  #answers = 0;
  #ended;
  #watch;
  /** When anything came of the browser: its sound, which is sent muted too. */
  #heardAt = performance.now() + 30_000;

  /** `ended` is called once, when the call is over. */
  constructor(session, isFiltered, ended) {
    this.#session = session;
    this.#isFiltered = isFiltered;
    this.#ended = ended;
    this.#peer = new RTCPeerConnection({
      codecs: { audio: [new RTCRtpCodecParameters({ mimeType: 'audio/opus', clockRate: 48_000, channels: 2, payloadType: 111 })], video: [] },
      headerExtensions: { audio: [useSdesMid(), useAudioLevelIndication()], video: [] },
      iceServers: [],
      iceUseIpv6: false,
      iceInterfaceAddresses: { udp4: '127.0.0.1' },
      iceAdditionalHostAddresses: ['127.0.0.1'],
    });
    this.#peer.onDataChannel.subscribe((channel) => this.#open(channel));
    this.#peer.onTrack.subscribe((track) => track.onReceiveRtp.subscribe((packet, extensions) => this.#hear(packet, extensions)));
    this.#peer.connectionStateChange.subscribe((state) => {
      if (['closed', 'failed', 'disconnected'].includes(state)) this.#end();
    });
    // A browser that has closed the call says so below, or is not heard any more.
    this.#watch = setInterval(() => {
      if (performance.now() - this.#heardAt > 10_000 || this.#peer.dtlsTransports.some(({ state }) => state === 'closed')) this.close();
    }, 500);
  }

  get state() {
    return this.#ended ? this.#peer.connectionState : 'closed';
  }

  /** Takes the offer and returns the answer. */
  async answer(offer) {
    await this.#peer.setRemoteDescription({ type: 'offer', sdp: offer });
    const [transceiver] = this.#peer.getTransceivers();
    if (transceiver) {
      await transceiver.sender.replaceTrack(this.#track);
      transceiver.setDirection('sendrecv');
    }
    await this.#peer.setLocalDescription(await this.#peer.createAnswer());
    return this.#peer.localDescription.sdp;
  }

  /** Ends the call, as a hang-up does: the data channel first, which the browser notices at once. */
  async close() {
    if (!this.#ended) return;
    this.#end();
    // A browser puts off the reset of a stream of which something is still on its way, and the stack asks again only after seconds.
    await holds(() => this.#channel?.sctp.sctp.sentQueue.length === 0);
    this.#channel?.close();
    await holds(() => this.#channel?.readyState === 'closed');
    await this.#peer.close();
  }

  /** Goes silent without a word: nothing that arrives is answered any more. */
  vanish() {
    this.#end();
    for (const transport of this.#peer.iceTransports) transport.connection.protocols.forEach(({ transport }) => transport?.close());
  }

  #end() {
    const ended = this.#ended;
    if (!ended) return;
    this.#ended = undefined;
    clearInterval(this.#watch);
    this.#stop('cancelled');
    ended();
  }

  #open(channel) {
    this.#channel = channel;
    channel.onMessage.subscribe((data) => this.#take(data.toString()));
    const created = () => this.#say('session.created', { session: this.#session });
    if (channel.readyState === 'open') created();
    else channel.stateChanged.subscribe((state) => state === 'open' && created());
  }

  #say(type, members = {}) {
    if (this.#isFiltered && !filtered.has(type)) return;
    if (this.#channel?.readyState !== 'open') return;
    this.#channel.send(JSON.stringify({ type, event_id: id('event'), ...members }));
  }

  #take(text) {
    let event;
    try {
      event = JSON.parse(text);
    } catch {
      return this.#refuse('invalid_json', 'The event is not JSON.');
    }
    this.received.push(event.type);
    const take = {
      'session.update': () => {
        this.#session = merged(this.#session, event.session ?? {});
        this.#say('session.updated', { session: this.#session });
      },
      'input_audio_buffer.clear': () => {
        this.#heard = [];
        this.#say('input_audio_buffer.cleared');
      },
      'input_audio_buffer.commit': () => {
        if (this.#heard.length < 5) return this.#refuse('input_audio_buffer_commit_empty', 'The buffer has less than 100 ms of audio.', event);
        this.#commit(id('item'));
      },
      'response.create': () => {
        if (this.#response) return this.#refuse('conversation_already_has_active_response', 'There is an active response.', event);
        this.#respond();
      },
      'response.cancel': () => {
        if (!this.#response) return this.#refuse('response_cancel_not_active', 'There is no active response.', event);
        this.#stop('cancelled');
      },
      'output_audio_buffer.clear': () => {
        const response_id = this.#response?.id;
        this.#stop('cancelled');
        this.#say('output_audio_buffer.cleared', { response_id });
      },
      'conversation.item.create': () => this.#add({ id: id('item'), object: 'realtime.item', status: 'completed', ...event.item }),
      'conversation.item.retrieve': () => {
        const item = this.#items.get(event.item_id);
        if (item) this.#say('conversation.item.retrieved', { item });
        else this.#refuse('item_not_found', 'There is no such item.', event);
      },
      'conversation.item.delete': () => {
        if (this.#items.delete(event.item_id)) this.#say('conversation.item.deleted', { item_id: event.item_id });
        else this.#refuse('item_not_found', 'There is no such item.', event);
      },
    }[event.type];
    if (take) take();
    else this.#refuse('unknown_event', 'The type of the event is not known.', event);
  }

  /** Adds an item that is complete. */
  #add(item) {
    this.#items.set(item.id, item);
    this.#say('conversation.item.added', { previous_item_id: null, item });
    this.#say('conversation.item.done', { previous_item_id: null, item });
  }

  #refuse(code, message, event) {
    this.#say('error', { error: { type: 'invalid_request_error', code, message, param: null, event_id: event?.event_id ?? null } });
  }

  get #detection() {
    const detection = this.#session.audio?.input?.turn_detection;
    return detection === undefined ? { type: 'server_vad' } : detection;
  }

  #hear({ payload }, extensions = {}) {
    this.#heardAt = Math.max(this.#heardAt, performance.now());
    const loudness = -(extensions['urn:ietf:params:rtp-hdrext:ssrc-audio-level']?.level ?? 127);
    this.#room = Math.min(loudness, this.#room + roomRise);
    const isLoud = loudness > Math.max(leastSpeech, this.#room + overRoom);
    this.#heardMs += packetMs;
    const detection = this.#detection;
    if (!detection) {
      this.#heard.push(payload);
    } else if (isLoud) {
      if (!this.#isSpeech) this.#startSpeech(detection);
      this.#quietMs = 0;
      this.#heard.push(payload);
      if (this.#heard.length * packetMs >= longestMs) this.#stopSpeech(detection);
    } else if (this.#isSpeech) {
      this.#quietMs += packetMs;
      this.#heard.push(payload);
      if (this.#quietMs >= (detection.silence_duration_ms ?? 500)) this.#stopSpeech(detection);
    }
    if (this.#heard.length * packetMs > longestMs) this.#heard.shift();
  }

  #startSpeech({ interrupt_response = true }) {
    this.#isSpeech = true;
    this.#heard = [];
    this.item = id('item');
    this.#say('input_audio_buffer.speech_started', { audio_start_ms: this.#heardMs, item_id: this.item });
    if (interrupt_response && this.#response) {
      const response_id = this.#response.id;
      this.#stop('cancelled');
      this.#say('output_audio_buffer.cleared', { response_id });
    }
  }

  #stopSpeech({ create_response = true }) {
    this.#isSpeech = false;
    this.#say('input_audio_buffer.speech_stopped', { audio_end_ms: this.#heardMs, item_id: this.item });
    this.#commit(this.item);
    if (create_response && !this.#response) this.#respond();
  }

  #commit(item_id) {
    this.#committed = this.#heard;
    this.#heard = [];
    const seconds = (this.#committed.length * packetMs) / 1000;
    const item = { id: item_id, object: 'realtime.item', type: 'message', status: 'completed', role: 'user', content: [{ type: 'input_audio', transcript: null }] };
    this.#say('input_audio_buffer.committed', { previous_item_id: null, item_id });
    this.#add(item);
    const transcript = `${seconds.toFixed(1)} seconds of sound.`;
    this.#say('conversation.item.input_audio_transcription.completed', {
      item_id, content_index: 0, transcript, usage: { type: 'duration', seconds },
    });
  }

  #respond() {
    const packets = this.#committed;
    this.#committed = [];
    this.#answers += 1;
    const words = (packets.length > 0 ? `This is what I heard, number ${this.#answers}.` : 'I have heard nothing yet.').split(/(?<= )/);
    const item = { id: id('item'), object: 'realtime.item', type: 'message', status: 'in_progress', role: 'assistant', content: [] };
    const response = { id: id('resp'), object: 'realtime.response', status: 'in_progress', output: [] };
    const part = { response_id: response.id, item_id: item.id, output_index: 0, content_index: 0 };
    this.#response = { ...response, item, part, words, transcript: '' };
    this.#say('response.created', { response });
    this.#say('response.output_item.added', { response_id: response.id, output_index: 0, item });
    this.#say('conversation.item.added', { previous_item_id: null, item });
    this.#say('response.content_part.added', { ...part, part: { type: 'audio', transcript: '' } });
    this.#say('output_audio_buffer.started', { response_id: response.id });
    const began = performance.now();
    const count = words.length;
    let sent = 0;
    this.#timestamp += samplesPerPacket * 10;
    const speak = () => {
      // What is due by the clock: a timer on a busy machine comes late.
      const due = Math.min(packets.length, Math.floor((performance.now() - began) / packetMs) + 1);
      for (; sent < due; sent += 1) this.#send(packets[sent], sent === 0);
      if (sent * count >= (count - words.length) * packets.length) this.#sayWord();
      if (sent === packets.length) this.#stop('completed');
    };
    this.#response.timer = setInterval(speak, packetMs);
    speak();
  }

  #sayWord() {
    const delta = this.#response.words.shift();
    if (delta === undefined) return;
    this.#response.transcript += delta;
    this.#say('response.output_audio_transcript.delta', { ...this.#response.part, delta });
  }

  #stop(status) {
    const { timer, id: response_id, part, item } = this.#response ?? {};
    if (!timer) return;
    clearInterval(timer);
    if (status === 'completed') while (this.#response.words.length > 0) this.#sayWord();
    const { transcript } = this.#response;
    this.#response = undefined;
    const content = [{ type: 'output_audio', transcript }];
    const done = { ...item, status: status === 'completed' ? 'completed' : 'incomplete', content };
    this.#say('response.output_audio_transcript.done', { ...part, transcript });
    this.#say('response.output_audio.done', part);
    this.#say('response.content_part.done', { ...part, part: { type: 'audio', transcript } });
    this.#say('response.output_item.done', { response_id, output_index: 0, item: done });
    this.#items.set(done.id, done);
    this.#say('conversation.item.done', { previous_item_id: null, item: done });
    const usage = { total_tokens: 30, input_tokens: 10, output_tokens: 20 };
    this.#say('response.done', { response: { id: response_id, object: 'realtime.response', status, output: [done], usage } });
    if (status === 'completed') this.#say('output_audio_buffer.stopped', { response_id });
  }

  #send(payload, marker) {
    this.#sequence = (this.#sequence + 1) & 0xffff;
    this.#timestamp = (this.#timestamp + samplesPerPacket) >>> 0;
    const header = new RtpHeader({ sequenceNumber: this.#sequence, timestamp: this.#timestamp, payloadType: 111, marker });
    this.#track.writeRtp(new RtpPacket(header, payload));
  }
}

/** Waits until something holds, but no longer than an answer to it may take. */
async function holds(condition) {
  const end = performance.now() + 5000;
  while (!condition() && performance.now() < end) await sleep(20);
}

/** Merges objects; everything else replaces. */
function merged(base, change) {
  const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
  const entries = Object.entries(change).map(([name, value]) => [name, isObject(value) && isObject(base[name]) ? merged(base[name], value) : value]);
  return { ...base, ...Object.fromEntries(entries) };
}
