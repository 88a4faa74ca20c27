// Starts what the end-to-end tests need, each on loopback ports of its own: the roomkey that was
// built, a real LiveKit server, a real TURN server, the fake of the Realtime services, a page that
// has loaded the packages, and Debian's Chromium.

import { execFileSync, spawn } from 'node:child_process';
import { createHmac, randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { createSocket } from 'node:dgram';
import { tmpdir } from 'node:os';
import { delimiter, dirname, extname, join, normalize } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

/** The root of the repository. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const livekitKey = 'APIbrowsertests';
const livekitSecret = 'a-throw-away-secret-of-32-bytes-or-more';
/** The API key that the fake of the Realtime services takes. */
export const realtimeKey = 'realtime-key-of-the-fake';

const clean = [];
/** Registers something to be undone when {@link stopAll} is called. */
export const onStop = (undo) => void clean.push(undo);

/** Undoes everything that was started, the last first. */
export async function stopAll() {
  for (const undo of clean.splice(0).reverse()) await undo();
}

// Whoever is ended in the middle takes along what it has started.
const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** Longer than anything takes that happens at all, also on a busy machine. */
export const patience = 60_000;

/** Asks again until the answer is true, or the time is over. Returns what made it true. */
export async function until(what, ask, milliseconds = patience, every = 50) {
  const end = performance.now() + milliseconds;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (performance.now() > end) throw new Error(`${what}: not within ${milliseconds} ms`);
    await sleep(every);
  }
}

/** Whether a server or a socket that has just been told to listen may do so; it is closed again. */
async function listens(server) {
  const isFree = await once(server, 'listening').then(
    () => true,
    () => false,
  );
  if (isFree) {
    server.close();
    await once(server, 'close');
  }
  return isFree;
}

/**
 * Returns a port for TCP and UDP that nobody uses. It lies below those that Linux gives to who asks
 * for any, so that it stays free until the server listens that is told to, and between two of its
 * lives.
 */
export async function freePort() {
  for (;;) {
    const port = randomInt(20_000, 32_768);
    const isFree =
      (await listens(createTcpServer().listen(port, '127.0.0.1'))) &&
      (await listens(createSocket('udp4').bind(port, '127.0.0.1')));
    if (isFree) return port;
  }
}

