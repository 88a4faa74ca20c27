import { elapsedSince, type Moment } from './clock.js';
import { invalidResponse } from './error.js';
import type { Answer } from './http.js';
import type { RealtimeProvider } from './options.js';

/** Renewal begins this long before the end of a life, where the service does not say when. */
const refreshMarginMs = 10_000;

/** What is common to everything that the service issues and that expires. */
export interface ExpiringSecret {
  /**
   * The secret itself. It is no enumerable member: a copy, a log and `JSON.stringify` do not
   * contain it.
   */
  readonly token: string;
  /**
   * When it expires, by the clock of the service; ask {@link ExpiringSecret.secondsRemaining}
   * instead of a clock.
   */
  readonly expiresAt: Date;
  /** When another one should be fetched, by the clock of the service. */
  readonly refreshAt: Date;
  /** Returns whether it has not expired, whatever this machine's clock says. */
  isValid(): boolean;
  /** Returns the whole seconds until it expires, 0 when it has. */
  secondsRemaining(): number;
}

/** How long something lives, counted from the moment at which its request was sent. */
export class Life {
  readonly #since: Moment;
  readonly #expiryMs: number;
  readonly #refreshMs: number;

  /**
   * `issuedAt`, `expiresAt` and `refreshAt` are epoch milliseconds of the same clock, which need
   * not be this machine's.
   */
  constructor(since: Moment, issuedAt: number, expiresAt: number, refreshAt: number) {
    this.#since = since;
    this.#expiryMs = expiresAt - issuedAt;
    // Never before half the life has passed: a wrong answer must not make renewals follow each
    // other.
    this.#refreshMs = Math.min(this.#expiryMs, Math.max(this.#expiryMs / 2, refreshAt - issuedAt));
  }

  /** Returns the milliseconds until the end, negative after it. */
  untilExpiry(): number {
    return this.#expiryMs - elapsedSince(this.#since);
  }

  /** Returns the milliseconds until another one should be fetched, negative after that. */
  untilRefresh(): number {
    return this.#refreshMs - elapsedSince(this.#since);
  }
}

/** Base of the secrets: everything but the secret is enumerable. */
abstract class Secret implements ExpiringSecret {
  readonly expiresAt: Date;
  readonly refreshAt: Date;
  readonly #token: string;
  readonly #life: Life;

  protected constructor(token: string, times: Times, life: Life) {
    this.#token = token;
    this.#life = life;
    this.expiresAt = new Date(times.expiresAt);
    this.refreshAt = new Date(times.refreshAt);
  }

  get token(): string {
    return this.#token;
  }

  isValid(): boolean {
    return this.#life.untilExpiry() > 0;
  }

  secondsRemaining(): number {
    return Math.max(0, Math.floor(this.#life.untilExpiry() / 1000));
  }

  /** @internal */
  get life(): Life {
    return this.#life;
  }
}

/** A token that lets one participant join one LiveKit room. */
export class LivekitToken extends Secret {
  readonly provider = 'livekit';
  /** The room. */
  readonly roomName: string;
  /** The participant. */
  readonly participantIdentity: string;
  /** Where to connect. */
  readonly serverUrl: string;

  /** @internal */
  constructor(answer: Answer) {
    const token = text(answer, 'token');
    const times = read(answer, token);
    super(token, times, lifeOf(answer, times));
    this.roomName = text(answer, 'roomName');
    this.participantIdentity = text(answer, 'participantIdentity');
    this.serverUrl = text(answer, 'serverUrl');
  }
}

/** A client secret with which a browser opens a Realtime call. */
export class RealtimeSecret extends Secret {
  readonly provider: RealtimeProvider;
  /** When it was issued, by the clock of the service. */
  readonly issuedAt: Date;
  /** The provider's id of the session. */
  readonly sessionId: string;
  /** The model or deployment. */
  readonly model: string;
  /** The voice. */
  readonly voice: string;
  /** Where the browser posts its SDP offer. */
  readonly webrtcUrl: string;

  /** @internal */
  constructor(answer: Answer) {
    const token = text(answer, 'token');
    const times = read(answer, token);
    super(token, times, lifeOf(answer, times));
    this.provider = text(answer, 'provider') as RealtimeProvider;
    this.issuedAt = new Date(times.issuedAt);
    this.sessionId = optionalText(answer, 'sessionId');
    this.model = optionalText(answer, 'model');
    this.voice = optionalText(answer, 'voice');
    this.webrtcUrl = text(answer, 'webrtcUrl');
  }
}

/** What an issued secret says of its times, in epoch milliseconds. */
export interface Times {
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly refreshAt: number;
}

/** Returns a member that must be there. */
export function text(answer: Answer, name: string): string {
  const value = answer.body[name];
  if (typeof value !== 'string' || value === '')
    throw invalidResponse(answer.status, answer.requestId);
  return value;
}

const optionalText = ({ body }: Answer, name: string): string => {
  const value = body[name];
  return typeof value === 'string' ? value : '';
};

/**
 * Reads the times of an answer.
 *
 * The service's clock at the time of issue is the answer's `issuedAt`, else the `iat` of the JWT,
 * else its `Date` header, which scripts of another origin cannot read. This machine's clock is the
 * last resort.
 */
export function read(answer: Answer, token: string): Times {
  const claims = claimsOf(token);
  const instant = (name: string): number | undefined =>
    number(Date.parse(String(answer.body[name])));
  const seconds = (claim: unknown): number | undefined =>
    number(typeof claim === 'number' ? claim * 1000 : NaN);
  const issuedAt =
    instant('issuedAt') ??
    seconds(claims.iat) ??
    number(Date.parse(answer.date ?? '')) ??
    answer.sentAt.wall;
  const expiresAt = Math.min(instant('expiresAt') ?? Infinity, seconds(claims.exp) ?? Infinity);
  if (expiresAt === Infinity || expiresAt <= issuedAt)
    throw invalidResponse(answer.status, answer.requestId);
  return { issuedAt, expiresAt, refreshAt: instant('refreshAt') ?? expiresAt - refreshMarginMs };
}

/** Returns the life that an answer's secret has on this machine. */
export const lifeOf = (answer: Answer, times: Times): Life =>
  new Life(answer.sentAt, times.issuedAt, times.expiresAt, times.refreshAt);

const number = (value: number): number | undefined => (Number.isFinite(value) ? value : undefined);

/** Returns the claims of a JWT, unverified; none of what is no JWT. */
function claimsOf(token: string): { iat?: unknown; exp?: unknown } {
  try {
    const payload = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    return Object(JSON.parse(atob(payload))) as object;
  } catch {
    return {};
  }
}
