import {
  HttpClient,
  HttpContext,
  HttpContextToken,
  HttpErrorResponse,
  HttpHeaders,
  HttpResponse,
} from '@angular/common/http';

/**
 * Marks the requests that this library makes. An interceptor of the app reads it with
 * `request.context.get(ROOMKEY_REQUEST)` and needs no list of addresses.
 */
export const ROOMKEY_REQUEST = new HttpContextToken<boolean>(() => false);

/**
 * Returns a `fetch` that sends requests to roomkey through `HttpClient`, so that the app's
 * interceptors apply. Every other address goes to the browser's own `fetch`: the SDP offer to a
 * Realtime provider carries a client secret and must not meet an interceptor that adds or replaces
 * the `Authorization` header.
 *
 * @param apiUrl Address below which requests belong to roomkey, with `/api/` at its end.
 */
export function httpClientFetch(http: HttpClient, apiUrl: string): typeof fetch {
  return (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    if (input instanceof Request || !url.startsWith(apiUrl)) {
      return globalThis.fetch(input, init);
    }
    return send(http, url, init ?? {});
  };
}

function send(http: HttpClient, url: string, init: RequestInit): Promise<Response> {
  const signal = init.signal ?? undefined;
  return new Promise<Response>((resolve, reject) => {
    if (signal?.aborted) {
      reject(abortReason(signal));
      return;
    }
    let headers = new HttpHeaders();
    new Headers(init.headers).forEach((value, name) => {
      headers = headers.set(name, value);
    });
    const subscription = http
      .request(init.method ?? 'GET', url, {
        body: init.body ?? null,
        headers,
        context: new HttpContext().set(ROOMKEY_REQUEST, true),
        // Only `withFetch()` can do it; Angular says so in the console of a development build.
        keepalive: init.keepalive ?? false,
        observe: 'response',
        responseType: 'text',
        // A token must never travel in the HTML that a server rendered.
        transferCache: false,
        withCredentials: init.credentials === 'include',
      })
      .subscribe({
        next: (response) => settle(() => resolve(toResponse(response, response.body))),
        error: (error: unknown) => settle(() => answer(error)),
        complete: () => settle(() => reject(new TypeError('The request ended without an answer.'))),
      });

    function answer(error: unknown): void {
      if (error instanceof HttpErrorResponse && error.status > 0) {
        resolve(toResponse(error, typeof error.error === 'string' ? error.error : null));
      } else if (error instanceof HttpErrorResponse) {
        // The error of HttpClient names the address and nothing else that helps.
        reject(new TypeError('The server cannot be reached.'));
      } else {
        // An interceptor failed, for example because the user closed the sign-in window.
        reject(error);
      }
    }

    function onAbort(): void {
      subscription.unsubscribe();
      settle(() => reject(abortReason(signal)));
    }

    function settle(report: () => void): void {
      signal?.removeEventListener('abort', onAbort);
      report();
    }

    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

function toResponse(from: HttpResponse<unknown> | HttpErrorResponse, body: string | null): Response {
  const headers = new Headers();
  for (const name of from.headers.keys()) {
    headers.set(name, from.headers.get(name) ?? '');
  }
  const hasBody = from.status !== 204 && from.status !== 205 && from.status !== 304;
  return new Response(hasBody ? body : null, { status: from.status, headers });
}

function abortReason(signal: AbortSignal | undefined): unknown {
  return signal?.reason ?? new DOMException('The request was aborted.', 'AbortError');
}
