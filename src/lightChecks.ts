/**
 * Checks for light clients that never throw for what a file holds: each answers green or red, why, and which trusted
 * inputs the answer rests on. What the caller did not pin is named as taken on trust from the file.
 */
import { PogoError } from './errors.js';
import { equalBytes, toHex } from './hex.js';
import { verifyOriginChain } from './ledger/originChain.js';
import type { OriginPins } from './ledger/originCheck.js';
import { type Recipe, recipeRoot } from './model/recipe.js';
import { verifyAggregatedAttestation } from './protocol/attestation.js';
import { checkEvidence, type EvidenceExecutors } from './protocol/evidence.js';
import { decodeLeafCheck, verifyLeaf } from './protocol/leafCheck.js';
import { chainIdOf } from './protocol/ledgerTypes.js';
import { AggregatedAttestationType, decodeStrict } from './protocol/types.js';

/** An answer with its grounds. */
export interface LightResult {
  /** Whether what the file says holds: the leaf, the attestation, or the accusation. */
  readonly holds: boolean;
  readonly reason: string;
  /** What must be true for the answer to be right, one sentence each: trusted inputs, then assumptions. */
  readonly restsOn: readonly string[];
}

const ARITHMETIC = 'BLAKE3 and SHA-256 without collisions, BLS12-381 signatures that cannot be forged';

async function answer(restsOn: readonly string[], check: () => Promise<string> | string): Promise<LightResult> {
  try {
    return { holds: true, reason: await check(), restsOn };
  } catch (error) {
    if (!(error instanceof PogoError)) throw error;
    return { holds: false, reason: `${error.code}: ${error.message}`, restsOn };
  }
}

/**
 * One leaf of one step of a claim.
 *
 * @param file a leaf check, SSZ
 * @param trusted `listRoot` of the claim's header, and the recipe that the claim names
 */
export function checkLeafFile(
  file: Uint8Array,
  trusted: { readonly listRoot: Uint8Array; readonly recipe: Recipe },
): Promise<LightResult> {
  const { listRoot, recipe } = trusted;
  const restsOn = [
    `list root ${toHex(listRoot)} of the claim, given by you`,
    `recipe ${recipe.name} with root ${toHex(recipeRoot(recipe))}, given by you`,
    'the units of the step as committed: a leaf says nothing about how they were made',
    ARITHMETIC,
  ];
  return answer(restsOn, () => {
    const result = verifyLeaf(listRoot, recipe, decodeLeafCheck(file));
    if (!result.holds) throw new PogoError('CLAIM_FALSE', `step ${result.step}, leaf ${result.leaf}: ${result.fault}`);
    return `leaf ${result.leaf} after step ${result.step} follows from the leaf before and the committed units`;
  });
}

/** What the caller knows of the claim that evidence should speak of; each field that is left out is taken from the file. */
export interface EvidencePins {
  readonly chainId?: Uint8Array;
  readonly claimRoot?: Uint8Array;
  readonly accused?: Uint8Array;
}

/**
 * A fraud proof: holds when the accused lied.
 *
 * @param file evidence of any kind; those that recompute a unit or a step need an executor
 */
export function checkEvidenceFile(
  file: Uint8Array,
  executors: EvidenceExecutors,
  pins: EvidencePins = {},
): Promise<LightResult> {
  const names = { chainId: 'chain id', claimRoot: 'claim root', accused: 'key of the accused' } as const;
  const restsOn = (Object.keys(names) as (keyof typeof names)[]).map((field) => {
    const pinned = pins[field];
    return pinned === undefined
      ? `the ${names[field]} that the file names: it is not pinned, so whether that key has stake anywhere is open`
      : `${names[field]} ${toHex(pinned)}, given by you`;
  });
  return answer([...restsOn, ARITHMETIC], async () => {
    const verdict = await checkEvidence(file, executors);
    for (const field of Object.keys(names) as (keyof typeof names)[]) {
      const pinned = pins[field];
      if (pinned === undefined || equalBytes(pinned, verdict[field])) continue;
      throw new PogoError('MISMATCH', `expected ${names[field]} ${toHex(pinned)}, found ${toHex(verdict[field])}`);
    }
    if (verdict.verdict !== 'guilty') throw new PogoError('FALSE_ACCUSATION', verdict.reason);
    return `${verdict.kind}: ${verdict.reason}; signed by ${toHex(verdict.accused)}`;
  });
}

/**
 * Attestations of a claim, aggregated.
 *
 * @param file an aggregated attestation, SSZ
 * @param trusted the claim, and keys of its committee whose possession was proven
 */
export function checkAttestationFile(
  file: Uint8Array,
  bls: EvidenceExecutors['bls'],
  trusted: {
    readonly chainId: Uint8Array;
    readonly claimRoot: Uint8Array;
    readonly committee: readonly Uint8Array[];
  },
): Promise<LightResult> {
  const { chainId, claimRoot, committee } = trusted;
  const restsOn = [
    `chain id ${toHex(chainId)}, given by you`,
    `claim root ${toHex(claimRoot)}, given by you`,
    `a committee of ${committee.length} keys, given by you, each with its possession proven`,
    'that those who signed did what they signed',
    ARITHMETIC,
  ];
  return answer(restsOn, () => {
    const aggregate = decodeStrict(AggregatedAttestationType, file);
    const signers = verifyAggregatedAttestation(bls, aggregate, { chainId, claimRoot }, committee);
    const verdict = aggregate.data.verdict === 0 ? 'negative' : 'positive';
    return `${signers.length} of ${committee.length} keys signed a ${verdict} verdict`;
  });
}

/** What an answer about a file of origin rests on. */
export function originGrounds({ chainId, genesis, job }: OriginPins): readonly string[] {
  const known = genesis === undefined ? chainId : chainIdOf(genesis);
  const open = 'is taken from the file: it is not pinned';
  const start = job === undefined ? genesis?.job.startStateRoot : job.startStateRoot;
  return [
    known === undefined
      ? `the chain id ${open}`
      : `chain id ${toHex(known)}, given by you${genesis === undefined ? '' : ' with its genesis'}`,
    start === undefined
      ? `the start state ${open}, so what it was is open`
      : `start state ${toHex(start)}${job === undefined ? ' of that genesis' : `, given by you with job ${job.id}`}`,
    genesis === undefined
      ? 'the committees’ keys and stakes are taken from the file: whether those keys have stake anywhere is open'
      : 'the keys and stakes of that genesis, and that of each later committee two thirds of the stake before it signed for the one that follows',
    'that those who voted did what they signed, and that no claim with such a vote fell before it was final',
    ARITHMETIC,
  ];
}

/**
 * The origin of a checkpoint: all claims from the start state to it, each with the votes of two thirds of the stake.
 *
 * @param file as `pogo prove-origin` writes it
 */
export function checkOriginFile(
  file: Uint8Array,
  bls: EvidenceExecutors['bls'],
  pins: OriginPins = {},
): Promise<LightResult> {
  return answer(originGrounds(pins), () => {
    const origins = verifyOriginChain(bls, file, pins);
    return [...origins]
      .reverse()
      .map(({ kind, root, claims, fromRoot }) => {
        const what = kind === 'state' ? 'state' : 'packed model';
        return `${what} ${toHex(root)} comes from ${claims} voted ${claims === 1 ? 'claim' : 'claims'}, from state ${toHex(fromRoot)} on`;
      })
      .join('; that state starts from a vector of another: ');
  });
}
