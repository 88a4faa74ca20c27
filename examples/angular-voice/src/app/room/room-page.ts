import {
  Component,
  ElementRef,
  afterNextRender,
  computed,
  effect,
  inject,
  input,
  linkedSignal,
  signal,
  untracked,
  viewChild,
  Injector,
} from '@angular/core';
import { FormsModule } from '@angular/forms';
import { MatButton } from '@angular/material/button';
import { MatButtonToggle, MatButtonToggleGroup } from '@angular/material/button-toggle';
import { MatError, MatFormField, MatHint, MatLabel } from '@angular/material/form-field';
import { MatIcon } from '@angular/material/icon';
import { MatInput } from '@angular/material/input';
import { MatProgressBar } from '@angular/material/progress-bar';
import { MatSlideToggle } from '@angular/material/slide-toggle';
import { Problem } from '../shared/problem';
import { VoiceSession } from '../voice-session';
import { ParticipantCard } from './participant-card';
import { TalkButton } from './talk-button';

/** Joins a room and shows who is in it. */
@Component({
  selector: 'app-room-page',
  imports: [
    FormsModule,
    MatButton,
    MatButtonToggle,
    MatButtonToggleGroup,
    MatError,
    MatFormField,
    MatHint,
    MatIcon,
    MatInput,
    MatLabel,
    MatProgressBar,
    MatSlideToggle,
    ParticipantCard,
    Problem,
    TalkButton,
  ],
  templateUrl: './room-page.html',
  styleUrl: './room-page.scss',
})
export class RoomPage {
  /** Room of the link that was opened: `/room?room=standup-42`. */
  readonly room = input<string>();

  protected readonly voice = inject(VoiceSession).room;
  protected readonly name = signal('');
  protected readonly roomName = linkedSignal(() => this.room() ?? 'standup-42');
  protected readonly role = signal<'speaker' | 'listener'>('speaker');
  protected readonly holdToTalk = signal(false);

  protected readonly isIn = computed(() => {
    const status = this.voice.status();
    return status === 'joined' || status === 'reconnecting';
  });
  protected readonly isJoining = computed(() => this.voice.status() === 'joining');
  protected readonly others = computed(() => this.voice.participants().length - 1);

  /** What a screen reader says when people come and go. */
  protected readonly announcement = signal('');
  private readonly problem = viewChild(Problem);
  private readonly heading = viewChild<ElementRef<HTMLElement>>('heading');
  readonly #injector = inject(Injector);

  constructor() {
    let before = new Map<string, string>();
    effect(() => {
      const people = this.voice.participants().filter((one) => !one.isLocal);
      const now = new Map(people.map((one) => [one.identity, one.name]));
      const came = [...now].filter(([identity]) => !before.has(identity));
      const left = [...before].filter(([identity]) => !now.has(identity));
      before = now;
      const said = [
        ...came.map(([, name]) => `${name} is here.`),
        ...left.map(([, name]) => `${name} has left.`),
      ];
      if (said.length > 0) {
        untracked(() => this.announcement.set(said.join(' ')));
      }
    });
    // The form is gone when the room is there: the focus must not be lost with it.
    effect(() => {
      if (this.isIn()) {
        const focus = () => this.heading()?.nativeElement.focus();
        afterNextRender(focus, { injector: this.#injector });
      }
    });
  }

  protected async join(): Promise<void> {
    if ((this.problem()?.wait() ?? 0) > 0) {
      return;
    }
    const name = this.name().trim();
    await this.voice.join({
      roomName: this.roomName().trim(),
      role: this.role(),
      muted: this.holdToTalk(),
      ...(name && { participantName: name }),
    });
  }

  protected setHoldToTalk(isOn: boolean): void {
    this.holdToTalk.set(isOn);
    void (isOn ? this.voice.mute() : this.voice.unmute());
  }
}
