/**
 * The door to the CPU addon `native/cpu`: the only file that loads it. Node-only.
 *
 * The addon's functions take dimensions first, then arrays, positional, in the order of `native/cpu/bindings.inc`; they
 * check only what memory safety needs. {@link file://./cpu.ts} is the typed, validated side.
 */
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import { packageRoot, prebuildTarget, setupFix } from './packageRoot.js';

/** What the build and the machine offer for one instruction set. */
export interface CpuIsa {
  /** The addon holds kernels for it. */
  readonly built: boolean;
  /** CPU and operating system offer everything that its code may use. */
  readonly machine: boolean;
  /** Empty where it can be used, else what is missing: features by name, the operating system's part, or kernels. */
  readonly reason: string;
  /** Kernel calls of the whole process that ran its code. */
  readonly calls: number;
}

export interface CpuDescription {
  /** Instruction set chosen in this environment (thread). */
  readonly isa: string;
  readonly isas: Readonly<Record<string, CpuIsa>>;
  readonly features: readonly string[];
}

/** Words of CPUID and XCR0 that the choice rests on: `native/cpu/machine.h` says which. Unsigned, 32 bits each. */
export type CpuFacts = Readonly<Record<string, number>>;

/** What the rule of dispatch says about a machine. `isa`: the set that would be chosen, empty if none could. */
export interface CpuChoice {
  readonly isa: string;
  readonly isas: Readonly<Record<string, Omit<CpuIsa, 'calls'>>>;
  readonly features: readonly string[];
}

type Operation = (...positional: readonly unknown[]) => void;

/** Operations that the addon exports; several operations of the tape share one. */
export const NATIVE_OPERATIONS = [
  'embed',
  'normForward',
  'normBackward',
  'gemm',
  'linearHeads',
  'linearResidual',
  'linearGelu',
  'linearBf16',
  'linearGeluGradient',
  'quantizeHeads',
  'addRows',
  'geluRows',
  'roundRows',
  'geluGradientRows',
  'attentionForward',
  'attentionBackward',
  'quantizeRows',
  'recode',
  'headForward',
  'headInputGradient',
  'embedBackward',
  'unitLoss',
  'quantize4',
  'dequantize4',
  'quantizeWeight',
  'commitLeaves',
  'commitTensors',
  'packModel',
  'unpackModel',
  'diffModel',
  'patchModel',
  'gainPlusOne',
  'embedScaled',
  'normResidual',
  'rotateHeads',
  'rotateHeadsBackward',
  'geglu',
  'gegluGradient',
  'weightGradient4',
  'attentionForwardRows',
  'attentionBackwardRows',
] as const;

/** What `native/cpu/addon.cc` exports. */
export type CpuAddon = {
  readonly [K in (typeof NATIVE_OPERATIONS)[number]]: Operation;
} & {
  describe(): CpuDescription;
  /** Bytes of codes [rows, cols] in the form of a right operand under the chosen instruction set. */
  packedBytes(rows: number, cols: number): number;
  packCodes(rows: number, cols: number, codes: Int8Array, out: Uint8Array): void;
  /** This machine's facts, asked once a process. */
  facts(): CpuFacts;
  /** Evaluates the rule on other facts, for tests; nothing of this process changes. */
  isasFor(facts: CpuFacts): CpuChoice;
  /** 'auto' or a name. @throws Error where the build or the machine lacks it */
  setIsa(name: string): string;
  /** How often this thread's scratch memory grew since the addon was loaded: no more, once every operation ran. */
  scratchAllocations(): number;
  /** True if the thread has AMX tiles in use, which no operation may leave behind; for tests. */
  tilesInUse(): boolean;
  /** The thread's floating-point control word as the host left it (x86), for tests. */
  floatingPointMode(): number | undefined;
  setFloatingPointMode(mode: number): void;
  /** Whether kernels may use what the machine has beyond their set's needs (they do); of the whole process, for tests. */
  useOptionalFeatures(use: boolean): void;
};

/** The addon and where it was found; or why it cannot be used, and the command that would change that. */
export type LoadedCpuAddon =
  | { readonly addon: CpuAddon; readonly path: string }
  | { readonly addon?: undefined; readonly reason: string; readonly fix: string };

/** The override alone if there is one, then shipped builds, then the local one. */
function candidates(): string[] {
  const forced = process.env['POGO_CPU_ADDON'];
  if (forced !== undefined && forced !== '') return [join(process.cwd(), relative(process.cwd(), forced))];
  const shipped = join(packageRoot, 'prebuilds', prebuildTarget);
  let files: string[] = [];
  try {
    files = readdirSync(shipped).filter((file) => file.endsWith('.node') && !/pogo_(cuda|merkle)/.test(file));
  } catch {
    // No prebuilds: the usual case in a clone.
  }
  return [...files.sort().map((file) => join(shipped, file)), join(packageRoot, 'build', 'Release', 'pogo_cpu.node')];
}

function isCpuAddon(value: unknown): value is CpuAddon {
  if (typeof value !== 'object' || value === null) return false;
  const functions: readonly string[] = [...NATIVE_OPERATIONS, 'describe', 'facts', 'isasFor', 'setIsa'];
  return functions.every((name) => typeof (value as Record<string, unknown>)[name] === 'function');
}

function load(): LoadedCpuAddon {
  const fix = `${setupFix()} (needs a C++17 compiler, make and python3)`;
  // Views are passed by their bytes; the file formats are little-endian.
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] !== 1) {
    return { reason: 'this machine is big-endian', fix: 'use POGO_BACKEND=reference' };
  }
  const require = createRequire(import.meta.url);
  const attempts: string[] = [];
  let missing = true;
  for (const path of candidates()) {
    const shown = relative(packageRoot, path);
    try {
      const addon: unknown = require(path);
      if (isCpuAddon(addon)) return { addon, path };
      missing = false;
      attempts.push(`${shown}: it is of another version`);
    } catch (error) {
      const message = error instanceof Error ? error.message.split('\n')[0]! : String(error);
      const absent = message.startsWith('Cannot find module') || message.includes('No such file');
      if (!absent) missing = false;
      attempts.push(`${shown}: ${absent ? 'no such file' : message}`);
    }
  }
  const what = missing ? 'the CPU addon is not built' : 'the CPU addon cannot be loaded';
  return { reason: `${what} (tried ${attempts.join('; ')})`, fix };
}

let loaded: LoadedCpuAddon | undefined;

/** Loads the addon once per thread. Never throws. */
export function loadCpuAddon(): LoadedCpuAddon {
  loaded ??= load();
  return loaded;
}
