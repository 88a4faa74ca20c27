import { RoomkeyError } from '@roomkey/client';

/**
 * Codes of the failures that lie outside roomkey, at the media server or in the browser. The error
 * of a room or a call is a `RoomkeyError` with one of these codes, a code of `@roomkey/client` or a
 * code of the service.
 */
export type VoiceErrorCode =
  | 'connection_lost'
  | 'joined_elsewhere'
  | 'livekit_missing'
  | 'livekit_refused'
  | 'livekit_unreachable'
  | 'microphone_denied'
  | 'microphone_unavailable'
  | 'not_a_browser'
  | 'removed'
  | 'room_closed'
  | 'speaking_not_allowed';

interface Text {
  readonly title: string;
  readonly remediation: string;
  readonly retryable: boolean;
}

const TEXTS: Record<VoiceErrorCode, Text> = {
  connection_lost: {
    title: 'The connection was lost.',
    remediation: 'Check your connection and join again.',
    retryable: true,
  },
  joined_elsewhere: {
    title: 'You joined this room in another tab or on another device.',
    remediation: 'Continue there, or join again to continue here.',
    retryable: false,
  },
  livekit_missing: {
    title: 'The package livekit-client cannot be loaded.',
    remediation: 'Run "npm install livekit-client", or reload the page after a new release.',
    retryable: false,
  },
  livekit_refused: {
    title: 'The media server refused the token.',
    remediation: 'Give roomkey the API key and secret of this LiveKit server.',
    retryable: false,
  },
  livekit_unreachable: {
    title: 'The media server cannot be reached.',
    remediation: 'Check your connection and join again.',
    retryable: true,
  },
  microphone_denied: {
    title: 'The browser may not use the microphone.',
    remediation: 'Allow the microphone for this site in the browser, then unmute.',
    retryable: false,
  },
  microphone_unavailable: {
    title: 'No microphone can be used.',
    remediation: 'Connect a microphone, close other programs that use it, then unmute.',
    retryable: false,
  },
  not_a_browser: {
    title: 'A call needs a browser.',
    remediation: 'Join or connect after the page was rendered, for example on a click.',
    retryable: false,
  },
  removed: {
    title: 'You were removed from the room.',
    remediation: 'Ask the host of the room before you join again.',
    retryable: false,
  },
  room_closed: {
    title: 'The room was closed.',
    remediation: 'Join again to open it.',
    retryable: false,
  },
  speaking_not_allowed: {
    title: 'You may listen in this room, but not speak.',
    remediation: 'Join as a speaker.',
    retryable: false,
  },
};

/**
 * Returns the error of a failure outside roomkey. It carries no text of a server: LiveKit's own
 * messages may contain the whole token.
 */
export function voiceError(code: VoiceErrorCode, status = 0): RoomkeyError {
  return new RoomkeyError({ code, status, ...TEXTS[code] });
}

/** Returns the error of a microphone that could not be opened. */
export function microphoneError(error: unknown): RoomkeyError {
  const name = (error as { name?: unknown } | null)?.name;
  const isDenied = name === 'NotAllowedError' || name === 'SecurityError';
  return voiceError(isDenied ? 'microphone_denied' : 'microphone_unavailable');
}
