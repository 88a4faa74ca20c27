// Runs LiveKit's browser client, unchanged, against a token endpoint: `node token_source.mjs URL`.
//
// stdout: one JSON object
//   first, second    what two fetches with the same options object gave; the second should come from the cache
//   sameToken        whether both carry the same token
//   withoutOptions   what a new source gave for {}
//   everything       what a source gave for every option that it has, and the request that it made
//   refused          the text of the exception for a room name that the endpoint must refuse, or null
//   requests         [{ method, headers, body, status }] in order, as the client made them

import { TokenSource } from 'livekit-client';

const url = process.argv[2];
if (!url) {
  console.error('usage: node token_source.mjs URL');
  process.exit(2);
}

const requests = [];
const realFetch = globalThis.fetch;
globalThis.fetch = async (input, init = {}) => {
  const request = {
    method: init.method,
    headers: Object.fromEntries(new Headers(init.headers)),
    body: init.body,
    status: null,
  };
  requests.push(request);
  const response = await realFetch(input, init);
  request.status = response.status;
  return response;
};

const source = TokenSource.endpoint(url);
const options = { roomName: 'standup-42', participantName: 'Alice', participantIdentity: 'alice' };
const first = await source.fetch(options);
const second = await source.fetch(options);

const withoutOptions = await TokenSource.endpoint(url).fetch({});

const answer = await TokenSource.endpoint(url).fetch({
  roomName: 'standup-42',
  participantName: 'Alice',
  participantIdentity: 'alice',
  participantMetadata: 'm',
  participantAttributes: { camelCase: 'v' },
  agentName: 'notes',
  agentMetadata: 'am',
  deployment: 'prod',
});
const everything = { answer, body: JSON.parse(requests.at(-1).body) };

const refused = await TokenSource.endpoint(url)
  .fetch({ roomName: 'stand up' })
  .then(
    () => null,
    (error) => error.message,
  );

const sameToken = first.participantToken === second.participantToken;
console.log(JSON.stringify({ first, second, sameToken, withoutOptions, everything, refused, requests }));
