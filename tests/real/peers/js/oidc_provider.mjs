// A real OpenID provider on loopback: `node oidc_provider.mjs [PORT [REDIRECT_URI]]`. Without a port, or with 0, it takes any free one.
//
// stdout: the issuer's URL on the first line, the URL of the controls on the second. It runs until it is killed.
//
// The issuer serves discovery, keys and /token, where the client `demo` with the secret `demo-secret` gets tokens of its own by
// client credentials. With a REDIRECT_URI there is a page too, the public client `page`, to which it redirects after a code flow
// with PKCE; whoever comes to sign in is `alice` and agrees to everything. The controls are a server of their own; each is a POST with a JSON object, and answers with one:
//
//   /mint    { sub?, scope?, aud?, ttl?, …claims }  a token for a user, without a login page → { token }
//   /sign    { header?, claims?, foreign? }         any header and claims with the key in use, or with one that nobody publishes,
//                                                   over those of a good token; null takes one away → { token }
//   /rotate  { keep? }                              signs with a new key from now on; the old one stays published if kept → { kid }
//   /stop    { how? }                               "reset" cuts every connection, "hang" leaves every request without an answer
//   /start   {}                                     serves again
//   /counts  {}                                     requests so far, those that hang included → { discovery, keys, other }

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';
import { SignJWT, importJWK } from 'jose';
import { Provider } from 'oidc-provider';

const audience = 'api://roomkey';
const scope = 'rooms.join';

const newKey = () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' };
};

/** What the tokens for one audience look like. */
const resourceServer = (audience, accessTokenTTL = 600) => ({
  audience,
  scope,
  accessTokenFormat: 'jwt',
  accessTokenTTL,
  jwt: { sign: { alg: 'RS256' } },
});

const redirectUri = process.argv[3];
const pageClient = {
  client_id: 'page',
  application_type: 'web',
  grant_types: ['authorization_code'],
  response_types: ['code'],
  redirect_uris: [redirectUri],
  token_endpoint_auth_method: 'none',
};

/** Signs in whoever comes, and agrees to what the page asks for. */
async function interact(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') return provider.interactionFinished(request, response, { login: { accountId: 'alice' } });
  const known = grantId && (await provider.Grant.find(grantId));
  const grant = known || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(`openid ${scope}`);
  grant.addResourceScope(audience, scope);
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

/** Claims for tokens that /mint is about to save. */
const extra = new WeakMap();

const newProvider = (issuer, keys) =>
  new Provider(issuer, {
    jwks: { keys },
    scopes: ['openid', scope],
    cookies: { keys: [randomUUID()] },
    clients: [
      {
        client_id: 'demo',
        client_secret: 'demo-secret',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        token_endpoint_auth_method: 'client_secret_post',
      },
      ...(redirectUri ? [pageClient] : []),
    ],
    clientBasedCORS: (_, __, client) => client.clientId === 'page',
    interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    extraTokenClaims: (_, token) => extra.get(token),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => resourceServer(resource),
      },
    },
  });

const counts = { discovery: 0, keys: 0, other: 0 };
let state = 'serve';
let keys = [newKey()];
const foreignKey = newKey();
let provider;

const issuing = createServer((request, response) => {
  if (request.url === '/.well-known/openid-configuration') counts.discovery += 1;
  else if (request.url === '/jwks') counts.keys += 1;
  else counts.other += 1;
  if (state !== 'serve') return;
  if (request.url.startsWith('/interaction/')) interact(request, response).catch(() => response.writeHead(500).end());
  else provider.callback()(request, response);
});
// The port stays ours while "stopped", so that no other program can take it.
issuing.on('connection', (socket) => {
  if (state === 'reset') socket.resetAndDestroy();
});

issuing.listen(Number(process.argv[2] ?? 0), '127.0.0.1');
await once(issuing, 'listening');
const issuer = `http://127.0.0.1:${issuing.address().port}`;
provider = newProvider(issuer, keys);

const controls = {
  async mint({ sub: accountId, scope: wanted = scope, aud = audience, ttl, ...claims }) {
    const client = await provider.Client.find('demo');
    const token = new provider.AccessToken({ accountId, client, scope: wanted || undefined, gty: 'client_credentials' });
    token.resourceServer = new provider.ResourceServer(aud, resourceServer(aud, ttl));
    token.expiresIn = ttl ?? 600;
    extra.set(token, claims);
    return { token: await token.save() };
  },

  async sign({ header, claims, foreign = false }) {
    const now = Math.floor(Date.now() / 1000);
    const key = foreign ? foreignKey : keys[0];
    const given = (members) => Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null));
    const good = { iss: issuer, aud: audience, sub: 'alice', scope, iat: now, exp: now + 600, jti: randomUUID() };
    const signer = new SignJWT(given({ ...good, ...claims }));
    signer.setProtectedHeader(given({ alg: 'RS256', typ: 'at+jwt', kid: keys[0].kid, ...header }));
    return { token: await signer.sign(await importJWK(key, 'RS256')) };
  },

  async rotate({ keep = true }) {
    keys = [newKey(), ...(keep ? keys : [])];
    provider = newProvider(issuer, keys);
    return { kid: keys[0].kid };
  },

  async stop({ how = 'reset' }) {
    state = how;
    if (how === 'reset') issuing.closeAllConnections();
    return {};
  },

  async start() {
    state = 'serve';
    issuing.closeAllConnections(); // those that hang get an end
    return {};
  },

  async counts() {
    return counts;
  },
};

const controlling = createServer(async (request, response) => {
  const [status, answer] = await json(request)
    .then((parameters) => controls[request.url.slice(1)](parameters))
    .then((answer) => [200, answer])
    .catch((error) => [400, { error: String(error) }]);
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(answer));
});
controlling.listen(0, '127.0.0.1');
await once(controlling, 'listening');

console.log(issuer);
console.log(`http://127.0.0.1:${controlling.address().port}`);
