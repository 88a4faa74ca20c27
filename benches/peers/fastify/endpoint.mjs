// The same endpoint on Fastify and LiveKit's JavaScript server SDK. Bodies are checked and answers written by functions that
// Fastify compiles from the schemas; its logger is off. server.mjs serves it to anyone, jose.mjs to signed-in callers.

import Fastify from 'fastify';
import { AccessToken, TrackSource } from 'livekit-server-sdk';

const { LIVEKIT_URL: serverUrl, LIVEKIT_API_KEY: apiKey, LIVEKIT_API_SECRET: apiSecret, PORT } = process.env;

const text = { type: 'string' };
const schema = {
  body: {
    type: 'object',
    required: ['roomName', 'participantIdentity'],
    properties: {
      roomName: text,
      participantIdentity: text,
      participantName: text,
      role: text,
      expirationSeconds: { type: 'integer', default: 3600 },
    },
  },
  response: {
    200: {
      type: 'object',
      properties: {
        provider: text,
        token: text,
        expiresAt: text,
        refreshAt: text,
        roomName: text,
        participantIdentity: text,
        serverUrl: text,
      },
    },
  },
};

export const app = Fastify({ logger: false });

app.post('/api/token', { schema }, async ({ body }) => {
  const { roomName, participantIdentity, participantName, role, expirationSeconds } = body;
  const speaks = role === 'speaker';
  const token = new AccessToken(apiKey, apiSecret, { identity: participantIdentity, name: participantName, ttl: expirationSeconds });
  token.addGrant({
    roomJoin: true,
    room: roomName,
    canPublish: speaks,
    canSubscribe: true,
    canPublishData: false,
    ...(speaks && { canPublishSources: [TrackSource.MICROPHONE] }),
  });
  const expiresAt = (Math.floor(Date.now() / 1000) + expirationSeconds) * 1000;
  return {
    provider: 'livekit',
    token: await token.toJwt(),
    expiresAt: new Date(expiresAt).toISOString(),
    refreshAt: new Date(expiresAt - 10_000).toISOString(),
    roomName,
    participantIdentity,
    serverUrl,
  };
});

export const listen = () => app.listen({ host: '127.0.0.1', port: Number(PORT) });
