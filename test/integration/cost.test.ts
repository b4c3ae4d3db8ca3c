/** `pogo cost` as a process: events that match the schema, text, bad input. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { eventFaults } from '../support/eventSchema.js';
import { eventsOf, pogo } from '../support/pogo.js';

describe('pogo cost', () => {
  it('prints every figure with its basis, as an event that matches the schema', async () => {
    const { code, stdout, stderr } = await pogo([
      'cost',
      '--model',
      'moby',
      '--fraction',
      '0.1',
      '--committee',
      '1',
      '--json',
    ]);
    expect(code, stderr).toBe(0);
    const [event, ...more] = eventsOf(stdout);
    expect(more).toEqual([]);
    expect(eventFaults(event as Record<string, unknown>)).toEqual([]);
    // The draw that `pogo verify` makes for the recipe's own detection.
    expect(event).toMatchObject({ command: 'cost', recipe: 'moby', samples: 27 });
  });

  it('prints the same for people, longer claims cost a seat a smaller share', async () => {
    const share = async (steps: string): Promise<number> => {
      const { code, stdout } = await pogo(['cost', '--device', 'h100', '--steps', steps]);
      expect(code).toBe(0);
      return Number(/of training +([\d.]+) %/.exec(stdout)?.[1]);
    };
    const [short, long] = [await share('20'), await share('2000')];
    expect(short).toBeGreaterThan(10);
    expect(long).toBeLessThan(1);
  });

  it.each([
    [['--detect', '2'], /expected --detect from 0\.000001 to 1, found 2/],
    [['--fraction', 'x'], /expected --fraction/],
    [['--machines', '0'], /--machines/],
    [['--device', 'abacus'], /measured, h100/],
    [['--model', 'gpt-9'], /expected a recipe name/],
  ])('refuses %j with exit code 2', async (args, message) => {
    const { code, stderr, stdout } = await pogo(['cost', ...args]);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
    expect(stdout).toBe('');
  });

  it('takes a recipe file', async () => {
    const { code, stderr } = await pogo(['cost', '--model', join('does', 'not', 'exist.json')]);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/exist\.json/);
  });
});

describe('pogo recipe --plan', () => {
  it('counts memory, disk and traffic by role, as text and as an event that matches the schema', async () => {
    const { code, stdout } = await pogo(['recipe', 'gpt2-124m', '--plan', '--json']);
    expect(code).toBe(0);
    const [event] = eventsOf(stdout);
    expect(eventFaults(event as Record<string, unknown>)).toEqual([]);
    const sections = (event as { sections: { rows: { name: string; value: number; basis: string }[] }[] }).sections;
    const rows = sections.flatMap(({ rows }) => rows);
    expect(rows.every(({ basis }) => basis === 'counted')).toBe(true);
    expect(rows.find(({ name }) => name === 'parameters')?.value).toBe(124_439_808);
    const text = await pogo(['recipe', 'gpt2-124m', '--plan']);
    expect(text.stdout).toMatch(/A verifier of one claim/);
  });

  it('of adapters: the state is theirs, the frozen model is memory', async () => {
    const rowsOf = async (recipe: string): Promise<Map<string, number>> => {
      const { stdout } = await pogo(['recipe', recipe, '--plan', '--json']);
      const [{ sections }] = eventsOf(stdout) as [{ sections: { rows: { name: string; value: number }[] }[] }];
      return new Map(sections.flatMap(({ rows }) => rows).map(({ name, value }) => [name, value]));
    };
    const [whole, lora] = await Promise.all([rowsOf('sotu-finetune'), rowsOf('sotu-lora')]);
    expect(lora.get('parameters')).toBe(131_072);
    expect(lora.get('elements of the frozen model')).toBe(whole.get('elements of a vector'));
    expect(lora.get('memory: θ of the frozen model')).toBe(whole.get('bytes of a vector'));
    expect(lora.get('memory: integer weights')).toBeGreaterThan(whole.get('memory: integer weights') as number);
    // Of the weights that a lane elsewhere needs in a step, nothing is of the frozen model.
    expect(lora.get('in, a step, state elsewhere')).toBeLessThan(
      (whole.get('in, a step, state elsewhere') as number) / 1.5,
    );
    expect(whole.has('elements of the frozen model')).toBe(false);
  });
});
