// The endpoint for callers with an RS256 bearer of the benchmark's issuer, verified by jose before the body is read; its key set
// is fetched once and kept, as jose does by itself.

import { createRemoteJWKSet, jwtVerify } from 'jose';
import { app, listen } from './endpoint.mjs';

const { ROOMKEY_OIDC_ISSUER: issuer, ROOMKEY_OIDC_AUDIENCE: audience, ROOMKEY_OIDC_SCOPE: scope } = process.env;
const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));
const expected = { issuer, audience, algorithms: ['RS256'], typ: 'at+jwt', requiredClaims: ['exp', 'sub'], clockTolerance: 60 };

app.decorateRequest('caller', null);

app.addHook('onRequest', async (request, reply) => {
  const [, bearer] = /^Bearer ([\w.-]+)$/i.exec(request.headers.authorization ?? '') ?? [];
  const verified = bearer && (await jwtVerify(bearer, keys, expected).catch(() => null));
  if (!verified) return reply.code(401).send({ code: 'unauthenticated' });
  if (!verified.payload.scope?.split(' ').includes(scope)) return reply.code(403).send({ code: 'insufficient_scope' });
  request.caller = verified.payload.sub;
});

app.addHook('preHandler', async (request, reply) => {
  if (request.body.participantIdentity !== request.caller) return reply.code(403).send({ code: 'identity_mismatch' });
});

await listen();
