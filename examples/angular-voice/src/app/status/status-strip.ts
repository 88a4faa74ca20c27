import { Component, computed, inject } from '@angular/core';
import { MatIcon } from '@angular/material/icon';
import { Now, clock } from '../shared/now';
import { VoiceSession } from '../voice-session';

/** Shows what happens behind the calls: the life of the room's token, renewals and the last error. */
@Component({
  selector: 'app-status-strip',
  imports: [MatIcon],
  template: `
    <footer aria-label="Status">
      <dl>
        <div class="item">
          <dt><mat-icon svgIcon="schedule" aria-hidden="true" />Token</dt>
          <dd data-testid="token">{{ token() }}</dd>
        </div>
        <div class="item">
          <dt>Renewals</dt>
          <dd data-testid="renewals">{{ session.room.renewals() }}</dd>
        </div>
        <div class="item error">
          <dt>Last error</dt>
          <dd data-testid="last-error">
            @if (session.lastError(); as error) {
              <span>{{ error.code }}</span>
              @if (error.requestId) {
                <code>{{ error.requestId }}</code>
              }
            } @else {
              none
            }
          </dd>
        </div>
      </dl>
    </footer>
  `,
  styleUrl: './status-strip.scss',
})
export class StatusStrip {
  readonly #now = inject(Now);
  protected readonly session = inject(VoiceSession);

  protected readonly token = computed(() => {
    this.#now.milliseconds();
    const token = this.session.room.token();
    if (!token) {
      return 'none needed yet';
    }
    const seconds = token.secondsRemaining();
    // The call goes on: a token is needed to join and to rejoin.
    return seconds > 0 ? `valid for ${clock(seconds)}` : 'expired; renewed to rejoin';
  });
}
