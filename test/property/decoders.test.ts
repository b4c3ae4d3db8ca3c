/**
 * Every decoder of bytes that strangers may send: what it accepts it encodes to the same bytes, what it refuses it
 * refuses by a PogoError, and it asks for no memory that the bytes do not pay for.
 *
 * POGO_FUZZ_RUNS=100000 npx vitest run test/property/decoders.test.ts   (docs/fuzzing.md has results)
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { equalBytes } from '../../src/hex.js';
import { decodeBlock, encodeBlock, NO_PARENT } from '../../src/ledger/engineBlock.js';
import {
  decodeOrigin,
  encodeOrigin,
  ORIGIN_VERSION,
  type OriginBody,
  OriginClaimType,
} from '../../src/ledger/origin.js';
import { decodeOriginFile, encodeOriginFile, OriginHandoverType } from '../../src/ledger/originHandovers.js';
import { describeHfConfig, hfConfig } from '../../src/model/hf.js';
import { createLayout, unitFileBytes } from '../../src/model/layout.js';
import { parseTensorIndex } from '../../src/model/node/tensorFiles.js';
import {
  decodeRecipe,
  encodeRecipe,
  loadRecipe,
  recipeFromJson,
  recipeRoot,
  recipeToJson,
} from '../../src/model/recipe.js';
import { openRecipeHeader, recipeHeader } from '../../src/model/recipeHeader.js';
import {
  parseSafetensorsHeader,
  safetensorsHeaderLength,
  serializeSafetensorsHeader,
} from '../../src/model/safetensors.js';
import { parseStrictJson } from '../../src/model/strictJson.js';
import { byteTokenizer } from '../../src/model/tokenizer.js';
import { manifestText, parseManifest } from '../../src/node/data/manifest.js';
import { createNativeBls } from '../../src/protocol/blsNative.js';
import { decodeBundle, encodeBundle } from '../../src/protocol/bundleType.js';
import { applyDiff, encodeDiff } from '../../src/protocol/diff.js';
import { buildBatchEvidence, buildCommitmentsEvidence } from '../../src/protocol/evidence/build.js';
import { checkEvidence } from '../../src/protocol/evidence.js';
import {
  decodeTransaction,
  encodeTransaction,
  TRANSACTION_TYPES,
  type TransactionBody,
} from '../../src/protocol/ledgerTypes.js';
import { decodeStrict } from '../../src/protocol/ssz.js';
import { canonicalUnitFault } from '../../src/protocol/unitBytes.js';
import { type Mutation, mutate, mutations } from '../support/mutations.js';
import { SMALL_GEMMA, SMALL_LORA } from '../support/optionRecipes.js';
import { seededBytes } from '../support/random.js';
import { allSszTypes, sszValue } from '../support/sszValues.js';
import { trainClaim } from '../support/trainedClaim.js';

const RUNS = Number(process.env['POGO_FUZZ_RUNS'] ?? 200);
/** What a decoder may hold beside the bytes that it is given. */
const SLACK_BYTES = 2 ** 25;

/** Runs a decoder on hostile bytes. @returns what it gave, or undefined where it refused */
function attempt<T>(decode: () => T): T | undefined {
  const before = process.memoryUsage().arrayBuffers;
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof PogoError)) throw error;
    // INTERNAL would be a bug that hostile bytes can reach.
    expect(error.code).not.toBe('INTERNAL');
    return undefined;
  } finally {
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(SLACK_BYTES);
  }
}

const types = await allSszTypes();

describe('SSZ', () => {
  it('all types of the project are found', () => {
    const names = types.map(({ name }) => name);
    for (const name of [
      'StateHeader',
      'SignedClaim',
      'LedgerState',
      'LeafCheck',
      'Genesis',
      'UnitEvidence',
      'Bundle',
      'Origin',
    ]) {
      expect(names.filter((found) => found.startsWith(`${name} `))).toHaveLength(1);
    }
    expect(types.length).toBeGreaterThan(40);
  });

  it.each(types)('$name: decode → encode gives the same bytes, and only of canonical ones', ({ type }) => {
    fc.assert(
      fc.property(sszValue(type), mutations, (value, changes) => {
        const bytes = type.serialize(value);
        expect(equalBytes(type.serialize(decodeStrict(type, bytes)), bytes)).toBe(true);
        const hostile = mutate(bytes, changes);
        const decoded = attempt(() => decodeStrict(type, hostile));
        if (decoded !== undefined) expect(equalBytes(type.serialize(decoded), hostile)).toBe(true);
      }),
      { numRuns: Math.max(20, Math.ceil(RUNS / 4)) },
    );
  });
});

