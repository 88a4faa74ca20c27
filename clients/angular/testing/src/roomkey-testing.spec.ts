import { Component } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { injectRealtimeCall, injectVoiceRoom } from '@roomkey/angular';
import { RoomkeyError } from '@roomkey/client';
import { provideRoomkeyTesting, RoomkeyTesting } from './public-api';

@Component({
  template: `{{ room.status() }} {{ room.error()?.code }} {{ call.status() }}`,
})
class Page {
  readonly room = injectVoiceRoom();
  readonly call = injectRealtimeCall();
}

describe('provideRoomkeyTesting', () => {
  beforeEach(() => TestBed.configureTestingModule({ providers: [provideRoomkeyTesting()] }));

  it('hands the test what the component uses', async () => {
    const fixture = TestBed.createComponent(Page);
    const testing = TestBed.inject(RoomkeyTesting);
    await fixture.componentInstance.room.join({ roomName: 'standup-42', participantName: 'Ada' });
    await fixture.componentInstance.call.connect({ projectId: 'customer-42' });
    await fixture.whenStable();
    expect(fixture.nativeElement.textContent.trim()).toBe('joined  connected');
    expect(testing.room().joins).toEqual([{ roomName: 'standup-42', participantName: 'Ada' }]);
    expect(testing.room().participants()[0]).toMatchObject({ name: 'Ada', isLocal: true });

    expect(testing.call().connects).toEqual([{ projectId: 'customer-42' }]);

    testing.room().joinError = new RoomkeyError({ code: 'rate_limited', title: 'Too many requests.' });
    await fixture.componentInstance.room.join({ roomName: 'standup-42' });
    await fixture.whenStable();
    expect(fixture.nativeElement.textContent).toContain('failed rate_limited');

    fixture.destroy();
    expect([testing.room().status(), testing.call().status()]).toEqual(['idle', 'idle']);
  });

  it('says that nothing was made yet', () => {
    const testing = TestBed.inject(RoomkeyTesting);
    expect(() => testing.room()).toThrow(/injectVoiceRoom/);
    expect(() => testing.call()).toThrow(/injectRealtimeCall/);
  });
});
