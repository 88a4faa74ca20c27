import type {
  DisconnectReason,
  LocalAudioTrack,
  Participant,
  RemoteTrack,
  Room,
  RoomConnectOptions,
  RoomOptions,
} from 'livekit-client';
import { LevelMeter } from './level-meter';
import { microphoneError, voiceError } from './voice-error';
import type { VoiceParticipant } from './voice-room-types';

/** The module `livekit-client`, which is loaded when a room is joined. */
export type LivekitSdk = typeof import('livekit-client');

/** Options that are handed to `livekit-client`. */
export interface LivekitOptions {
  readonly room?: RoomOptions;
  readonly connect?: RoomConnectOptions;
  readonly logLevel?: LogLevelDesc;
}

type LogLevelDesc = Parameters<LivekitSdk['setLogLevel']>[0];

/** Receives the changes of a connection. */
export interface ConnectionListener {
  participants(participants: readonly VoiceParticipant[]): void;
  canSpeak(canSpeak: boolean): void;
  isAudioBlocked(isBlocked: boolean): void;
  isReconnecting(isReconnecting: boolean): void;
  /** Called at most once, and not after `disconnect()`. */
  disconnected(reason: DisconnectReason | undefined): void;
}

/** Levels are read at most this often. */
const LEVEL_INTERVAL_MS = 80;
/** A microphone that cannot be published is given up after so many attempts. */
const PUBLISH_ATTEMPTS = 3;
/** `TrackSource.MICROPHONE` of LiveKit's protocol, which `livekit-client` does not export. */
const MICROPHONE_SOURCE = 2;

/** One connection to a LiveKit room: the room's events as plain data, and sound. */
export class LivekitConnection {
  readonly #room: Room;
  #microphone: LocalAudioTrack | undefined;
  readonly #meter = new LevelMeter();
  #levels = new Map<string, number>();
  #frame = 0;
  #lastRead = 0;
  #isClosed = false;

