import { Injectable, computed, linkedSignal } from '@angular/core';
import { injectRealtimeCall, injectVoiceRoom } from '@roomkey/angular';
import type { RoomkeyError } from '@roomkey/client';

/** Holds the room and the call, so that both go on while the user looks at another page. */
@Injectable({ providedIn: 'root' })
export class VoiceSession {
  readonly room = injectVoiceRoom();
  readonly assistant = injectRealtimeCall();

  /** The last failure of the room or the call; it stays when the next attempt succeeds. */
  readonly lastError = linkedSignal<RoomkeyError | undefined, RoomkeyError | undefined>({
    source: computed(() => this.room.error() ?? this.assistant.error()),
    computation: (error, before) => error ?? before?.value,
  });
}
