import type { TokenSourceConfigurable } from 'livekit-client';
import { expectTypeOf, test } from 'vitest';
import { Roomkey, type Lease, type LivekitToken, type RealtimeSecret } from '../src/index.js';

test('the types are those that livekit-client and an editor expect', () => {
  const roomkey = new Roomkey();
  expectTypeOf(roomkey.tokenSource()).toExtend<TokenSourceConfigurable>();
  expectTypeOf(() => roomkey.lease({ kind: 'livekit', roomName: 'r' })).returns.toEqualTypeOf<
    Lease<LivekitToken>
  >();
  expectTypeOf(() => roomkey.lease({ kind: 'realtime' })).returns.toEqualTypeOf<
    Lease<RealtimeSecret>
  >();
  // @ts-expect-error a room has a name
  expectTypeOf(() => roomkey.livekitToken({})).toBeFunction();
  // @ts-expect-error a session belongs to a project
  expectTypeOf(() => roomkey.session({ voice: 'cedar' })).toBeFunction();
  // @ts-expect-error roles are two
  expectTypeOf(() => roomkey.livekitToken({ roomName: 'r', role: 'admin' })).toBeFunction();
});
