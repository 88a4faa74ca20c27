// Time limits against a test that hangs: the usual 5 s end some on a busy machine.

import { vi } from 'vitest';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

/** Waits until a check passes. The usual second is too short on a busy machine. */
export const eventually = <T>(check: () => T | Promise<T>): Promise<T> =>
  vi.waitFor(check, { timeout: 30_000 });
