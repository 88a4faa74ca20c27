import type { Answer, Http } from './http.js';
import type { Abortable, RealtimeProvider, SessionRequest } from './options.js';
import { RealtimeSecret, text } from './secrets.js';
import { iceServers } from './turn.js';

/** What became of a session that was ended. */
export interface SessionEnd {
  /** Whether the call whose id was reported is over at the provider. */
  readonly hungUp: boolean;
}

/** Reads the id of a call from an id or from the `Location` header that answers an SDP offer. */
export const callIdOf = (location: string | null | undefined): string | null =>
  /(?:^|\/)(rtc_[\w-]{1,124})(?:[/?#]|$)/.exec(location ?? '')?.[1] ?? null;

/**
 * A session of a project: a client secret for a Realtime call, minted with the project's key.
 *
 * It takes one of the project's slots until it is ended or expires at the service.
 */
export class RealtimeSession {
  /** The project. */
  readonly projectId: string;
  /** The service's id of the session. {@link RealtimeSecret.sessionId} is the provider's. */
  readonly sessionId: string;
  /** The client secret, with the model, the voice and the address for the SDP offer. */
  readonly secret: RealtimeSecret;
  /**
   * TURN servers for the peer connection, `undefined` where the service has none. A copy does not
   * contain the credentials.
   */
  readonly iceServers: RTCIceServer[] | undefined;
  readonly #http: Http;
  #callId: string | null = null;
  #ended: { readonly callId: string | null; readonly end: SessionEnd } | undefined;

  /** @internal */
  constructor(http: Http, projectId: string, answer: Answer) {
    const { body } = answer;
    const issued = members(body['client_secret']);
    const metadata = members(body['metadata']);
    const secret = {
      provider: 'openai',
      token: issued['value'],
      issuedAt: metadata['created_at'],
      expiresAt: new Date(Number(issued['expires_at']) * 1000),
      sessionId: body['id'],
      model: body['model'],
      voice: body['voice'],
      webrtcUrl: body['webrtc_url'],
    };
    const turn = body['turn_credentials'];
    this.#http = http;
    this.projectId = projectId;
    this.sessionId = text(answer, 'session_id');
    this.secret = new RealtimeSecret({ ...answer, body: secret });
    this.iceServers = turn === undefined ? turn : iceServers({ ...answer, body: members(turn) });
  }

  /** The provider's id of the call, `null` before {@link RealtimeSession.reportCall}. */
  get callId(): string | null {
    return this.#callId;
  }

  /**
   * Names the call that {@link RealtimeSession.end} hangs up: the `Location` header that answered
   * the SDP offer, or the id in it (`rtc_…`). What contains no id changes nothing, since some
   * providers hide the header. {@link Roomkey.connectRealtime} does this itself.
   */
  reportCall(location: string | null | undefined): void {
    this.#callId = callIdOf(location) ?? this.#callId;
  }

  /**
   * Ends the session: its slot is free, and the provider hangs up the call that was reported.
   *
   * Calling it again asks nothing more, unless it failed or a call was reported since. The request
   * outlives a page that closes.
   *
   * # Errors
   * Rejects with a {@link RoomkeyError} after the usual repetitions. An `upstream_…` code says that
   * the slot is free and the provider did not hang up; after any other the slot may be taken until
   * the session expires. Either way it may be called again.
   */
  async end({ signal }: Abortable = {}): Promise<SessionEnd> {
    const callId = this.#callId;
    if (this.#ended?.callId === callId) return this.#ended.end;
    const { body } = await this.#http.send(endOf(this.sessionId, callId, signal));
    const end = { hungUp: body['hung_up'] === true };
    this.#ended = { callId, end };
    return end;
  }

  /** Returns what is no secret. */
  toJSON(): object {
    const { projectId, sessionId, callId, secret, iceServers } = this;
    return { projectId, sessionId, callId, secret, iceServers };
  }
}

/** Opens a session. What is opened and reaches nobody is ended. */
export async function openSession(
  http: Http,
  request: SessionRequest & { provider?: RealtimeProvider; roomName?: string },
  signal: AbortSignal | undefined,
): Promise<RealtimeSession> {
  const { projectId, model, voice, instructions, turn, provider, roomName } = request;
  // Best effort: whoever would be told of a failure has gone, and the session expires.
  const discard = ({ body }: Answer): void => {
    const id = body['session_id'];
    if (typeof id === 'string') http.send(endOf(id, null)).catch(() => undefined);
  };
  const body = {
    project_id: projectId,
    model,
    voice,
    instructions,
    turn,
    // What does not go together with a project: the service refuses it by name.
    provider: provider === 'openai' ? undefined : provider,
    roomName,
  };
  const answer = await http.send({ path: '/api/session', body, signal, discard });
  try {
    return new RealtimeSession(http, projectId, answer);
  } catch (error) {
    discard(answer);
    throw error;
  }
}

const endOf = (sessionId: string, callId: string | null, signal?: AbortSignal) => ({
  path: '/api/session/end',
  body: { session_id: sessionId, call_id: callId ?? undefined },
  keepalive: true,
  signal,
});

const members = (value: unknown): Record<string, unknown> => Object(value) as never;