  constructor(
    private readonly sdk: LivekitSdk,
    private readonly options: LivekitOptions,
    private readonly listener: ConnectionListener,
  ) {
    // At `info` it writes names of rooms and participants into the console of every user.
    sdk.setLogLevel(options.logLevel ?? 'warn');
    this.#room = new sdk.Room({
      // With one connection for both directions, a microphone that is published while others talk
      // fails in about a third of the joins ("Transceiver not found", livekit-client 2.23).
      singlePeerConnection: false,
      ...options.room,
    });
  }

  /** Joins. Rejects with an error of `livekit-client`, whose text may contain the token. */
  async connect(url: string, token: string): Promise<void> {
    this.#listen();
    try {
      await this.#room.connect(url, token, this.options.connect);
    } catch (error) {
      await this.disconnect();
      throw error;
    }
    this.#show();
    this.#frame = requestAnimationFrame(this.#readLevels);
  }

  /**
   * Opens the microphone at the first call; later ones only mute and unmute it. Throws a
   * `RoomkeyError`.
   */
  async setMicrophone(isOn: boolean): Promise<void> {
    if (!this.#microphone) {
      await this.#openMicrophone(isOn);
    } else if (isOn) {
      await this.#microphone.unmute();
    } else {
      await this.#microphone.mute();
    }
    this.#show();
  }

  async #openMicrophone(isOn: boolean): Promise<void> {
    const track = await this.sdk
      .createLocalAudioTrack(this.options.room?.audioCaptureDefaults)
      .catch((error: unknown) => {
        throw microphoneError(error);
      });
    if (!isOn) {
      await track.mute();
    }
    if (this.#isClosed) {
      track.stop();
      return;
    }
    this.#microphone = track;
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#room.localParticipant.publishTrack(track, {
          // A track without a source is refused by a token that allows microphones only.
          source: this.sdk.Track.Source.Microphone,
        });
        return;
      } catch {
        // A negotiation that collides with a change of the room fails, and the connection is made anew.
        if (attempt < PUBLISH_ATTEMPTS && (await this.#isConnected())) {
          continue;
        }
        this.#microphone = undefined;
        track.stop();
        throw voiceError('connection_lost');
      }
    }
  }

  /** Waits while the connection is made anew; returns false when it has ended. */
  #isConnected(): Promise<boolean> {
    const { ConnectionState, RoomEvent } = this.sdk;
    return new Promise((resolve) => {
      const check = (): void => {
        const isConnected = this.#room.state === ConnectionState.Connected;
        if (isConnected || this.#isClosed || this.#room.state === ConnectionState.Disconnected) {
          this.#room.off(RoomEvent.ConnectionStateChanged, check);
          resolve(isConnected && !this.#isClosed);
        }
      };
      this.#room.on(RoomEvent.ConnectionStateChanged, check);
      check();
    });
  }

  startAudio(): Promise<void> {
    return this.#room.startAudio();
  }

  /** Leaves, closes the microphone and stops all sound. */
  async disconnect(): Promise<void> {
    this.#isClosed = true;
    // Whoever waits for the connection must learn that it is over: the listeners go last.
    cancelAnimationFrame(this.#frame);
    this.#meter.close();
    this.#microphone?.stop();
    this.#microphone = undefined;
    await this.#room.disconnect().catch(() => undefined);
    for (const participant of this.#room.remoteParticipants.values()) {
      for (const { track } of participant.trackPublications.values()) {
        track?.detach().forEach((element) => element.remove());
      }
    }
    this.#room.removeAllListeners();
  }

  #listen(): void {
    const { RoomEvent, Track } = this.sdk;
    const show = (): void => this.#show();
    for (const event of [
      RoomEvent.ParticipantConnected,
      RoomEvent.ParticipantDisconnected,
      RoomEvent.ParticipantNameChanged,
      RoomEvent.ParticipantPermissionsChanged,
      RoomEvent.ActiveSpeakersChanged,
      RoomEvent.ConnectionQualityChanged,
      RoomEvent.TrackPublished,
      RoomEvent.TrackUnpublished,
      RoomEvent.TrackMuted,
      RoomEvent.TrackUnmuted,
      RoomEvent.LocalTrackPublished,
      RoomEvent.LocalTrackUnpublished,
    ] as const) {
      this.#room.on(event, show);
    }
    this.#room
      .on(RoomEvent.TrackSubscribed, (track: RemoteTrack) => {
        if (track.kind === Track.Kind.Audio) {
          const element = track.attach();
          element.hidden = true;
          document.body.append(element);
        }
        this.#show();
      })
      .on(RoomEvent.TrackUnsubscribed, (track: RemoteTrack) => {
        track.detach().forEach((element) => element.remove());
        this.#show();
      })
      .on(RoomEvent.AudioPlaybackStatusChanged, () =>
        this.#report(() => this.listener.isAudioBlocked(!this.#room.canPlaybackAudio)),
      )
      .on(RoomEvent.SignalReconnecting, () => this.#report(() => this.listener.isReconnecting(true)))
      .on(RoomEvent.Reconnecting, () => this.#report(() => this.listener.isReconnecting(true)))
      .on(RoomEvent.Reconnected, () => {
        this.#report(() => this.listener.isReconnecting(false));
        this.#show();
      })
      .on(RoomEvent.Disconnected, (reason) =>
        this.#report(() => {
          // The error of `connect()` says it while the room is being joined.
          if (this.#frame !== 0) {
            this.#isClosed = true;
            this.listener.disconnected(reason);
          }
        }),
      );
  }

  #report(report: () => void): void {
    if (!this.#isClosed) {
      report();
    }
  }

  #show(): void {
    if (this.#isClosed) {
      return;
    }
    const { localParticipant, remoteParticipants } = this.#room;
    const others = [...remoteParticipants.values()].sort(
      (a, b) => (a.joinedAt?.getTime() ?? 0) - (b.joinedAt?.getTime() ?? 0),
    );
    const everybody: Participant[] = [localParticipant, ...others];
    this.#measure(everybody);
    this.listener.canSpeak(maySpeak(localParticipant));
    this.listener.participants(everybody.map((participant) => this.#describe(participant)));
  }

  #describe(participant: Participant): VoiceParticipant {
    const microphone = participant.getTrackPublication(this.sdk.Track.Source.Microphone);
    const isMuted = !microphone || microphone.isMuted;
    const { ConnectionQuality } = this.sdk;
    const quality = participant.connectionQuality;
    return {
      identity: participant.identity,
      name: participant.name || participant.identity,
      isLocal: participant === this.#room.localParticipant,
      isSpeaking: participant.isSpeaking && !isMuted,
      level: isMuted ? 0 : (this.#levels.get(participant.identity) ?? 0),
      isMuted,
      canSpeak: maySpeak(participant),
      quality: quality === ConnectionQuality.Unknown ? 'unknown' : quality,
    };
  }

  #measure(everybody: Participant[]): void {
    const tracks = new Map<string, MediaStreamTrack>();
    for (const participant of everybody) {
      const { Microphone } = this.sdk.Track.Source;
      const track = participant.getTrackPublication(Microphone)?.track?.mediaStreamTrack;
      if (track?.kind === 'audio') {
        tracks.set(participant.identity, track);
      }
    }
    this.#meter.follow(tracks);
  }

  /** Frames pause by themselves while the page is hidden, when nobody sees a level. */
  readonly #readLevels = (time: number): void => {
    if (this.#isClosed) {
      return;
    }
    this.#frame = requestAnimationFrame(this.#readLevels);
    if (time - this.#lastRead < LEVEL_INTERVAL_MS) {
      return;
    }
    this.#lastRead = time;
    const levels = this.#meter.read();
    const hasChanged = [...levels].some(([who, level]) => level !== (this.#levels.get(who) ?? 0));
    this.#levels = levels;
    if (hasChanged) {
      this.#show();
    }
  };
}

function maySpeak({ permissions }: Participant): boolean {
  if (!permissions?.canPublish) {
    return false;
  }
  // No sources means all of them.
  const sources: readonly number[] = permissions.canPublishSources;
  return sources.length === 0 || sources.includes(MICROPHONE_SOURCE);
}
