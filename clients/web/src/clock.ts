/** A point in time, read from both clocks of this machine. */
export interface Moment {
  /** The wall clock, which the user may set and which runs on while the machine sleeps. */
  readonly wall: number;
  /** The monotonic clock, which nobody can set and which some systems stop during sleep. */
  readonly steady: number;
}

/** Returns the current moment. */
export const now = (): Moment => ({ wall: Date.now(), steady: performance.now() });

/**
 * Returns the milliseconds since a moment, by the clock that shows more of them.
 *
 * A wall clock that is set back does not lengthen a token's life, since the monotonic clock goes
 * on; a machine that slept does not either, since the wall clock went on. A wall clock that is set
 * forward makes values expire early, once: the next value counts from then.
 */
export const elapsedSince = (moment: Moment): number =>
  Math.max(0, Date.now() - moment.wall, performance.now() - moment.steady);

/** Waits, or rejects with the signal's reason as soon as it is aborted. */
export function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      if (signal.aborted) reject(signal.reason);
      else resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener('abort', end);
  });
}

/** Follows a promise, or rejects with the signal's reason as soon as it is aborted. */
export function abortable<T>(promise: PromiseLike<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    const leave = (): void => signal.removeEventListener('abort', abort);
    promise.then(
      (value) => (leave(), resolve(value)),
      (error) => (leave(), reject(error)),
    );
  });
}
