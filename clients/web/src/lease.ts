import { elapsedSince, now, type Moment } from './clock.js';
import { Emitter } from './emitter.js';
import { RoomkeyError } from './error.js';
import type { LivekitTokenRequest, RealtimeSecretRequest } from './options.js';
import type { LivekitToken, RealtimeSecret } from './secrets.js';

/** No two attempts of a lease are closer, whatever the service, the clocks or the page do. */
const shortestMs = 1000;
/** A timer that was set before the machine slept fires late: looking this often bounds how late. */
const longestTimerMs = 30_000;
/** A lease that renews while it is used stops this long after the last use. */
const idleMs = 60_000;

/**
 * When a lease renews on its own.
 *
 * - `always`: from the start until it is closed, also in a hidden tab.
 * - `while-used`: the first time it is asked for, then as long as the page is visible and the lease
 *   was asked for within the last minute. An idle tab mints nothing.
 * - `never`: only when it is asked for and has nothing valid.
 */
export type LeaseRenewal = 'always' | 'while-used' | 'never';

/** A lease of a LiveKit token. */
export interface LivekitLeaseRequest extends LivekitTokenRequest {
  readonly kind: 'livekit';
  /** Default: `always`, which is one token per `expirationSeconds`. */
  readonly renewal?: LeaseRenewal;
}

/** A lease of a Realtime client secret. */
export interface RealtimeLeaseRequest extends RealtimeSecretRequest {
  readonly kind: 'realtime';
  /**
   * Default: `while-used`, since each secret counts against the caller's budget and lives for about
   * a minute.
   */
  readonly renewal?: LeaseRenewal;
}

/** The events of a {@link Lease}. */
export interface LeaseEvents<T> {
  /** There is a new value, the first one too. */
  renewed: T;
  /** The value has expired before another one came. Once for each value at most. */
  expired: undefined;
  /** An attempt has failed. Where the lease renews on its own, it has planned the next one. */
  error: RoomkeyError;
}

/**
 * Keeps one secret that is valid when it is asked for.
 *
 * It renews the value when the service says so (`refreshAt`), shortly before it expires. A renewal
 * that fails is repeated with growing waits of at most 30 seconds, or what the service asks for;
 * after the value has expired too, until the lease is closed. The client's clock is not used to
 * decide what is valid.
 */
