import { RoomkeyError } from './error.js';
import type { Http } from './http.js';
import type { Abortable } from './options.js';
import { Life, lifeOf, read, text } from './secrets.js';

/** The options of livekit-client's token sources. */
export interface TokenSourceOptions {
  readonly roomName?: string;
  readonly participantName?: string;
  readonly participantIdentity?: string;
  readonly participantMetadata?: string;
  readonly participantAttributes?: { readonly [key: string]: string };
  readonly agentName?: string;
  readonly agentMetadata?: string;
  readonly deployment?: string;
}

/**
 * What livekit-client's token sources return: a plain object with the token in it, which must not
 * be logged.
 */
export interface TokenSourceAnswer {
  serverUrl: string;
  participantToken: string;
}

/** A token source for livekit-client, whose class `TokenSourceConfigurable` it satisfies. */
export interface RoomkeyTokenSource {
  /**
   * Returns credentials for the room of the options.
   *
   * The last answer is kept until shortly before it expires and is returned for options with the
   * same members; `force` fetches another one.
   */
  fetch(options?: TokenSourceOptions, force?: boolean): Promise<TokenSourceAnswer>;
}

/** Makes a token source over `POST /api/connection-details`. */
export function tokenSource(http: Http, { signal }: Abortable): RoomkeyTokenSource {
  let kept: { key: string; life: Life; answer: TokenSourceAnswer } | undefined;
  return {
    async fetch(options = {}, force = false) {
      const body = requestOf(options);
      const key = JSON.stringify(body);
      if (!force && kept?.key === key && kept.life.untilRefresh() > 0) return { ...kept.answer };
      const received = await http.send({ path: '/api/connection-details', body, signal });
      const participantToken = text(received, 'participant_token');
      const answer = { serverUrl: text(received, 'server_url'), participantToken };
      kept = { key, life: lifeOf(received, read(received, participantToken)), answer };
      return { ...answer };
    },
  };
}

function requestOf(options: TokenSourceOptions): object {
  const { agentName, agentMetadata, deployment } = options;
  if (agentName === undefined && (agentMetadata !== undefined || deployment !== undefined)) {
    throw new RoomkeyError({
      code: 'invalid_request',
      title: 'agentMetadata and deployment need an agentName.',
    });
  }
  const agent = { agent_name: agentName, metadata: agentMetadata, deployment };
  return {
    room_name: options.roomName,
    participant_name: options.participantName,
    participant_identity: options.participantIdentity,
    participant_metadata: options.participantMetadata,
    participant_attributes: options.participantAttributes,
    room_config: agentName === undefined ? undefined : { agents: [agent] },
  };
}
