import {
  Component,
  ElementRef,
  afterRenderEffect,
  computed,
  inject,
  input,
  linkedSignal,
  viewChild,
} from '@angular/core';
import { FormsModule } from '@angular/forms';
import { MatButton } from '@angular/material/button';
import { MatError, MatFormField, MatHint, MatLabel } from '@angular/material/form-field';
import { MatIcon } from '@angular/material/icon';
import { MatInput } from '@angular/material/input';
import { Problem } from '../shared/problem';
import { VoiceSession } from '../voice-session';

/** Talks with a Realtime voice assistant and shows what was said. */
@Component({
  selector: 'app-assistant-page',
  imports: [
    FormsModule,
    MatButton,
    MatError,
    MatFormField,
    MatHint,
    MatIcon,
    MatInput,
    MatLabel,
    Problem,
  ],
  templateUrl: './assistant-page.html',
  styleUrl: './assistant-page.scss',
})
export class AssistantPage {
  /** Project of the link that was opened: `/assistant?project=customer-42`. */
  readonly project = input<string>();

  protected readonly projectId = linkedSignal(() => this.project() ?? '');
  protected readonly call = inject(VoiceSession).assistant;

  protected readonly isInCall = computed(() => {
    const status = this.call.status();
    return status === 'connected' || status === 'interrupted';
  });

  protected readonly canCall = computed(
    () => !this.isInCall() && this.call.status() !== 'connecting',
  );

  protected readonly mood = computed(() => {
    if (this.call.status() === 'connecting') {
      return 'connecting';
    }
    if (!this.isInCall()) {
      return 'idle';
    }
    if (this.call.isAssistantSpeaking()) {
      return 'speaking';
    }
    return this.call.isUserSpeaking() ? 'hearing' : 'listening';
  });

  protected readonly label = computed(() => {
    if (this.call.status() === 'interrupted') {
      return 'The connection is disturbed …';
    }
    if (this.call.status() === 'failed') {
      return 'There is no call';
    }
    if (this.mood() === 'listening' && this.call.isMuted()) {
      return 'Your microphone is off';
    }
    return {
      idle: 'Ready when you are',
      connecting: 'Connecting …',
      listening: 'Listening',
      hearing: 'Hearing you',
      speaking: 'Speaking',
    }[this.mood()];
  });

  private readonly problem = viewChild(Problem);
  private readonly log = viewChild<ElementRef<HTMLElement>>('log');

  constructor() {
    // What was said last stays in view.
    afterRenderEffect(() => {
      this.call.transcript();
      const log = this.log()?.nativeElement;
      if (log) {
        log.scrollTop = log.scrollHeight;
      }
    });
  }

  protected async connect(): Promise<void> {
    if (this.call.status() === 'failed' && (this.problem()?.wait() ?? 0) > 0) {
      return;
    }
    const projectId = this.projectId().trim();
    await this.call.connect(projectId ? { projectId } : {});
  }

  protected toggleMute(): void {
    if (this.call.isMuted()) {
      this.call.unmute();
    } else {
      this.call.mute();
    }
  }
}
