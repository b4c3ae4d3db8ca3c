/**
 * One row of the table of attacks (docs/security.md) with the two plays that make it true: the attack against what is
 * shipped, which must end in `stoppedBy`, and its twin with the one defence replaced, which must end in `harm`.
 *
 * `scripts/generate-security.mjs` reads the rows out of the source, so every field is a plain string literal.
 */
import { describe, expect, it } from 'vitest';

export interface AttackRow {
  /** As in the list of attacks: `T1` … `X4`. */
  readonly id: string;
  /** What is done. */
  readonly attack: string;
  /** What the attacker would gain. */
  readonly gain: string;
  readonly defence: string;
  /** File of the defence, relative to the repository. */
  readonly file: string;
  /** Beginning of what {@link Plays.real} gives: the evidence, or code and message of the refusal. */
  readonly stoppedBy: string;
  /** Beginning of what {@link Plays.twin} gives. */
  readonly harm: string;
  /** What kind of showing it is, where it is no play of the attack through the library. */
  readonly showing?: 'simulation' | 'argument' | 'no such surface';
  /** What of the list's row is not shown. */
  readonly open?: string;
}

type Play = () => Promise<string | readonly string[]> | string | readonly string[];

export interface Plays {
  /** The attack against the shipped code. Of several endings each must begin with `stoppedBy`. */
  readonly real: Play;
  /** The same with one part replaced inside the test. */
  readonly twin: Play;
  /** Further laws of the same row, by name. */
  readonly also?: Readonly<Record<string, () => Promise<void> | void>>;
}

async function expectEndings(play: Play, expected: string): Promise<void> {
  const endings = [await play()].flat();
  expect(endings.length).toBeGreaterThan(0);
  for (const ending of endings) expect(ending.slice(0, expected.length)).toBe(expected);
}

/** Declares the tests of a row. */
export function attack(row: AttackRow, plays: Plays): void {
  describe(`${row.id} ${row.attack}`, () => {
    it(`ends in: ${row.stoppedBy}`, () => expectEndings(plays.real, row.stoppedBy));
    it(`with the defence replaced (${row.defence}): ${row.harm}`, () => expectEndings(plays.twin, row.harm));
    for (const [name, law] of Object.entries(plays.also ?? {})) it(name, law);
  });
}

/** A row whose defence is not there yet. It declares no test, and the table says so. */
export interface OpenRow {
  readonly id: string;
  readonly attack: string;
  readonly defence: string;
  /** Why it is not covered. */
  readonly reason: string;
}

/** Declares a row without tests: nothing is claimed for it. */
export function notCovered(_row: OpenRow): void {
  // Read by the generator only.
}
