// A fake of the two parts of Azure that secrets come from: the managed identity endpoint of App Service and Functions, and a Key
// Vault over TLS. `node fake_azure.mjs FOLDER [VAULT_PORT IDENTITY_PORT CONTROLS_PORT]`; without ports it takes any free ones.
//
// It makes an authority and a certificate in FOLDER. stdout, one a line: the vault's URL, the identity endpoint's, the path of the
// authority's certificate, the URL of the controls. It runs until it is killed. Microsoft's Python SDKs are run against it
// (witness_azure.rs), under the vault's real name, kv.vault.azure.net.
//
// Only the identity header below is served. The vault takes only tokens that this identity issued for the vault's own resource.
// The controls (on_command.mjs says how they are called, and what an order is):
//
//   /set       { name, value?, enabled? }   a new version of a secret; without a value the last one's → { version }
//   /delete    { name }                     the secret is gone
//   /vault     an order                     for what is asked of the vault with a token
//   /identity  an order                     for what is asked of the identity endpoint
//   /stop, /start  {}                       the vault resets every connection; it serves again
//   /tokens    { expiresOn?, seconds? }     "text" or "number", and how long a token lives, from now on
//   /counts    {}                           requests so far → { identity, challenges, secrets, connections }; secrets by name
//   /await     { name, reads }              answers as soon as a secret was asked for so many times
//   /last      {}                           what was asked last → { identity, vault }, each { method, url, headers }

import { execFileSync } from 'node:child_process';
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { Orders, answer, control, listen } from './on_command.mjs';

const identityHeader = 'identity-header-of-the-fake-azure';
const tenant = '00000000-0000-4000-8000-000000000001';
/** Stands in all that goes wrong, so that a test can see whether a text of the upstream's went on. */
const canary = 'azure-canary-5e1f';

const [folder, vaultPort, identityPort, controlsPort] = process.argv.slice(2);
if (!folder) {
  console.error('usage: node fake_azure.mjs FOLDER [VAULT_PORT IDENTITY_PORT CONTROLS_PORT]');
  process.exit(2);
}

/** An authority, and a server's certificate that it signed for the names of vaults and of Azurite's account. */
function makeCertificates() {
  const names = ['kv.vault.localhost', '*.vault.localhost', 'kv.vault.azure.net', 'devstoreaccount1.blob.localhost'].map((name) => `DNS:${name}`).join();
  writeFileSync(join(folder, 'vault.ext'), `basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=${names}\n`);
  const openssl = (command) => execFileSync('openssl', command.split(' '), { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  const newKey = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';
  const authority = '-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign';
  openssl(`req -x509 ${newKey} -keyout authority.key -out authority.pem -days 2 -subj /CN=authority ${authority}`);
  openssl(`req ${newKey} -keyout vault.key -out vault.csr -subj /CN=vault`);
  openssl('x509 -req -in vault.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile vault.ext -out vault.pem');
  return { key: readFileSync(join(folder, 'vault.key')), cert: readFileSync(join(folder, 'vault.pem')) };
}

const fault = (code, message, more) => ({ error: { code, message: `${message} ${canary}`, ...more } });
const counts = { identity: 0, challenges: 0, secrets: {}, connections: 0 };
const last = { identity: null, vault: null };
const seen = ({ method, url, headers }) => ({ method, url, headers });

// Tokens look like Entra's, and are signed with a key that nobody else has.

const signingKey = randomBytes(32);
const tokens = { expiresOn: 'text', seconds: 86_400 };
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const signature = (signed) => createHmac('sha256', signingKey).update(signed).digest();

function issue(aud) {
  const iat = Math.floor(Date.now() / 1000);
  const claims = { aud, iss: `https://sts.windows.net/${tenant}/`, iat, nbf: iat, exp: iat + tokens.seconds, tid: tenant, uti: randomBytes(8).toString('hex') };
  const signed = `${encoded({ typ: 'JWT', alg: 'HS256' })}.${encoded(claims)}`;
  return { token: `${signed}.${signature(signed).toString('base64url')}`, exp: claims.exp };
}

function isIssued(token, aud) {
  const [header, payload, signed, ...rest] = token.split('.');
  const given = Buffer.from(signed ?? '', 'base64url');
  const expected = signature(`${header}.${payload}`);
  if (rest.length > 0 || given.length !== expected.length || !timingSafeEqual(given, expected)) return false;
  const claims = JSON.parse(Buffer.from(payload, 'base64url'));
  return claims.aud === aud && claims.exp > Date.now() / 1000;
}

// The managed identity endpoint.

const identityOrders = new Orders({
  400: () => ({ statusCode: 400, message: `No User Assigned or Delegated Managed Identity found for specified ClientId. ${canary}` }),
  500: () => ({ statusCode: 500, message: `An unexpected error occurred while fetching the token. ${canary}` }),
});

const identity = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://localhost');
  counts.identity += 1;
  last.identity = seen(request);
  if (await identityOrders.carryOut(request, response)) return;
  const refuse = (statusCode, message) => answer(response, statusCode, { statusCode, message: `${message} ${canary}` });
  const resource = url.searchParams.get('resource');
  if (request.method !== 'GET' || url.pathname !== '/msi/token') return refuse(404, 'There is nothing here.');
  if (request.headers['x-identity-header'] !== identityHeader) return refuse(401, 'The identity header is not the right one.');
  if (url.searchParams.get('api-version') !== '2019-08-01') return refuse(400, 'The api-version is not supported.');
  if (!resource) return refuse(400, 'The resource is missing.');
  const { token, exp } = issue(resource);
  const expires_on = tokens.expiresOn === 'number' ? exp : String(exp);
  answer(response, 200, { access_token: token, expires_on, resource, token_type: 'Bearer', client_id: url.searchParams.get('client_id') ?? undefined });
});

