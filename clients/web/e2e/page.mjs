// Runs in the page: joins rooms and measures what is heard. The tests reach it as `voice`.

import * as client from '/client/index.js';
import * as livekit from '/livekit/livekit-client.esm.mjs';

const { Roomkey } = client;
const { Room, RoomEvent, DisconnectReason } = livekit;
const audio = new AudioContext();

/** Measures the loudness of a stream, from 0 to 1, until nobody needs it any more. */
class Meter {
  constructor(track) {
    this.analyser = audio.createAnalyser();
    audio.createMediaStreamSource(new MediaStream([track])).connect(this.analyser);
  }
  level() {
    const samples = new Float32Array(this.analyser.fftSize);
    this.analyser.getFloatTimeDomainData(samples);
    return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
  }
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Waits until a meter shows sound; returns after how long, and how loud. */
async function heardWithin(meterOf, milliseconds, threshold = 0.01) {
  const began = performance.now();
  for (;;) {
    const level = meterOf()?.level() ?? 0;
    const ms = Math.round(performance.now() - began);
    if (level > threshold) return { ms, level };
    if (ms > milliseconds) return null;
    await sleep(20);
  }
}

/** Returns the loudest that a meter shows in a while. */
async function loudest(meterOf, milliseconds) {
  const end = performance.now() + milliseconds;
  let most = 0;
  while (performance.now() < end) {
    most = Math.max(most, meterOf()?.level() ?? 0);
    await sleep(20);
  }
  return most;
}

/** What the receiver of a connection has counted. */
async function received(stats) {
  const inbound = [...(await stats).values()].find(
    ({ type, kind }) => type === 'inbound-rtp' && kind === 'audio',
  );
  const {
    bytesReceived = 0,
    totalAudioEnergy = 0,
    totalSamplesDuration = 0,
    packetsLost = 0,
  } = inbound ?? {};
  return {
    bytes: bytesReceived,
    energy: totalAudioEnergy,
    seconds: totalSamplesDuration,
    lost: packetsLost,
  };
}

/** How many packets of sound a connection has sent. */
async function sent(stats) {
  return (
    [...(await stats).values()].find(
      ({ type, kind }) => type === 'outbound-rtp' && kind === 'audio',
    )?.packetsSent ?? 0
  );
}

/** A participant of a room. */
class Participant {
  meters = new Map();
  events = [];

  constructor() {
    // With one connection for both directions livekit-client 2.23 now and then fails to publish
    // right after a join ("Transceiver not found based on m-line index").
    this.room = new Room({ singlePeerConnection: false });
    const { room, events } = this;
    room.on(RoomEvent.TrackSubscribed, (track, _, { identity }) => {
      if (track.kind !== 'audio') return events.push('video');
      // Chromium feeds a remote stream into WebAudio only while an element plays it.
      track.attach();
      this.meters.set(identity, new Meter(track.mediaStreamTrack));
      this.receiver = track.receiver;
    });
    room.on(RoomEvent.DataReceived, () => events.push('data'));
    room.on(RoomEvent.Reconnecting, () => events.push('reconnecting'));
    room.on(RoomEvent.SignalReconnecting, () => events.push('signal-reconnecting'));
    room.on(RoomEvent.Reconnected, () => events.push('reconnected'));
    room.on(RoomEvent.Disconnected, (reason) =>
      events.push(`disconnected ${DisconnectReason[reason] ?? reason}`),
    );
  }

  async join(serverUrl, token) {
    // A busy machine may need longer than the usual 15 s.
    await this.room.connect(serverUrl, token, {
      rtcConfig: { iceServers: [] },
      maxRetries: 0,
      peerConnectionTimeout: 45_000,
      websocketTimeout: 45_000,
    });
    return this.room.localParticipant.identity;
  }

  meter(identity) {
    return this.meters.get(identity) ?? [...this.meters.values()].at(-1);
  }

  stats() {
    return received(this.receiver.getStats());
  }
}

/** One end of a peer-to-peer call, which sends the microphone. */
class Peer {
  static async make(configuration) {
    const { mediaDevices } = navigator;
    const [track] = (await mediaDevices.getUserMedia({ audio: true })).getTracks();
    const peer = new Peer();
    peer.connection = new RTCPeerConnection(configuration);
    peer.connection.addTrack(track);
    peer.connection.ontrack = ({ track }) => {
      // Chromium only decodes what an element plays.
      const srcObject = new MediaStream([track]);
      peer.element = Object.assign(new Audio(), { srcObject, muted: true });
      peer.element.play();
      peer.meter = new Meter(track);
    };
    return peer;
  }

  async offer() {
    return this.describe(await this.connection.createOffer());
  }

  async answer(sdp) {
    await this.connection.setRemoteDescription({ type: 'offer', sdp });
    return this.describe(await this.connection.createAnswer());
  }

  accept(sdp) {
    return this.connection.setRemoteDescription({ type: 'answer', sdp });
  }

  /** Returns the description with every candidate that there is. */
  async describe(description) {
    const { connection } = this;
    const complete = new Promise((resolve) => {
      connection.onicegatheringstatechange = () =>
        connection.iceGatheringState === 'complete' && resolve();
    });
    await connection.setLocalDescription(description);
    await complete;
    return connection.localDescription.sdp;
  }

  /** Returns the type of the local candidate in use. */
  async usedCandidate() {
    const stats = await this.connection.getStats();
    const transport = [...stats.values()].find(({ type }) => type === 'transport');
    const pair = stats.get(transport.selectedCandidatePairId);
    return stats.get(pair.localCandidateId).candidateType;
  }
}

globalThis.voice = {
  client,
  livekit,
  Roomkey,
  Participant,
  Peer,
  Meter,
  heardWithin,
  loudest,
  received,
  sent,
  sleep,
  audio,
  people: {},
};
