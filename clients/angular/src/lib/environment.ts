/** Where a room or a call runs. */
export interface Environment {
  /** Whether there is a browser; on a server nothing is fetched or opened. */
  readonly isBrowser: boolean;
  /** Runs work whose timers and sockets must not cause change detection in apps with zone.js. */
  outsideAngular<T>(work: () => T): T;
}
