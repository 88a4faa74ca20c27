import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, test } from 'vitest';

const here = fileURLToPath(new URL('.', import.meta.url));

/** Returns the TypeScript blocks of a page. */
const blocks = (page: string): string[] =>
  [...readFileSync(`${here}/../${page}`, 'utf8').matchAll(/^```ts\n([^]*?)^```$/gm)].map(
    (found) => found[1] ?? '',
  );

test.each(['../../docs/browser.md', 'README.md'])(
  'every example of %s compiles against the package',
  (page) => {
    const files = new Map(
      blocks(page).map((code, index) => [`${here}block-${index}.ts`, `${code}\nexport {};\n`]),
    );
    expect(files.size).toBeGreaterThan(0);
    const { options } = ts.parseJsonConfigFileContent(
      ts.readConfigFile(`${here}/../tsconfig.json`, ts.sys.readFile).config,
      ts.sys,
      `${here}/..`,
    );
    const host = ts.createCompilerHost(options);
    const { fileExists, readFile } = host;
    host.fileExists = (path) => files.has(path) || fileExists(path);
    host.readFile = (path) => files.get(path) ?? readFile(path);
    const original = host.getSourceFile;
    host.getSourceFile = (path, version) => {
      const code = files.get(path);
      return code === undefined
        ? original(path, version)
        : ts.createSourceFile(path, code, version);
    };
    // Unused functions are what examples consist of.
    const program = ts.createProgram(
      [...files.keys()],
      { ...options, noUnusedLocals: false },
      host,
    );
    const faults = ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
      const line = file ? file.getLineAndCharacterOfPosition(start ?? 0).line + 1 : 0;
      return `${file?.fileName}:${line} ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
    });
    expect(faults).toEqual([]);
  },
  60_000,
);

test('every code of the errors page is a code of the package', () => {
  const page = readFileSync(`${here}/../../../docs/errors.md`, 'utf8');
  const codes = [...page.matchAll(/^\| `(\w+)` \|/gm)].map((found) => found[1]);
  const source = readFileSync(`${here}/../src/error.ts`, 'utf8');
  const listed = source.slice(source.indexOf('type ServiceErrorCode'));
  const known = [...listed.slice(0, listed.indexOf(';')).matchAll(/\| '(\w+)'/g)];
  expect(known.map((found) => found[1]).sort()).toEqual(codes.sort());
});
