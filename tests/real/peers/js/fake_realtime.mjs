// A fake of the Realtime services of both vendors, as a server that mints client secrets and the browsers that use them see
// them: `node fake_realtime.mjs [PORT CONTROLS_PORT]`; without ports it takes any free ones.
//
// stdout: its URL on the first line, the URL of the controls on the second. It runs until it is killed. Below URL/v1 it is OpenAI,
// below URL/openai/v1 Azure OpenAI: `POST …/realtime/client_secrets` and `GET …/models`, by the vendors' specifications of
// November 2026. OpenAI's own SDK is run against it (witness_openai.rs). A browser posts its SDP offer with a client secret to
// `…/realtime/calls` and is answered with sound (realtime_call.mjs); `…/realtime/calls/ID/hangup` ends that call.
//
// Each mint gives another secret and session. Until /accept says otherwise the API key is `realtime-key-of-the-fake`, and Azure
// takes any token of Entra's form for the resource https://cognitiveservices.azure.com that has not expired; the signature is
// Entra's business. The controls (on_command.mjs says how they are called, and what an order is):
//
//   /accept  { keys?, models?, entra? }   the API keys and the models or deployments that there are; whether Azure takes tokens
//   /mint    an order                     for mints with good credentials
//   /call    an order                     for SDP offers with a good client secret
//   /calls   {}                           the calls so far → [{ id, state, received }], received being the types of the client's events
//   /end     {}                           hangs up on every call
//   /vanish  {}                           answers nothing in any call any more, and says no word
//   /counts  {}                           so far → { asked, mints, models, refused, others, connections, abandoned }; asked are all
//                                         requests for a mint, mints those that were answered with a secret, abandoned those
//                                         whose client went away first
//   /last    {}                           the last request for a mint → { method, url, headers, body }

import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { Orders, answer, control, listen } from './on_command.mjs';

/** Stands in all that goes wrong, so that a test can see whether a text of the upstream's went on. */
const canary = 'upstream-canary-7c3a';
const entraResource = 'https://cognitiveservices.azure.com';

const [port, controlsPort] = process.argv.slice(2);
const accepted = { keys: ['realtime-key-of-the-fake'], models: ['gpt-realtime-2.1', 'voice-deployment'], entra: true };
const counts = { asked: 0, mints: 0, models: 0, refused: 0, others: 0, connections: 0, abandoned: 0 };
/** What each client secret was minted for. */
const issued = new Map();
let last = null;

/** What each vendor does in its own way. */
const vendors = {
  openai: {
    prefix: '/v1',
    headers: () => ({ 'x-request-id': `req_${randomBytes(16).toString('hex')}`, 'openai-processing-ms': '42', 'openai-version': '2020-10-01' }),
    error: (message, code, param = null, type = 'invalid_request_error') => ({ error: { message: `${message} ${canary}`, type, param, code } }),
    key: ({ authorization }) => authorization?.match(/^Bearer (.+)$/)?.[1],
    isToken: () => false,
    unauthenticated(key) {
      // It quotes the key, but for its middle.
      const shown = key && `${key.slice(0, 8)}${'*'.repeat(8)}${key.slice(-4)}`;
      return key ? this.error(`Incorrect API key provided: ${shown}.`, 'invalid_api_key') : this.error("You didn't provide an API key.", null);
    },
    noModel() {
      return [400, this.error("Missing required parameter: 'session.model'.", 'missing_required_parameter', 'session.model')];
    },
    unknownModel(model) {
      return [404, this.error(`The model '${model}' does not exist or you do not have access to it.`, 'model_not_found', 'session.model')];
    },
  },
  azure: {
    prefix: '/openai/v1',
    headers: () => ({ 'apim-request-id': crypto.randomUUID(), 'x-ms-region': 'Sweden Central' }),
    error: (message, code, param, type) => ({ error: { code, message: `${message} ${canary}`, param, type } }),
    // OpenAI's own SDK sends Azure's key as a bearer, and is served.
    key: (headers) => headers['api-key'] ?? vendors.openai.key(headers),
    isToken(token) {
      try {
        const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
        return accepted.entra && claims.aud === entraResource && claims.exp > Date.now() / 1000;
      } catch {
        return false;
      }
    },
    unauthenticated() {
      const message = 'Access denied due to invalid subscription key or wrong API endpoint.';
      return this.error(message, '401');
    },
    noModel() {
      return [400, this.error("Missing required parameter: 'session.model'.", 'missing_required_parameter', 'session.model', 'invalid_request_error')];
    },
    unknownModel() {
      return [404, this.error('The API deployment for this resource does not exist.', 'DeploymentNotFound')];
    },
  },
};

// The body of a mint. Only what the specification names is taken; where it has bounds, they hold.

