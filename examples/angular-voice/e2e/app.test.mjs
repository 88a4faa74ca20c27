// The built app in Chromium, against a real LiveKit server, the roomkey that was built and a fake Realtime provider that
// answers with sound. Pictures of every state lie in target/pictures/angular-voice afterwards.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  activeSessions, launch, realtimeKey, root, saveProjectKey, sentence, startLiveKit, startRealtime, startRoomkey, stopAll,
  storeSettings, until,
} from '../../../clients/web/e2e/harness.mjs';
import { askToJoin, enter, loudness, openPage, show, startApp, startOpenIdProvider } from './support.mjs';

/** Louder than this is speech; a muted microphone sends digital silence. */
const heard = 0.05;
const origins = ['http://localhost:4200'];
const figures = [];

let livekit, realtime, roomkey, browser, url;

before(async () => {
  livekit = await startLiveKit();
  realtime = await startRealtime();
  roomkey = await startRoomkey({ origins, livekit, realtime });
  url = await startApp(roomkey);
  browser = await launch({ microphone: sentence('The quick brown fox jumps over the lazy dog.', 0.5) });
});

after(async () => {
  await stopAll();
  for (const figure of figures) console.log(figure);
});

/** A roomkey with settings of its own, and the app in front of it. */
async function appWith(settings) {
  const own = await startRoomkey({ origins, livekit, settings });
  return { roomkey: own, url: await startApp(own) };
}

/** The card of a participant. */
const card = (page, name) => page.locator('app-participant-card', { hasText: name });

/** The message that is shown for a failure. */
async function problem(page, code) {
  const shown = page.locator(`app-problem [data-code="${code}"]`);
  await shown.waitFor();
  return shown;
}

/** Does what the interceptor of a sign-in library does. */
const sendBearer = (page, bearer) =>
  page.route('**/api/**', (route) =>
    route.continue({ headers: { ...route.request().headers(), authorization: `Bearer ${bearer}` } }));

