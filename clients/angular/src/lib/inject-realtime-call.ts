import { inject } from '@angular/core';
import { REALTIME_CALL_FACTORY } from './factories';
import type { RealtimeVoiceCall } from './realtime-call-types';

/**
 * Returns a call with a voice assistant that belongs to the component, directive or service in
 * whose injection context it is called, and that ends when that is destroyed.
 *
 * A client secret is fetched by `connect()`, not before: a page that is merely open costs nothing.
 *
 * ```ts
 * class AssistantPage {
 *   readonly assistant = injectRealtimeCall();
 *   call() { return this.assistant.connect(); }
 * }
 * ```
 */
export function injectRealtimeCall(): RealtimeVoiceCall {
  const factory = inject(REALTIME_CALL_FACTORY, { optional: true });
  if (!factory) {
    throw new Error('injectRealtimeCall() needs provideRoomkey() among the providers of the app.');
  }
  return factory();
}