const choice = (...values) => (value) => values.includes(value);
const number = (low, high) => (value) => typeof value === 'number' && value >= low && value <= high;
const string = (value) => typeof value === 'string';
const list = (value) => Array.isArray(value);
const any = () => true;
const orNull = (rule) => (value) => value === null || rule(value);
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

const format = { type: choice('audio/pcm', 'audio/pcmu', 'audio/pcma'), rate: choice(24_000) };
const vad = { create_response: choice(true, false), interrupt_response: choice(true, false) };
const serverVad = {
  type: choice('server_vad'), threshold: number(0, 1), prefix_padding_ms: number(0, Infinity), silence_duration_ms: number(0, Infinity),
  idle_timeout_ms: orNull(number(5000, 30_000)), ...vad,
};
const semanticVad = { type: choice('semantic_vad'), eagerness: choice('low', 'medium', 'high', 'auto'), ...vad };
const session = {
  type: choice('realtime'), model: string, instructions: string, output_modalities: (value) => ['["audio"]', '["text"]'].includes(JSON.stringify(value)),
  max_output_tokens: (value) => value === 'inf' || number(1, 4096)(value), tools: list, tool_choice: any, tracing: any, truncation: any,
  include: list, prompt: any, reasoning: isObject, parallel_tool_calls: choice(true, false),
  audio: {
    input: {
      format, transcription: { model: string, language: string, prompt: string, delay: string },
      noise_reduction: orNull((value) => choice('near_field', 'far_field')(value?.type)),
      turn_detection: orNull((value) => isObject(value) && !fault(value.type === 'semantic_vad' ? semanticVad : serverVad, value, '')),
    },
    output: { format, voice: (value) => /^[a-z]{2,16}$/.test(value) || string(value?.id), speed: number(0.25, 1.5) },
  },
};
const mint = { expires_after: { anchor: choice('created_at'), seconds: number(10, 7200) }, session };

/** The first member that the rules have something against: `[path, whether it is unknown]`. */
function fault(rules, value, path) {
  if (typeof rules === 'function') return rules(value) ? undefined : [path, false];
  if (!isObject(value)) return [path, false];
  for (const [name, member] of Object.entries(value)) {
    const below = path ? `${path}.${name}` : name;
    const found = rules[name] ? fault(rules[name], member, below) : [below, true];
    if (found) return found;
  }
}

function minted(vendor, bytes) {
  let body;
  try {
    body = JSON.parse(bytes);
  } catch {
    return [400, vendor.error('We could not parse the JSON body of your request.', null)];
  }
  const wrong = fault(mint, body, '');
  if (wrong) {
    const [param, isUnknown] = wrong;
    const [words, code] = isUnknown ? ['Unknown parameter', 'unknown_parameter'] : ['Invalid value', 'invalid_value'];
    return [400, vendor.error(`${words}: '${param}'.`, code, param, 'invalid_request_error')];
  }
  if (!body.session?.type) {
    return [400, vendor.error("Missing required parameter: 'session.type'.", 'missing_required_parameter', 'session.type', 'invalid_request_error')];
  }
  if (!body.session.model) return vendor.noModel();
  if (!accepted.models.includes(body.session.model)) return vendor.unknownModel(body.session.model);
  const expires_at = Math.floor(Date.now() / 1000) + (body.expires_after?.seconds ?? 600);
  counts.mints += 1;
  const value = `ek_${randomBytes(16).toString('hex')}`;
  const session = { object: 'realtime.session', id: `sess_${randomBytes(12).toString('hex')}`, expires_at: 0, ...body.session };
  issued.set(value, { expires_at, session });
  return [200, { value, expires_at, session }];
}

// The services.

const bodies = (vendor) => ({
  400: () => vendor.error('Something in the request is wrong.', 'invalid_request_error'),
  401: () => vendor.unauthenticated('sk-1234567890'),
  403: () => vendor.error('Access denied due to Virtual Network/Firewall rules.', '403'),
  404: () => vendor.unknownModel('gpt-realtime-0')[1],
  429: () => vendor.error('Rate limit reached for requests.', 'rate_limit_exceeded', null, 'requests'),
  500: () => vendor.error('The server had an error while processing your request.', null, null, 'server_error'),
  503: () => vendor.error('The service is temporarily unable to process your request.', null, null, 'server_error'),
});
const vendorOf = ({ url }) => (url.startsWith('/openai/') ? vendors.azure : vendors.openai);
const bodiesOf = Object.fromEntries(
  Object.keys(bodies(vendors.openai)).map((status) => [status, (request) => bodies(vendorOf(request))[status]()]),
);
const orders = new Orders(bodiesOf);

