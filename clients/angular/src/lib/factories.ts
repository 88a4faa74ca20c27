import { InjectionToken } from '@angular/core';
import type { RealtimeVoiceCall } from './realtime-call-types';
import type { VoiceRoom } from './voice-room-types';

/** Makes voice rooms. It runs in an injection context, so that it can use `DestroyRef`. */
export type VoiceRoomFactory = () => VoiceRoom;

/** Makes calls. It runs in an injection context, so that it can use `DestroyRef`. */
export type RealtimeCallFactory = () => RealtimeVoiceCall;

/** Factory behind `injectVoiceRoom()`; the testing provider replaces it. */
export const VOICE_ROOM_FACTORY = new InjectionToken<VoiceRoomFactory>('VOICE_ROOM_FACTORY');

/** Factory behind `injectRealtimeCall()`; the testing provider replaces it. */
export const REALTIME_CALL_FACTORY = new InjectionToken<RealtimeCallFactory>(
  'REALTIME_CALL_FACTORY',
);
