import { DestroyRef, Injectable, afterNextRender, inject, signal } from '@angular/core';
import type { Signal } from '@angular/core';

/** Ticks once a second while the page is open, for everything that counts down. */
@Injectable({ providedIn: 'root' })
export class Now {
  readonly #milliseconds = signal(0);

  /** Milliseconds since the page was opened; reading it makes a template follow the time. */
  readonly milliseconds: Signal<number> = this.#milliseconds.asReadonly();

  constructor() {
    const destroyRef = inject(DestroyRef);
    afterNextRender(() => {
      this.#milliseconds.set(performance.now());
      const timer = setInterval(() => this.#milliseconds.set(performance.now()), 1000);
      destroyRef.onDestroy(() => clearInterval(timer));
    });
  }
}

/** Writes seconds as `m:ss`, from an hour on as `h:mm:ss`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const [hours, minutes, rest] = parts.map((part) => String(part).padStart(2, '0'));
  return whole < 3600 ? `${Number(minutes)}:${rest}` : `${Number(hours)}:${minutes}:${rest}`;
}
