import { Component, ElementRef, afterRenderEffect, computed, inject, viewChild } from '@angular/core';
import { MatButton } from '@angular/material/button';
import { MatIcon } from '@angular/material/icon';
import { Problem } from '../shared/problem';
import { VoiceSession } from '../voice-session';

/** Talks with a Realtime voice assistant and shows what was said. */
@Component({
  selector: 'app-assistant-page',
  imports: [MatButton, MatIcon, Problem],
  templateUrl: './assistant-page.html',
  styleUrl: './assistant-page.scss',
})
export class AssistantPage {
  protected readonly call = inject(VoiceSession).assistant;

  protected readonly isInCall = computed(() => {
    const status = this.call.status();
    return status === 'connected' || status === 'interrupted';
  });

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

  protected toggleMute(): void {
    if (this.call.isMuted()) {
      this.call.unmute();
    } else {
      this.call.mute();
    }
  }
}
