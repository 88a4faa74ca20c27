import { abortable } from './clock.js';
import { Emitter } from './emitter.js';
import { RoomkeyError, aborted } from './error.js';
import { within } from './http.js';
import type { Lease } from './lease.js';
import type { Abortable, RealtimeSecretRequest, SessionRequest } from './options.js';
import { RealtimeEvents } from './realtime-events.js';
import type { RealtimeSecret } from './secrets.js';
import { callIdOf, type RealtimeSession } from './session.js';

/** How long the provider may take to answer the offer, and then the data channel to open. */
const stepMs = 15_000;

/**
 * The options of {@link Roomkey.connectRealtime}.
 *
 * With `projectId` a session of that project is opened, its TURN servers are used, and the end of
 * the call ends it. `instructions` and `turn` belong to sessions; `provider` can then only be
 * `openai`, and there is no `roomName`.
 */
export interface ConnectRealtimeOptions
  extends RealtimeSecretRequest, Partial<SessionRequest>, Abortable {
  /**
   * What the provider hears. `true` (the default) or constraints open the microphone, which the
   * call closes when it ends. A stream or track of the app's own stays the app's. `false` sends
   * nothing.
   */
  readonly microphone?: boolean | MediaTrackConstraints | MediaStream | MediaStreamTrack;
  /**
   * Where the answer is heard: an element of the app's own; `true` (the default) plays it; `false`
   * leaves it to the app.
   */
  readonly audio?: boolean | HTMLAudioElement;
  /**
   * Where the client secret comes from, instead of a mint of its own: a lease that was warmed, or a
   * secret.
   */
  readonly secret?: Lease<RealtimeSecret> | RealtimeSecret;
  /**
   * A session of the app's own instead of `projectId`. The call is reported to it; to end it is
   * left to the app.
   */
  readonly session?: RealtimeSession;
  /** Starts muted: the microphone is open and silent until {@link RealtimeCall.unmute}. */
  readonly muted?: boolean;
  /**
   * The configuration of the peer connection. `iceServers` in it take the place of the session's.
   */
  readonly rtcConfiguration?: RTCConfiguration;
}

/**
 * Where a call is. `interrupted` may become `connected` again on its own; `closed` is the end,
 * whoever ended it.
 */
export type RealtimeCallState = 'connected' | 'interrupted' | 'closed';

/** The events of a {@link RealtimeCall}. */
export interface RealtimeCallEvents {
  /** The state has changed. */
  state: RealtimeCallState;
  /** The call has ended by itself. The state is `closed` already. */
  error: RoomkeyError;
  /**
   * The browser wants a gesture of the user before it plays sound: call {@link
   * RealtimeCall.startAudio} in one.
   */
  audioblocked: undefined;
  /**
   * The session that was opened for `projectId` could not be ended: its slot may be taken until it
   * expires. `call.session.end()` tries again.
   */
  endfailed: RoomkeyError;
}

/** A voice call with a Realtime model. */
export class RealtimeCall {
  /** The peer connection. */
  readonly peer: RTCPeerConnection;
  /** The provider's events. */
  readonly events: RealtimeEvents;
  /**
   * The provider's id of the call (`rtc_…`), `null` where the provider does not let the page read
   * it.
   */
  readonly callId: string | null;
  /** The session of the project, where the call has one. */
  readonly session: RealtimeSession | undefined;
  /** What the provider says, as a stream. */
  readonly remoteStream: MediaStream;
  readonly #parts: Parts;
  readonly #emitter = new Emitter<RealtimeCallEvents>();
  #state: RealtimeCallState = 'connected';

