// What the tests of the app share: a page in a state, its picture in four forms, and a check for accessibility.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { newPage, onStop, root } from '../../../clients/web/e2e/harness.mjs';
import { serveApp } from '../serve.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const pictures = join(root, 'target/pictures/angular-voice');
mkdirSync(pictures, { recursive: true });

/** Serves the app in front of a roomkey; returns its address. */
export async function startApp(roomkey) {
  const app = await serveApp({ api: roomkey.url });
  onStop(() => app.close());
  return app.url;
}

/** Starts the OpenID provider of the tests; returns its issuer, and a function that signs a user in. */
export async function startOpenIdProvider() {
  const script = join(root, 'tests/real/peers/js/oidc_provider.mjs');
  const provider = spawn('node', [script], { stdio: ['ignore', 'pipe', 'ignore'] });
  onStop(() => provider.kill());
  const lines = createInterface({ input: provider.stdout })[Symbol.asyncIterator]();
  const { value: issuer } = await lines.next();
  const { value: controls } = await lines.next();
  const signIn = async (user) => {
    const answer = await fetch(`${controls}/mint`, { method: 'POST', body: JSON.stringify(user) });
    return (await answer.json()).token;
  };
  return { issuer, signIn };
}

/** Opens the app in a profile of its own, and keeps what is written to the console. */
export async function openPage(browser, url, path = '/room') {
  const page = await newPage(browser, { viewport: { width: 1280, height: 800 } });
  page.console = [];
  page.on('console', (message) => page.console.push(message.text()));
  /** Requests for tokens so far. */
  page.asked = 0;
  page.on('request', (request) => (page.asked += new URL(request.url()).pathname === '/api/token' ? 1 : 0));
  page.on('pageerror', (error) => page.console.push(`uncaught: ${error.message}`));
  await page.goto(url + path);
  return page;
}

/** Fills in the form and sends it. */
export async function askToJoin(page, { name = 'Ada Lovelace', room, role, hold = false } = {}) {
  await page.getByLabel('Your name').fill(name);
  if (room) await page.getByLabel('Room', { exact: false }).last().fill(room);
  if (role === 'listener') await page.getByRole('radio', { name: 'Listen' }).click();
  if (hold) await page.getByRole('switch', { name: 'Push to talk' }).click();
  await page.getByRole('button', { name: 'Join the room' }).click();
}

/** Joins and waits until the app is in the room. */
export async function enter(page, options) {
  await askToJoin(page, options);
  await page.getByRole('button', { name: 'Leave' }).waitFor();
}

/** The loudest sample of what a page plays within a time, 0 to 1. */
export const loudness = (page, milliseconds = 600) =>
  page.evaluate(async (milliseconds) => {
    const streams = [...document.querySelectorAll('audio')].map((element) => element.srcObject).filter(Boolean);
    const context = new AudioContext();
    const analysers = streams.map((stream) => {
      const analyser = context.createAnalyser();
      context.createMediaStreamSource(stream).connect(analyser);
      return analyser;
    });
    const samples = new Float32Array(2048);
    let loudest = 0;
    const end = performance.now() + milliseconds;
    while (performance.now() < end) {
      for (const analyser of analysers) {
        analyser.getFloatTimeDomainData(samples);
        for (const sample of samples) loudest = Math.max(loudest, Math.abs(sample));
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await context.close();
    return loudest;
  }, milliseconds);

/** Takes a picture at both widths in both themes, and finds no violation of accessibility in any. */
export async function show(page, name) {
  for (const colorScheme of ['light', 'dark']) {
    for (const [width, height] of [[1280, 800], [360, 740]]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height });
      const label = `${name}-${width}-${colorScheme}`;
      // Colours that are just changing would be shown and measured halfway.
      await page.evaluate(() => Promise.allSettled(
        document.getAnimations().filter((one) => one instanceof CSSTransition).map((one) => one.finished)));
      await page.screenshot({ path: join(pictures, `${label}.png`) });
      const overflow = await page.evaluate(() => {
        const scroller = document.querySelector('main');
        return [document.documentElement, scroller].some((box) => box.scrollWidth > box.clientWidth);
      });
      assert.equal(overflow, false, `${label}: the page scrolls sideways`);
      // One theme at each width: colours and layout do not depend on each other.
      if ((width > 500) === (colorScheme === 'dark')) continue;
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(', ')}`);
      assert.deepEqual(found, [], label);
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1280, height: 800 });
}