const tiny = loadRecipe('tiny');
const text = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const decodeText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const OLD = seededBytes(900, 1);
const NEWER = seededBytes(900, 2);
const trained = trainClaim();
const accusation = { claim: trained.claim, recipe: trained.recipe, commitments: [...trained.commitments] };
const bls = createNativeBls();

const originOf = (claims: number): OriginBody => ({
  version: ORIGIN_VERSION,
  chainId: new Uint8Array(32),
  recipe: encodeRecipe(tiny),
  state: [],
  step: [],
  committees: [[{ publicKey: new Uint8Array(48).fill(1), stake: 5n }]],
  claims: Array.from({ length: claims }, () => OriginClaimType.defaultValue()),
});

/** The manifest of two files. */
function manifest(): string {
  const root = new Uint8Array(32).fill(5);
  const files = ['a.txt', 'b.jsonl'].map((path) => ({
    path,
    format: 'text' as const,
    bytes: 7,
    root: '07'.repeat(32),
    documents: 3,
  }));
  const counts = { duplicates: 1, trainDocuments: 2, heldOutDocuments: 1, trainTokens: 9, heldOutTokens: 4 };
  const dataset = { source: '.', weightPpm: 1_000_000, field: 'text', documents: 'section' as const, files, ...counts };
  return manifestText(
    { path: 'x.tokens', datasets: [dataset], tokens: 13, heldOutTokens: 4, tokensRoot: root, documentsRoot: root },
    { name: 'x', tool: 'test', tokenizer: byteTokenizer, heldOutPpm: 50_000, vocab: 256 },
  );
}

/** A safetensors file of one tensor. */
function checkpoint(): Uint8Array {
  const { bytes, fileBytes } = serializeSafetensorsHeader([{ name: 'w', dtype: 'F32', shape: [2, 2] }], { a: 'b' });
  const file = new Uint8Array(fileBytes);
  file.set(bytes);
  return file;
}

interface Target {
  readonly seeds: readonly Uint8Array[];
  /** @returns bytes that must equal the input, or nothing where the format has no encoder */
  decode(bytes: Uint8Array): Uint8Array | undefined;
}

