import { isPlatformBrowser } from '@angular/common';
import { HttpClient } from '@angular/common/http';
import {
  DestroyRef,
  EnvironmentProviders,
  NgZone,
  PLATFORM_ID,
  inject,
  makeEnvironmentProviders,
} from '@angular/core';
import { Roomkey } from '@roomkey/client';
import type { RoomkeyOptions } from '@roomkey/client';
import type { RoomConnectOptions, RoomOptions } from 'livekit-client';
import { REALTIME_CALL_FACTORY, VOICE_ROOM_FACTORY } from './factories';
import { httpClientFetch } from './http-fetch';
import { ProviderRealtimeCall } from './realtime-call';
import { LivekitVoiceRoom } from './voice-room';

/** Options of {@link provideRoomkey}. */
export interface RoomkeyAngularOptions extends Omit<RoomkeyOptions, 'fetch'> {
  /** Options that are handed to `livekit-client`. */
  readonly livekit?: {
    /** Options of each `Room`. */
    readonly room?: RoomOptions;
    /** Options of each `room.connect()`. */
    readonly connect?: RoomConnectOptions;
    /** Level from which `livekit-client` writes to the console. Default: `warn`. */
    readonly logLevel?: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';
  };
}

/**
 * Provides `Roomkey`, `injectVoiceRoom()` and `injectRealtimeCall()`.
 *
 * Requests to roomkey go through `HttpClient`, so the app's interceptors apply to them: that of
 * MSAL, Auth0 or angular-oauth2-oidc adds the bearer token. Without options, roomkey is expected
 * below `/api` of the page's own origin.
 *
 * ```ts
 * bootstrapApplication(App, { providers: [
 *   provideHttpClient(withInterceptors([authHttpInterceptorFn])),
 *   provideRoomkey({ url: environment.roomkeyUrl }),
 * ] });
 * ```
 *
 * @param options The options, or a function that returns them and may call `inject()`.
 */
export function provideRoomkey(
  options: RoomkeyAngularOptions | (() => RoomkeyAngularOptions) = {},
): EnvironmentProviders {
  const read = typeof options === 'function' ? options : () => options;
  // One object for all factories: a function of the app is called once for each injector.
  class Options {
    readonly value = read();
  }
  return makeEnvironmentProviders([
    { provide: Options, useClass: Options },
    {
      provide: Roomkey,
      useFactory: () => {
        const { livekit: _, ...own } = inject(Options).value;
        const apiUrl = `${(own.url ?? '').replace(/\/+$/, '')}/api/`;
        const fetch = httpClientFetch(inject(HttpClient), apiUrl);
        return inject(NgZone).runOutsideAngular(() => new Roomkey({ ...own, fetch }));
      },
    },
    {
      provide: VOICE_ROOM_FACTORY,
      useFactory: () => {
        const roomkey = inject(Roomkey);
        const environment = browserEnvironment();
        const { livekit } = inject(Options).value;
        return () => {
          const room = new LivekitVoiceRoom(roomkey, environment, livekit ?? {});
          inject(DestroyRef).onDestroy(() => void room.leave());
          return room;
        };
      },
    },
    {
      provide: REALTIME_CALL_FACTORY,
      useFactory: () => {
        const roomkey = inject(Roomkey);
        const environment = browserEnvironment();
        return () => {
          const call = new ProviderRealtimeCall(roomkey, environment);
          inject(DestroyRef).onDestroy(() => call.hangUp());
          return call;
        };
      },
    },
  ]);
}

function browserEnvironment() {
  const zone = inject(NgZone);
  return {
    isBrowser: isPlatformBrowser(inject(PLATFORM_ID)),
    outsideAngular: <T>(work: () => T): T => zone.runOutsideAngular(work),
  };
}
