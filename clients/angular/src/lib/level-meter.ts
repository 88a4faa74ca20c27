/** Speech at usual loudness has a root mean square of about 0.1; this makes it fill a third of the meter. */
const GAIN = 3;
/** Smaller changes are not worth a new picture. */
const STEP = 0.02;

interface Input {
  readonly track: MediaStreamTrack;
  readonly source: MediaStreamAudioSourceNode;
  readonly analyser: AnalyserNode;
}

/** Measures how loud tracks are, all of them in one audio context. */
export class LevelMeter {
  #context: AudioContext | undefined;
  readonly #inputs = new Map<string, Input>();
  readonly #samples = new Float32Array(512);

  /** Measures these tracks, by the identity of their participants, and no others. */
  follow(tracks: ReadonlyMap<string, MediaStreamTrack>): void {
    for (const [identity, input] of this.#inputs) {
      if (tracks.get(identity) !== input.track) {
        input.source.disconnect();
        this.#inputs.delete(identity);
      }
    }
    for (const [identity, track] of tracks) {
      if (!this.#inputs.has(identity)) {
        const input = this.#open(track);
        if (input) {
          this.#inputs.set(identity, input);
        }
      }
    }
  }

  /** Returns the loudness of each track, from 0 to 1 in small steps. */
  read(): Map<string, number> {
    const levels = new Map<string, number>();
    for (const [identity, { analyser }] of this.#inputs) {
      analyser.getFloatTimeDomainData(this.#samples);
      const power = this.#samples.reduce((sum, sample) => sum + sample * sample, 0);
      const level = Math.min(1, Math.sqrt(power / this.#samples.length) * GAIN);
      levels.set(identity, Math.round(level / STEP) * STEP);
    }
    return levels;
  }

  close(): void {
    this.follow(new Map());
    void this.#context?.close().catch(() => undefined);
    this.#context = undefined;
  }

  #open(track: MediaStreamTrack): Input | undefined {
    try {
      this.#context ??= new AudioContext();
      const source = this.#context.createMediaStreamSource(new MediaStream([track]));
      const analyser = this.#context.createAnalyser();
      analyser.fftSize = this.#samples.length;
      source.connect(analyser);
      return { track, source, analyser };
    } catch {
      // A browser without Web Audio, or a track that has just ended: there is no level to show.
      return undefined;
    }
  }
}
