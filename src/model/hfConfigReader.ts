/** Fields of a `config.json` of Hugging Face, or `adapter_config.json`, each checked as it is read: such files come from strangers. */

import { PogoError } from '../errors.js';
import { decimalToBits } from './fp32.js';
import type { GemmaOptions, Recipe } from './recipe.js';

/** The fields of a recipe that a model's file fixes. */
export type ModelShape = Pick<
  Recipe,
  'family' | 'vocab' | 'layers' | 'width' | 'heads' | 'hidden' | 'context' | 'norm' | 'bias' | 'normEpsilonBits'
> & {
  /** Without the root of the RoPE tables: they are as long as the context that is chosen. */
  readonly gemma?: Omit<GemmaOptions, 'ropeRoot'>;
};

const OTHER_MODEL = 'only that is supported: take such a model';
const DAMAGED = 'download the file again';

export class ConfigReader {
  readonly #fields: Readonly<Record<string, unknown>>;
  /** Where the fields lie in the file, for messages. */
  readonly #path: string;
  readonly #file: string;

  /**
   * @param file its name, for messages
   * @throws PogoError MISMATCH for anything but an object
   */
  constructor(value: unknown, path = '', file = 'config.json') {
    this.#path = path;
    this.#file = file;
    this.#fields = {};
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      this.mismatch('an object', value, '(whole)', DAMAGED);
    this.#fields = value as Readonly<Record<string, unknown>>;
  }

  /** The field, or undefined where it is absent or null. */
  get(key: string): unknown {
    return Object.hasOwn(this.#fields, key) ? (this.#fields[key] ?? undefined) : undefined;
  }

  /** The object in a field; an empty one where there is none. */
  inside(key: string): ConfigReader {
    return new ConfigReader(this.get(key) ?? {}, `${this.#path}${key}.`, this.#file);
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  /** Requires one of the values that our arithmetic has. */
  only(key: string, fallback: unknown, ...allowed: unknown[]): void {
    const found = this.get(key) ?? fallback;
    if (!allowed.includes(found)) {
      this.mismatch(allowed.map((value) => JSON.stringify(value) ?? 'nothing').join(' or '), found, key);
    }
  }

  /** A positive integer. */
  count(key: string, fallback?: number): number {
    const found = this.get(key) ?? fallback;
    if (typeof found !== 'number' || !Number.isSafeInteger(found) || found < 1) {
      this.mismatch('a positive integer', found, key, DAMAGED);
    }
    return found;
  }

  number(key: string, fallback?: number): number {
    const found = this.get(key) ?? fallback;
    if (typeof found !== 'number' || !Number.isFinite(found)) this.mismatch('a number', found, key, DAMAGED);
    return found;
  }

  /** fp32 bits of a decimal. */
  decimalBits(key: string, fallback: number): number {
    return decimalToBits(String(this.number(key, fallback)));
  }

  /** @param advice what to do; by default for a model that is described well and computes something else */
  mismatch(expected: string, found: unknown, key: string, advice = OTHER_MODEL): never {
    const shown = JSON.stringify(found)?.slice(0, 80) ?? 'nothing';
    const field = `${this.#path}${key}`;
    throw new PogoError('MISMATCH', `${this.#file} field ${field}: expected ${expected}, found ${shown}; ${advice}`, {
      path: this.#file,
      field,
    });
  }
}