  /** @internal */
  constructor(
    parts: Parts,
    peer: RTCPeerConnection,
    events: RealtimeEvents,
    channel: RTCDataChannel,
    callId: string | null,
    session: RealtimeSession | undefined,
  ) {
    this.#parts = parts;
    this.session = session;
    parts.endFailed = (error) => this.#emitter.emit('endfailed', error);
    this.peer = peer;
    this.events = events;
    this.callId = callId;
    this.remoteStream = parts.remote;
    peer.addEventListener('connectionstatechange', () => {
      const { connectionState } = peer;
      if (connectionState === 'connected') this.#move('connected');
      else if (connectionState === 'disconnected') this.#move('interrupted');
      else if (connectionState === 'failed') this.#lose();
    });
    // The first is enough, and comes when the provider hangs up.
    for (const end of ['closing', 'close']) channel.addEventListener(end, () => this.#lose());
  }

  /** Where the call is. */
  get state(): RealtimeCallState {
    return this.#state;
  }

  /** Whether the provider hears nothing. */
  get isMuted(): boolean {
    return !this.#parts.tracks.some(({ enabled }) => enabled);
  }

  /**
   * Sends silence; the microphone stays open, so that {@link RealtimeCall.unmute} takes no time.
   */
  mute(): void {
    for (const track of this.#parts.tracks) track.enabled = false;
  }

  /** Lets the provider hear the microphone again. */
  unmute(): void {
    for (const track of this.#parts.tracks) track.enabled = true;
  }

  /** Plays the sound after the browser has blocked it; call it in a click. */
  async startAudio(): Promise<void> {
    await this.#parts.audio?.play();
  }

  /** Adds a handler for an event and returns the function that removes it. */
  on<Name extends keyof RealtimeCallEvents>(
    event: Name,
    handler: (value: RealtimeCallEvents[Name]) => void,
  ): () => void {
    return this.#emitter.on(event, handler);
  }

  /**
   * Ends the call: the microphone, the sound and the connection, and the session that was opened
   * for `projectId`. Calling it again does nothing.
   *
   * The session ends in the background, also when the page closes; `await call.session?.end()`
   * waits for it.
   */
  close(): void {
    if (this.#state === 'closed') return;
    this.#parts.close();
    this.#move('closed');
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Returns what is no secret. */
  toJSON(): object {
    return { callId: this.callId, state: this.#state, isMuted: this.isMuted };
  }

  /** @internal */
  audioBlocked(): void {
    this.#emitter.emit('audioblocked', undefined);
  }

  #move(state: RealtimeCallState): void {
    if (this.#state === state || this.#state === 'closed') return;
    this.#state = state;
    this.#emitter.emit('state', state);
  }

  #lose(): void {
    if (this.#state === 'closed') return;
    this.close();
    this.#emitter.emit(
      'error',
      new RoomkeyError({
        code: 'connection_lost',
        title: 'The call has ended.',
        retryable: true,
        remediation: 'Call again.',
      }),
    );
  }
}

/** What a call has opened, and closes again. */
class Parts {
  peer: RTCPeerConnection | undefined;
  audio: HTMLAudioElement | undefined;
  readonly remote = new MediaStream();
  tracks: MediaStreamTrack[] = [];
  isTrackOurs = false;
  #isAudioOurs = false;
  #session: RealtimeSession | undefined;
  /** Is told when the session could not be ended. Before there is a call nobody could be told. */
  endFailed: ((error: RoomkeyError) => void) | undefined;

  /** Opens what the options call the microphone. */
  async open(
    microphone: NonNullable<ConnectRealtimeOptions['microphone']>,
    signal: AbortSignal,
  ): Promise<void> {
    if (microphone === false) return;
    if (microphone instanceof MediaStream) this.tracks = microphone.getAudioTracks();
    else if (microphone instanceof MediaStreamTrack) this.tracks = [microphone];
    else {
      this.isTrackOurs = true;
      const opening = navigator.mediaDevices.getUserMedia({ audio: microphone });
      // Whoever gave up while the browser asked must not end with an open microphone.
      opening.then((stream) => signal.aborted && stop(stream.getTracks())).catch(() => undefined);
      this.tracks = (await abortable(opening.catch(refuse), signal)).getAudioTracks();
    }
  }

  /** Makes sure that what arrives is heard, where the options want that. */
  play(audio: boolean | HTMLAudioElement, blocked: () => void): void {
    if (audio === false) return;
    this.#isAudioOurs = audio === true;
    this.audio = audio === true ? new Audio() : audio;
    this.audio.autoplay = true;
    this.audio.srcObject = this.remote;
    this.audio.play().catch((error: unknown) => {
      if ((error as Error | null)?.name === 'NotAllowedError') blocked();
    });
  }

  /** Takes a session that ends with the call, or with the page. */
  own(session: RealtimeSession): RealtimeSession {
    addEventListener('pagehide', this.#endSession);
    return (this.#session = session);
  }

  readonly #endSession = (): void => {
    this.#session?.end().catch((error: RoomkeyError) => this.endFailed?.(error));
  };

  close(): void {
    removeEventListener('pagehide', this.#endSession);
    this.#endSession();
    if (this.isTrackOurs) stop(this.tracks);
    this.peer?.close();
    if (!this.audio) return;
    if (this.#isAudioOurs) this.audio.pause();
    if (this.audio.srcObject === this.remote) this.audio.srcObject = null;
  }
}

const stop = (tracks: MediaStreamTrack[]): void => tracks.forEach((track) => track.stop());

function refuse(error: unknown): never {
  if ((error as Error | null)?.name === 'NotAllowedError') {
    throw new RoomkeyError({
      code: 'microphone_denied',
      title: 'The microphone was not allowed.',
      remediation: 'Allow the microphone in the settings of the browser for this page.',
    });
  }
  throw new RoomkeyError({
    code: 'microphone_unavailable',
    title: 'There is no microphone, or another program uses it.',
    remediation: 'Connect a microphone, and end programs that use it.',
  });
}

/**
 * Opens a call; `mint` or `open` is asked for a client secret or a session only after the
 * microphone is open.
 */
export async function connect(
  options: ConnectRealtimeOptions,
  mint: (signal: AbortSignal) => Promise<RealtimeSecret>,
  open: ((signal: AbortSignal) => Promise<RealtimeSession>) | undefined,
): Promise<RealtimeCall> {
  const { microphone = true, audio = true, signal: outer } = options;
  if (typeof RTCPeerConnection === 'undefined' || !navigator.mediaDevices) {
    throw new RoomkeyError({
      code: 'webrtc_unavailable',
      title: 'This page cannot open a call.',
      remediation: 'Serve the page over https or on localhost, and use a browser with WebRTC.',
    });
  }
  const abort = new AbortController();
  const leave = (): void => abort.abort(aborted());
  outer?.addEventListener('abort', leave);
  if (outer?.aborted) leave();
  const { signal } = abort;
  const parts = new Parts();
  let call: RealtimeCall | undefined;
  let isBlocked = false;
  try {
    if (signal.aborted) throw signal.reason;
    // The microphone first: the user may take a while to allow it, or refuse, and a secret lives
    // for a minute.
    await parts.open(microphone, signal);
    if (options.muted) for (const track of parts.tracks) track.enabled = false;
    const session = options.session ?? (open && parts.own(await open(signal)));
    const peer = (parts.peer = new RTCPeerConnection({
      ...(session?.iceServers && { iceServers: session.iceServers }),
      ...options.rtcConfiguration,
    }));
    peer.addEventListener('track', ({ track }) => parts.remote.addTrack(track));
    for (const track of parts.tracks)
      peer.addTrack(track, ...(microphone instanceof MediaStream ? [microphone] : []));
    if (parts.tracks.length === 0) peer.addTransceiver('audio', { direction: 'recvonly' });
    parts.play(audio, () => {
      isBlocked = true;
      call?.audioBlocked();
    });
    const channel = peer.createDataChannel('oai-events');
    const events = new RealtimeEvents(channel);

    const given = session?.secret ?? options.secret;
    const minting = given
      ? 'ready' in given
        ? given.ready
        : Promise.resolve(given)
      : mint(signal);
    const [secret, offer] = await abortable(Promise.all([minting, local(peer)]), signal);
    const { answer, callId } = await exchange(secret, offer, signal);
    session?.reportCall(callId);
    await within(stepMs, 'The connection to the provider', signal, async (signal) => {
      const open = opened(channel, peer);
      open.catch(() => undefined);
      await abortable(
        peer.setRemoteDescription({ type: 'answer', sdp: answer }).catch(unusable),
        signal,
      );
      await abortable(open, signal);
    });
    call = new RealtimeCall(parts, peer, events, channel, callId, session);
    if (isBlocked) setTimeout(() => call?.audioBlocked());
    return call;
  } catch (error) {
    parts.close();
    throw error instanceof RoomkeyError ? error : unexpected();
  } finally {
    outer?.removeEventListener('abort', leave);
    // Ends what a failure left behind; of a call that works, nothing waits any more.
    if (!call) leave();
  }
}

async function local(peer: RTCPeerConnection): Promise<string> {
  await peer.setLocalDescription();
  return peer.localDescription?.sdp ?? '';
}

/** Posts the offer with the client secret, and with nothing else that could name the user. */
async function exchange(
  secret: RealtimeSecret,
  offer: string,
  outer: AbortSignal,
): Promise<{ answer: string; callId: string | null }> {
  const url = new URL(secret.webrtcUrl);
  const isLoopback = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  if (url.protocol !== 'https:' && !isLoopback) throw refusedByProvider(0, false);
  return within(stepMs, 'The answer of the provider', outer, async (signal) => {
    let response: Response;
    let answer: string;
    try {
      const headers = {
        Authorization: `Bearer ${secret.token}`,
        'Content-Type': 'application/sdp',
      };
      // The page's own fetch, not the option: an interceptor of the app would add the caller's
      // bearer.
      const init: RequestInit = {
        method: 'POST',
        headers,
        body: offer,
        credentials: 'omit',
        redirect: 'error',
        signal,
      };
      response = await fetch(url, init);
      answer = await response.text();
    } catch {
      if (signal.aborted) throw signal.reason;
      throw new RoomkeyError({
        code: 'network',
        title: 'The provider of the voice could not be reached.',
        retryable: true,
        remediation:
          'Check the connection, and that the content security policy allows connections to the provider.',
      });
    }
    const { status } = response;
    // An error's body is JSON and may quote the request: it goes nowhere.
    if (!response.ok) throw refusedByProvider(status, status === 429 || status >= 500);
    if (!answer.startsWith('v=')) throw refusedByProvider(status, false);
    return { answer, callId: callIdOf(response.headers.get('location')) };
  });
}

/** Waits until the data channel is open; rejects when the connection fails before. */
function opened(channel: RTCDataChannel, peer: RTCPeerConnection): Promise<void> {
  return new Promise((resolve, reject) => {
    channel.addEventListener('open', () => resolve());
    const fail = (): void => reject(unexpected());
    channel.addEventListener('close', fail);
    peer.addEventListener(
      'connectionstatechange',
      () => peer.connectionState === 'failed' && fail(),
    );
  });
}

const unusable = (): never => {
  throw refusedByProvider(201, false);
};

const unexpected = (): RoomkeyError =>
  new RoomkeyError({
    code: 'connection_lost',
    title: 'The connection to the provider could not be made.',
    retryable: true,
    remediation: 'Check that the network lets WebRTC through.',
  });

const refusedByProvider = (status: number, retryable: boolean): RoomkeyError =>
  new RoomkeyError({
    code: 'realtime_refused',
    title: 'The provider of the voice refused the call.',
    status,
    retryable,
    remediation: status === 401 ? 'The client secret had expired: connect again.' : undefined,
  });
