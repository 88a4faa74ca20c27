// Runs OpenAI's own SDK against the fake of the Realtime services (fake_realtime.mjs).
//
// stdin:  { url, controls, key, session }   the fake, a key that it takes, and a session to mint for
// stdout: one JSON object
//   openai, azure, azureSdk   what a mint gave, and `request` as the fake saw it: below /v1, below /openai/v1, and by the SDK's
//                             client for Azure with a function for tokens
//   models                    the ids below /v1 and below /openai/v1
//   hungUp                    below /v1 and below /openai/v1: the id of a call that the SDK hung up, and whether another key may not
//   refused                   by name: the error's class and status, and whether it says what the service calls the fault
//   tries                     mints that the fake saw while it answered 500 and the SDK tried again

import { json } from 'node:stream/consumers';
import OpenAI, { AzureOpenAI } from 'openai';
import { RTCPeerConnection } from 'werift';

const { url, controls, key, session } = await json(process.stdin);

async function control(name, parameters = {}) {
  const response = await fetch(`${controls}/${name}`, { method: 'POST', body: JSON.stringify(parameters) });
  if (!response.ok) throw new Error(`${name}: ${await response.text()}`);
  return response.json();
}

const client = (base, options) => new OpenAI({ baseURL: `${url}${base}`, apiKey: key, maxRetries: 0, ...options });
const mint = (client, more) =>
  client.realtime.clientSecrets.create({ expires_after: { anchor: 'created_at', seconds: 60 }, session: { ...session, ...more } });
const minted = async (client) => ({ ...(await mint(client)), request: await control('last') });
const refusal = (promise) =>
  promise.then(
    () => null,
    (error) => ({ name: error.constructor.name, status: error.status ?? null, code: error.code ?? null, requestId: Boolean(error.requestID) }),
  );

/** Opens a call with a client secret, as a page does, and hangs up on it with the key. */
async function hungUp(base) {
  const { value } = await mint(client(base));
  const peer = new RTCPeerConnection();
  peer.addTransceiver('audio');
  peer.createDataChannel('oai-events');
  await peer.setLocalDescription(await peer.createOffer());
  const headers = { authorization: `Bearer ${value}`, 'content-type': 'application/sdp' };
  const opened = await fetch(`${url}${base}/realtime/calls`, { method: 'POST', headers, body: peer.localDescription.sdp });
  const id = opened.headers.get('location').split('/').at(-1);
  const stranger = await refusal(client(base, { apiKey: 'sk-of-somebody-else' }).realtime.calls.hangup(id));
  await client(base).realtime.calls.hangup(id);
  await peer.close();
  return { id, stranger };
}

async function ordered(order, work) {
  await control('mint', order);
  const result = await work();
  await control('mint');
  return result;
}

/** Of Entra's form; the fake leaves the signature to Entra. */
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const entra = (aud) => `${encoded({ alg: 'none' })}.${encoded({ aud, exp: Math.floor(Date.now() / 1000) + 600 })}.x`;
const azure = (aud) => new AzureOpenAI({ baseURL: `${url}/openai/v1`, apiVersion: 'v1', azureADTokenProvider: async () => entra(aud), maxRetries: 0 });

const answer = {
  openai: await minted(client('/v1')),
  azure: await minted(client('/openai/v1')),
  azureSdk: await minted(azure('https://cognitiveservices.azure.com')),
  models: [],
  hungUp: [await hungUp('/v1'), await hungUp('/openai/v1')],
  refused: {
    key: await refusal(mint(client('/v1', { apiKey: 'sk-of-somebody-else' }))),
    azureKey: await refusal(mint(client('/openai/v1', { apiKey: 'of-somebody-else' }))),
    audience: await refusal(mint(azure('https://ai.azure.com'))),
    model: await refusal(mint(client('/v1'), { model: 'gpt-realtime-0' })),
    deployment: await refusal(mint(client('/openai/v1'), { model: 'nowhere' })),
    noDeployment: await refusal(mint(client('/openai/v1'), { model: undefined })),
    temperature: await refusal(mint(client('/v1'), { temperature: 1 })),
    beta: await refusal(mint(client('/v1', { defaultHeaders: { 'OpenAI-Beta': 'realtime=v1' } }))),
  },
};
for (const base of ['/v1', '/openai/v1']) {
  const page = await client(base).models.list();
  answer.models.push(page.data.map(({ id }) => id));
}
for (const status of [400, 403, 429, 500]) {
  answer.refused[status] = await ordered({ status }, () => refusal(mint(client('/v1'))));
}
answer.refused.reset = await ordered({ how: 'reset' }, () => refusal(mint(client('/v1'))));
const before = (await control('counts')).mints;
answer.tries = await ordered({ status: 500, times: 2 }, async () => {
  await mint(client('/v1', { maxRetries: 2 }));
  return [(await control('counts')).mints - before, (await control('last')).headers['x-stainless-retry-count']];
});
console.log(JSON.stringify(answer));
// The stack of the calls keeps its sockets for a while.
process.exit(0);
