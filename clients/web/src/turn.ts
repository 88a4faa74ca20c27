import { invalidResponse } from './error.js';
import type { Answer } from './http.js';

/** A STUN or TURN server of an answer. The credential is no enumerable member. */
class IceServer implements RTCIceServer {
  readonly urls: string[];
  readonly username?: string;
  readonly #credential: string | undefined;

  constructor(urls: string[], username: unknown, credential: unknown) {
    this.urls = urls;
    if (typeof username === 'string') this.username = username;
    this.#credential = typeof credential === 'string' ? credential : undefined;
  }

  // A getter that returns `undefined` counts as an absent member of the dictionary.
  get credential(): string {
    return this.#credential as string;
  }
}

/** Reads the servers of an answer: at least one of them relays, and has a credential. */
export function iceServers({ body, status, requestId }: Answer): RTCIceServer[] {
  const listed = body['iceServers'];
  const servers = (Array.isArray(listed) ? listed : []).map((server: unknown) => {
    const { urls, username, credential } = Object(server) as Record<string, unknown>;
    const texts = [urls].flat().filter((url) => typeof url === 'string');
    return new IceServer(texts, username, credential);
  });
  const relays = ({ urls, credential }: IceServer): boolean =>
    Boolean(credential) && urls.some((url) => /^turns?:/.test(url));
  if (!servers.some(relays)) throw invalidResponse(status, requestId);
  return servers;
}
