import { TestBed } from '@angular/core/testing';
import { provideRoomkeyTesting, RoomkeyTesting } from '@roomkey/angular/testing';
import { provideIcons } from '../shared/icons';
import { AssistantPage } from './assistant-page';

describe('AssistantPage', () => {
  it('calls, shows what is said, and hangs up', async () => {
    TestBed.configureTestingModule({ providers: [provideRoomkeyTesting(), provideIcons()] });
    const fixture = TestBed.createComponent(AssistantPage);
    const call = TestBed.inject(RoomkeyTesting).call();
    const page = fixture.nativeElement as HTMLElement;
    const press = async (name: string): Promise<void> => {
      const buttons = [...page.querySelectorAll('button')];
      buttons.find((one) => one.textContent?.includes(name))?.click();
      await fixture.whenStable();
    };
    await fixture.whenStable();
    await press('Start talking');
    expect(call.connects.length).toBe(1);
    expect(page.textContent).toContain('Listening');
    call.isAssistantSpeaking.set(true);
    call.transcript.set([{ id: 'a1', speaker: 'assistant', text: 'Good morning.', isFinal: true }]);
    await fixture.whenStable();
    expect(page.querySelector('.entry')?.textContent).toContain('Good morning.');
    expect(page.querySelector('[role=status]')?.textContent).toBe('Speaking');
    await press('Hang up');
    expect(call.status()).toBe('idle');
    expect(page.textContent).toContain('Call again');
  });
});
