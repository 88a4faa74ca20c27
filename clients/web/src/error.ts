/** One field of a request that the service did not accept. */
export interface FieldError {
  /** The field's name. */
  readonly field: string;
  /** What it must be. */
  readonly message: string;
}

/** The codes of failures that no answer of the service describes. */
export type ClientErrorCode =
  | 'network'
  | 'timeout'
  | 'aborted'
  | 'http_error'
  | 'redirected'
  | 'invalid_response'
  | 'access_token_failed'
  | 'closed'
  | 'webrtc_unavailable'
  | 'microphone_denied'
  | 'microphone_unavailable'
  | 'realtime_refused'
  | 'connection_lost';

/** The codes of the service's own errors (`docs/errors.md`). */
export type ServiceErrorCode =
  | 'malformed_json'
  | 'invalid_request'
  | 'unauthenticated'
  | 'identity_mismatch'
  | 'room_forbidden'
  | 'insufficient_scope'
  | 'origin_forbidden'
  | 'misdirected_request'
  | 'not_found'
  | 'method_not_allowed'
  | 'unsupported_media_type'
  | 'payload_too_large'
  | 'request_timeout'
  | 'conflict'
  | 'precondition_failed'
  | 'rate_limited'
  | 'concurrency_limited'
  | 'internal'
  | 'upstream_credentials_rejected'
  | 'upstream_misconfigured'
  | 'upstream_rejected'
  | 'upstream_error'
  | 'upstream_rate_limited'
  | 'upstream_unavailable'
  | 'upstream_timeout'
  | 'secret_unavailable'
  | 'store_unavailable'
  | 'record_corrupt'
  | 'auth_unavailable'
  | 'overloaded';

/** A code of the service or of this package; a newer service may send others. */
export type RoomkeyErrorCode = ClientErrorCode | ServiceErrorCode | (string & {});

/** The members of a {@link RoomkeyError}. */
export interface RoomkeyErrorInit {
  readonly code: RoomkeyErrorCode;
  readonly title: string;
  readonly status?: number | undefined;
  readonly detail?: string | undefined;
  readonly retryable?: boolean | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly remediation?: string | undefined;
  readonly requestId?: string | undefined;
  readonly fields?: readonly FieldError[] | undefined;
}

/**
 * The only error that this package throws.
 *
 * It never contains a token: neither the caller's nor an issued one. It has no `cause`, since what
 * a fetch function or a peer connection says may quote one.
 */
export class RoomkeyError extends Error {
  override readonly name = 'RoomkeyError';
  /** The HTTP status, or 0 where there was no answer. */
  readonly status: number;
  /** What went wrong, for programs. */
  readonly code: RoomkeyErrorCode;
  /** What went wrong, in one sentence. */
  readonly title: string;
  /** More about this one failure, where there is more. */
  readonly detail: string | undefined;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  /** How long to wait before the next attempt, where the service said so. */
  readonly retryAfterMs: number | undefined;
  /** What somebody can do about it, where the service or this package knows. */
  readonly remediation: string | undefined;
  /** The id under which the service has logged the request. */
  readonly requestId: string | undefined;
  /** The fields that were not accepted. */
  readonly fields: readonly FieldError[];

  constructor(init: RoomkeyErrorInit) {
    super([init.title, init.detail].filter(Boolean).join(' '));
    this.status = init.status ?? 0;
    this.code = init.code;
    this.title = init.title;
    this.detail = init.detail;
    this.retryable = init.retryable ?? false;
    this.retryAfterMs = init.retryAfterMs;
    this.remediation = init.remediation;
    this.requestId = init.requestId;
    this.fields = init.fields ?? [];
  }

  /** Returns the members as a plain object, for logs and reports. */
  toJSON(): object {
    const {
      name,
      message,
      status,
      code,
      title,
      detail,
      retryable,
      retryAfterMs,
      remediation,
      requestId,
      fields,
    } = this;
    return {
      name,
      message,
      status,
      code,
      title,
      detail,
      retryable,
      retryAfterMs,
      remediation,
      requestId,
      fields,
    };
  }
}

/** Returns the error of a caller who no longer waits. */
export const aborted = (): RoomkeyError =>
  new RoomkeyError({ code: 'aborted', title: 'The request was aborted.' });

/** Returns the error of something that took too long. */
export const timedOut = (what: string): RoomkeyError =>
  new RoomkeyError({ code: 'timeout', title: `${what} took too long.`, retryable: true });

/** Returns the error of an answer that cannot be used. */
export const invalidResponse = (status: number, requestId?: string): RoomkeyError =>
  new RoomkeyError({
    code: 'invalid_response',
    title: 'The service returned an unusable response.',
    status,
    requestId,
    remediation: 'Check that the url is that of a roomkey service.',
  });
