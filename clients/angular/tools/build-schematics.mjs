// Compiles the schematics into the built package: the CLI loads them with `require`.
import { execFileSync } from 'node:child_process';
import { appendFileSync, cpSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
execFileSync(process.execPath, [tsc, '-p', 'tsconfig.schematics.json'], { cwd: root, stdio: 'inherit' });
for (const file of ['collection.json', 'ng-add/schema.json']) {
  cpSync(`${root}/schematics/${file}`, `${root}/dist/schematics/${file}`);
}
// The package is "type": "module", the schematics are not.
writeFileSync(`${root}/dist/schematics/package.json`, '{ "type": "commonjs" }\n');
// ng-packagr keeps nested package.json files out of the tarball.
appendFileSync(`${root}/dist/.npmignore`, '\n!/schematics/package.json\n');
