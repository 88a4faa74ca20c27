// Time limits against a test that hangs: the usual 5 s end some on a busy machine.

import { vi } from 'vitest';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });
