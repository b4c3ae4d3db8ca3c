/**
 * The choice of an instruction set, over every subset of the features and the saved register state that it rests on:
 * the best set that can run, and never one whose instructions are missing.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type CpuFacts, loadCpuAddon } from '../../src/backend/cpuAddon.js';

const { addon } = loadCpuAddon();
const x86 = addon !== undefined && process.arch === 'x64';
const BUILD = fileURLToPath(new URL('../../binding.gyp', import.meta.url));
const ORDER = ['amx', 'avx512', 'avxvnni', 'avx2', 'dotprod', 'neon', 'scalar'];

/** Where CPUID and XCR0 report a feature, from the processor's manual: field of the facts, mask. */
const WORDS: Record<string, readonly [field: string, mask: number]> = {
  popcnt: ['leaf1Ecx', 1 << 23],
  osxsave: ['leaf1Ecx', 1 << 27],
  avx: ['leaf1Ecx', 1 << 28],
  avx2: ['leaf7Ebx', 1 << 5],
  avx512f: ['leaf7Ebx', 1 << 16],
  avx512dq: ['leaf7Ebx', 1 << 17],
  avx512bw: ['leaf7Ebx', 1 << 30],
  avx512vl: ['leaf7Ebx', 1 << 31],
  avx512vnni: ['leaf7Ecx', 1 << 11],
  avxvnni: ['leaf7Eax1', 1 << 4],
  'amx-tile': ['leaf7Edx', 1 << 24],
  'amx-int8': ['leaf7Edx', 1 << 25],
  ymm: ['enabledStates', 0x6],
  zmm: ['enabledStates', 0xe0],
  tiles: ['enabledStates', 0x60000],
};

/** What the flags of binding.gyp let the compiler of a set use, with what gcc and clang imply, and the state behind it. */
const AVX2 = ['popcnt', 'osxsave', 'avx', 'avx2', 'ymm'];
const AVX512 = [...AVX2, 'avx512f', 'avx512bw', 'avx512dq', 'avx512vl', 'avx512vnni', 'zmm'];
const USES: Record<string, readonly string[]> = {
  scalar: [],
  avx2: AVX2,
  avxvnni: [...AVX2, 'avxvnni'],
  avx512: AVX512,
  amx: [...AVX512, 'amx-tile', 'amx-int8', 'tiles', 'permission'],
};

/** A processor with everything, before features are taken away. */
function everything(): Record<string, number> {
  const facts: Record<string, number> = Object.fromEntries(Object.keys(addon!.facts()).map((name) => [name, 0]));
  const all = (1 << 12) | (1 << 29);
  Object.assign(facts, { lastLeaf: 0x1f, lastExtendedLeaf: 0x80000008, extendedEcx: 1 << 5, leaf1Ecx: all });
  Object.assign(facts, { leaf7Ebx: (1 << 3) | (1 << 8) | (1 << 28), leaf1DEbx: 64 | (8 << 16), leaf1DEcx: 16 });
  for (const [field, mask] of Object.values(WORDS)) facts[field] = (facts[field]! | mask) >>> 0;
  return facts;
}

function without(missing: Iterable<string>): Record<string, number> {
  const facts = everything();
  for (const feature of missing) {
    if (feature === 'permission') {
      facts['tileRefusal'] = 1;
      continue;
    }
    const [field, mask] = WORDS[feature]!;
    facts[field] = (facts[field]! & ~mask) >>> 0;
  }
  return facts;
}

/** The rule, written a second time: the first set of the order that is built and misses nothing it uses. */
function expected(missing: ReadonlySet<string>): string {
  const built = addon!.describe().isas;
  const best = ORDER.find((set) => built[set]?.built === true && USES[set]?.every((feature) => !missing.has(feature)));
  return best ?? '';
}

const choose = (facts: CpuFacts): string => addon!.isasFor(facts).isa;

describe.skipIf(addon === undefined)('dispatch', () => {
  it('knows the sets in their order', () => {
    const known = Object.keys(addon!.describe().isas);
    expect(known).toEqual(ORDER.filter((set) => known.includes(set)));
  });

  it('takes on this machine what the rule says for its facts', () => {
    const { isas } = addon!.describe();
    const choice = addon!.isasFor(addon!.facts());
    for (const [set, { built, machine, reason }] of Object.entries(isas)) {
      expect(choice.isas[set]).toEqual({ built, machine, reason });
      expect(reason === '', set).toBe(built && machine);
    }
    expect(addon!.setIsa('auto')).toBe(choice.isa);
    expect(choice.features).toEqual(addon!.describe().features);
  });

  it('refuses facts that are not numbers', () => {
    expect(() => addon!.isasFor({})).toThrow(TypeError);
  });
});

describe.skipIf(!x86)('dispatch on x86', () => {
  it('the flags of the build are those that the rule was written for', () => {
    const flags = new Set(readFileSync(BUILD, 'utf8').match(/"-m(?!prefer-vector-width)[a-z0-9-]+"/g));
    const known = [...new Set(Object.values(USES).flat())].map((feature) => `"-m${feature}"`);
    expect([...flags].filter((flag) => !known.includes(flag))).toEqual([]);
    expect(flags.size).toBeGreaterThan(4);
  });

  it('takes the best set with everything, and scalar with nothing', () => {
    expect(choose(everything())).toBe(expected(new Set()));
    expect(choose(without([...Object.keys(WORDS), 'permission']))).toBe('scalar');
    expect(choose(Object.fromEntries(Object.keys(everything()).map((name) => [name, 0])))).toBe('scalar');
  });

  it('every subset of features: the best set that can run, and never one whose instructions are missing', () => {
    const features = [...Object.keys(WORDS), 'permission'];
    const chosen = new Map<string, number>();
    for (let subset = 0; subset < 2 ** features.length; subset += 1) {
      const missing = new Set(features.filter((_, i) => (subset >> i) & 1));
      const { isa } = addon!.isasFor(without(missing));
      if (isa !== expected(missing)) expect({ missing: [...missing], isa }).toEqual({ isa: expected(missing) });
      chosen.set(isa, (chosen.get(isa) ?? 0) + 1);
    }
    // Every built set of this architecture is the best one somewhere.
    const built = Object.entries(addon!.describe().isas).filter(([, set]) => set.built);
    expect([...chosen.keys()].sort()).toEqual(built.map(([set]) => set).sort());
  });

  it('every subset of the features of this machine', () => {
    const own = addon!.facts();
    const present = Object.keys(WORDS).filter((name) => (own[WORDS[name]![0]]! & WORDS[name]![1]) >>> 0 !== 0);
    const absent = Object.keys(WORDS).filter((name) => !present.includes(name));
    for (let subset = 0; subset < 2 ** present.length; subset += 1) {
      const masked = present.filter((_, i) => (subset >> i) & 1);
      const facts: Record<string, number> = { ...own };
      for (const name of masked) facts[WORDS[name]![0]] = (facts[WORDS[name]![0]]! & ~WORDS[name]![1]) >>> 0;
      const missing = new Set([...masked, ...absent, ...(own['tileRefusal'] === 0 ? [] : ['permission'])]);
      if (choose(facts) !== expected(missing)) expect({ masked, isa: choose(facts) }).toEqual(expected(missing));
    }
  });

  it('every single bit of the saved state counts', () => {
    for (const [bit, best] of [1, 2, 5, 6, 7, 17, 18].map(
      (n) => [n, n < 3 ? 'ymm' : n < 8 ? 'zmm' : 'tiles'] as const,
    )) {
      const facts = everything();
      facts['enabledStates'] = (facts['enabledStates']! & ~(1 << bit)) >>> 0;
      expect(choose(facts), `XCR0 bit ${bit}`).toBe(expected(new Set([best])));
    }
  });

  it('leaves that the processor does not have are not read', () => {
    expect(choose({ ...everything(), lastLeaf: 6 })).toBe('scalar');
    const noTiles = expected(new Set(['tiles']));
    expect(choose({ ...everything(), lastLeaf: 0x1c })).toBe(noTiles);
    // Palettes with smaller tiles than the kernels use.
    expect(choose({ ...everything(), leaf1DEbx: 32 | (8 << 16) })).toBe(noTiles);
    expect(choose({ ...everything(), leaf1DEbx: 64 | (4 << 16) })).toBe(noTiles);
    expect(choose({ ...everything(), leaf1DEcx: 8 })).toBe(noTiles);
  });

  it('names what is missing: the instruction, the operating system, or the permission', () => {
    const reason = (set: string, missing: readonly string[]) => addon!.isasFor(without(missing)).isas[set]!.reason;
    expect(reason('avx2', ['avx2'])).toBe('the processor lacks avx2');
    expect(reason('avx512', ['avx512bw', 'avx512vnni'])).toBe('the processor lacks avx512bw, avx512_vnni');
    expect(reason('amx', ['amx-int8'])).toBe('the processor lacks amx_int8');
    expect(reason('avx512', ['zmm'])).toMatch(/^the operating system does not save the registers of avx512f/);
    expect(reason('avx2', ['osxsave'])).toMatch(/^the operating system does not save the registers of avx/);
    expect(reason('amx', ['tiles'])).toBe('the operating system does not save the registers of amx_tile, amx_int8');
    expect(reason('amx', ['permission'])).toMatch(/^the kernel refused the tile registers \(arch_prctl .*, errno 1\)/);
    // What the processor lacks is said first: no setting of the system would help.
    expect(reason('amx', ['permission', 'amx-int8'])).toBe('the processor lacks amx_int8');
  });
});

