// Trains one step of a slice of a large model: one layer at full width, a short context, a vocabulary cut to 4,096. The state
// is on disk where it does not fit. Shows that widths, counts and proofs hold at that size: roots equal on several instruction
// sets, leaf checks, and one element proof that convicts a lie in the middle of the trace.
//   node scripts/slice-run.mjs [--model gpt3-175b] [--sets avx512,avx2] [--dir D] [--context 64] [--no-element] [--json]
// Needs about 8 bytes a parameter of the slice in memory and 24 on disk (gpt3-175b: 14 GB and 45 GB); the folder is removed at
// the end. Exit code 0 if everything holds.
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { jsonLines } from './lib/jsonLines.mjs';
import { cli, progress, ROOT, ScriptError } from './lib/project.mjs';

const load = (path) => import(pathToFileURL(join(ROOT, 'dist', path)).href);
const VOCAB = 4096;
const OPTIONS = {
  model: { type: 'string', default: 'gpt3-175b' },
  sets: { type: 'string', default: 'avx512,avx2' },
  dir: { type: 'string' },
  context: { type: 'string', default: '64' },
  element: { type: 'boolean', default: true },
  json: { type: 'boolean', default: false },
  child: { type: 'string' },
};

/** A file as bytes that are read by ranges: more than one array can hold. */
function fileBytes(path) {
  const file = openSync(path, 'r');
  const { size } = fstatSync(file);
  return {
    length: size,
    close: () => closeSync(file),
    subarray(start, end) {
      const bytes = new Uint8Array(end - start);
      for (let at = 0; at < bytes.length; ) {
        at += readSync(file, bytes, at, Math.min(1 << 30, bytes.length - at), start + at);
      }
      return bytes;
    },
  };
}

async function sliceOf(name, context) {
  const [{ validateRecipe }, { openRecipe }, { ropeRootOf }] = await Promise.all([
    load('model/recipe.js'),
    load('model/node/recipeFile.js'),
    load('model/rope.js'),
  ]);
  const { blake3 } = await import('@noble/hashes/blake3.js');
  const base = openRecipe(name);
  const tokens = 8192;
  const file = new Uint8Array(2 * tokens);
  const words = new Uint16Array(file.buffer);
  for (let i = 0; i < tokens; i += 1) words[i] = (i * 2654435761) % VOCAB;
  const recipe = validateRecipe({
    ...base,
    name: `${base.name}-slice`,
    tokenizer: 'bytes',
    layers: 1,
    vocab: VOCAB,
    context,
    sequencesPerUnit: 1,
    unitsPerStep: 1,
    stepsPerClaim: 1,
    minStepsPerClaim: 1,
    maxStepsPerClaim: 1,
    ema: false,
    // Tables of the shorter context.
    ...(base.gemma === undefined ? {} : { gemma: { ...base.gemma, ropeRoot: ropeRootOf({ ...base.gemma, context }) } }),
    data: { ...base.data, tokens, heldOutTokens: 2048, tokensRoot: blake3(file) },
  });
  return { recipe, tokenFile: file, tokens: words };
}

/** One step by one instruction set, in this process. */
async function child({ model, context, dir, element, child: isa }) {
  const [
    { openCpuBackend },
    { merkleKernels, hashBytes },
    { modelPlan, gatherSequences },
    streamed,
    draws,
    types,
    hex,
  ] = await Promise.all([
    load('backend/cpu.js'),
    load('backend/merkleAddon.js'),
    load('model/unit.js'),
    load('node/streamedTrainer.js'),
    load('protocol/draws.js'),
    load('protocol/types.js'),
    load('hex.js'),
  ]);
  const { recipe, tokenFile, tokens } = await sliceOf(model, Number(context));
  const plan = modelPlan(recipe);
  const merkle = merkleKernels();
  const say = (fields) => process.stdout.write(`${JSON.stringify({ type: 'slice', model, isa, ...fields })}\n`);
  const clock = { last: performance.now() };
  const lap = () => {
    const now = performance.now();
    const seconds = (now - clock.last) / 1e3;
    clock.last = now;
    return Number(seconds.toFixed(2));
  };
  const { countParameters } = await load('model/layout.js');
  say({
    what: 'layout',
    parameters: countParameters(plan.layout, recipe),
    length: plan.layout.length,
    width: recipe.width,
  });
  const kernels = openCpuBackend(isa, []).kernels;
  const folder = join(dir, isa);
  let trainer = streamed.StreamedTrainer.create({ plan, kernels, merkle, folder });
  say({ what: 'start state', root: hex.toHex(types.stateRoot(trainer.state.header)), seconds: lap() });
  const draw1 = hashBytes(new TextEncoder().encode(`slice/${model}`));
  const offsets = draws.drawBatch(draw1, 0, recipe);
  const sequences = gatherSequences(tokens, draws.unitOffsets(offsets, 0, recipe), recipe.context);
  const unit = trainer.computeUnit(draw1, 0, sequences);
  say({ what: 'unit', root: hex.toHex(unit.root), lossBits: unit.lossBits, seconds: lap() });
  trainer.commit([unit]);
  const [before, after] = [trainer.previous, trainer.state];
  say({ what: 'step', root: hex.toHex(types.stateRoot(after.header)), seconds: lap() });
  say({ what: 'memory', peakBytes: peakBytes() });
  if (element) {
    // θ, the integer weights and the tape's buffers are not needed for what follows.
    trainer = undefined;
    await proofs({ recipe, plan, merkle, kernels, draw1, offsets, tokenFile, unit, before, after, say, lap });
    say({ what: 'memory', peakBytes: peakBytes() });
  }
}

