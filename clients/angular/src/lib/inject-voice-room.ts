import { inject } from '@angular/core';
import { VOICE_ROOM_FACTORY } from './factories';
import type { VoiceRoom } from './voice-room-types';

/**
 * Returns a voice room that belongs to the component, directive or service in whose injection
 * context it is called, and that is left when that is destroyed.
 *
 * Nothing is loaded, fetched or opened before `join()`; `livekit-client` is a chunk of its own.
 *
 * ```ts
 * class RoomPage {
 *   readonly room = injectVoiceRoom();
 *   join() { return this.room.join({ roomName: 'standup-42' }); }
 * }
 * ```
 */
export function injectVoiceRoom(): VoiceRoom {
  const factory = inject(VOICE_ROOM_FACTORY, { optional: true });
  if (!factory) {
    throw new Error('injectVoiceRoom() needs provideRoomkey() among the providers of the app.');
  }
  return factory();
}
