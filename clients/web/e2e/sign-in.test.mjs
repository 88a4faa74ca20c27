// A user signs in with a real OpenID provider, by a code flow with PKCE in the page, and the page's
// access token goes along with what `@roomkey/client` asks.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { join } from 'node:path';
import {
  launch,
  newPage,
  root,
  serve,
  startLiveKit,
  startOpenIdProvider,
  startRoomkey,
  stopAll,
} from './harness.mjs';

let origin, issuer, roomkey, browser;
before(async () => {
  origin = await serve({
    '/client/': join(root, 'clients/web/dist'),
    '/livekit/': join(root, 'clients/node_modules/livekit-client/dist'),
    '/e2e/': join(root, 'clients/web/e2e'),
  });
  issuer = await startOpenIdProvider(`${origin}/`);
  roomkey = await startRoomkey({
    origins: [origin],
    livekit: await startLiveKit(),
    settings: {
      ROOMKEY_CALLER_AUTH: 'oidc',
      ROOMKEY_OIDC_ISSUER: issuer,
      ROOMKEY_OIDC_AUDIENCE: 'api://roomkey',
      ROOMKEY_OIDC_SCOPE: 'rooms.join',
    },
  });
  browser = await launch();
});
after(stopAll);

test('a page signs in, joins as who it is, and a refused access token is replaced once', async () => {
  const page = await newPage(browser);
  await page.goto(origin);
  const verifier = 'a'.repeat(64);
  const { authorize, token_endpoint } = await page.evaluate(
    async ([issuer, verifier]) => {
      const { authorization_endpoint, token_endpoint } = await (
        await fetch(`${issuer}/.well-known/openid-configuration`)
      ).json();
      const digest = new Uint8Array(
        await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier)),
      );
      const challenge = btoa(String.fromCharCode(...digest))
        .replaceAll('+', '-')
        .replaceAll('/', '_')
        .replaceAll('=', '');
      const query = new URLSearchParams({
        client_id: 'page',
        response_type: 'code',
        redirect_uri: `${location.origin}/`,
        scope: 'openid rooms.join',
        resource: 'api://roomkey',
        code_challenge: challenge,
        code_challenge_method: 'S256',
        state: 'state-1',
      });
      return { authorize: `${authorization_endpoint}?${query}`, token_endpoint };
    },
    [issuer, verifier],
  );
  await page.goto(authorize);
  await page.waitForURL(`${origin}/?*`);
  const code = new URL(page.url()).searchParams.get('code');
  assert.ok(code, page.url());
  await page.evaluate(() => import('/e2e/page.mjs'));
  const outcome = await page.evaluate(
    async ([url, token_endpoint, code, verifier]) => {
      const body = new URLSearchParams({
        grant_type: 'authorization_code',
        client_id: 'page',
        code,
        redirect_uri: `${location.origin}/`,
        code_verifier: verifier,
        resource: 'api://roomkey',
      });
      const { access_token } = await (await fetch(token_endpoint, { method: 'POST', body })).json();
      const request = { roomName: 'standup-42' };
      const refusal = (promise) =>
        promise.then(
          () => null,
          (error) => error.toJSON(),
        );

      const anonymous = await refusal(new voice.Roomkey({ url }).livekitToken(request));
      const asked = [];
      const stale = `${access_token.slice(0, -4)}AAAA`;
      const accessToken = ({ refresh }) => (asked.push(refresh), refresh ? access_token : stale);
      const { serverUrl, token, participantIdentity } = await new voice.Roomkey({
        url,
        accessToken,
      }).livekitToken(request);
      const joined = await new voice.Participant().join(serverUrl, token);
      const signedIn = new voice.Roomkey({ url, accessToken: () => access_token });
      const other = await refusal(
        signedIn.livekitToken({ ...request, participantIdentity: 'bob' }),
      );
      const always = await refusal(
        new voice.Roomkey({ url, accessToken: () => stale }).livekitToken(request),
      );
      return { anonymous, asked, participantIdentity, joined, other, always };
    },
    [roomkey.url, token_endpoint, code, verifier],
  );
  assert.equal(outcome.anonymous?.code, 'unauthenticated');
  assert.deepEqual(outcome.asked, [false, true]);
  assert.equal(outcome.joined, outcome.participantIdentity);
  assert.equal(outcome.participantIdentity, 'alice');
  assert.equal(outcome.other?.code, 'identity_mismatch');
  assert.equal(outcome.always?.status, 401);
  await page.context().close();
});
