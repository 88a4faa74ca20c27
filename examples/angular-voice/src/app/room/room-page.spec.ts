import { TestBed } from '@angular/core/testing';
import type { ComponentFixture } from '@angular/core/testing';
import { provideRoomkeyTesting, RoomkeyTesting } from '@roomkey/angular/testing';
import type { TestVoiceRoom } from '@roomkey/angular/testing';
import { RoomkeyError } from '@roomkey/client';
import { provideIcons } from '../shared/icons';
import { RoomPage } from './room-page';

describe('RoomPage', () => {
  let fixture: ComponentFixture<RoomPage>;
  let page: HTMLElement;
  let room: TestVoiceRoom;

  beforeEach(async () => {
    TestBed.configureTestingModule({ providers: [provideRoomkeyTesting(), provideIcons()] });
    fixture = TestBed.createComponent(RoomPage);
    fixture.componentRef.setInput('room', 'team-blue');
    page = fixture.nativeElement as HTMLElement;
    room = TestBed.inject(RoomkeyTesting).room();
    await fixture.whenStable();
  });

  async function press(name: string): Promise<void> {
    const buttons = [...page.querySelectorAll('button')];
    const button = buttons.find((one) => one.textContent?.includes(name));
    if (!button) {
      throw new Error(`There is no button "${name}".`);
    }
    button.click();
    await fixture.whenStable();
  }

  it('joins the room of the link', async () => {
    await press('Join the room');
    expect(room.joins).toEqual([{ roomName: 'team-blue', role: 'speaker', muted: false }]);
    expect(page.querySelector('h1')?.textContent).toBe('team-blue');
    expect(page.textContent).toContain('Nobody else is here yet');
  });

  it('mutes and leaves', async () => {
    await press('Join the room');
    await press('Microphone');
    expect(room.isMuted()).toBe(true);
    expect(page.textContent).toContain('Unmute');
    await press('Leave');
    expect(page.textContent).toContain('Talk to your team');
  });

  it('says who comes and goes to a screen reader', async () => {
    await press('Join the room');
    const [ada] = room.participants();
    if (!ada) {
      throw new Error('Nobody is in the room.');
    }
    const grace = { ...ada, identity: 'grace', name: 'Grace', isLocal: false };
    room.participants.set([ada, grace]);
    await fixture.whenStable();
    const said = page.querySelector('[aria-live]');
    expect(said?.textContent).toBe('Grace is here.');
    room.participants.set([ada]);
    await fixture.whenStable();
    expect(said?.textContent).toBe('Grace has left.');
  });

  it('shows what the service says, and waits as long as it says', async () => {
    room.joinError = new RoomkeyError({
      code: 'rate_limited',
      title: 'Too many requests.',
      status: 429,
      remediation: 'Ask less often.',
      requestId: 'id-1',
      retryAfterMs: 90_000,
    });
    await press('Join the room');
    expect(page.textContent).toContain('Ask less often.');
    expect(page.textContent).toContain('id-1');
    expect(page.textContent).toMatch(/Try again in 1:(30|29)/);
    await press('Join the room');
    expect(room.joins.length).toBe(1);
  });

  it('offers to turn on the sound that the browser has blocked', async () => {
    await press('Join the room');
    room.isAudioBlocked.set(true);
    await fixture.whenStable();
    await press('Turn on sound');
    expect(room.isAudioBlocked()).toBe(false);
  });
});
