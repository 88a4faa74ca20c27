import { abortable, elapsedSince, now, sleep, type Moment } from './clock.js';
import { RoomkeyError, aborted, invalidResponse, timedOut, type FieldError } from './error.js';
import type { RoomkeyOptions } from './options.js';

/** The attempts at one request, the waits between them included, end after this long. */
const longestMs = 120_000;

/** A request to the service. */
export interface Call {
  readonly path: string;
  /** Present: a POST with this as JSON; members that are `undefined` are left out. */
  readonly body?: object;
  readonly signal?: AbortSignal | undefined;
  /** Fewer attempts than the options say. */
  readonly attempts?: number;
  /** Sends no bearer. */
  readonly isPublic?: boolean;
  /** Takes an answer of any status that is JSON. */
  readonly takesAnyStatus?: boolean;
  /** Lets the request outlive the page. */
  readonly keepalive?: boolean;
  /**
   * Gives back what the request has opened. Present for a request that opens something: it shares
   * no fetch, is repeated only after a refusal of the service's own, and an abort does not cancel
   * what has been sent; its answer comes here if nobody waits for it any more.
   */
  readonly discard?: (answer: Answer) => void;
}

/** An answer of the service. */
export interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly requestId: string | undefined;
  readonly date: string | null;
  /** When the request was sent that this answers. */
  readonly sentAt: Moment;
}

interface Shared {
  readonly answer: Promise<Answer>;
  readonly abort: AbortController;
  callers: number;
}

/**
 * Sends requests to one service: deadlines, repetition, the caller's bearer, and one fetch for
 * identical requests.
 */
export class Http {
  readonly #options: RoomkeyOptions;
  readonly #url: string;
  readonly #inFlight = new Map<unknown, Shared>();

  constructor(options: RoomkeyOptions) {
    this.#options = options;
    this.#url = (options.url ?? '').replace(/\/+$/, '');
  }

  /** The longest and the shortest wait between attempts, for those who repeat on their own. */
  get backoff(): { baseMs: number; maxMs: number } {
    const { baseMs = 500, maxMs = 30_000 } = this.#options.retry ?? {};
    return { baseMs, maxMs };
  }

  /** Returns the address of a route. */
  address(path: string): string {
    return this.#url + path;
  }

  /**
   * Sends a request, or waits for the answer of an identical one that is on its way.
   *
   * # Errors
   * Rejects with a {@link RoomkeyError} and nothing else.
   */
  send(call: Call): Promise<Answer> {
    const { signal } = call;
    if (signal?.aborted) return Promise.reject(aborted());
    const key = call.discard
      ? call
      : JSON.stringify([call.path, call.body, call.attempts, call.isPublic]);
    const shared = this.#inFlight.get(key) ?? this.#start(key, call);
    shared.callers += 1;
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        reject(aborted());
        shared.callers -= 1;
        if (shared.callers === 0) {
          this.#forget(key, shared);
          shared.abort.abort(aborted());
        }
      };
      signal?.addEventListener('abort', abort, { once: true });
      const leave = (): void => signal?.removeEventListener('abort', abort);
      shared.answer.then(
        (answer) => (leave(), resolve(answer)),
        (error) => (leave(), reject(error)),
      );
    });
  }

  #start(key: unknown, call: Call): Shared {
    const abort = new AbortController();
    const shared: Shared = { abort, callers: 0, answer: this.#repeat(call, abort.signal) };
    this.#inFlight.set(key, shared);
    const forget = (): void => this.#forget(key, shared);
    shared.answer.then((answer) => {
      forget();
      if (shared.callers === 0) call.discard?.(answer);
    }, forget);
    return shared;
  }

  #forget(key: unknown, shared: Shared): void {
    if (this.#inFlight.get(key) === shared) this.#inFlight.delete(key);
  }

  async #repeat(call: Call, signal: AbortSignal): Promise<Answer> {
    const began = now();
    const { baseMs, maxMs } = this.backoff;
    const attempts = call.attempts ?? this.#options.retry?.attempts ?? 4;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#signIn(call, signal);
      } catch (cause) {
        const error = cause as RoomkeyError;
        // Full jitter, so that pages that failed together do not come back together; after what the
        // service asks for.
        const wait =
          (error.retryAfterMs ?? 0) + Math.random() * Math.min(maxMs, baseMs * 2 ** (attempt - 1));
        const mayRepeat = error.retryable && (!call.discard || ownRefusals.has(error));
        if (!mayRepeat || attempt >= attempts || elapsedSince(began) + wait > longestMs)
          throw error;
        await sleep(wait, signal);
      }
    }
  }

  async #signIn(call: Call, signal: AbortSignal): Promise<Answer> {
    const first = await this.#attempt(call, signal, await this.#bearer(call, false, signal));
    if (
      first instanceof RoomkeyError &&
      first.status === 401 &&
      this.#options.accessToken &&
      !call.isPublic
    ) {
      const second = await this.#attempt(call, signal, await this.#bearer(call, true, signal));
      if (second instanceof RoomkeyError) throw second;
      return second;
    }
    if (first instanceof RoomkeyError) throw first;
    return first;
  }

  async #bearer(call: Call, refresh: boolean, outer: AbortSignal): Promise<string> {
    const { accessToken } = this.#options;
    if (!accessToken || call.isPublic) return '';
    // The user may have to sign in by hand: longer than an answer may take, but not without an end.
    return within(longestMs, 'The sign-in', outer, async (signal) => {
      try {
        return (await abortable(Promise.resolve(accessToken({ refresh })), signal)) ?? '';
      } catch {
        if (signal.aborted) throw signal.reason;
        throw new RoomkeyError({
          code: 'access_token_failed',
          title: 'The access token of the signed-in user could not be acquired.',
          remediation: 'Sign in again.',
        });
      }
    });
  }

  /** Sends the request once. A refusal is returned, everything else that goes wrong is thrown. */
  #attempt(call: Call, outer: AbortSignal, bearer: string): Promise<Answer | RoomkeyError> {
    const {
      timeoutMs = 10_000,
      credentials = 'same-origin',
      fetch = globalThis.fetch,
    } = this.#options;
    if (call.discard) outer.throwIfAborted();
    const cancel = call.discard ? undefined : outer;
    return within(timeoutMs, 'The request', cancel, async (signal) => {
      const sentAt = now();
      let response: Response;
      let body: Record<string, unknown> | undefined;
      try {
        const headers: Record<string, string> = { Accept: 'application/json' };
        if (call.body) headers['Content-Type'] = 'application/json';
        if (bearer) headers['Authorization'] = `Bearer ${bearer}`;
        const init: RequestInit = {
          method: 'GET',
          headers,
          signal,
          credentials,
          cache: 'no-store',
          redirect: 'manual',
        };
        if (call.body) Object.assign(init, { method: 'POST', body: JSON.stringify(call.body) });
        if (call.keepalive) init.keepalive = true;
        response = await abortable(fetch(this.address(call.path), init), signal);
        body = object(await abortable(response.text(), signal));
      } catch {
        if (signal.aborted) throw signal.reason;
        throw new RoomkeyError({
          code: 'network',
          title: 'The service could not be reached.',
          retryable: true,
          remediation:
            'Check the connection, the url, and that the origin of this page is in the allowedOrigins of host.json.',
        });
      }
      const { status, headers } = response;
      const requestId = headers.get('x-request-id') ?? undefined;
      if (response.type === 'opaqueredirect' || (status >= 300 && status < 400)) {
        throw new RoomkeyError({
          code: 'redirected',
          title: 'The service redirected the request, to a sign-in page perhaps.',
          status,
          remediation:
            'Let the platform answer requests below /api with 401 instead of a redirect.',
        });
      }
      if (!response.ok && !(call.takesAnyStatus && body))
        return refusal(status, headers, body ?? {}, bearer);
      if (!body) throw invalidResponse(status, requestId);
      return { status, body, requestId, date: headers.get('date'), sentAt };
    });
  }
}