function peakBytes() {
  const found = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
  return found === null ? null : 1024 * Number(found[1]);
}

/** Leaf checks of the step, then a liar in one element of the first product, convicted. */
async function proofs({ recipe, plan, merkle, kernels, draw1, offsets, tokenFile, unit, before, after, say, lap }) {
  const [streamed, leafCheck, types, draws, state, { blobSource }] = await Promise.all([
    load('node/streamedTrainer.js'),
    load('protocol/leafCheck.js'),
    load('protocol/types.js'),
    load('protocol/draws.js'),
    load('model/state.js'),
    load('protocol/evidence/build.js'),
  ]);
  const unitBytes = readFileSync(unit.path);
  const unitChunks = blobSource(unitBytes, merkle);
  const commitments = [
    {
      step: 0,
      preStateRoot: types.stateRoot(before.header),
      batchDigest: draws.batchDigest(offsets),
      unitRoots: [unit.root],
      unitLosses: [unit.lossBits],
      postStateRoot: types.stateRoot(after.header),
    },
  ];
  const listRoot = types.StepCommitmentListType.hashTreeRoot(commitments);
  const leaves = state.leafCount(plan.layout);
  for (const leaf of [0, Math.floor(leaves / 2), leaves - 1]) {
    const check = leafCheck.createLeafCheck(
      {
        commitments,
        stepIndex: 0,
        preHeader: before.header,
        postHeader: after.header,
        before: ['theta', 'm', 'v'].map((name) => streamed.vectorChunks(before, name)),
        after: ['theta', 'm', 'v'].map((name) => streamed.vectorChunks(after, name)),
        units: [unitChunks],
      },
      plan.layout,
      leaf,
    );
    const bytes = leafCheck.LeafCheckType.serialize(check).length;
    const started = performance.now();
    const { holds } = leafCheck.verifyLeaf(listRoot, recipe, check);
    say({ what: 'leaf check', leaf, holds, bytes, ms: Number((performance.now() - started).toFixed(2)) });
    if (!holds) throw new ScriptError('error: expected the leaf to hold');
  }
  lap();
  await elementProof({ recipe, merkle, kernels, draw1, tokenFile, before, commitments, say, lap });
}

