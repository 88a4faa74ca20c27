import { gzipSync } from 'node:zlib';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

const largest = 9000;

test('the package has at most 9 kB, needs no other package, and never loads livekit-client', async () => {
  const { outputFiles, metafile } = await build({
    entryPoints: [fileURLToPath(new URL('../dist/index.js', import.meta.url))],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    metafile: true,
    write: false,
  });
  const code = outputFiles[0]?.contents ?? new Uint8Array();
  const size = gzipSync(code, { level: 9 }).length;
  process.stdout.write(`@roomkey/client: ${code.length} bytes, ${size} gzip\n`);
  expect(size).toBeLessThanOrEqual(largest);
  expect(Object.keys(metafile.inputs).every((path) => path.includes('dist/'))).toBe(true);
  expect(Object.values(metafile.outputs).flatMap(({ imports }) => imports)).toEqual([]);
  expect(Buffer.from(code).toString()).not.toMatch(/livekit-client/);
}, 60_000);
