import { TestBed } from '@angular/core/testing';
import { RoomkeyError } from '@roomkey/client';
import { provideRoomkeyTesting, RoomkeyTesting } from '@roomkey/angular/testing';
import { provideIcons } from '../shared/icons';
import { AssistantPage } from './assistant-page';

function open(project?: string) {
  TestBed.configureTestingModule({ providers: [provideRoomkeyTesting(), provideIcons()] });
  const fixture = TestBed.createComponent(AssistantPage);
  fixture.componentRef.setInput('project', project);
  const call = TestBed.inject(RoomkeyTesting).call();
  const page = fixture.nativeElement as HTMLElement;
  const press = async (name: string): Promise<void> => {
    const buttons = [...page.querySelectorAll('button')];
    buttons.find((one) => one.textContent?.includes(name))?.click();
    await fixture.whenStable();
  };
  const type = async (text: string): Promise<void> => {
    const field = page.querySelector('input') as HTMLInputElement;
    field.value = text;
    field.dispatchEvent(new Event('input'));
    await fixture.whenStable();
  };
  return { fixture, call, page, press, type };
}

describe('AssistantPage', () => {
  it('calls, shows what is said, and hangs up', async () => {
    const { fixture, call, page, press } = open();
    await fixture.whenStable();
    await press('Start talking');
    expect(call.connects).toEqual([{}]);
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

  it('calls on the key of the project in the link, or of the one that is typed', async () => {
    const { fixture, call, page, press, type } = open('customer-42');
    await fixture.whenStable();
    expect(page.querySelector('input')?.value).toBe('customer-42');
    await press('Start talking');
    expect(page.querySelector('form')).toBeNull();
    await press('Hang up');
    await type(' customer-43');
    await press('Start talking');
    await type('customer-43');
    await press('Start talking');
    expect(call.connects).toEqual([{ projectId: 'customer-42' }, { projectId: 'customer-43' }]);
  });

  it('says why there is no call, and waits as long as the service says', async () => {
    const { fixture, call, page, press } = open('customer-42');
    await fixture.whenStable();
    const fail = async (code: string, status: number): Promise<void> => {
      call.connectError = new RoomkeyError({ code, title: code, status, retryAfterMs: 60_000 });
      page.querySelector('form')?.dispatchEvent(new Event('submit'));
      await fixture.whenStable();
    };
    await fail('not_found', 404);
    expect(page.textContent).toContain('Check the name of the project');
    expect(page.textContent).toContain('Try again in 1:00');
    await fail('concurrency_limited', 429);
    expect(page.textContent).not.toContain('End another call');
    expect(call.connects.length).toBe(1);
    call.error.set(call.connectError);
    await fixture.whenStable();
    expect(page.textContent).toContain('End another call');
    // Another call may end at any moment.
    call.connectError = undefined;
    await press('Try again');
    expect(call.connects.length).toBe(2);
  });
});
