/** Calls the handlers of named events. */
export class Emitter<Events> {
  #handlers = new Map<keyof Events, Set<(value: never) => void>>();

  /** Adds a handler and returns the function that removes it. */
  on<Name extends keyof Events>(name: Name, handler: (value: Events[Name]) => void): () => void {
    // A wrapper per call: the same function may be added twice and removed once.
    const own = (value: Events[Name]): void => handler(value);
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers.add(own));
    return () => void handlers.delete(own);
  }

  /** Calls the handlers of one event; what a handler throws is reported and stops nobody else. */
  emit<Name extends keyof Events>(name: Name, value: Events[Name]): void {
    for (const handler of [...(this.#handlers.get(name) ?? [])]) {
      try {
        (handler as (value: Events[Name]) => void)(value);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  /** Removes every handler. */
  clear(): void {
    this.#handlers.clear();
  }
}