// Key Vault.

const secrets = new Map();
let waiting = [];

function count(name) {
  counts.secrets[name] = (counts.secrets[name] ?? 0) + 1;
  const isOver = (wait) => wait.name === name && counts.secrets[name] >= wait.reads;
  for (const { end } of waiting.filter(isOver)) end();
  waiting = waiting.filter((wait) => !isOver(wait));
}

let stopped = false;

function set({ name, value, enabled = true }) {
  if (!/^[0-9A-Za-z-]{1,127}$/.test(name)) throw new Error('this is no name of a secret');
  const versions = secrets.get(name) ?? [];
  const created = Math.floor(Date.now() / 1000);
  const version = { version: randomBytes(16).toString('hex'), value: value ?? versions.at(-1)?.value ?? '', enabled, created };
  secrets.set(name, [...versions, version]);
  return version;
}

const bundle = (host, name, { version, value, enabled, created }) => ({
  value,
  id: `https://${host}/secrets/${name}/${version}`,
  attributes: { enabled, created, updated: created, recoveryLevel: 'Recoverable+Purgeable', recoverableDays: 90 },
});

const vaultOrders = new Orders({
  401: () => fault('Unauthorized', 'AKV10032: Invalid issuer.'),
  403: () => fault('Forbidden', 'Caller is not authorized to perform action on resource.', { innererror: { code: 'ForbiddenByRbac' } }),
  404: () => fault('SecretNotFound', 'A secret with this name was not found in this key vault.'),
  429: () => fault('Throttled', 'Request was not processed because too many requests were received.'),
  500: () => fault('InternalServerError', 'An unexpected error occurred.'),
  503: () => fault('ServiceUnavailable', 'The service is unavailable.'),
});

const vault = createTlsServer(makeCertificates(), async (request, response) => {
  const { host, authorization = '' } = request.headers;
  const url = new URL(request.url, 'https://vault');
  // The part of the vault's name that a client must find in the challenge too.
  const resource = `https://${host.split(':')[0].split('.').slice(1).join('.')}`;
  const challenge = { 'www-authenticate': `Bearer authorization="https://login.microsoftonline.com/${tenant}", resource="${resource}"` };
  if (!authorization) {
    counts.challenges += 1;
    return answer(response, 401, fault('Unauthorized', 'AKV10000: Request is missing a Bearer or PoP token.'), challenge);
  }
  // As far as the name: two clients write the address of a secret without a version in two ways.
  const [, collection, name, version, ...rest] = url.pathname.split('/');
  if (name) count(name);
  last.vault = seen(request);
  if (await vaultOrders.carryOut(request, response)) return;

  const token = authorization.replace(/^Bearer /, '');
  if (!isIssued(token, resource)) {
    return answer(response, 401, fault('Unauthorized', '[BearerReadAccessTokenFailed] Error validating token.'), challenge);
  }
  if (!url.searchParams.get('api-version')) return answer(response, 400, fault('BadParameter', 'api-version must be specified'));
  if (collection !== 'secrets' || !name || rest.length > 0) return answer(response, 404, fault('NotFound', 'There is nothing here.'));
  if (request.method === 'PUT' && !version) return answer(response, 200, bundle(host, name, set({ name, value: (await json(request)).value })));
  if (request.method !== 'GET') return answer(response, 405, fault('MethodNotAllowed', 'The method is not allowed.'));

  const versions = secrets.get(name) ?? [];
  const found = version ? versions.find((one) => one.version === version) : versions.at(-1);
  if (!found) {
    return answer(response, 404, fault('SecretNotFound', `A secret with (name/id) ${name} was not found in this key vault.`));
  }
  if (!found.enabled) {
    return answer(response, 403, fault('Forbidden', 'Operation get is not allowed on a disabled secret.', { innererror: { code: 'SecretDisabled' } }));
  }
  answer(response, 200, bundle(host, name, found));
});
// The port stays ours while "stopped", so that no other program can take it.
vault.on('connection', (socket) => {
  if (stopped) return socket.resetAndDestroy();
  counts.connections += 1;
  sockets.add(socket);
  socket.on('close', () => sockets.delete(socket));
});
const sockets = new Set();

const controls = {
  set: (secret) => ({ version: set(secret).version }),
  delete: ({ name }) => void secrets.delete(name),
  vault: (order) => vaultOrders.give(order),
  identity: (order) => identityOrders.give(order),
  stop() {
    stopped = true;
    for (const socket of sockets) socket.resetAndDestroy();
  },
  start() {
    stopped = false;
  },
  tokens: (change) => void Object.assign(tokens, change),
  counts: () => counts,
  await: ({ name, reads }) =>
    new Promise((end) => {
      if ((counts.secrets[name] ?? 0) >= reads) end();
      else waiting.push({ name, reads, end });
    }),
  last: () => last,
};

console.log(`https://kv.vault.localhost:${await listen(vault, vaultPort)}`);
console.log(`http://127.0.0.1:${await listen(identity, identityPort)}/msi/token`);
console.log(join(folder, 'authority.pem'));
console.log(await control(controls, controlsPort));