/** Objects of a local build, one for each set: where prebuilt addons are used there are none. */
const objects = x86 ? Object.keys(addon.describe().isas).map((set) => [set, objectOf(set)] as const) : [];
const inspected = objects.filter(([, file]) => existsSync(file));
const tools = ['nm', 'objdump'].every((tool) => spawnSync(tool, ['--version']).status === 0);

function objectOf(set: string): string {
  const path = `../../build/Release/obj.target/pogo_cpu_${set}/native/cpu/isa/${set}.o`;
  return fileURLToPath(new URL(path, import.meta.url));
}

function output(tool: string, ...args: string[]): string {
  return spawnSync(tool, args, { encoding: 'utf8', maxBuffer: 1 << 28 }).stdout;
}

// Flags from the environment may widen every set; the need of each table grows with them.
describe.skipIf(inspected.length === 0 || !tools || (process.env['CXXFLAGS'] ?? '') !== '')(
  'objects of the sets',
  () => {
    it.each(inspected)('%s gives the linker its table and nothing that another set could use', (set, file) => {
      const symbols = output('nm', '--defined-only', '--extern-only', '--format=just-symbols', file);
      // The second is a pointer that exceptions pass through, equal in all.
      const own = symbols.split('\n').filter((name) => name !== '' && name !== 'DW.ref.__gxx_personality_v0');
      expect(own).toEqual([`pogo_kernels_${set}`]);
    });

    it.each(inspected)('%s uses no registers of a later set', (set, file) => {
      const rank = ['scalar', 'avx2', 'avxvnni', 'avx512', 'amx'].indexOf(set);
      const later = [rank < 1 && 'ymm', rank < 3 && 'zmm', rank < 4 && 'tmm'].filter((name) => name !== false);
      const code = output('objdump', '--disassemble', '--no-show-raw-insn', file);
      expect(code.length).toBeGreaterThan(10_000);
      expect(later.filter((name) => code.includes(`%${name}`))).toEqual([]);
      const own = { scalar: '%xmm', avx2: '%ymm', avxvnni: '%ymm', avx512: '%zmm', amx: 'tdpbusd' }[set];
      expect(code).toContain(own);
    });
  },
);
