/** Makes a receipt while a claim is checked: what the check has in its hands anyway is hashed under the draw signature. */
import type { UnitPlace } from '../model/unitPlaces.js';
import type { Trainer } from '../pipeline/trainer.js';
import type { DrawnUnit } from '../protocol/draws.js';
import {
  leafChainingValues,
  type ReceiptDuty,
  type StateChainingValues,
  stateReceiptPart,
  unitReceiptPart,
  unitReceiptPlaces,
} from '../protocol/receipt.js';

export class ReceiptRecorder {
  readonly #drawSignature: Uint8Array;
  readonly #duty: ReceiptDuty;
  readonly #trainer: Trainer;
  readonly #parts: (Uint8Array | undefined)[];

  constructor(trainer: Trainer, drawSignature: Uint8Array, duty: ReceiptDuty) {
    this.#trainer = trainer;
    this.#drawSignature = drawSignature;
    this.#duty = duty;
    this.#parts = Array.from({ length: duty.parts }, () => undefined);
  }

  /** Where to look while this unit is computed. */
  places(drawn: DrawnUnit): UnitPlace[] {
    const { recipe, layout } = this.#trainer.plan;
    return unitReceiptPlaces(this.#drawSignature, drawn, recipe, layout);
  }

  unit(drawn: DrawnUnit, observed: Uint8Array): void {
    const index = this.#duty.units.findIndex((u) => u.stepIndex === drawn.stepIndex && u.unit === drawn.unit);
    if (index >= 0) this.#parts[index] = unitReceiptPart(this.#drawSignature, drawn, observed);
  }

  /** Whether the state before this step goes into the receipt. */
  wantsState(stepIndex: number): boolean {
    return stepIndex === this.#duty.stateStep;
  }

  /** @param stepsDone steps of the claim behind the trainer's state, whose root was just computed */
  async state(stepsDone: number, last: boolean): Promise<void> {
    const part = stateReceiptPart(this.#drawSignature, stepsDone, await chainingValuesOf(this.#trainer));
    this.#parts[this.#duty.units.length + (last ? 1 : 0)] = part;
  }

  /** The receipt of a check that found nothing false: then every part is there. */
  get parts(): Uint8Array[] {
    return this.#parts.map((part) => part ?? new Uint8Array(32));
  }
}

/** Of a trainer's current state. */
export async function chainingValuesOf(trainer: Trainer): Promise<StateChainingValues> {
  const trees = await trainer.fetchTrees();
  const bytes = 4 * trainer.plan.layout.length;
  const of = (name: 'theta' | 'm' | 'v'): Uint8Array => leafChainingValues(trees[name], bytes);
  return { theta: of('theta'), m: of('m'), v: of('v') };
}
