import { Component, DOCUMENT, computed, inject, input, output, signal } from '@angular/core';
import { MatIcon } from '@angular/material/icon';

/** The big button: a switch, or pressed as long as one speaks. */
@Component({
  selector: 'app-talk-button',
  imports: [MatIcon],
  template: `
    <button
      type="button"
      class="talk"
      [class.on]="!isMuted()"
      [class.hold]="isHold()"
      [attr.aria-pressed]="!isMuted()"
      [attr.aria-describedby]="isHold() ? 'talk-hint' : null"
      (click)="toggle()"
      (pointerdown)="press($event)"
      (pointerup)="release()"
      (pointercancel)="release()"
      (lostpointercapture)="release()"
      (blur)="release()"
      (keydown)="keyDown($event)"
      (keyup)="keyUp($event)"
      (contextmenu)="isHold() && $event.preventDefault()"
    >
      <mat-icon [svgIcon]="isMuted() ? 'mic_off' : 'mic'" aria-hidden="true" />
      <span class="visually-hidden">{{ isHold() ? 'Push to talk' : 'Microphone' }}</span>
    </button>
    <p class="label" aria-hidden="true">{{ label() }}</p>
    <p class="visually-hidden" id="talk-hint">Hold the space bar or the button while you speak.</p>
  `,
  styleUrl: './talk-button.scss',
  host: { '(document:visibilitychange)': 'document.hidden && release()' },
})
export class TalkButton {
  readonly isMuted = input.required<boolean>();
  /** Whether the microphone is on only while the button is held. */
  readonly isHold = input(false);
  readonly speak = output();
  readonly silence = output();

  protected readonly document = inject(DOCUMENT);
  readonly #isHeld = signal(false);

  protected readonly label = computed(() => {
    if (this.isHold()) {
      return this.isMuted() ? 'Hold to talk' : 'You are heard';
    }
    return this.isMuted() ? 'Unmute' : 'Mute';
  });

  protected toggle(): void {
    if (!this.isHold()) {
      (this.isMuted() ? this.speak : this.silence).emit();
    }
  }

  protected press(event: PointerEvent): void {
    if (this.isHold() && event.button === 0) {
      // The finger may slide off the button without ending the sentence.
      (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
      this.#hold();
    }
  }

  protected keyDown(event: KeyboardEvent): void {
    if (this.isHold() && (event.key === ' ' || event.key === 'Enter')) {
      event.preventDefault();
      if (!event.repeat) {
        this.#hold();
      }
    }
  }

  protected keyUp(event: KeyboardEvent): void {
    if (event.key === ' ' || event.key === 'Enter') {
      this.release();
    }
  }

  protected release(): void {
    if (this.#isHeld()) {
      this.#isHeld.set(false);
      this.silence.emit();
    }
  }

  #hold(): void {
    this.#isHeld.set(true);
    this.speak.emit();
  }
}
