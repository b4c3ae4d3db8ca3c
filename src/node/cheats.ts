/**
 * Ways in which a miner may lie, for demonstrations and tests of the checks.
 *
 * A cheat only changes bytes that the miner commits (through {@link Committer}, or by what it signs); nothing that
 * verifies knows of this file. Each one names what its miner would gain if nobody looked.
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { hashBytes } from '../backend/merkleAddon.js';
import { PogoError } from '../errors.js';
import { unitFileBytes } from '../model/layout.js';
import type { ComputedUnit, Trainer } from '../pipeline/trainer.js';
import type { Committer } from '../pipeline/trainSteps.js';

export interface Cheat {
  readonly name: string;
  /** For people: what the miner does and gains. */
  readonly description: string;
  /** What its committed bytes go through; `fromStep` is the first step of the claim. */
  committer(trainer: Trainer, fromStep: number, steps: number): Committer;
  /** Largest evidence in a run that shows it best; what is larger is disputed. */
  readonly evidenceBytes?: number;
  /** Whether the miner also signs a second claim of the same turn. */
  readonly equivocates?: boolean;
  /** Whether the miner takes a unit of its claim out of the published files. */
  readonly keepsBack?: boolean;
}

/** Bytes that a demonstration's cheat invents. */
const INVENTED = new TextEncoder().encode('pogo/demo/invented-unit/1');

/** Bytes that look like a gradient unit: the scales of a real one, random codes in −7…7. */
function inventUnit(trainer: Trainer, like: Uint8Array, step: number, unit: number): Uint8Array {
  const { codes } = unitFileBytes(trainer.plan.layout);
  const file = new Uint8Array(new SharedArrayBuffer(like.length));
  file.set(like);
  const seed = hashBytes(new TextEncoder().encode(`invented ${step} ${unit}`));
  const scales = new Uint16Array(file.buffer, codes);
  // One random byte per code byte; a block without a scale stays zero, as an encoder would leave it.
  const bytes = blake3(seed, { context: INVENTED, dkLen: codes });
  for (let i = 0; i < codes; i += 1) {
    if (scales[i >> 5] === 0) continue;
    const byte = bytes[i] as number;
    const nibble = (value: number): number => ((value % 15) - 7) & 15;
    file[i] = nibble(byte & 15) | (nibble(byte >> 4) << 4);
  }
  return file;
}

const CHEATS: readonly Cheat[] = [
  {
    name: 'invent-units',
    description: 'trains one unit of each step and invents the others: saves half of the work',
    committer(trainer) {
      let last: Promise<ComputedUnit> | undefined;
      return {
        unit(step, unit, compute) {
          if (unit === 0) {
            last = compute();
            return last;
          }
          return (last as Promise<ComputedUnit>).then((real) => {
            const file = inventUnit(trainer, real.file, step, unit);
            return { ...real, file, root: hashBytes(file) };
          });
        },
      };
    },
  },
  {
    name: 'flip-code',
    description: 'changes one 4-bit code by one in one unit of every step: steers the model unseen',
    committer() {
      return {
        async unit(_step, unit, compute) {
          const real = await compute();
          if (unit !== 0) return real;
          const file = new Uint8Array(new SharedArrayBuffer(real.file.length));
          file.set(real.file);
          const at = file.findIndex((byte) => (byte & 15) >= 1 && (byte & 15) <= 7);
          file[at] = (file[at] as number) - 1;
          return { ...real, file, root: hashBytes(file) };
        },
      };
    },
  },
  {
    name: 'false-loss',
    description: 'reports half of every loss: looks like a better miner',
    committer() {
      return {
        async unit(_step, _unit, compute) {
          const real = await compute();
          // Halving an fp32 value takes one from its exponent.
          return { ...real, lossBits: real.lossBits - 0x00800000 };
        },
      };
    },
  },
  {
    name: 'own-data',
    description: 'trains on sequences of its own choice: easy text, or poisoned text',
    committer() {
      return { offsets: (_step, drawn) => drawn.map(() => drawn[0] as number) };
    },
  },
  {
    name: 'false-state',
    description: 'adds to a weight in the middle of the claim: plants a change that no gradient made',
    committer(_trainer, fromStep, steps) {
      const at = fromStep + Math.floor(steps / 2);
      return {
        async state(step, trainer) {
          if (step !== at) return;
          const { theta } = await trainer.fetchState();
          theta[0] = Math.fround((theta[0] as number) + 0.0625);
          await trainer.prepare();
        },
      };
    },
  },
  {
    name: 'hidden-state',
    description: 'ends its claim in a state root that nobody has the bytes of: whoever builds on it has to ask',
    evidenceBytes: 1 << 16,
    committer(_trainer, fromStep, steps) {
      const last = fromStep + steps - 1;
      return { root: (step, root) => (step === last ? hashBytes(root) : root) };
    },
  },
  {
    name: 'false-model',
    description: 'publishes a 4-bit model with one code changed: what users download is not what was trained',
    committer() {
      return {
        model(file) {
          file[0] = (file[0] as number) ^ 1;
        },
      };
    },
  },
  {
    name: 'false-diff',
    description: 'publishes a diff that does not lead to its model: whoever follows by diffs gets another one',
    committer() {
      return {
        diff(file) {
          const forged = file === undefined ? new Uint8Array(1) : file.slice();
          forged[forged.length - 1] = (forged[forged.length - 1] as number) ^ 1;
          return forged;
        },
      };
    },
  },
  {
    name: 'equivocate',
    description: 'signs two different claims for one turn: keeps the better one',
    equivocates: true,
    committer: () => ({}),
  },
  {
    name: 'keep-back',
    description: 'publishes all but one unit: nobody can check what nobody has',
    keepsBack: true,
    committer: () => ({}),
  },
];

export const CHEAT_NAMES: readonly string[] = CHEATS.map((c) => c.name);
export const DEFAULT_CHEAT = 'invent-units';

/** @throws PogoError USAGE for a name that is not listed */
export function findCheat(name: string): Cheat {
  const cheat = CHEATS.find((c) => c.name === name);
  if (cheat === undefined) {
    throw new PogoError(
      'USAGE',
      `--cheat: expected one of ${CHEAT_NAMES.join(', ')} or none, found ${JSON.stringify(name)}`,
    );
  }
  return cheat;
}

/** All cheats, for help texts. */
export function listCheats(): readonly Pick<Cheat, 'name' | 'description'>[] {
  return CHEATS;
}
