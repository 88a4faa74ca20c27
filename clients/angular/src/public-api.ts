/** Voice rooms and voice assistants for Angular, with keys from a roomkey token service. */
export { provideRoomkey } from './lib/provide';
export type { RoomkeyAngularOptions } from './lib/provide';
export { ROOMKEY_REQUEST } from './lib/http-fetch';
export { injectVoiceRoom } from './lib/inject-voice-room';
export type {
  VoiceParticipant,
  VoiceRoom,
  VoiceRoomJoin,
  VoiceRoomStatus,
  VoiceRoomToken,
} from './lib/voice-room-types';
export { injectRealtimeCall } from './lib/inject-realtime-call';
export type {
  RealtimeVoiceCall,
  RealtimeVoiceConnect,
  RealtimeVoiceStatus,
  TranscriptEntry,
} from './lib/realtime-call-types';
export type { VoiceErrorCode } from './lib/voice-error';
export { REALTIME_CALL_FACTORY, VOICE_ROOM_FACTORY } from './lib/factories';
export type { RealtimeCallFactory, VoiceRoomFactory } from './lib/factories';