function folder() {
  const path = mkdtempSync(join(tmpdir(), 'roomkey-e2e-'));
  onStop(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function begin(program, args, options) {
  const child = spawn(program, args, options);
  const closed = once(child, 'close').catch(() => undefined);
  let isOver = false;
  children.add(child);
  closed.then(() => {
    isOver = true;
    children.delete(child);
  });
  const end = async (signal = 'SIGKILL') => {
    child.kill(signal);
    await closed;
  };
  onStop(end);
  return { child, end, isOver: () => isOver };
}

const answers = async (url) => {
  try {
    return (await fetch(url)).ok;
  } catch {
    return false;
  }
};

/**
 * Starts a LiveKit server that takes no codec but those of voice. It keeps its ports over a
 * restart.
 */
export async function startLiveKit() {
  const tool = join(root, 'target/tools/bin/livekit-server');
  if (!existsSync(tool))
    throw new Error('livekit-server is missing: scripts/tools peers installs it');
  const [port, udpPort] = [await freePort(), await freePort()];
  const config = join(folder(), 'livekit.yaml');
  writeFileSync(
    config,
    `port: ${port}
bind_addresses: [127.0.0.1]
keys: { ${livekitKey}: ${livekitSecret} }
logging: { level: error }
rtc: { node_ip: 127.0.0.1, use_external_ip: false, enable_loopback_candidate: true, interfaces: { includes: [lo] },
       tcp_port: 0, udp_port: ${udpPort}, stun_servers: ["127.0.0.1:9"] }
room: { enabled_codecs: [ { mime: audio/opus }, { mime: audio/red } ] }
`,
  );
  const url = `http://127.0.0.1:${port}`;
  const server = {
    url: url.replace('http', 'ws'),
    async start() {
      const process = begin(tool, ['--config', config], { env: {}, stdio: 'ignore' });
      server.kill = () => process.end();
      // A stopped process answers nothing and refuses nothing: to its peers that is a network that
      // lost its way.
      server.pause = () => process.child.kill('SIGSTOP');
      server.resume = () => process.child.kill('SIGCONT');
      await until('livekit-server answers', async () => {
        if (process.isOver()) throw new Error('livekit-server ended before it answered');
        return answers(url);
      });
    },
  };
  await server.start();
  return server;
}

/** The secret that the TURN server shares with roomkey. */
const turnSecret = 'a-throw-away-turn-secret-of-32-bytes-or-more';

/** Starts a coturn on loopback; `settings` are roomkey's for it. */
export async function startTurnServer() {
  const tool = join(root, 'target/tools/bin/turnserver');
  if (!existsSync(tool)) throw new Error('turnserver is missing: scripts/tools turn installs it');
  const [port, path] = [await freePort(), folder()];
  // It needs no database. While one is created on a busy disk, it checks no credential.
  writeFileSync(
    join(path, 'turnserver.conf'),
    `listening-ip=127.0.0.1
relay-ip=127.0.0.1
listening-port=${port}
realm=roomkey.test
use-auth-secret
static-auth-secret=${turnSecret}
allow-loopback-peers
no-tls
no-dtls
no-cli
no-multicast-peers
log-file=stdout
simple-log
pidfile=${join(path, 'turnserver.pid')}
userdb=/dev/null/none
`,
  );
  const { isOver } = begin(tool, ['-c', join(path, 'turnserver.conf')], {
    env: {},
    stdio: 'ignore',
  });
  await until('turnserver listens', async () => {
    if (isOver()) throw new Error('turnserver ended before it listened');
    return !(await listens(createSocket('udp4').bind(port, '127.0.0.1')));
  });
  const url = `turn:127.0.0.1:${port}?transport=udp`;
  return { url, settings: { ROOMKEY_TURN_URLS: url, ROOMKEY_TURN_SECRET: turnSecret } };
}

/** Returns ICE servers with a credential that ends `seconds` from now. */
export function turnCredential({ url }, seconds) {
  const username = `${Math.floor(Date.now() / 1000) + seconds}:test`;
  const credential = createHmac('sha1', turnSecret).update(username).digest('base64');
  return [{ urls: [url], username, credential }];
}

/** Starts the fake of the Realtime services. */
export async function startRealtime() {
  const script = join(root, 'tests/real/peers/js/fake_realtime.mjs');
  const { child } = begin('node', [script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const url = (await lines.next()).value;
  const controls = (await lines.next()).value;
  return {
    url,
    async control(name, parameters = {}) {
      const response = await fetch(`${controls}/${name}`, {
        method: 'POST',
        body: JSON.stringify(parameters),
      });
      if (!response.ok) throw new Error(`${name}: ${await response.text()}`);
      return response.json();
    },
  };
}

/** Starts an OpenID provider that signs in who comes from a page, and returns its issuer. */
export async function startOpenIdProvider(redirectUri) {
  const script = join(root, 'tests/real/peers/js/oidc_provider.mjs');
  const { child } = begin('node', [script, '0', redirectUri], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return (await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next()).value;
}

/** Starts roomkey for pages of `origins`. */
export async function startRoomkey({ origins, livekit, realtime, settings = {}, port }) {
  const program = process.env.ROOMKEY_PROGRAM ?? join(root, 'target/debug/roomkey');
  if (!existsSync(program)) throw new Error(`${program} is missing: cargo build makes it`);
  const app = folder();
  const host = JSON.parse(readFileSync(join(root, 'host.json'), 'utf8'));
  host.cors.allowedOrigins = origins;
  writeFileSync(join(app, 'host.json'), JSON.stringify(host));
  port ??= await freePort();
  const env = {
    FUNCTIONS_CUSTOMHANDLER_PORT: String(port),
    ROOMKEY_CALLER_AUTH: 'anonymous',
    ROOMKEY_RATE_LIMIT: 'off',
    ROOMKEY_REALTIME_RATE_LIMIT: 'off',
    ...(livekit && {
      LIVEKIT_URL: livekit.url,
      LIVEKIT_API_KEY: livekitKey,
      LIVEKIT_API_SECRET: livekitSecret,
    }),
    ...(realtime && { OPENAI_BASE_URL: `${realtime.url}/v1`, OPENAI_API_KEY: realtimeKey }),
    ...settings,
  };
  const url = `http://127.0.0.1:${port}`;
  const { child, isOver, end } = begin(program, [], {
    cwd: app,
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (data) => (said = (said + data).slice(-4000)));
  await until('roomkey answers', async () => {
    if (isOver()) throw new Error(`roomkey ended before it answered:\n${said}`);
    return answers(`${url}/api/health/ready`);
  });
  return { url, end };
}

/** The admin key of a roomkey with a store. */
export const adminKey = 'a-throw-away-admin-key-of-32-characters-or-more';

/**
 * Returns the settings of a roomkey with a store, whose `project` anonymous callers may use.
 *
 * The provider's key is the project's own: {@link saveProjectKey} stores it.
 */
export function storeSettings(project) {
  const random = () => randomBytes(32).toString('base64url');
  return {
    ROOMKEY_STORE: `sqlite:${join(folder(), 'store.db')}`,
    ROOMKEY_KEK_V1: random(),
    ROOMKEY_HASH_KEY: random(),
    ROOMKEY_ADMIN_KEYS: adminKey,
    ROOMKEY_ANONYMOUS_PROJECTS: project,
  };
}

/** Sends a request of an operator, and returns the answer. */
export async function operate({ url }, path, body) {
  const response = await fetch(url + path, {
    method: body ? 'POST' : 'GET',
    headers: { 'X-Admin-API-Key': adminKey, 'Content-Type': 'application/json' },
    body: body && JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** Stores the key with which the sessions of a project are minted. */
export const saveProjectKey = (roomkey, project, key) =>
  operate(roomkey, '/api/projects/key', { project_id: project, openai_key: key, validate: true });

/** Returns how many slots of a project are taken. */
export async function activeSessions(roomkey, project) {
  const { projects } = await operate(roomkey, '/api/projects');
  return projects.find(({ project_id }) => project_id === project).active_sessions;
}

const types = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
};

/** Serves the folders of `mounts`, by the path below which each is, and an empty page at `/`. */
export async function serve(mounts, port = 0) {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname === '/')
      return response
        .writeHead(200, { 'content-type': 'text/html' })
        .end('<!doctype html><title>roomkey</title><body>');
    const mount = Object.keys(mounts).find((path) => pathname.startsWith(path));
    const file = mount && join(mounts[mount], normalize(pathname.slice(mount.length)));
    if (!file || !existsSync(file)) return response.writeHead(404).end();
    response
      .writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' })
      .end(readFileSync(file));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  onStop(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://localhost:${server.address().port}`;
}

/** Speaks a sentence into a file that Chromium plays as its microphone, with a pause at its end. */
export function sentence(text, pauseSeconds = 1.5) {
  const path = join(folder(), 'microphone.wav');
  const spoken = execFileSync('espeak-ng', ['--stdout', text], { maxBuffer: 1 << 26 });
  const data = spoken.indexOf('data') + 8;
  const rate = spoken.readUInt32LE(24);
  const samples = spoken.subarray(data);
  const sound = Buffer.concat([samples, Buffer.alloc(Math.round(rate * pauseSeconds) * 2)]);
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + sound.length, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(rate, 24);
  header.writeUInt32LE(rate * 2, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write('data', 36);
  header.writeUInt32LE(sound.length, 40);
  writeFileSync(path, Buffer.concat([header, sound]));
  return path;
}

const inPath = (program) =>
  process.env.PATH.split(delimiter)
    .map((folder) => join(folder, program))
    .find((path) => existsSync(path));

/** Starts Chromium with a microphone that plays a file, and with no way to any other machine. */
export async function launch({ microphone, deny = false } = {}) {
  const executablePath = process.env.CHROME_BIN ?? inPath('chromium');
  if (!executablePath) throw new Error('chromium is missing: scripts/tools browser installs it');
  const browser = await chromium.launch({
    executablePath,
    timeout: patience,
    args: [
      '--use-fake-device-for-media-stream',
      deny ? '--deny-permission-prompts' : '--use-fake-ui-for-media-stream',
      ...(microphone ? [`--use-file-for-fake-audio-capture=${microphone}`] : []),
      '--allow-loopback-in-peer-connection',
      '--autoplay-policy=no-user-gesture-required',
      '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost',
    ],
  });
  onStop(() => browser.close());
  return browser;
}

/** Opens a page in a profile of its own, which waits for as long as the tests do. */
export async function newPage(browser, options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(patience);
  return context.newPage();
}
