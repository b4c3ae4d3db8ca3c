/**
 * A page that checks one file by itself: a leaf of a claim, aggregated attestations, evidence, or the origin of a
 * checkpoint. It needs nothing but its own script: once loaded it decides offline.
 *
 * The trusted inputs are what the user types, as JSON: `recipe` (a built-in name), `listRoot`, `chainId`, `claimRoot`,
 * `accused`, `committee` (keys), `genesis` (SSZ, hexadecimal); each kind of file uses some of them, and the answer names those that it rests on.
 */
import {
  checkAttestationFile,
  checkEvidenceFile,
  checkLeafFile,
  checkOriginFile,
  createNobleBls,
  decodeRecipe,
  decodeStrict,
  fromHex,
  GenesisType,
  type LightResult,
  loadRecipe,
  PogoError,
} from 'proof-of-gradient/light';

/** Larger files are not read. */
const MAX_FILE_BYTES = 1 << 26;

interface Trusted {
  readonly recipe?: string;
  /** SSZ of a recipe that is not built in, hexadecimal. */
  readonly recipeSsz?: string;
  readonly listRoot?: string;
  readonly chainId?: string;
  readonly claimRoot?: string;
  readonly accused?: string;
  readonly committee?: readonly string[];
  readonly genesis?: string;
}

const bls = createNobleBls();
const element = (id: string): HTMLElement => document.getElementById(id) as HTMLElement;

function need<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new PogoError('USAGE', `expected ${name} among the trusted inputs, found none`);
  return value;
}

async function check(kind: string, file: Uint8Array, trusted: Trusted): Promise<LightResult> {
  const root = (name: 'listRoot' | 'chainId' | 'claimRoot'): Uint8Array => fromHex(need(trusted[name], name), 32);
  if (kind === 'leaf') {
    const recipe =
      trusted.recipeSsz === undefined
        ? loadRecipe(need(trusted.recipe, 'recipe'))
        : decodeRecipe(fromHex(trusted.recipeSsz));
    return checkLeafFile(file, { listRoot: root('listRoot'), recipe });
  }
  if (kind === 'attestation') {
    const committee = need(trusted.committee, 'committee').map((key) => fromHex(key, 48));
    return checkAttestationFile(file, bls, { chainId: root('chainId'), claimRoot: root('claimRoot'), committee });
  }
  const { chainId, claimRoot, accused, genesis } = trusted;
  if (kind === 'origin') {
    return checkOriginFile(file, bls, {
      ...(chainId === undefined ? {} : { chainId: fromHex(chainId, 32) }),
      ...(genesis === undefined ? {} : { genesis: decodeStrict(GenesisType, fromHex(genesis)) }),
    });
  }
  return checkEvidenceFile(
    file,
    { bls },
    {
      ...(chainId === undefined ? {} : { chainId: fromHex(chainId, 32) }),
      ...(claimRoot === undefined ? {} : { claimRoot: fromHex(claimRoot, 32) }),
      ...(accused === undefined ? {} : { accused: fromHex(accused, 48) }),
    },
  );
}

function show({ holds, reason, restsOn }: LightResult): void {
  document.body.className = holds ? 'green' : 'red';
  element('verdict').textContent = holds ? 'holds' : 'does not hold';
  element('reason').textContent = reason;
  element('rests-on').replaceChildren(
    ...restsOn.map((sentence) => {
      const item = document.createElement('li');
      item.textContent = sentence;
      return item;
    }),
  );
}

let run = 0;
async function decide(): Promise<void> {
  const own = ++run;
  document.body.className = 'busy';
  element('verdict').textContent = 'checking';
  let result: LightResult;
  try {
    const file = (element('file') as HTMLInputElement).files?.[0];
    if (file === undefined) throw new PogoError('USAGE', 'expected a file, found none');
    if (file.size > MAX_FILE_BYTES) throw new PogoError('RANGE', `expected at most 64 MiB, found ${file.size} bytes`);
    const bytes = new Uint8Array(await file.arrayBuffer());
    const typed = (element('trusted') as HTMLTextAreaElement).value.trim();
    const trusted = (typed === '' ? {} : JSON.parse(typed)) as Trusted;
    result = await check((element('kind') as HTMLSelectElement).value, bytes, trusted);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    result = { holds: false, reason, restsOn: ['nothing: the check could not begin'] };
  }
  // A check that a newer one has overtaken shows nothing.
  if (own === run) show(result);
}

element('form').addEventListener('submit', (event) => {
  event.preventDefault();
  void decide();
});
element('file').addEventListener('change', () => void decide());
document.body.dataset['ready'] = 'true';