test('nothing of livekit-client is in the first load', () => {
  const folder = join(root, 'examples/angular-voice/dist/angular-voice/browser');
  const read = (name) => readFileSync(join(folder, name), 'utf8');
  const waiting = [...read('index.html').matchAll(/(?:src|href)="([^"]+\.js)"/g)].map(([, name]) => name);
  const seen = new Set();
  while (waiting.length > 0) {
    const name = waiting.pop();
    if (seen.has(name)) continue;
    seen.add(name);
    const text = read(name);
    assert.ok(!/RemoteTrackPublication|NegotiationError/.test(text), name);
    waiting.push(...[...text.matchAll(/(?:from|^import|;import)\s*"\.\/([^"]+\.js)"/g)].map(([, next]) => next));
  }
  assert.ok(seen.size >= 2, 'the first load has more than one file');
});

test('two people hear each other, and nothing of who is muted', async () => {
  const ada = await openPage(browser, url);
  await show(ada, 'lobby');
  await enter(ada, { name: 'Ada Lovelace' });
  await show(ada, 'room-alone');
  const grace = await openPage(browser, url);
  await grace.getByLabel('Your name').fill('Grace Hopper');
  const clicked = performance.now();
  await grace.getByRole('button', { name: 'Join the room' }).click();
  await until('Grace hears Ada', async () => (await loudness(grace, 100)) > heard);
  figures.push(`from the click on "Join" to sound: ${Math.round(performance.now() - clicked)} ms`);
  await until('Ada hears Grace', async () => (await loudness(ada, 300)) > heard);
  await ada.getByText('You and one other person').waitFor();
  await card(ada, 'Grace Hopper').and(ada.locator('.speaking')).waitFor();
  await show(ada, 'room-two');

  await grace.getByRole('button', { name: 'Microphone' }).click();
  await card(ada, 'Grace Hopper').getByText('Muted').waitFor();
  // What was said before may be on its way still.
  await until('a muted microphone is silent', async () => (await loudness(ada, 1500)) < 0.001);
  await grace.getByRole('button', { name: 'Microphone' }).click();
  await until('Ada hears Grace again', async () => (await loudness(ada, 300)) > heard);

  await grace.getByRole('button', { name: 'Leave' }).click();
  await ada.getByText('Nobody else is here yet').waitFor();
  await grace.getByRole('heading', { name: 'Talk to your team' }).waitFor();
  for (const page of [ada, grace]) {
    assert.equal(page.asked, 1, 'one token for one stay');
    assert.deepEqual(page.console.filter((line) => /eyJ|access_token=|uncaught/.test(line)), []);
    await page.context().close();
  }
});

test('push to talk sends while the button or the space bar is held', async () => {
  const [ada, grace] = [await openPage(browser, url), await openPage(browser, url)];
  await enter(grace, { name: 'Grace Hopper', role: 'listener', room: 'held' });
  await grace.getByText('You are listening').waitFor();
  assert.equal(await grace.getByRole('button', { name: 'Microphone' }).count(), 0);
  await show(grace, 'room-listener');
  await enter(ada, { name: 'Ada Lovelace', hold: true, room: 'held' });
  const button = ada.getByRole('button', { name: 'Push to talk' });
  await button.waitFor();
  await card(grace, 'Ada Lovelace').getByText('Muted').waitFor();
  await until('silence before the button is held', async () => (await loudness(grace, 1500)) < 0.001);
  await show(ada, 'room-push-to-talk');

  await button.hover();
  const pressed = performance.now();
  await ada.mouse.down();
  await until('Grace hears Ada', async () => (await loudness(grace, 60)) > heard);
  figures.push(`from the press of push to talk to sound: ${Math.round(performance.now() - pressed)} ms`);
  await ada.mouse.up();
  await card(grace, 'Ada Lovelace').getByText('Muted').waitFor();

  await button.focus();
  await ada.keyboard.down('Space');
  await until('Grace hears Ada', async () => (await loudness(grace, 200)) > heard);
  await ada.keyboard.up('Space');
  await card(grace, 'Ada Lovelace').getByText('Muted').waitFor();
  await Promise.all([ada.context().close(), grace.context().close()]);
});

test('the whole way is possible with the keyboard', async () => {
  const page = await openPage(browser, url);
  const field = page.getByLabel('Your name');
  await field.waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter'); // "Skip to the page"
  for (let presses = 0; presses < 3 && !(await field.evaluate((one) => one === document.activeElement)); presses += 1) {
    await page.keyboard.press('Tab');
  }
  await page.keyboard.type('Ada Lovelace');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Leave' }).waitFor();
  await until('the focus is on the name of the room', () =>
    page.evaluate(() => document.activeElement?.id === 'room-heading'));
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Talk to your team' }).waitFor();
  await page.context().close();
});

test('401 says that the sign-in is missing', async () => {
  const { issuer } = await startOpenIdProvider();
  const { url } = await appWith({
    ROOMKEY_CALLER_AUTH: 'oidc', ROOMKEY_OIDC_ISSUER: issuer, ROOMKEY_OIDC_AUDIENCE: 'api://roomkey',
  });
  const page = await openPage(browser, url);
  await askToJoin(page);
  const shown = await problem(page, 'unauthenticated');
  await shown.getByText('Sign in again').waitFor();
  const id = await shown.locator('code').innerText();
  assert.equal(await page.getByTestId('last-error').locator('code').innerText(), id, 'the strip has the same id');
  await show(page, 'error-401');
  await page.context().close();
});

test('403 says that the room is not open to this user, and another one is', async () => {
  const { issuer, signIn } = await startOpenIdProvider();
  const { url } = await appWith({
    ROOMKEY_CALLER_AUTH: 'oidc', ROOMKEY_OIDC_ISSUER: issuer, ROOMKEY_OIDC_AUDIENCE: 'api://roomkey', ROOMKEY_ROOMS_CLAIM: 'rooms',
  });
  const bearer = await signIn({ sub: 'ada', rooms: ['team-*'] });
  const page = await openPage(browser, url);
  await sendBearer(page, bearer);
  await askToJoin(page, { room: 'standup-42' });
  await problem(page, 'room_forbidden');
  await show(page, 'error-403');
  await page.getByLabel('Room', { exact: false }).last().fill('team-blue');
  await page.getByRole('button', { name: 'Join the room' }).click();
  await page.getByRole('button', { name: 'Leave' }).waitFor();
  assert.equal(await page.locator('app-problem').count(), 0);
  await page.context().close();
});

test('a second tab of one user takes the place of the first, which says so and stays out', async () => {
  const { issuer, signIn } = await startOpenIdProvider();
  const { url } = await appWith({
    ROOMKEY_CALLER_AUTH: 'oidc', ROOMKEY_OIDC_ISSUER: issuer, ROOMKEY_OIDC_AUDIENCE: 'api://roomkey',
  });
  const bearer = await signIn({ sub: 'ada' });
  const [first, second] = [await openPage(browser, url), await openPage(browser, url)];
  for (const page of [first, second]) {
    await sendBearer(page, bearer);
    await enter(page, { room: 'one-user' });
  }
  await problem(first, 'joined_elsewhere');
  await show(first, 'error-joined-elsewhere');
  await second.getByText('Nobody else is here yet').waitFor();
  assert.deepEqual([first.asked, second.asked], [1, 1]);
  await Promise.all([first.context().close(), second.context().close()]);
});

test('400 names the field that the service does not take', async () => {
  const { url } = await appWith({ ROOMKEY_ROOM_PATTERN: 'team-[a-z]+' });
  const page = await openPage(browser, url);
  await askToJoin(page, { room: 'standup-42' });
  const shown = await problem(page, 'invalid_request');
  await shown.getByText('roomName').waitFor();
  await show(page, 'error-400');
  await page.context().close();
});

test('429 shows the wait, and lets nobody ask before it is over', async () => {
  const { url } = await appWith({ ROOMKEY_RATE_LIMIT: '1/1h' });
  const page = await openPage(browser, url);
  await enter(page);
  await page.getByRole('button', { name: 'Leave' }).click();
  await page.getByRole('button', { name: 'Join the room' }).click();
  const shown = await problem(page, 'rate_limited');
  const retry = shown.getByRole('button', { name: /^Try again in \d+:\d\d/ });
  assert.ok(await retry.isDisabled());
  await show(page, 'error-429');
  assert.equal(page.asked, 2);
  await page.getByRole('button', { name: 'Join the room' }).click();
  await until('the countdown goes on', async () => /in (59:5[0-7]|\d\d?:\d\d)/.test(await retry.innerText()));
  assert.equal(page.asked, 2, 'nothing was asked before the time');
  await page.context().close();
});

test('a dead service is named, and joining works when it is back', async () => {
  const { roomkey, url } = await appWith({});
  const page = await openPage(browser, url);
  await roomkey.end();
  await askToJoin(page);
  const shown = await problem(page, 'network');
  await show(page, 'error-dead-service');
  await startRoomkey({ origins, livekit, port: Number(new URL(roomkey.url).port) });
  await shown.getByRole('button', { name: 'Try again' }).click();
  await page.getByRole('button', { name: 'Leave' }).waitFor();
  await page.context().close();
});

test('a microphone that is not allowed leaves a listener, and says how to change it', async () => {
  const denied = await launch({ deny: true });
  const page = await openPage(denied, url);
  await enter(page);
  await problem(page, 'microphone_denied');
  await show(page, 'error-microphone');
  await denied.close();
});

test('a lost connection is shown, and the voice comes back when the media server does', async () => {
  const [ada, grace] = [await openPage(browser, url), await openPage(browser, url)];
  await enter(ada, { name: 'Ada Lovelace', room: 'restart' });
  await enter(grace, { name: 'Grace Hopper', room: 'restart' });
  await until('Grace hears Ada', async () => (await loudness(grace, 300)) > heard);
  await livekit.kill();
  await grace.getByTestId('reconnecting').waitFor();
  await show(grace, 'reconnecting');
  await livekit.start();
  const back = performance.now();
  await until('Grace hears Ada again', async () => (await loudness(grace, 300)) > heard);
  figures.push(`from the media server's restart to sound: ${Math.round(performance.now() - back)} ms`);
  await grace.getByTestId('reconnecting').waitFor({ state: 'detached' });
  assert.deepEqual([ada.asked, grace.asked], [1, 1], 'the token of the join was enough');
  await Promise.all([ada.context().close(), grace.context().close()]);
});

test('the assistant is heard, its words are written, and hanging up closes the microphone', async () => {
  const page = await openPage(browser, url, '/assistant');
  await page.evaluate(() => {
    const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    globalThis.opened = [];
    navigator.mediaDevices.getUserMedia = async (constraints) => {
      const stream = await open(constraints);
      globalThis.opened.push(...stream.getTracks());
      return stream;
    };
  });
  await show(page, 'assistant-idle');
  assert.equal(page.asked, 0, 'an open page costs nothing');
  const clicked = performance.now();
  await page.getByRole('button', { name: 'Start talking' }).click();
  await page.getByRole('button', { name: 'Hang up' }).waitFor();
  figures.push(`from the click on "Start talking" to the call: ${Math.round(performance.now() - clicked)} ms`);
  const answer = page.locator('.entry:not(.user):not(.open)').first();
  await answer.waitFor();
  figures.push(`from the click on "Start talking" to the first whole answer: ${Math.round(performance.now() - clicked)} ms`);
  await page.locator('.entry.user').first().waitFor();
  await show(page, 'assistant-call');
  await page.getByRole('button', { name: 'Mute' }).click();
  await page.getByRole('button', { name: 'Muted' }).waitFor();
  await page.getByRole('button', { name: 'Hang up' }).click();
  await page.getByRole('button', { name: 'Call again' }).waitFor();
  assert.deepEqual(await page.evaluate(() => globalThis.opened.map(({ readyState }) => readyState)), ['ended']);
  assert.deepEqual(page.console.filter((line) => /ek_|uncaught/.test(line)), []);
  await page.context().close();
});

test('an assistant that goes away is said, and can be called again', async () => {
  const page = await openPage(browser, url, '/assistant');
  await page.getByRole('button', { name: 'Start talking' }).click();
  await page.getByRole('button', { name: 'Hang up' }).waitFor();
  await realtime.control('end');
  await problem(page, 'connection_lost');
  await show(page, 'error-assistant-ended');
  await page.getByRole('button', { name: 'Call again' }).click();
  await page.getByRole('button', { name: 'Hang up' }).waitFor();
  await page.context().close();
});

test('an assistant that cannot be called says why, and waits as long as the service says', async () => {
  const { url } = await appWith({
    OPENAI_BASE_URL: `${realtime.url}/v1`, OPENAI_API_KEY: realtimeKey, ROOMKEY_REALTIME_RATE_LIMIT: '1/1h',
  });
  const page = await openPage(browser, url, '/assistant');
  await page.getByRole('button', { name: 'Start talking' }).click();
  await page.getByRole('button', { name: 'Hang up' }).click();
  await page.getByRole('button', { name: /Call again|Start talking/ }).click();
  const shown = await problem(page, 'rate_limited');
  assert.ok(await shown.getByRole('button', { name: /^Try again in \d+:\d\d/ }).isDisabled());
  assert.equal(await page.getByRole('button', { name: /Call again|Start talking/ }).count(), 0);
  await show(page, 'error-assistant-429');
  await page.context().close();
});

test('a call on the key of a project takes its slot until it is hung up or the page goes away', async () => {
  const project = 'customer-42';
  const { roomkey, url } = await appWith({
    ...storeSettings(project), OPENAI_BASE_URL: `${realtime.url}/v1`, ROOMKEY_PROJECT_CONCURRENCY: '1',
  });
  await saveProjectKey(roomkey, project, realtimeKey);
  const isFree = () => until('the slot is free', async () => (await activeSessions(roomkey, project)) === 0);
  const [ada, grace] = [
    await openPage(browser, url, `/assistant?project=${project}`), await openPage(browser, url, '/assistant'),
  ];
  await show(ada, 'assistant-project');
  await ada.getByRole('button', { name: 'Start talking' }).click();
  await ada.getByRole('button', { name: 'Hang up' }).waitFor();

  await grace.getByLabel('Project').fill('customer-43');
  await grace.keyboard.press('Enter');
  await (await problem(grace, 'not_found')).getByText('Check the name of the project').waitFor();
  await grace.getByLabel('Project').fill(project);
  await grace.getByRole('button', { name: 'Try again' }).click();
  const shown = await problem(grace, 'concurrency_limited');
  await show(grace, 'error-assistant-project-429');

  await ada.getByRole('button', { name: 'Hang up' }).click();
  await isFree();
  await shown.getByRole('button', { name: 'Try again', exact: true }).click();
  await grace.getByRole('button', { name: 'Hang up' }).click();
  await isFree();
  await ada.getByRole('button', { name: /Call again|Start talking/ }).click();
  await ada.getByRole('button', { name: 'Hang up' }).waitFor();
  assert.equal(await activeSessions(roomkey, project), 1);
  await ada.goto('about:blank');
  await isFree();
  for (const page of [ada, grace]) {
    assert.deepEqual(page.console.filter((line) => /ek_|uncaught|NG0/.test(line)), []);
    await page.context().close();
  }
});

test('a session that cannot be ended is said after the call', async () => {
  const project = 'customer-42';
  const { roomkey, url } = await appWith({ ...storeSettings(project), OPENAI_BASE_URL: `${realtime.url}/v1` });
  await saveProjectKey(roomkey, project, realtimeKey);
  const page = await openPage(browser, url, `/assistant?project=${project}`);
  await page.getByRole('button', { name: 'Start talking' }).click();
  await page.getByRole('button', { name: 'Hang up' }).waitFor();
  await roomkey.end();
  await page.getByRole('button', { name: 'Hang up' }).click();
  await problem(page, 'network');
  await page.getByRole('button', { name: /Call again|Start talking/ }).waitFor();
  await page.context().close();
});
