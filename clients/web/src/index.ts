/// <reference lib="esnext.disposable" preserve="true" />

/**
 * LiveKit tokens and Realtime calls from a roomkey service, for browsers.
 *
 * @packageDocumentation
 */

export { RoomkeyError } from './error.js';
export type {
  ClientErrorCode,
  FieldError,
  RoomkeyErrorCode,
  RoomkeyErrorInit,
  ServiceErrorCode,
} from './error.js';
export { Roomkey } from './roomkey.js';
export type {
  Abortable,
  AccessTokenRequest,
  FetchLike,
  LivekitTokenRequest,
  RealtimeProvider,
  RealtimeSecretRequest,
  RetryOptions,
  Role,
  RoomkeyOptions,
  SessionRequest,
} from './options.js';
export { LivekitToken, RealtimeSecret } from './secrets.js';
export type { ExpiringSecret } from './secrets.js';
export type { RealtimeSession, SessionEnd } from './session.js';
export type {
  Lease,
  LeaseEvents,
  LeaseRenewal,
  LivekitLeaseRequest,
  RealtimeLeaseRequest,
} from './lease.js';
export type { RoomkeyTokenSource, TokenSourceOptions, TokenSourceAnswer } from './token-source.js';
export type {
  ConnectRealtimeOptions,
  RealtimeCall,
  RealtimeCallEvents,
  RealtimeCallState,
} from './realtime.js';
export type {
  RealtimeClientEvent,
  RealtimeEventMap,
  RealtimeEvents,
  RealtimeServerEvent,
} from './realtime-events.js';
export type { Diagnosis, DiagnosisCheck, DiagnosisState } from './diagnose.js';