/** The liar publishes its trace with one bit of one product changed; the challenger narrows it down. */
async function elementProof({ recipe, merkle, kernels, draw1, tokenFile, before, commitments, say, lap }) {
  const [header, state, subjects, run, trace, players, narrowing, build, native, claims, evidence, dispute] =
    await Promise.all([
      load('model/recipeHeader.js'),
      load('model/state.js'),
      load('protocol/dispute/subject.js'),
      load('protocol/trace/runProgram.js'),
      load('protocol/dispute/trace.js'),
      load('protocol/dispute/players.js'),
      load('protocol/dispute/narrowing.js'),
      load('protocol/dispute/buildProof.js'),
      load('protocol/blsNative.js'),
      load('protocol/claim.js'),
      load('protocol/evidence.js'),
      load('protocol/dispute/types.js'),
    ]);
  const { hashBytes } = await load('backend/merkleAddon.js');
  const { recipeRoot } = await load('model/recipe.js');
  const bls = native.createNativeBls();
  const miner = bls.deriveKey(hashBytes(new TextEncoder().encode('slice')), 'miner', 0);
  const zero = new Uint8Array(32);
  const claimHeader = claims.buildClaim(
    {
      chainId: zero,
      job: 0,
      claimNumber: 1,
      attempt: 0,
      parentClaimRoot: zero,
      recipeRoot: recipeRoot(recipe),
      miner: miner.publicKey,
      fromRoot: commitments[0].preStateRoot,
      draw1,
      bond: 1n,
    },
    { commitments, modelRoot: zero, diffRoot: zero },
  );
  const claim = claims.signClaim(bls, miner, claimHeader);
  const context = {
    claim: claimHeader,
    recipe: header.recipeOfHeader(header.recipeHeader(recipe)),
    subject: { kind: dispute.SUBJECT_KIND.unit, stepIndex: 0, unit: 0 },
    commitment: commitments[0],
    header: before.header,
    rate: () => state.learningRateBits(recipe, 0),
  };
  const program = subjects.subjectProgram(context);
  const operation = program.operations.findIndex(({ name }) => name === 'h0.qkv.product');
  const inputsOf = new Set(
    program.operations[operation].rule.inputs.filter(({ kind }) => kind === 'operation').map(({ index }) => index),
  );
  const theta = fileBytes(join(before.folder, 'theta.bin'));
  const kept = new Map();
  const result = run.runProgram(program, {
    externals: [theta, tokenFile],
    hash: hashBytes,
    kernels,
    onOutput(index, bytes) {
      if (index === operation || inputsOf.has(index)) kept.set(index, bytes);
    },
  });
  const honest = trace.traceOf(program, result);
  const unitResult = program.results.find(({ name }) => name === 'unit').operation;
  const same = Buffer.from(honest.list.subarray(32 * unitResult, 32 * unitResult + 32)).equals(
    commitments[0].unitRoots[0],
  );
  say({ what: 'trace', operations: program.operations.length, unitRootEqual: same, seconds: lap() });
  if (!same) throw new ScriptError('error: expected the trace to end in the committed unit');

  const output = kept.get(operation).slice();
  const element = Math.floor(program.operations[operation].length / 2);
  output[4 * element] ^= 1;
  const list = honest.list.slice();
  list.set(hashBytes(output), 32 * operation);
  const lie = { list, end: honest.end };
  const challenger = new players.Challenger(
    { program, trace: lie },
    { externals: [theta, tokenFile], merkle },
    operation,
    kept,
  );
  const outputTree = trace.openable(merkle, output);
  let node = players.disputedOutput({ program, trace: lie }, operation);
  let moves = 1;
  let found;
  while (found === undefined) {
    const opened = narrowing.openNode(node, output, outputTree);
    moves += 1;
    const answer = challenger.answer(node, opened);
    if (answer === undefined) throw new ScriptError('error: the challenger lost the trail');
    if ('element' in answer) found = answer.element;
    else node = narrowing.contest(node, opened, answer.child);
  }
  const base = build.createProofBase(
    claim,
    recipe,
    commitments,
    context,
    trace.signTrace(bls, miner, context, lie, merkle),
  );
  const proof = challenger.prove(base, recipe, found);
  const bytes = evidence.encodeEvidence('element', proof);
  lap();
  const verdict = await evidence.checkEvidence(bytes, { bls });
  say({
    what: 'element proof',
    operation: 'h0.qkv.product',
    element: found,
    moves,
    bytes: bytes.length,
    verdict: verdict.verdict,
    seconds: lap(),
  });
  theta.close();
  if (verdict.verdict !== 'guilty' || found !== element) throw new ScriptError('error: expected a conviction');
}

/** A child process: memory of one instruction set's run is gone before the next begins. */
function runChild(args) {
  const node = ['--max-old-space-size=4096', join(ROOT, 'scripts', 'slice-run.mjs'), ...args];
  return jsonLines(process.execPath, node, (line) => process.stdout.write(`${JSON.stringify(line)}\n`));
}

await cli(async (args) => {
  const { values } = parseArgs({ args, options: OPTIONS, allowNegative: true });
  if (values.child !== undefined) {
    await child(values);
    return 0;
  }
  const dir = mkdtempSync(join(values.dir ?? tmpdir(), 'pogo-slice-'));
  try {
    const roots = new Map();
    for (const [i, isa] of values.sets.split(',').entries()) {
      progress(`slice: ${values.model} by ${isa}`);
      const flags = ['--child', isa, '--model', values.model, '--context', values.context, '--dir', dir];
      const lines = await runChild([...flags, ...(values.element && i === 0 ? [] : ['--no-element'])]);
      for (const { what, root } of lines) {
        if (root === undefined) continue;
        const known = roots.get(what) ?? root;
        roots.set(what, known);
        if (known !== root) throw new ScriptError(`error: ${what}: expected root ${known} by ${isa}, found ${root}`);
      }
      rmSync(join(dir, isa), { recursive: true, force: true });
    }
    progress(`slice: roots of start state, unit and step are equal on ${values.sets}`);
    return 0;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