/** Formats that are not one SSZ type. */
const TARGETS: Readonly<Record<string, Target>> = {
  transaction: {
    seeds: (Object.keys(TRANSACTION_TYPES) as (keyof typeof TRANSACTION_TYPES)[]).map((kind) => {
      const [, type] = TRANSACTION_TYPES[kind];
      return encodeTransaction(kind, type.defaultValue() as TransactionBody<typeof kind>);
    }),
    decode: (bytes) => {
      const { kind, body } = decodeTransaction(bytes);
      return encodeTransaction(kind, body as TransactionBody<typeof kind>);
    },
  },
  recipe: {
    seeds: [tiny, SMALL_GEMMA, SMALL_LORA].map(encodeRecipe),
    decode: (bytes) => encodeRecipe(decodeRecipe(bytes)),
  },
  'recipe header': {
    seeds: [tiny, SMALL_GEMMA, SMALL_LORA].map(recipeHeader),
    decode: (bytes) => {
      const { root, recipe } = openRecipeHeader(bytes);
      // Only the table of learning rates is missing: with any other the root differs, with its own root it is the same.
      expect(equalBytes(root, recipeRoot({ ...recipe, learningRateBits: Uint32Array.of(1) }))).toBe(false);
      return undefined;
    },
  },
  'recipe as JSON': {
    seeds: [tiny, SMALL_GEMMA, SMALL_LORA].map((recipe) => text(recipeToJson(recipe))),
    decode: (bytes) => {
      try {
        recipeFromJson(parseStrictJson(decodeText(bytes)));
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
      }
      return undefined;
    },
  },
  bundle: {
    seeds: [
      encodeBundle({
        version: 1,
        demo: true,
        chainId: new Uint8Array(32),
        recipe: encodeRecipe(tiny),
        startHeader: [],
        claims: [],
        blobs: [{ root: new Uint8Array(32).fill(1), length: 5 }],
      } as Parameters<typeof encodeBundle>[0]),
    ],
    decode: (bytes) => encodeBundle(decodeBundle(bytes)),
  },
  origin: {
    seeds: [0, 2].map((claims) => encodeOrigin(originOf(claims))),
    decode: (bytes) => encodeOrigin(decodeOrigin(bytes)),
  },
  'origin with handovers': {
    seeds: [1, 2].map((claims) => {
      const handovers = Array.from({ length: claims }, (_, claim) => ({ ...OriginHandoverType.defaultValue(), claim }));
      return encodeOriginFile({ origin: originOf(claims), handovers });
    }),
    decode: (bytes) => encodeOriginFile(decodeOriginFile(bytes)),
  },
  diff: {
    seeds: [encodeDiff(OLD, NEWER), encodeDiff(OLD, OLD)],
    decode: (bytes) => encodeDiff(OLD, applyDiff(OLD, bytes)),
  },
  'safetensors header': {
    seeds: [checkpoint()],
    decode: (bytes) => {
      const length = safetensorsHeaderLength(bytes, bytes.length);
      parseSafetensorsHeader(bytes.subarray(8, 8 + length), bytes.length);
      return undefined;
    },
  },
  'index of several safetensors files': {
    seeds: [
      text({
        metadata: { total_size: 8 },
        weight_map: { 'wte.weight': 'model-1.safetensors', b: 'model-2.safetensors' },
      }),
    ],
    decode: (bytes) => {
      for (const shard of parseTensorIndex(decodeText(bytes), 'index').values()) expect(shard).not.toMatch(/[/\\]|^\./);
      return undefined;
    },
  },
  'config.json': {
    seeds: [loadRecipe('gpt2-124m')].map((recipe) => text(hfConfig(recipe))),
    decode: (bytes) => {
      try {
        describeHfConfig(parseStrictJson(decodeText(bytes)));
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
      }
      return undefined;
    },
  },
  'manifest of data': {
    seeds: [new TextEncoder().encode(manifest())],
    decode: (bytes) => {
      parseManifest(decodeText(bytes), 'manifest');
      // Whatever is accepted is the text that was written: no byte can change.
      return new TextEncoder().encode(manifest());
    },
  },
  'gradient unit': {
    seeds: [trained.steps[0]!.units[0]!],
    decode: (bytes) => {
      const layout = createLayout(trained.recipe);
      // Two-byte alignment is the caller's: every reader allocates the file itself.
      if (bytes.length === unitFileBytes(layout).total) canonicalUnitFault(layout, bytes.slice());
      else expect(canonicalUnitFault(layout, bytes.slice())).toMatch(/^expected \d+ bytes/);
      return undefined;
    },
  },
  'stored block': {
    seeds: [
      encodeBlock(
        { height: 1, transactions: [Uint8Array.of(1, 2)], events: [], stateRoot: new Uint8Array(32) },
        NO_PARENT,
      ).bytes,
    ],
    decode: (bytes) => {
      decodeBlock(bytes);
      return undefined;
    },
  },
};

describe('other formats', () => {
  it.each(Object.keys(TARGETS))('%s', (name) => {
    const { seeds, decode } = TARGETS[name]!;
    for (const seed of seeds) {
      const again = decode(seed);
      if (again !== undefined) expect(equalBytes(again, seed)).toBe(true);
    }
    fc.assert(
      fc.property(fc.constantFrom(...seeds), mutations, (seed, changes) => {
        const hostile = mutate(seed, changes);
        const again = attempt(() => decode(hostile));
        if (again !== undefined) expect(equalBytes(again, hostile)).toBe(true);
      }),
      { numRuns: RUNS },
    );
  });

  it('evidence: changed bytes are malformed or a false accusation, never guilt', async () => {
    const files = [
      buildBatchEvidence(accusation, 1),
      buildCommitmentsEvidence(accusation, trained.steps[0]!.preHeader),
    ];
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...files), mutations, async (file, changes: Mutation[]) => {
        try {
          const { verdict } = await checkEvidence(mutate(file, changes), { bls });
          expect(verdict).toBe('false-accusation');
        } catch (error) {
          if (!(error instanceof PogoError)) throw error;
          expect(['MALFORMED', 'ENVIRONMENT']).toContain(error.code);
        }
      }),
      { numRuns: RUNS },
    );
  });
});
