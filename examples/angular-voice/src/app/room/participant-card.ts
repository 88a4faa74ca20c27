import { Component, computed, input } from '@angular/core';
import { MatIcon } from '@angular/material/icon';
import type { VoiceParticipant } from '@roomkey/angular';

/** Shows one participant: who it is, whether the microphone is on, and how loud it is. */
@Component({
  selector: 'app-participant-card',
  imports: [MatIcon],
  template: `
    @let one = participant();
    <div class="avatar" aria-hidden="true" [style.--hue]="hue()" [style.--level]="one.level">
      {{ initials() }}
    </div>
    <div class="who">
      <div class="line">
        <p class="name">{{ one.name }}</p>
        @if (one.isLocal) {
          <span class="you">you</span>
        }
      </div>
      <p class="state">{{ state() }}</p>
      <div class="meter" aria-hidden="true"><div [style.scale]="width()"></div></div>
    </div>
    <mat-icon
      class="mic"
      aria-hidden="true"
      [svgIcon]="one.canSpeak ? (one.isMuted ? 'mic_off' : 'mic') : 'headphones'"
    />
  `,
  styleUrl: './participant-card.scss',
  host: {
    '[class.speaking]': 'participant().isSpeaking',
    '[class.muted]': 'participant().isMuted',
  },
})
export class ParticipantCard {
  readonly participant = input.required<VoiceParticipant>();

  protected readonly state = computed(() => {
    const { isSpeaking, isMuted, canSpeak, quality } = this.participant();
    if (quality === 'lost') {
      return 'Connection lost';
    }
    if (!canSpeak) {
      return 'Listening';
    }
    return isMuted ? 'Muted' : isSpeaking ? 'Speaking' : 'Microphone on';
  });

  protected readonly initials = computed(() => {
    const words = this.participant().name.split(/[\s_-]+/).filter(Boolean);
    const letters = words.slice(0, 2).map((word) => Array.from(word)[0] ?? '');
    return letters.join('').toLocaleUpperCase();
  });

  /** A colour for each identity, the same for everybody. */
  protected readonly hue = computed(() => {
    let hash = 7;
    for (const letter of this.participant().identity) {
      hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) % 997;
    }
    return (hash * 47) % 360;
  });

  /** Loudness is felt in steps of decibels: the root makes quiet voices visible. */
  protected readonly width = computed(() => `${Math.sqrt(this.participant().level)} 1`);
}
