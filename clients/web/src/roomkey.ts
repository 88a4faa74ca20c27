import { diagnose, type Diagnosis } from './diagnose.js';
import { RoomkeyError } from './error.js';
import { Http } from './http.js';
import { Lease, type LivekitLeaseRequest, type RealtimeLeaseRequest } from './lease.js';
import type {
  Abortable,
  LivekitTokenRequest,
  RealtimeProvider,
  RealtimeSecretRequest,
  RoomkeyOptions,
  SessionRequest,
} from './options.js';
import { connect, type ConnectRealtimeOptions, type RealtimeCall } from './realtime.js';
import { LivekitToken, RealtimeSecret } from './secrets.js';
import { openSession, type RealtimeSession } from './session.js';
import { tokenSource, type RoomkeyTokenSource } from './token-source.js';
import { iceServers } from './turn.js';

/**
 * A roomkey service, as a page uses it.
 *
 * @example
 * ```ts
 * const roomkey = new Roomkey({ url: 'https://my-app.azurewebsites.net' });
 * const { serverUrl, token } = await roomkey.livekitToken({ roomName: 'standup-42' });
 * ```
 *
 * Making one asks nothing and touches neither `window` nor `document`. Every method that waits
 * takes an `AbortSignal`, and rejects with a {@link RoomkeyError} and nothing else.
 */
export class Roomkey {
  readonly #http: Http;
  /** The Realtime provider that the service turned out to have. */
  #provider: RealtimeProvider | undefined;

  constructor(options: RoomkeyOptions = {}) {
    this.#http = new Http(options);
  }

  /** Fetches a token for a LiveKit room. It is needed to join, not to stay. */
  async livekitToken(request: LivekitTokenRequest & Abortable): Promise<LivekitToken> {
    return this.#livekitToken(request, request.signal);
  }

  /**
   * Mints a client secret for a Realtime call. Each one counts against the caller's budget: mint
   * when the user is about to speak, or leave it to {@link Roomkey.connectRealtime} or a {@link
   * Roomkey.lease}.
   */
  async realtimeSecret(request: RealtimeSecretRequest & Abortable = {}): Promise<RealtimeSecret> {
    return this.#realtimeSecret(request, request.signal);
  }

  /**
   * Fetches TURN credentials for an `RTCPeerConnection` of the page's own. LiveKit and Realtime
   * calls need none.
   *
   * Fetch them when the connection is made. Hand the objects on as they are: a copy does not
   * contain the credential. It expires, so a longer call takes new ones by `setConfiguration()` and
   * `restartIce()`.
   *
   * @example
   * ```ts
   * const peer = new RTCPeerConnection({ iceServers: await roomkey.turnCredentials() });
   * ```
   */
  async turnCredentials({ signal }: Abortable = {}): Promise<RTCIceServer[]> {
    return iceServers(await this.#http.send({ path: '/api/turn-credentials', signal }));
  }

  /**
   * Opens a session of a project: a client secret minted with the project's key, and TURN servers
   * where the service has any. It takes one of the project's slots until {@link
   * RealtimeSession.end}; {@link Roomkey.connectRealtime} with `projectId` does both.
   *
   * Each call opens another session. Only refusals that the service itself calls `retryable` are
   * repeated, since nothing was opened then. A timeout, a lost connection or an answer of a gateway
   * is not: a session that was opened all the same takes a slot until it expires, and another
   * attempt may take one more. A session that is answered after an abort is ended.
   */
  async session(request: SessionRequest & Abortable): Promise<RealtimeSession> {
    return openSession(this.#http, request, request.signal);
  }

  /** Keeps a LiveKit token that is valid whenever it is asked for. */
  lease(request: LivekitLeaseRequest): Lease<LivekitToken>;
  /** Keeps a Realtime client secret while it is used. */
  lease(request: RealtimeLeaseRequest): Lease<RealtimeSecret>;
  lease(
    request: LivekitLeaseRequest | RealtimeLeaseRequest,
  ): Lease<LivekitToken> | Lease<RealtimeSecret> {
    const { backoff } = this.#http;
    return request.kind === 'livekit'
      ? new Lease(
          (signal, attempts) => this.#livekitToken(request, signal, attempts),
          request.renewal ?? 'always',
          backoff,
        )
      : new Lease(
          (signal, attempts) => this.#realtimeSecret(request, signal, attempts),
          request.renewal ?? 'while-used',
          backoff,
        );
  }

  /**
   * Makes a token source for livekit-client, which `useSession`, `Room` wrappers and LiveKit's
   * components take.
   *
   * It asks LiveKit's standard endpoint, `POST /api/connection-details`.
   */
  tokenSource(options: Abortable = {}): RoomkeyTokenSource {
    return tokenSource(this.#http, options);
  }

  /**
   * Opens a voice call with a Realtime model: microphone, client secret, SDP exchange, sound and
   * data channel.
   *
   * It resolves when the data channel is open. Whatever fails before closes the microphone and the
   * connection again, and ends the session that was opened for a `projectId`.
   */
  connectRealtime(options: ConnectRealtimeOptions = {}): Promise<RealtimeCall> {
    const { projectId } = options;
    return connect(
      options,
      (signal) => this.#realtimeSecret(options, signal),
      projectId === undefined
        ? undefined
        : (signal) => openSession(this.#http, { ...options, projectId }, signal),
    );
  }

  /**
   * Finds out what keeps this page from working with the service. It mints nothing and opens no
   * microphone.
   */
  diagnose(options: Abortable = {}): Promise<Diagnosis> {
    return diagnose(this.#http, options.signal);
  }

  async #livekitToken(
    {
      roomName,
      role,
      participantIdentity,
      participantName,
      expirationSeconds,
    }: LivekitTokenRequest,
    signal?: AbortSignal,
    attempts?: number,
  ): Promise<LivekitToken> {
    const body = {
      provider: 'livekit',
      roomName,
      participantIdentity,
      participantName,
      role,
      expirationSeconds,
    };
    return new LivekitToken(
      await this.#http.send({ path: '/api/token', body, signal, ...(attempts && { attempts }) }),
    );
  }

  async #realtimeSecret(
    request: RealtimeSecretRequest,
    signal?: AbortSignal,
    attempts?: number,
  ): Promise<RealtimeSecret> {
    const mint = async (provider?: RealtimeProvider): Promise<RealtimeSecret> => {
      const { voice, model, roomName } = request;
      const body = { provider, voice, model, roomName };
      return new RealtimeSecret(
        await this.#http.send({ path: '/api/token', body, signal, ...(attempts && { attempts }) }),
      );
    };
    const known = request.provider ?? this.#provider;
    if (known) return mint(known);
    // The service's own default first. Where that is LiveKit, or none, one that mints has to be
    // named: the refusal, or the token of a room, has minted nothing.
    for (const provider of [undefined, 'azure-openai'] as const) {
      try {
        return this.#remember(await mint(provider));
      } catch (error) {
        if (!(error instanceof RoomkeyError) || !isOfAnotherProvider(error, provider)) throw error;
      }
    }
    return this.#remember(await mint('openai'));
  }

  #remember(secret: RealtimeSecret): RealtimeSecret {
    this.#provider = secret.provider;
    return secret;
  }
}

/** Whether another provider may mint what one, or the service's default, has not. */
const isOfAnotherProvider = (
  { code, fields }: RoomkeyError,
  provider: RealtimeProvider | undefined,
): boolean =>
  provider
    ? fields.some(({ field }) => field === 'provider')
    : code === 'invalid_request' || code === 'invalid_response';