/** Runs something that stops at a deadline, or when the outer signal is aborted. */
export async function within<T>(
  milliseconds: number,
  what: string,
  outer: AbortSignal | undefined,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(timedOut(what)), milliseconds);
  const leave = (): void => abort.abort(aborted());
  outer?.addEventListener('abort', leave);
  if (outer?.aborted) leave();
  try {
    return await run(abort.signal);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener('abort', leave);
  }
}

function object(json: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The refusals that the service itself wrote, and nothing in front of it: what they refuse was not
 * done.
 */
const ownRefusals = new WeakSet<RoomkeyError>();

/** Returns the error that a refused request is. */
function refusal(
  status: number,
  headers: Headers,
  body: Record<string, unknown>,
  bearer: string,
): RoomkeyError {
  const safe = (value: unknown): string | undefined =>
    typeof value === 'string' ? redacted(value, bearer) : undefined;
  const fields = Array.isArray(body['errors']) ? body['errors'].map(Object) : [];
  const isOwn = typeof body['retryable'] === 'boolean';
  const error = new RoomkeyError({
    status,
    code: safe(body['code']) ?? 'http_error',
    title: safe(body['title']) ?? `The service answered with status ${status}.`,
    detail: safe(body['detail']),
    // What is no answer of the service's own comes from something before it, which may recover.
    retryable: isOwn ? body['retryable'] === true : [429, 502, 503, 504].includes(status),
    retryAfterMs: retryAfter(headers),
    remediation: safe(body['remediation']),
    requestId: safe(body['requestId']) ?? headers.get('x-request-id') ?? undefined,
    fields: fields.map(({ field, message }): FieldError => ({
      field: safe(field) ?? '',
      message: safe(message) ?? '',
    })),
  });
  if (isOwn) ownRefusals.add(error);
  return error;
}

/**
 * Removes what looks like a token, and the bearer itself: something between here and the service
 * may echo headers.
 */
const redacted = (value: string, bearer: string): string =>
  (bearer ? value.replaceAll(bearer, '[removed]') : value).replace(
    /\bey[\w-]+\.[\w-]+(\.[\w-]*)?|\bek_\w+/g,
    '[removed]',
  );

/** Reads `Retry-After`: seconds, or a date. */
function retryAfter(headers: Headers): number | undefined {
  const value = headers.get('retry-after');
  if (value === null) return undefined;
  const seconds = Number(value);
  // A date is compared with the clock that wrote it, where that can be read.
  const milliseconds = Number.isNaN(seconds)
    ? Date.parse(value) - (Date.parse(headers.get('date') ?? '') || Date.now())
    : seconds * 1000;
  return milliseconds >= 0 && Number.isFinite(milliseconds) ? milliseconds : undefined;
}