async function serve(request, response) {
  const vendor = vendorOf(request);
  const { pathname } = new URL(request.url, 'http://localhost');
  const route = `${request.method} ${pathname.startsWith(`${vendor.prefix}/`) ? pathname.slice(vendor.prefix.length) : ''}`;
  const isMint = route === 'POST /realtime/client_secrets';
  const isCall = route.endsWith(' /realtime/calls');
  if (isCall && allow(request, response)) return;
  const body = await text(request);
  if (isMint) {
    counts.asked += 1;
    last = { method: request.method, url: request.url, headers: request.headers, body };
  }
  for (const [name, value] of Object.entries(vendor.headers())) response.setHeader(name, value);

  const say = ([status, body]) => {
    if (status !== 200) counts.refused += 1;
    answer(response, status, body);
  };
  const key = vendor.key(request.headers);
  if (isCall) return call(request, response, vendor, key, body);
  if (!key || !(accepted.keys.includes(key) || vendor.isToken(key))) return say([401, vendor.unauthenticated(key)]);
  if (route === 'GET /models') {
    counts.models += 1;
    return say([200, { object: 'list', data: accepted.models.map((id) => ({ id, object: 'model', created: 1, owned_by: 'system' })) }]);
  }
  const hangup = /^POST \/realtime\/calls\/(rtc_\w+)\/hangup$/.exec(route);
  if (hangup && calls.has(hangup[1])) {
    // The call is over at once; taking down a connection whose browser has gone takes seconds.
    calls.get(hangup[1]).close().catch(() => undefined);
    return answer(response, 200, '');
  }
  if (!isMint) {
    counts.others += 1;
    return say([404, vendor.error(`Invalid URL (${route})`, vendor === vendors.azure ? '404' : null)]);
  }
  if (request.headers['openai-beta']) return say([400, vendor.error('The beta is over.', 'beta_api_shape_disabled')]);
  if (!request.headers['content-type']?.startsWith('application/json')) return say([400, vendor.error('Unsupported content type.', null)]);
  if (await orders.carryOut(request, response)) return;
  if (response.destroyed) return;
  say(minted(vendor, body));
}

// Calls.

const callOrders = new Orders(bodiesOf);
const calls = new Map();

/** Takes an SDP offer of a browser, from any page. */
async function call(request, response, vendor, secret, offer) {
  const session = issued.get(secret);
  if (!session || session.expires_at <= Date.now() / 1000) return answer(response, 401, vendor.unauthenticated(secret));
  if (!request.headers['content-type']?.startsWith('application/sdp')) return answer(response, 400, vendor.error('Unsupported content type.', null));
  if (await callOrders.carryOut(request, response)) return;
  if (!/^v=0\r?\n[^]*^m=audio /m.test(offer)) return answer(response, 400, vendor.error('The offer is no SDP with audio.', 'invalid_offer'));
  const isFiltered = vendor === vendors.azure && new URL(request.url, 'http://localhost').searchParams.get('webrtcfilter') === 'on';
  // The stack that answers is loaded with the first call: those who only mint do without.
  const { RealtimeCall } = await import('./realtime_call.mjs');
  const call = new RealtimeCall(session.session, isFiltered, () => undefined);
  calls.set(call.id, call);
  const sdp = await call.answer(offer);
  answer(response, 201, sdp, { 'content-type': 'application/sdp', location: `${vendor.prefix}/realtime/calls/${call.id}` });
}

/** Lets scripts of every origin in, as the vendors do. */
function allow(request, response) {
  response.setHeader('access-control-allow-origin', '*');
  response.setHeader('access-control-expose-headers', 'location, x-request-id');
  if (request.method !== 'OPTIONS') return false;
  response.setHeader('access-control-allow-methods', 'POST');
  response.setHeader('access-control-allow-headers', 'authorization, content-type, x-openai-agents-sdk');
  response.writeHead(204).end();
  return true;
}

const server = createServer((request, response) => {
  response.on('close', () => {
    if (!response.writableFinished) counts.abandoned += 1;
  });
  // A client that went away in the middle is no concern of the service's.
  serve(request, response).catch(() => response.destroy());
});
server.keepAliveTimeout = 60_000;
server.on('connection', () => {
  counts.connections += 1;
});

const controls = {
  accept: (change) => void Object.assign(accepted, change),
  mint: (order) => orders.give(order),
  call: (order) => callOrders.give(order),
  calls: () => [...calls.values()].map(({ id, state, received }) => ({ id, state, received })),
  end: () => Promise.all([...calls.values()].map((call) => call.close())).then(() => undefined),
  vanish: () => [...calls.values()].forEach((call) => call.vanish()),
  counts: () => counts,
  last: () => last,
};

console.log(`http://127.0.0.1:${await listen(server, port)}`);
console.log(await control(controls, controlsPort));
