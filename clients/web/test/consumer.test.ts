import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, test } from 'vitest';

test('the types compile in an app that knows no more than ES2022 and the DOM', () => {
  const dist = fileURLToPath(new URL('../dist/', import.meta.url));
  const program = ts.createProgram([`${dist}index.d.ts`], {
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'],
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    types: [],
  });
  const files = program.getSourceFiles().filter(({ fileName }) => fileName.startsWith(dist));
  expect(files.length).toBeGreaterThan(1);
  const faults = files.flatMap((file) => program.getSemanticDiagnostics(file));
  const texts = faults.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
  expect(texts).toEqual([]);
}, 60_000);
