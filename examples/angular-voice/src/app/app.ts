import { Component, DOCUMENT, effect, inject, signal } from '@angular/core';
import { MatIconButton } from '@angular/material/button';
import { MatIcon } from '@angular/material/icon';
import { MatTabLink, MatTabNav, MatTabNavPanel } from '@angular/material/tabs';
import { RouterLink, RouterLinkActive, RouterOutlet } from '@angular/router';
import { StatusStrip } from './status/status-strip';
import { VoiceSession } from './voice-session';

@Component({
  selector: 'app-root',
  imports: [
    MatIcon,
    MatIconButton,
    MatTabLink,
    MatTabNav,
    MatTabNavPanel,
    RouterLink,
    RouterLinkActive,
    RouterOutlet,
    StatusStrip,
  ],
  templateUrl: './app.html',
  styleUrl: './app.scss',
})
export class App {
  readonly #document = inject(DOCUMENT);
  protected readonly session = inject(VoiceSession);
  readonly #system = this.#document.defaultView?.matchMedia?.('(prefers-color-scheme: dark)');
  protected readonly isDark = signal(this.#system?.matches ?? false);
  readonly #isChosen = signal(false);

  constructor() {
    this.#system?.addEventListener('change', ({ matches }) => {
      if (!this.#isChosen()) {
        this.isDark.set(matches);
      }
    });
    effect(() => {
      const chosen = this.isDark() ? 'dark' : 'light';
      this.#document.documentElement.style.colorScheme = this.#isChosen() ? chosen : '';
    });
  }

  protected toggleTheme(): void {
    this.#isChosen.set(true);
    this.isDark.update((isDark) => !isDark);
  }
}
