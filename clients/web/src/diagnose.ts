import { now, elapsedSince } from './clock.js';
import { aborted, type RoomkeyError } from './error.js';
import type { Http } from './http.js';
import { text } from './secrets.js';

/** The outcome of one check. */
export type DiagnosisState = 'ok' | 'warning' | 'failed' | 'unknown';

/** One thing that was looked at. */
export interface DiagnosisCheck {
  readonly name:
    'secure_context' | 'webrtc' | 'microphone' | 'reachable' | 'cors' | 'ready' | 'clock';
  readonly state: DiagnosisState;
  /** What was found. */
  readonly detail: string;
  /** What to do about it, where something is to be done. */
  readonly remediation?: string;
}

/** What {@link Roomkey.diagnose} found. */
export interface Diagnosis {
  /** Whether no check has failed. */
  readonly ok: boolean;
  readonly checks: readonly DiagnosisCheck[];
  /** The version of the service. */
  readonly version: string | undefined;
  /** How long a small request took. */
  readonly roundTripMs: number | undefined;
  /** How far this machine's clock is ahead of the service's, where the page may read that. */
  readonly clockSkewMs: number | undefined;
}

/** Runs all checks. */
export async function diagnose(http: Http, signal?: AbortSignal): Promise<Diagnosis> {
  const checks: DiagnosisCheck[] = [];
  const add = (
    name: DiagnosisCheck['name'],
    state: DiagnosisState,
    detail: string,
    remediation?: string,
  ): void => void checks.push({ name, state, detail, ...(remediation && { remediation }) });

  const isSecure = globalThis.isSecureContext;
  if (isSecure) add('secure_context', 'ok', 'The page may open a microphone.');
  else
    add(
      'secure_context',
      'failed',
      'The page may not open a microphone.',
      'Serve it over https, or on localhost.',
    );
  if ('RTCPeerConnection' in globalThis) add('webrtc', 'ok', 'The browser supports WebRTC.');
  else
    add(
      'webrtc',
      'failed',
      'The browser does not support WebRTC.',
      'Use another browser, or allow WebRTC in this one.',
    );
  add(...(await microphone()));

  let version: string | undefined;
  let roundTripMs: number | undefined;
  let clockSkewMs: number | undefined;
  const began = now();
  const call = { signal, attempts: 1, isPublic: true };
  try {
    const health = await http.send({ path: '/api/health', ...call });
    roundTripMs = Math.round(elapsedSince(began));
    version = text(health, 'version');
    add('reachable', 'ok', 'The service answers.');
    if (health.date) clockSkewMs = Date.now() - Date.parse(health.date);
    if (clockSkewMs === undefined)
      add('clock', 'unknown', 'The page may not read the clock of the service.');
    else if (Math.abs(clockSkewMs) < 60_000) add('clock', 'ok', "This machine's clock is right.");
    else
      add(
        'clock',
        'warning',
        "This machine's clock is wrong. Tokens work all the same.",
        'Set the clock.',
      );

    const ready = await http.send({ path: '/api/health/ready', ...call, takesAnyStatus: true });
    if (ready.status === 200) add('ready', 'ok', 'The service can issue tokens.');
    else
      add(
        'ready',
        'failed',
        'The service cannot issue tokens yet.',
        'Ask GET /api/health/ready what it waits for.',
      );
  } catch (cause) {
    if (signal?.aborted) throw aborted();
    const { code, title, remediation } = cause as RoomkeyError;
    if (code === 'network' && (await answersSomebody(http.address('/api/health'), signal))) {
      add('reachable', 'ok', 'Something answers at the url.');
      const origin = globalThis.location?.origin ?? 'the origin of this page';
      add(
        'cors',
        'failed',
        `It does not let ${origin} read its answers.`,
        `Add ${origin} to cors.allowedOrigins in host.json.`,
      );
    } else {
      add('reachable', 'failed', title, remediation);
    }
  }
  return {
    ok: checks.every(({ state }) => state !== 'failed'),
    checks,
    version,
    roundTripMs,
    clockSkewMs,
  };
}

async function microphone(): Promise<['microphone', DiagnosisState, string, string?]> {
  try {
    // Not every browser knows this name.
    const { state } = await navigator.permissions.query({ name: 'microphone' as PermissionName });
    if (state === 'granted') return ['microphone', 'ok', 'The microphone is allowed.'];
    if (state === 'prompt') return ['microphone', 'ok', 'The browser will ask for the microphone.'];
    return [
      'microphone',
      'failed',
      'The microphone is blocked.',
      'Allow it in the settings of the browser for this page.',
    ];
  } catch {
    return [
      'microphone',
      'unknown',
      'The browser does not tell whether the microphone is allowed.',
    ];
  }
}

/** Asks without reading the answer, which needs no consent of the server. */
async function answersSomebody(url: string, signal?: AbortSignal): Promise<boolean> {
  try {
    await fetch(url, {
      mode: 'no-cors',
      cache: 'no-store',
      credentials: 'omit',
      signal: signal ?? AbortSignal.timeout(10_000),
    });
    return true;
  } catch {
    return false;
  }
}
