import { Component, computed, inject, input, linkedSignal, output } from '@angular/core';
import { MatButton } from '@angular/material/button';
import { MatIcon } from '@angular/material/icon';
import type { RoomkeyError } from '@roomkey/client';
import { Now, clock } from './now';

/** Where the service has no remediation of its own, since only the app knows what its users can do. */
const REMEDIATIONS: Record<string, string> = {
  unauthenticated: 'Sign in again, then try once more.',
  room_forbidden: 'Check the name of the room, or ask its owner to let you in.',
  identity_mismatch: 'Join under your own name.',
  not_found: 'Check the name of the project, or ask its owner to let you in.',
  insufficient_scope: 'Ask your administrator for access to voice rooms.',
  rate_limited: 'You asked often in a short time. The button works again when the time is over.',
  concurrency_limited: 'End another call, then try again.',
  network: 'Check your connection. If it is fine, the service is down for the moment.',
};

/** Shows a failure: what happened, what to do, how long to wait, and the id that support asks for. */
@Component({
  selector: 'app-problem',
  imports: [MatButton, MatIcon],
  template: `
    @let problem = error();
    <div class="problem" role="alert" [attr.data-code]="problem.code">
      <mat-icon class="icon" [svgIcon]="icon()" aria-hidden="true" />
      <div class="text">
        <h2>{{ problem.title }}</h2>
        @if (problem.detail && problem.detail !== problem.title) {
          <p>{{ problem.detail }}</p>
        }
        @if (problem.fields.length) {
          <ul>
            @for (field of problem.fields; track field.field) {
              <li>
                <b>{{ field.field }}</b> {{ field.message }}
              </li>
            }
          </ul>
        }
        @if (remediation(); as text) {
          <p class="remediation">{{ text }}</p>
        }
        @if (problem.requestId) {
          <p class="id">
            Request <code>{{ problem.requestId }}</code>
          </p>
        }
      </div>
      @if (canRetry()) {
        <button matButton="tonal" class="retry" [disabled]="wait() > 0" (click)="retry.emit()">
          {{ wait() > 0 ? 'Try again in ' + clock(wait()) : 'Try again' }}
        </button>
      }
    </div>
  `,
  styleUrl: './problem.scss',
})
export class Problem {
  readonly error = input.required<RoomkeyError>();
  /** Whether there is something to try again. */
  readonly canRetry = input(true);
  readonly retry = output();

  readonly #now = inject(Now);
  protected readonly clock = clock;

  /** When the failure was shown: the wait counts from there. */
  readonly #since = linkedSignal({ source: this.error, computation: () => performance.now() });

  /** Seconds until the service wants to be asked again. */
  readonly wait = computed(() => {
    const { code, retryAfterMs = 0 } = this.error();
    // Another call may end at any moment: the time is that after which one is over for sure.
    const end = this.#since() + (code === 'concurrency_limited' ? 0 : retryAfterMs);
    return Math.max(0, (end - Math.max(this.#now.milliseconds(), this.#since())) / 1000);
  });

  protected readonly remediation = computed(() => {
    const { code, remediation } = this.error();
    return remediation && code !== 'network' ? remediation : REMEDIATIONS[code];
  });

  protected readonly icon = computed(() => {
    const { status, code } = this.error();
    if (status === 429) {
      return 'schedule';
    }
    if (code.startsWith('microphone')) {
      return 'mic_off';
    }
    return status === 401 || status === 403 ? 'lock' : 'warning';
  });
}
