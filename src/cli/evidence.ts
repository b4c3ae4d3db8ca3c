/** `pogo evidence`: a third party checks a fraud proof on its own. Nothing is written. */
import type { Command } from 'commander';
import { PogoError } from '../errors.js';
import { BlobStore } from '../files/blobStore.js';
import { hashBytes } from '../files/digest.js';
import { readWholeFile, realFiles } from '../files/fileLayer.js';
import { toHex } from '../hex.js';
import { withEnvironment } from '../node/environment.js';
import { MAX_EVIDENCE_BYTES } from '../protocol/evidence/types.js';
import { checkEvidence, evidenceKind, type Verdict } from '../protocol/evidence.js';
import { printEvent } from './events.js';
import { bytesText } from './format.js';

const out = (line: string): void => void process.stdout.write(`${line}\n`);

async function evidence(file: string, json: boolean, blobs: string | undefined): Promise<void> {
  const bytes = readWholeFile(realFiles, file, MAX_EVIDENCE_BYTES);
  // Before a backend is opened: most malformed files end here.
  const kind = evidenceKind(bytes);
  const verdict = await withEnvironment({ lanes: 1 }, async ({ bls, executor, models }) => {
    if (blobs !== undefined) models.add(BlobStore.reader(blobs));
    try {
      return await checkEvidence(bytes, { bls, executor, hash: hashBytes });
    } catch (error) {
      throw error instanceof PogoError && error.code === 'MISSING' ? withAdvice(error, kind) : error;
    }
  });
  if (json) printVerdict(verdict, file, bytes.length);
  else showVerdict(verdict, file, bytes.length);
  if (verdict.verdict === 'guilty') return;
  throw new PogoError('FALSE_ACCUSATION', `expected evidence of a lie in ${file}, found: ${verdict.reason}`, {
    kind: verdict.kind,
  });
}

/** Kinds that recompute over a whole model carry the adapters and not what lies under them, which may be gigabytes. */
function withAdvice({ message, details }: PogoError, kind: string): PogoError {
  const advice = `evidence of kind ${kind} recomputes over the whole model; the bundle or run has it, too: --blobs BUNDLE/blobs`;
  return new PogoError('MISSING', `${message}; ${advice}`, details);
}

function printVerdict(verdict: Verdict, file: string, bytes: number): void {
  printEvent({
    type: 'result',
    command: 'evidence',
    verdict: verdict.verdict,
    kind: verdict.kind,
    file,
    bytes,
    accused: toHex(verdict.accused),
    claim: verdict.claimNumber,
    attempt: verdict.attempt,
    job: verdict.job,
    claimRoot: toHex(verdict.claimRoot),
    chainId: toHex(verdict.chainId),
    reason: verdict.reason,
  });
}

function showVerdict(verdict: Verdict, file: string, bytes: number): void {
  const guilty = verdict.verdict === 'guilty';
  out(`${file}: evidence of kind ${verdict.kind}, ${bytesText(bytes)}`);
  out(`  accused   ${toHex(verdict.accused)}`);
  out(`  claim     ${verdict.claimNumber}, attempt ${verdict.attempt}, root ${toHex(verdict.claimRoot)}`);
  out(`  chain     ${toHex(verdict.chainId)}`);
  out(`  verdict   ${guilty ? 'the accused lied' : 'the accusation is false'}: ${verdict.reason}`);
  out('  it rests on the accused’s own signature and on exact arithmetic, nothing else');
}

export function register(program: Command): void {
  program
    .command('evidence')
    .argument('<file>', 'file of evidence, as pogo verify and pogo run write it')
    .option('--blobs <folder>', 'where the model under adapters is looked for, beside the data directory')
    .option('--json', 'events instead of text')
    .addHelpText(
      'after',
      `
Exit codes: 0 the accused lied, 3 the accusation is false, 2 the file is malformed, 4 it recomputes a unit of adapters and
nobody has the model under them. Nothing is written.

Examples:
  pogo evidence claims-of-tiny.claim-1.unit.evidence
  pogo evidence proof.evidence --json`,
    )
    .action((file: string, options: { json?: true; blobs?: string }) =>
      evidence(file, options.json === true, options.blobs),
    );
}
