/** How requests that failed for a passing reason are repeated. */
export interface RetryOptions {
  /** How often one request is sent at most; 1 never repeats. Default: 4. */
  readonly attempts?: number;
  /** The longest wait before the first repetition; it doubles with each. Default: 500. */
  readonly baseMs?: number;
  /** The longest wait between two attempts, unless the service asks for more. Default: 30,000. */
  readonly maxMs?: number;
}

/** What `accessToken` is asked for. */
export interface AccessTokenRequest {
  /**
   * Whether the service has just refused the token that it was given before: a cached one will not
   * do.
   */
  readonly refresh: boolean;
}

/** The part of `fetch` that this package uses. */
export type FetchLike = (url: string, init: RequestInit) => Promise<Response>;

/** The options of {@link Roomkey}. */
export interface RoomkeyOptions {
  /** The address of the service, without `/api`. Absent or empty: the origin of the page. */
  readonly url?: string;
  /**
   * Returns the bearer token of the signed-in user; `undefined` or `''` sends none.
   *
   * It is asked before each request and its answer is never kept. After a 401 it is asked once
   * more, with `refresh: true`.
   */
  readonly accessToken?: (
    request: AccessTokenRequest,
  ) => string | null | undefined | PromiseLike<string | null | undefined>;
  /** The fetch function for requests to the service. Default: the page's own. */
  readonly fetch?: FetchLike;
  /**
   * Whether cookies go along to another origin, as `fetch` understands it. Default: `same-origin`.
   */
  readonly credentials?: RequestCredentials;
  /** How long one attempt may take. Default: 10,000. */
  readonly timeoutMs?: number;
  /** How requests are repeated. */
  readonly retry?: RetryOptions;
}

/** Something that one can stop waiting for. */
export interface Abortable {
  /** Ends the wait with the code `aborted`; others who wait for the same answer still get it. */
  readonly signal?: AbortSignal;
}

/** What a participant may do in a room. */
export type Role = 'speaker' | 'listener';

/** A request for a LiveKit token. */
export interface LivekitTokenRequest {
  /** The room to join. */
  readonly roomName: string;
  /** Default: `speaker`. */
  readonly role?: Role;
  /** Anonymous callers may choose one; that of a signed-in caller follows from the sign-in. */
  readonly participantIdentity?: string;
  /** The name that others see. */
  readonly participantName?: string;
  /**
   * How long the token may be used to join: 60 to 86,400, default 3,600. It does not end a call.
   */
  readonly expirationSeconds?: number;
}

/** A provider of Realtime voice. */
export type RealtimeProvider = 'azure-openai' | 'openai';

/** A request for a Realtime client secret. */
export interface RealtimeSecretRequest {
  /**
   * Default: the service's own default, if that is a Realtime provider; else the one that it has,
   * `azure-openai` first.
   */
  readonly provider?: RealtimeProvider;
  /** A voice from the service's list. */
  readonly voice?: string;
  /** A model or deployment from the service's list. */
  readonly model?: string;
  /** A room to which the call belongs; the service applies its rules for rooms to it. */
  readonly roomName?: string;
}

/** A request for a session of a project. */
export interface SessionRequest {
  /** The project whose key pays for the call. */
  readonly projectId: string;
  /** A model from the service's list. */
  readonly model?: string;
  /** A voice from the service's list. */
  readonly voice?: string;
  /** Instructions in place of the operator's, where the operator lets callers choose them. */
  readonly instructions?: string;
  /** Whether TURN credentials come along, where the service has any. Default: true. */
  readonly turn?: boolean;
}
