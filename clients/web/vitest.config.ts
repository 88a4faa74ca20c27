import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    restoreMocks: true,
    unstubGlobals: true,
    // Against a test that hangs; the usual 5 s end some on a busy machine.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