export class Lease<T extends LivekitToken | RealtimeSecret> {
  readonly #mint: (signal: AbortSignal, attempts?: number) => Promise<T>;
  readonly #renewal: LeaseRenewal;
  readonly #backoff: { baseMs: number; maxMs: number };
  readonly #emitter = new Emitter<LeaseEvents<T>>();
  readonly #closed = new AbortController();
  #value: T | undefined;
  #inFlight: { value: Promise<T>; isBackground: boolean } | undefined;
  /** Incremented when what is in flight is no longer wanted. */
  #generation = 0;
  #failures = 0;
  #lastError: RoomkeyError | undefined;
  /**
   * The last attempt's end, how long the next one must wait, and how long it shall wait if nothing
   * happens.
   */
  #pause: { since: Moment; leastMs: number; mostMs: number } | undefined;
  #usedAt: Moment | undefined;
  #isRevoked = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @internal */
  constructor(
    mint: (signal: AbortSignal, attempts?: number) => Promise<T>,
    renewal: LeaseRenewal,
    backoff: { baseMs: number; maxMs: number },
  ) {
    this.#mint = mint;
    this.#renewal = renewal;
    this.#backoff = backoff;
    if (typeof document !== 'undefined') document.addEventListener('visibilitychange', this.#wake);
    if (typeof window !== 'undefined') {
      window.addEventListener('online', this.#wake);
      window.addEventListener('pageshow', this.#wake);
    }
    this.#look();
  }

  /**
   * The value, or `undefined` where there is none or it has expired. Reading it is no use and
   * fetches nothing.
   */
  get current(): T | undefined {
    if (this.#value?.isValid()) return this.#value;
    // Not at once: whoever reads this may be in the middle of rendering.
    if (this.#value) queueMicrotask(this.#look);
    return undefined;
  }

  /**
   * A valid value: the current one, or the next one. Reading it is a use of the lease.
   *
   * It rejects when the attempts to get one fail, or the service has asked to wait; where the lease
   * renews on its own, it goes on trying all the same.
   */
  get ready(): Promise<T> {
    this.#usedAt = now();
    const value = this.current;
    if (!value) return this.#fetch();
    this.#look();
    return Promise.resolve(value);
  }

  /**
   * Says that the value will soon be needed: the pointer is over the button, say. It fetches one if
   * there is none.
   */
  warm(): void {
    // A failure is an event of its own.
    this.ready.catch(() => undefined);
  }

  /** Returns whether there is a value that has not expired. */
  isValid(): boolean {
    return this.current !== undefined;
  }

  /** Returns the whole seconds until the value expires, 0 where there is none. */
  secondsRemaining(): number {
    return this.current?.secondsRemaining() ?? 0;
  }

  /**
   * Fetches another value now, even if the current one is valid; within a second of the last one,
   * returns that.
   */
  renew(): Promise<T> {
    this.#usedAt = now();
    return this.#fetch();
  }

  /**
   * Drops the value from memory and stops renewing until the lease is asked for again.
   *
   * Nobody can revoke what was issued: a copy that was taken from here is valid until it expires.
   */
  revoke(): void {
    this.#value = undefined;
    this.#generation += 1;
    this.#inFlight = undefined;
    this.#usedAt = undefined;
    this.#isRevoked = true;
    this.#look();
  }

  /** Ends the lease: its value, its timer, its listeners and what it is waiting for. */
  close(): void {
    if (this.#closed.signal.aborted) return;
    this.revoke();
    clearTimeout(this.#timer);
    if (typeof document !== 'undefined')
      document.removeEventListener('visibilitychange', this.#wake);
    if (typeof window !== 'undefined') {
      window.removeEventListener('online', this.#wake);
      window.removeEventListener('pageshow', this.#wake);
    }
    this.#emitter.clear();
    this.#closed.abort();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Adds a handler for an event and returns the function that removes it. */
  on<Name extends keyof LeaseEvents<T>>(
    event: Name,
    handler: (value: LeaseEvents<T>[Name]) => void,
  ): () => void {
    return this.#emitter.on(event, handler);
  }

  /** Returns what is no secret. */
  toJSON(): object {
    return {
      renewal: this.#renewal,
      isValid: this.isValid(),
      secondsRemaining: this.secondsRemaining(),
    };
  }

  /** Whether the value is wanted without being asked for. */
  #isWanted(): boolean {
    if (this.#closed.signal.aborted || this.#renewal === 'never' || this.#isRevoked) return false;
    if (this.#renewal === 'always') return true;
    const isHidden = typeof document !== 'undefined' && document.visibilityState === 'hidden';
    return !isHidden && this.#usedAt !== undefined && elapsedSince(this.#usedAt) < idleMs;
  }

  /** Returns how long the next attempt has to wait: 0 when it may begin. */
  #untilAttempt(): number {
    const { since, mostMs } = this.#pause ?? { mostMs: 0 };
    const rest = since ? mostMs - elapsedSince(since) : 0;
    return Math.max(0, rest, this.#value?.life.untilRefresh() ?? 0);
  }

  /**
   * Does what is due and plans the next look. It may be called at any time and any number of times.
   */
  readonly #look = (): void => {
    clearTimeout(this.#timer);
    if (this.#closed.signal.aborted) return;
    if (this.#value && !this.#value.isValid()) {
      this.#value = undefined;
      this.#emitter.emit('expired', undefined);
      // A handler may have closed the lease, or asked it for a value.
      if (this.#closed.signal.aborted) return;
    }
    const isWaiting = this.#isWanted() && !this.#inFlight;
    if (isWaiting && this.#untilAttempt() <= 0) this.#start(true).catch(() => undefined);
    const next = Math.min(
      this.#value?.life.untilExpiry() ?? Infinity,
      isWaiting && !this.#inFlight ? this.#untilAttempt() : Infinity,
    );
    clearTimeout(this.#timer);
    if (next < Infinity) {
      this.#timer = setTimeout(this.#look, Math.ceil(Math.min(Math.max(next, 1), longestTimerMs)));
    }
  };

  /** The page is back, or the network: what waited out of caution may try at once. */
  readonly #wake = (): void => {
    if (this.#pause) this.#pause = { ...this.#pause, mostMs: this.#pause.leastMs };
    this.#look();
  };

  /** Gets a value for somebody who asks. */
  async #fetch(): Promise<T> {
    this.#isRevoked = false;
    if (this.#closed.signal.aborted)
      throw new RoomkeyError({ code: 'closed', title: 'The lease is closed.' });
    const background = this.#inFlight?.isBackground ? this.#inFlight.value : undefined;
    const value = await background?.catch(() => undefined);
    if (value) return value;
    if (this.#inFlight) return this.#inFlight.value;
    // A background attempt is one; who asks gets all of them. But nobody gets more than one round a
    // second.
    const { since, leastMs } = this.#pause ?? { leastMs: 0 };
    if (since && elapsedSince(since) < leastMs && !(background && leastMs === shortestMs)) {
      if (this.#value?.isValid()) return this.#value;
      if (this.#lastError) throw this.#lastError;
    }
    return this.#start(false);
  }

  #start(isBackground: boolean): Promise<T> {
    const value = this.#attempt(isBackground);
    this.#inFlight = { value, isBackground };
    return value;
  }

  async #attempt(isBackground: boolean): Promise<T> {
    const generation = this.#generation;
    const isCurrent = (): boolean =>
      generation === this.#generation && !this.#closed.signal.aborted;
    try {
      const value = await this.#mint(this.#closed.signal, isBackground ? 1 : undefined);
      if (!isCurrent())
        throw new RoomkeyError({ code: 'closed', title: 'The lease was revoked or closed.' });
      this.#inFlight = undefined;
      this.#value = value;
      this.#failures = 0;
      this.#lastError = undefined;
      this.#pause = { since: now(), leastMs: shortestMs, mostMs: shortestMs };
      this.#emitter.emit('renewed', value);
      return value;
    } catch (cause) {
      const error = cause as RoomkeyError;
      if (isCurrent()) {
        this.#inFlight = undefined;
        this.#lastError = error;
        this.#pause = this.#pauseAfter(error);
        this.#emitter.emit('error', error);
      }
      throw error;
    } finally {
      if (isCurrent()) this.#look();
    }
  }

  #pauseAfter({ retryable, retryAfterMs = 0 }: RoomkeyError): {
    since: Moment;
    leastMs: number;
    mostMs: number;
  } {
    const { baseMs, maxMs } = this.#backoff;
    // What was refused for a lasting reason is asked again as rarely as anything, but it is asked
    // again: somebody may sign in, or be let in.
    const limit = retryable ? Math.min(maxMs, baseMs * 2 ** this.#failures) : maxMs;
    this.#failures = Math.min(this.#failures + 1, 30);
    const leastMs = Math.max(shortestMs, retryAfterMs);
    return {
      since: now(),
      leastMs,
      mostMs: Math.max(shortestMs, retryAfterMs + limit * (0.5 + Math.random() / 2)),
    };
  }
}
