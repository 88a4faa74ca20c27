// Renders an app with a room and a call on a server, as the built package is: nothing there has a window, and nothing
// may be fetched.

import '@angular/compiler';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Component, provideZonelessChangeDetection } from '@angular/core';
import { bootstrapApplication } from '@angular/platform-browser';
import { provideServerRendering, renderApplication } from '@angular/platform-server';
import { injectRealtimeCall, injectVoiceRoom, provideRoomkey } from '../dist/fesm2022/roomkey-angular.mjs';

test('a page with a room and a call renders on a server, and fetches nothing', async () => {
  assert.equal(typeof globalThis.window, 'undefined');
  assert.equal(typeof globalThis.RTCPeerConnection, 'undefined');
  const fetched = [];
  const native = globalThis.fetch;
  globalThis.fetch = (input) => {
    fetched.push(String(input));
    return Promise.reject(new TypeError('no network'));
  };
  class App {
    room = injectVoiceRoom();
    call = injectRealtimeCall();
    constructor() {
      void this.room.join({ roomName: 'standup-42' });
      void this.call.connect();
    }
  }
  const Rendered = Component({
    selector: 'app-root',
    template: '{{ room.status() }} {{ room.error()?.code }} {{ call.status() }} {{ call.error()?.code }}',
  })(App);
  try {
    const html = await renderApplication(
      (context) =>
        bootstrapApplication(
          Rendered,
          {
            providers: [
              provideZonelessChangeDetection(),
              provideServerRendering(),
              provideRoomkey({ url: 'https://roomkey.example.com' }),
            ],
          },
          context,
        ),
      { document: '<app-root></app-root>', url: 'http://localhost/', allowedHosts: ['localhost'] },
    );
    assert.match(html, /failed not_a_browser failed not_a_browser/);
    assert.ok(!html.includes('roomkey.example.com'), 'nothing of the service is in the transferred state');
    assert.deepEqual(fetched, []);
  } finally {
    globalThis.fetch = native;
  }
});
