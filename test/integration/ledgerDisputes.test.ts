/**
 * Whole disputes on the ledger, over real claims: a miner that trained and lied, a verifier that challenges, every move a
 * transaction of the shipped state machine.
 */
import { describe, expect, it } from 'vitest';
import { totalMoney } from '../../src/ledger/state.js';
import { nodeOf } from '../../src/ledger/stateDisputes.js';
import { openSet } from '../../src/merkle/opening.js';
import { portableHash, portableKernels } from '../../src/merkle/portable.js';
import { recipeHeader, recipeOfHeader } from '../../src/model/recipeHeader.js';
import { learningRateBits, vectorBytes } from '../../src/model/state.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { signClaim } from '../../src/protocol/claim.js';
import { createProofBase } from '../../src/protocol/dispute/buildProof.js';
import { openNode } from '../../src/protocol/dispute/narrowing.js';
import { Challenger, proveReceipt } from '../../src/protocol/dispute/players.js';
import {
  receiptProgram,
  receiptSubject,
  type SubjectContext,
  subjectProgram,
} from '../../src/protocol/dispute/subject.js';
import {
  captureOutputs,
  openable,
  signTrace,
  type Trace,
  type TraceInputs,
  traceOf,
} from '../../src/protocol/dispute/trace.js';
import { type Dispute, TURN } from '../../src/protocol/dispute/transactions.js';
import {
  ElementProofType,
  hasStep,
  ReceiptProofType,
  SUBJECT_KIND,
  WitnessedProofType,
} from '../../src/protocol/dispute/types.js';
import { u64Bytes } from '../../src/protocol/domains.js';
import { encodeTransaction, type Order, type OrderKind, signOrder } from '../../src/protocol/ledgerTypes.js';
import { proveCommitment } from '../../src/protocol/listProof.js';
import { chainingValuesOf, receiptDuty, stateReceiptPart, unitReceiptPart } from '../../src/protocol/receipt.js';
import { readerOver } from '../../src/protocol/trace/arrays.js';
import type { Program } from '../../src/protocol/trace/program.js';
import { runProgram } from '../../src/protocol/trace/runProgram.js';
import { ClaimHeaderType, claimRoot as claimRootOf, type SignedClaim } from '../../src/protocol/types.js';
import { refusal } from '../support/refusal.js';
import { changedUnits, type Lie, type Mined, type Stage } from '../support/stage.js';
import { useStage } from '../support/stageFixture.js';
import { nativeBls, type TestChain } from '../support/testChain.js';

const stage = useStage();

/** A claim on a chain, and everything that either side of a dispute over it computes. */
class Scene {
  readonly program: Program;
  readonly inputs: TraceInputs;

  constructor(
    readonly stage: Stage,
    readonly chain: TestChain,
    readonly mined: Mined,
    readonly context: SubjectContext,
    readonly claim: SignedClaim,
    readonly miner: KeyPair,
    /** The claim before it, where there is one. */
    readonly parent: Mined | undefined,
  ) {
    this.program = subjectProgram(context);
    const { stepIndex, kind, unit } = context.subject;
    const stepsDone = stepIndex + (kind === SUBJECT_KIND.receipt ? unit : 0);
    const { saved } = stepsDone === 0 ? mined.start : mined.states[stepsDone - 1]!;
    const vectors = (['theta', 'm', 'v', 'ema'] as const).map((name) => vectorBytes(saved.vectors[name]).slice());
    const tokens = new Uint8Array(stage.tokens.buffer).slice();
    const units = (context.commitment?.unitRoots ?? []).map((root) => this.#blob(root));
    const last = vectorBytes(mined.states.at(-1)!.saved.vectors.ema).slice();
    const externals =
      kind === SUBJECT_KIND.unit
        ? [vectors[0]!, tokens]
        : kind === SUBJECT_KIND.model
          ? [last]
          : kind === SUBJECT_KIND.diff
            ? [parent!.model, mined.model]
            : kind === SUBJECT_KIND.receipt
              ? vectors.slice(0, 3)
              : [...vectors, ...units];
    this.inputs = { externals, merkle: portableKernels };
  }

  #blob(root: Uint8Array): Uint8Array {
    for (const bytes of this.mined.blobs.values()) {
      if (portableHash(bytes).every((byte, i) => byte === root[i])) return bytes.slice();
    }
    throw new Error('no such blob');
  }

  static async open(
    stage: Stage,
    kind: keyof typeof SUBJECT_KIND,
    lie: Lie = {},
    parameters: NonNullable<Parameters<Stage['chain']>[0]>['parameters'] = {},
  ): Promise<Scene> {
    const chain = stage.chain({ parameters, verifiers: 3 });
    await chain.shares();
    const parent = kind === 'diff' ? await finalizedClaim(stage, chain) : undefined;
    const mined = await stage.mine(chain, (parent?.states.at(-1) ?? { saved: stage.start }).saved, lie);
    const claim = signClaim(nativeBls, chain.keyOf(chain.open.miner), mined.header);
    const miner = chain.keyOf(mined.header.miner);
    await chain.submit(encodeTransaction('claim', claim));
    await chain.shares();
    const stepless = !hasStep(SUBJECT_KIND[kind]);
    const context: SubjectContext = {
      claim: mined.header,
      recipe: recipeOfHeader(recipeHeader(stage.recipe)),
      subject: { kind: SUBJECT_KIND[kind], stepIndex: 0, unit: 0 },
      commitment: stepless ? undefined : mined.list[0]!,
      header: stepless ? mined.states.at(-1)!.header : mined.start.header,
      rate: () => learningRateBits(stage.recipe, 0),
      ...(parent === undefined ? {} : { fileBytes: mined.diff!.length, parentModelRoot: parent.header.modelRoot }),
    };
    return new Scene(stage, chain, mined, context, claim, miner, parent);
  }

  index(name: string): number {
    return this.program.operations.findIndex((operation) => operation.name === name);
  }

  /** A run with outputs changed on the way; its trace and the first of them. */
  run(...changes: { readonly operation: number; readonly apply: (bytes: Uint8Array) => void }[]) {
    let output = new Uint8Array(0);
    const result = runProgram(this.program, {
      externals: this.inputs.externals,
      hash: portableHash,
      onOutput: (index, bytes) => {
        const change = changes.find(({ operation }) => operation === index);
        if (change === undefined) return;
        change.apply(bytes);
        if (change === changes[0]) output = bytes.slice();
      },
    });
    return { trace: traceOf(this.program, result), output };
  }

  order<K extends OrderKind>(keys: KeyPair, kind: K, body: Omit<Order<K>, 'sender' | 'nonce'>) {
    const nonce = this.chain.nonceOf(keys);
    const order = { ...body, nonce } as unknown as Omit<Order<K>, 'sender'>;
    return signOrder(nativeBls, keys, this.chain.state.chainId, kind, order);
  }

  async send<K extends OrderKind>(keys: KeyPair, kind: K, body: Omit<Order<K>, 'sender' | 'nonce'>): Promise<void> {
    await this.chain.submit(this.order(keys, kind, body));
    this.chain.usedNonce(keys);
  }

  challenge(keys: KeyPair, bond = 10_000_000_000n): Promise<void> {
    const { subject } = this.context;
    return this.send(keys, 'open-dispute', { claimRoot: this.chain.open.claimRoot, subject, bond });
  }

  publication(trace: Trace, post = this.mined.states[0]!.header, accused = this.miner): Uint8Array {
    const { context } = this;
    return encodeTransaction('publish-trace', {
      trace: signTrace(nativeBls, accused, context, trace, portableKernels),
      recipe: recipeHeader(this.stage.recipe),
      step: context.commitment === undefined ? [] : [proveCommitment([...this.mined.list], context.subject.stepIndex)],
      header: context.header,
      post: context.subject.kind === SUBJECT_KIND.state ? [post] : [],
      list: trace.list,
    });
  }

  dispute(id = 0): Dispute {
    return this.chain.state.disputes.find((dispute) => dispute.id === id)!;
  }

  name(keys: KeyPair, trace: Trace, operation: number, id = 0): Promise<void> {
    const chunk = Math.floor(operation / 32);
    const { indices, chunks, siblings } = openSet(openable(portableKernels, trace.list), [chunk]);
    const list = { indices: [...indices], chunks: [...chunks], siblings };
    return this.send(keys, 'name-operation', { dispute: id, operation, list });
  }

  /** Narrows and proves: the challenger knows the honest run, the accused answers from `output`. */
  async narrow(
    keys: KeyPair,
    trace: Trace,
    operation: number,
    output: Uint8Array,
    wanted?: number,
    accused = this.miner,
  ): Promise<Uint8Array> {
    const { chain, program, inputs, context, mined } = this;
    const challenger = new Challenger({ program, trace }, inputs, operation);
    let element = wanted;
    for (;;) {
      const node = nodeOf(this.dispute());
      const opened = openNode(node, output, openable(portableKernels, output));
      await chain.submit(encodeTransaction('open-node', { dispute: 0, opened }));
      const answer = challenger.answer(node, opened);
      if (answer === undefined || 'element' in answer) {
        element ??= answer === undefined ? 0 : answer.element;
        break;
      }
      await this.send(keys, 'contest-node', { dispute: 0, child: answer.child });
    }
    const claim = this.claim;
    const statement = signTrace(nativeBls, accused, context, trace, portableKernels);
    const base = createProofBase(claim, this.stage.recipe, [...mined.list], context, statement);
    const proof = challenger.prove(base, this.stage.recipe, element);
    const { parent } = this;
    const bytes =
      parent === undefined
        ? ElementProofType.serialize(proof)
        : WitnessedProofType.serialize({ witness: ClaimHeaderType.serialize(parent.header), proof });
    return encodeTransaction('prove-element', { dispute: 0, proof: bytes });
  }

  tick(id = 0): Uint8Array {
    return encodeTransaction('dispute-tick', { dispute: id, sequence: this.dispute(id).sequence });
  }

  changes(): string[] {
    return this.chain.events.flatMap((event) => (event.type === 'dispute' ? [event.change] : []));
  }
}

function changed(bytes: Uint8Array, change: (bytes: Uint8Array) => void): Uint8Array {
  const copy = bytes.slice();
  change(copy);
  return copy;
}

/** An honest claim, final. */
async function finalizedClaim(stage: Stage, chain: TestChain): Promise<Mined> {
  const mined = await stage.mine(chain, stage.start, {});
  await chain.submit(encodeTransaction('claim', signClaim(nativeBls, chain.keyOf(chain.open.miner), mined.header)));
  await chain.shares();
  await chain.attest();
  if (chain.outcomes().length === 0) await chain.tick();
  expect(chain.outcomes()).toEqual(['finalized']);
  await chain.shares();
  return mined;
}

/** One code of h0.fc.weight in unit 0 of step 0, changed by a miner that also has a trace for it. */
function falseUnit(stage: Stage): { lie: Lie; byte: number } {
  const tensor = stage.plan.layout.byName('h0.fc.weight');
  const byte = 700;
  const change = (file: Uint8Array): void => {
    file[tensor.offset / 2 + byte]! ^= 1;
  };
  return { lie: { committer: changedUnits(change, (step, unit) => step === 0 && unit === 0) }, byte };
}

describe('a dispute on the ledger', () => {
  it('convicts a miner of one false code, with a trace that fits its lie', async () => {
    const { lie, byte } = falseUnit(stage());
    const scene = await Scene.open(stage(), 'unit', lie);
    const { chain } = scene;
    const [verifier] = chain.demo.verifiers;
    const operation = scene.index('h0.fc.weight.gradient.codes');
    const liar = scene.run({
      operation,
      apply: (bytes) => {
        bytes[byte]! ^= 1;
      },
    });
    await scene.challenge(verifier!);
    await chain.submit(scene.publication(liar.trace));
    await scene.name(verifier!, liar.trace, operation);
    const before = chain.state.accounts.map(({ balance }) => balance);
    await chain.submit(await scene.narrow(verifier!, liar.trace, operation, liar.output));
    expect(scene.changes()).toEqual(['opened', 'traced', 'named', 'node-opened', 'convicted']);
    expect(chain.outcomes()).toEqual(['slashed']);
    expect(chain.state.disputes).toEqual([]);
    expect(chain.state.traces).toEqual([]);
    expect(totalMoney(chain.state)).toBe(chain.money);
    const half = chain.state.parameters.minerBond / 2n;
    const gained = chain.state.accounts.map(({ balance }, i) => balance - before[i]!).filter((gain) => gain > 0n);
    expect(gained).toEqual([half + 10_000_000_000n]);
  });

  it('is what stops that miner: nobody challenges, and its false unit is finalized', async () => {
    const { chain } = await Scene.open(stage(), 'unit', falseUnit(stage()).lie);
    await chain.attest();
    if (chain.outcomes().length === 0) await chain.tick();
    expect(chain.outcomes()).toEqual(['finalized']);
  });

  it('convicts a miner of a state root that nobody else has the bytes of', async () => {
    const scene = await Scene.open(stage(), 'state', {
      committer: {
        state: async (step, trainer) => {
          if (step !== 0) return;
          trainer.state.theta[5000] = Math.fround(trainer.state.theta[5000]! + 0.0625);
          await trainer.prepare();
        },
      },
    });
    const { chain } = scene;
    const [verifier] = chain.demo.verifiers;
    const operation = scene.index('theta');
    const forged = vectorBytes(scene.mined.states[0]!.saved.vectors.theta).slice();
    // What the miner claims follows from its θ': the EMA does not move in step 0.
    const liar = scene.run({ operation, apply: (bytes) => bytes.set(forged) });
    await scene.challenge(verifier!);
    await chain.submit(scene.publication(liar.trace));
    await scene.name(verifier!, liar.trace, operation);
    await chain.submit(await scene.narrow(verifier!, liar.trace, operation, liar.output));
    expect(scene.changes()).toEqual([
      'opened',
      'traced',
      'named',
      'node-opened',
      'contested',
      'node-opened',
      'convicted',
    ]);
    expect(chain.outcomes()).toEqual(['slashed']);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('convicts a miner of one false code of the 4-bit model', async () => {
    const flip = (model: Uint8Array): void => {
      model[33_333]! ^= 1;
    };
    const scene = await Scene.open(stage(), 'model', { committer: { model: flip } });
    const { chain } = scene;
    const [verifier] = chain.demo.verifiers;
    const liar = scene.run({ operation: 0, apply: flip });
    await scene.challenge(verifier!);
    await chain.submit(scene.publication(liar.trace));
    await scene.name(verifier!, liar.trace, 0);
    await chain.submit(await scene.narrow(verifier!, liar.trace, 0, liar.output));
    expect(scene.changes().at(-1)).toBe('convicted');
    expect(chain.outcomes()).toEqual(['slashed']);
  });

  it('convicts a miner of one false byte of its diff', async () => {
    const last = (file: Uint8Array): void => {
      file[file.length - 1]! ^= 1;
    };
    const scene = await Scene.open(stage(), 'diff', { committer: { diff: (file) => changed(file!, last) } });
    const { chain } = scene;
    const [verifier] = chain.demo.verifiers;
    const operation = scene.index('diff');
    const liar = scene.run({ operation, apply: last });
    await scene.challenge(verifier!);
    await chain.submit(scene.publication(liar.trace));
    await scene.name(verifier!, liar.trace, operation);
    await chain.submit(await scene.narrow(verifier!, liar.trace, operation, liar.output));
    expect(scene.changes()).toEqual(['opened', 'traced', 'named', 'node-opened', 'convicted']);
    expect(chain.outcomes()).toEqual(['finalized', 'slashed']);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('convicts a miner of a diff with bytes behind its end, and takes no other length for it', async () => {
    const longer = (file: Uint8Array): Uint8Array => Uint8Array.from([...file, 0, 0, 0]);
    const scene = await Scene.open(stage(), 'diff', { committer: { diff: (file) => longer(file!) } });
    const { chain, mined } = scene;
    const [verifier] = chain.demo.verifiers;
    const operation = scene.index('diff.length');
    const length = { operation, apply: (bytes: Uint8Array) => bytes.set(u64Bytes(mined.diff!.length)) };
    const file = { operation: scene.index('diff'), apply: (bytes: Uint8Array) => bytes.set(mined.diff!) };
    const liar = scene.run(length, file);
    await scene.challenge(verifier!);
    // The right length of a right diff is not that of the committed one.
    const { trace } = scene.run(file);
    expect(await refusal(chain.submit(scene.publication(trace)))).toMatch(/^MISMATCH.*length/);
    const shorter = { ...liar.trace, end: { ...liar.trace.end, element: mined.diff!.length - 3 } };
    expect(await refusal(chain.submit(scene.publication(shorter)))).toMatch(/^MISMATCH/);
    const endless = { ...liar.trace, end: { ...liar.trace.end, element: 2 ** 40 } };
    expect(await refusal(chain.submit(scene.publication(endless)))).toMatch(/^RANGE/);
    await chain.submit(scene.publication(liar.trace));
    await scene.name(verifier!, liar.trace, operation);
    await chain.submit(await scene.narrow(verifier!, liar.trace, operation, liar.output));
    expect(scene.changes().at(-1)).toBe('convicted');
    expect(chain.outcomes()).toEqual(['finalized', 'slashed']);
  });

  it('pays an honest miner whose diff is challenged; a first claim has none to challenge', async () => {
    const scene = await Scene.open(stage(), 'diff');
    const { chain } = scene;
    const [challenger] = chain.demo.verifiers;
    const operation = scene.index('diff.chunks');
    const { trace, output } = scene.run({ operation, apply: () => undefined });
    await scene.challenge(challenger!);
    await chain.submit(scene.publication(trace));
    await scene.name(challenger!, trace, operation);
    await chain.submit(await scene.narrow(challenger!, trace, operation, output, 20_000));
    expect(scene.changes().at(-1)).toBe('lost');
    await chain.attest();
    expect(chain.outcomes()).toEqual(['finalized', 'finalized']);
    const first = await Scene.open(stage(), 'model');
    const subject = { kind: SUBJECT_KIND.diff, stepIndex: 0, unit: 0 };
    const { claimRoot } = first.chain.open;
    const order = { claimRoot, subject, bond: 10_000_000_000n };
    expect(await refusal(first.send(first.chain.demo.verifiers[0]!, 'open-dispute', order))).toMatch(/first one/);
  });

  it('convicts who does not answer, after its clock and not before', async () => {
    const scene = await Scene.open(stage(), 'unit', falseUnit(stage()).lie, { disputeClock: 3 });
    const { chain } = scene;
    await scene.challenge(chain.demo.verifiers[0]!);
    // An honest trace does not end in the false unit: publishing it is no answer.
    expect(await refusal(chain.submit(scene.publication(scene.run().trace)))).toMatch(/^MISMATCH/);
    expect(await refusal(chain.submit(scene.tick()))).toMatch(/^REJECTED/);
    await scene.challenge(chain.demo.verifiers[1]!);
    await scene.challenge(chain.demo.verifiers[2]!);
    await chain.submit(scene.tick());
    expect(scene.changes()).toEqual(['opened', 'queued', 'queued', 'convicted']);
    expect(chain.outcomes()).toEqual(['slashed']);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('pays an honest miner that is challenged, and finalizes its claim afterwards', async () => {
    const scene = await Scene.open(stage(), 'unit');
    const { chain } = scene;
    const [challenger, second] = chain.demo.verifiers;
    const { trace } = scene.run();
    await scene.challenge(challenger!);
    await chain.attest();
    await chain.submit(scene.publication(trace));
    // All have voted for it, and still nothing is settled.
    expect(chain.outcomes()).toEqual([]);
    await scene.challenge(second!, 20_000_000_000n);
    const operation = scene.index('h0.attention');
    const { output } = scene.run({ operation, apply: () => undefined });
    await scene.name(challenger!, trace, operation);
    expect(
      await refusal(chain.submit(encodeTransaction('open-node', { dispute: 0, opened: new Uint8Array(64) }))),
    ).toMatch(/^REJECTED/);
    const accused = chain.state.accounts.find(({ publicKey }) => scene.miner.publicKey.join() === publicKey.join())!;
    const before = accused.balance;
    await chain.submit(await scene.narrow(challenger!, trace, operation, output, 11));
    // The published list serves the second challenger, whose turn it is at once; it does not go on.
    expect(scene.dispute(1).turn).toBe(TURN.name);
    await chain.submit(scene.tick(1));
    const after = chain.state.accounts.find(({ publicKey }) => scene.miner.publicKey.join() === publicKey.join())!;
    expect(after.balance - before).toBeGreaterThanOrEqual(30_000_000_000n);
    expect(scene.changes()).toEqual(['opened', 'traced', 'queued', 'named', 'node-opened', 'lost', 'lost']);
    await chain.reveal();
    expect(chain.outcomes()).toEqual(['finalized']);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('bounds disputes of a claim: a second of one challenger, low bonds and the accused itself are refused', async () => {
    const scene = await Scene.open(stage(), 'unit', {}, { disputeBondSurplus: 5_000_000_000n });
    const { chain, context } = scene;
    const [verifier] = chain.demo.verifiers;
    const { claimRoot } = chain.open;
    const opened = (keys: KeyPair, bond: bigint, subject = context.subject) =>
      refusal(chain.submit(scene.order(keys, 'open-dispute', { claimRoot, subject, bond })));
    expect(await opened(verifier!, 10_000_000_000n)).toMatch(/^REJECTED/);
    expect(await opened(scene.miner, 15_000_000_000n)).toMatch(/^REJECTED/);
    expect(await opened(verifier!, 15_000_000_000n, { kind: 9, stepIndex: 0, unit: 0 })).toMatch(/^REJECTED/);
    expect(await opened(verifier!, 15_000_000_000n, { kind: 1, stepIndex: 99, unit: 0 })).toMatch(/^REJECTED/);
    await scene.challenge(verifier!, 15_000_000_000n);
    expect(await opened(verifier!, 15_000_000_000n)).toMatch(/^REJECTED/);
  });

  it('refuses changed moves with a code, whatever was changed, and stays where it was', async () => {
    const { lie, byte } = falseUnit(stage());
    const scene = await Scene.open(stage(), 'unit', lie);
    const { chain } = scene;
    const [verifier] = chain.demo.verifiers;
    const operation = scene.index('h0.fc.weight.gradient.codes');
    const apply = (bytes: Uint8Array): void => {
      bytes[byte]! ^= 1;
    };
    const liar = scene.run({ operation, apply });
    /** No changed move is accepted; bytes that no signature or root covers there are none. */
    const refusesChanged = async (move: Uint8Array): Promise<void> => {
      for (let i = 1; i < 160; i += 1) {
        const bytes = move.slice();
        // Dense in the containers' heads, sparse in the bytes behind them.
        const at = i < 80 ? i * 3 : Math.floor((i * bytes.length) / 160);
        bytes[at % bytes.length]! ^= 1 << (i % 8);
        const { state } = chain;
        const outcome = await refusal(chain.submit(bytes));
        expect(outcome, `byte ${at}`).toMatch(/^(REJECTED|MALFORMED|MISMATCH|RANGE|RECIPE)/);
        expect(chain.state).toBe(state);
      }
    };
    await scene.challenge(verifier!);
    await refusesChanged(scene.publication(liar.trace));
    await chain.submit(scene.publication(liar.trace));
    await scene.name(verifier!, liar.trace, operation);
    const proof = await scene.narrow(verifier!, liar.trace, operation, liar.output);
    await refusesChanged(proof);
    await chain.submit(proof);
    expect(chain.outcomes()).toEqual(['slashed']);
  });
});

describe('a dispute over a vote', () => {
  /** A claim that is final, and who of its voters was drawn for unit 0 of step 0. */
  async function voted(lie: Lie, partsOf?: TestChain['partsOf']) {
    const scene = await Scene.open(stage(), 'unit', lie);
    const { chain } = scene;
    if (partsOf !== undefined) chain.partsOf = partsOf;
    await chain.attest();
    if (chain.outcomes().length === 0) await chain.tick();
    expect(chain.outcomes()).toEqual(['finalized']);
    const { recipe } = stage();
    const settled = chain.state.settled[0]!;
    const isDrawn = (keys: KeyPair): boolean => {
      const receipt = settled.receipts.find(({ verifier }) => verifier.join() === keys.publicKey.join())!;
      const { units } = receiptDuty(receipt.drawSignature, recipe, settled.steps, settled.committee);
      return units.some(({ stepIndex, unit }) => stepIndex === 0 && unit === 0);
    };
    const accused = chain.demo.verifiers.find(isDrawn)!;
    expect(accused).toBeDefined();
    const challenger = chain.demo.verifiers.find((keys) => keys !== accused)!;
    const { subject } = scene.context;
    const order = { claim: scene.claim, recipe: recipeHeader(recipe), accused: accused.publicKey, subject };
    return { scene, chain, accused, challenger, settled, isDrawn, order: { ...order, bond: 10_000_000_000n } };
  }

  it('convicts the verifier that was drawn for a false unit and voted for it; the claim stays what it is', async () => {
    const { lie, byte } = falseUnit(stage());
    const { scene, chain, accused, challenger, order } = await voted(lie);
    const operation = scene.index('h0.fc.weight.gradient.codes');
    const liar = scene.run({
      operation,
      apply: (bytes) => {
        bytes[byte]! ^= 1;
      },
    });
    await scene.send(challenger, 'open-verifier-dispute', order);
    // The trace that an honest run gives does not end in the unit that was voted for.
    const honest = scene.publication(scene.run().trace, undefined, accused);
    expect(await refusal(chain.submit(honest))).toMatch(/^MISMATCH/);
    // And the miner's statement is not the verifier's.
    expect(await refusal(chain.submit(scene.publication(liar.trace)))).toMatch(/^REJECTED/);
    await chain.submit(scene.publication(liar.trace, undefined, accused));
    await scene.name(challenger, liar.trace, operation);
    const stake = chain.stake(accused);
    const before = chain.balance(challenger);
    const proof = await scene.narrow(challenger, liar.trace, operation, liar.output, undefined, accused);
    await chain.submit(proof);
    expect(scene.changes()).toEqual(['opened', 'traced', 'named', 'node-opened', 'convicted']);
    const taken = chain.state.parameters.verifierStake;
    expect(chain.stake(accused)).toBe(stake - taken);
    expect(chain.balance(challenger) - before).toBe(taken / 2n + 10_000_000_000n);
    expect(chain.outcomes()).toEqual(['finalized']);
    expect(chain.state.settled[0]!.convicted).toEqual([accused.publicKey]);
    // Once for a claim.
    expect(await refusal(scene.send(challenger, 'open-verifier-dispute', order))).toMatch(/^REJECTED/);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('convicts a verifier whose receipt its own true trace does not give, and none whose receipt it gives', async () => {
    const { recipe } = stage();
    const dutyFor = (drawSignature: Uint8Array) => receiptDuty(drawSignature, recipe, recipe.stepsPerClaim, 3);
    let honestPart = (_drawSignature: Uint8Array): Uint8Array | undefined => undefined;
    const partsOf = (drawSignature: Uint8Array): Uint8Array[] => {
      const { units, parts } = dutyFor(drawSignature);
      const list = Array.from({ length: parts }, () => new Uint8Array(32));
      const part = honestPart(drawSignature);
      const at = units.findIndex(({ stepIndex, unit }) => stepIndex === 0 && unit === 0);
      return part === undefined || at < 0 ? list : list.with(at, part.slice());
    };
    const receiptsOf = async (scene: Scene, chain: TestChain, accused: KeyPair) => {
      const { trace } = scene.run();
      await chain.submit(scene.publication(trace, undefined, accused));
      const isTheirs = ({ verifier }: { verifier: Uint8Array }) => verifier.join() === accused.publicKey.join();
      const receipt = chain.events.flatMap((e) => (e.type === 'receipt' ? [e.receipt] : [])).find(isTheirs)!;
      const opened = chain.events.flatMap((e) => (e.type === 'receipt-opened' ? [e] : [])).find(isTheirs)!;
      const statement = signTrace(nativeBls, accused, scene.context, trace, portableKernels);
      const base = createProofBase(scene.claim, recipe, [...scene.mined.list], scene.context, statement);
      const disputed = { program: scene.program, trace };
      const booked = { receipt, opening: opened.opening };
      const proof = proveReceipt(base, recipe, scene.context, disputed, scene.inputs, booked);
      return encodeTransaction('prove-receipt', { dispute: 0, proof: ReceiptProofType.serialize(proof) });
    };
    const guessed = await voted({}, partsOf);
    await guessed.scene.send(guessed.challenger, 'open-verifier-dispute', guessed.order);
    const { scene, chain, accused } = guessed;
    const stake = chain.stake(accused);
    await chain.submit(await receiptsOf(scene, chain, accused));
    expect(scene.changes()).toEqual(['opened', 'traced', 'convicted']);
    expect(chain.stake(accused)).toBe(stake - chain.state.parameters.verifierStake);
    expect(totalMoney(chain.state)).toBe(chain.money);

    const work = await Scene.open(stage(), 'unit');
    honestPart = (drawSignature) => {
      const program = receiptProgram(work.context, work.program, drawSignature);
      const index = work.program.operations.length;
      const inputs = program.operations[index]!.rule.inputs;
      const outputs = captureOutputs(work.program, work.inputs, index - 1, inputs);
      const observed = new Uint8Array(program.operations[index]!.length);
      const bytes = (at: number, start: number, count: number) => outputs.get(at)!.slice(start, start + count);
      program.operations[index]!.rule.compute(
        readerOver(inputs, ({ index: at }, start, count) => bytes(at, start, count)),
        0,
        observed,
      );
      return unitReceiptPart(drawSignature, { stepIndex: 0, unit: 0 }, observed);
    };
    const worked = await voted({}, partsOf);
    await worked.scene.send(worked.challenger, 'open-verifier-dispute', worked.order);
    const before = worked.chain.balance(worked.accused);
    await worked.chain.submit(await receiptsOf(worked.scene, worked.chain, worked.accused));
    expect(worked.scene.changes()).toEqual(['opened', 'traced', 'lost']);
    expect(worked.chain.balance(worked.accused) - before).toBe(10_000_000_000n);
  });

  /** The dispute over a receipt's part over the claim's last state, opened by the challenger; and the receipt. */
  async function overLastState({
    scene,
    chain,
    accused,
    challenger,
    settled,
    order,
  }: Awaited<ReturnType<typeof voted>>) {
    const { mined, claim, miner } = scene;
    const subject = receiptSubject(mined.list.length, mined.list.length);
    const isTheirs = ({ verifier }: { verifier: Uint8Array }) => verifier.join() === accused.publicKey.join();
    const { drawSignature } = settled.receipts.find(isTheirs)!;
    const { subject: _unit, commitment: _first, header: _pre, ...common } = scene.context;
    const commitment = mined.list.at(-1)!;
    const context = { ...common, subject, commitment, header: mined.states.at(-1)!.header, drawSignature };
    const last = new Scene(stage(), chain, mined, context, claim, miner, undefined);
    expect(
      await refusal(last.send(challenger, 'open-verifier-dispute', { ...order, subject: { ...subject, unit: 2 } })),
    ).toMatch(/drawn for/);
    await last.send(challenger, 'open-verifier-dispute', { ...order, subject });
    const receipt = chain.events.flatMap((e) => (e.type === 'receipt' ? [e.receipt] : [])).find(isTheirs)!;
    const { opening } = chain.events.flatMap((e) => (e.type === 'receipt-opened' ? [e] : [])).find(isTheirs)!;
    return { last, receipt, opening };
  }

  it('convicts a verifier whose part over a state its own trace does not give, and none whose part it gives', async () => {
    const { recipe } = stage();
    for (const isTrue of [false, true]) {
      const { mined } = await Scene.open(stage(), 'unit');
      const { vectors } = mined.states.at(-1)!.saved;
      const values = (['theta', 'm', 'v'] as const).map((name) => chainingValuesOf(vectorBytes(vectors[name])));
      const [theta, m, v] = values as [Uint8Array, Uint8Array, Uint8Array];
      const partsOf = (drawSignature: Uint8Array): Uint8Array[] => {
        const { parts } = receiptDuty(drawSignature, recipe, recipe.stepsPerClaim, 3);
        const part = stateReceiptPart(drawSignature, recipe.stepsPerClaim, { theta, m, v });
        return Array.from({ length: parts }, (_, i) => (isTrue && i === parts - 1 ? part : new Uint8Array(32)));
      };
      const vote = await voted({}, partsOf);
      const { chain, accused } = vote;
      const { last, receipt, opening } = await overLastState(vote);
      const { trace } = last.run();
      // A trace under another draw signature is no answer.
      const foreign = last.run({ operation: 0, apply: (bytes) => bytes.reverse() });
      expect(await refusal(chain.submit(last.publication(foreign.trace, undefined, accused)))).toMatch(
        /^MISMATCH.*draw/,
      );
      await chain.submit(last.publication(trace, undefined, accused));
      const statement = signTrace(nativeBls, accused, last.context, trace, portableKernels);
      const base = createProofBase(last.claim, recipe, [...last.mined.list], last.context, statement);
      const disputed = { program: last.program, trace };
      const proof = proveReceipt(base, recipe, last.context, disputed, last.inputs, { receipt, opening });
      const stake = chain.stake(accused);
      const before = chain.balance(accused);
      const move = encodeTransaction('prove-receipt', { dispute: 0, proof: ReceiptProofType.serialize(proof) });
      await chain.submit(move);
      expect(last.changes()).toEqual(['opened', 'traced', isTrue ? 'lost' : 'convicted']);
      expect(chain.stake(accused)).toBe(isTrue ? stake : stake - chain.state.parameters.verifierStake);
      expect(chain.balance(accused) - before).toBe(isTrue ? 10_000_000_000n : 0n);
      expect(totalMoney(chain.state)).toBe(chain.money);
    }
  });

  it('convicts a verifier whose trace of a state leads to its false part, in one element', async () => {
    const { recipe } = stage();
    const vote = await voted({}, (drawSignature) => {
      const { parts } = receiptDuty(drawSignature, recipe, recipe.stepsPerClaim, 3);
      return Array.from({ length: parts }, () => new Uint8Array(32));
    });
    const { chain, accused, challenger } = vote;
    const { last } = await overLastState(vote);
    const operation = last.index('part');
    const liar = last.run({ operation, apply: (bytes) => bytes.fill(0) });
    await chain.submit(last.publication(liar.trace, undefined, accused));
    await last.name(challenger, liar.trace, operation);
    await chain.submit(await last.narrow(challenger, liar.trace, operation, liar.output, undefined, accused));
    expect(last.changes()).toEqual(['opened', 'traced', 'named', 'node-opened', 'convicted']);
    expect(chain.state.settled[0]!.convicted).toEqual([accused.publicKey]);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('silence convicts, too; an honest verifier answers and is paid', async () => {
    const silent = await voted(falseUnit(stage()).lie);
    await silent.scene.send(silent.challenger, 'open-verifier-dispute', silent.order);
    await silent.chain.submit(silent.scene.tick());
    expect(silent.scene.changes()).toEqual(['opened', 'convicted']);
    expect(silent.chain.state.settled[0]!.convicted).toEqual([silent.accused.publicKey]);

    const { scene, chain, accused, challenger, order } = await voted({});
    const { trace } = scene.run();
    await scene.send(challenger, 'open-verifier-dispute', order);
    await chain.submit(scene.publication(trace, undefined, accused));
    const operation = scene.index('h0.attention');
    const { output } = scene.run({ operation, apply: () => undefined });
    await scene.name(challenger, trace, operation);
    const before = chain.balance(accused);
    await chain.submit(await scene.narrow(challenger, trace, operation, output, 5, accused));
    expect(scene.changes().at(-1)).toBe('lost');
    expect(chain.balance(accused) - before).toBe(10_000_000_000n);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('is refused over a unit that the verifier was not drawn for, over other recipes, by itself', async () => {
    const { scene, accused, challenger, isDrawn, order, chain } = await voted({});
    const refused = (keys: KeyPair, changes: Partial<typeof order>) =>
      refusal(scene.send(keys, 'open-verifier-dispute', { ...order, ...changes }));
    expect(await refused(accused, {})).toMatch(/^REJECTED/);
    expect(await refused(challenger, { subject: { ...order.subject, stepIndex: 77 } })).toMatch(/drawn for/);
    expect(await refused(challenger, { subject: { kind: SUBJECT_KIND.state, stepIndex: 0, unit: 0 } })).toMatch(
      /drawn for/,
    );
    expect(await refused(challenger, { bond: 1n })).toMatch(/bond/);
    const { recipe } = stage();
    expect(await refused(challenger, { recipe: recipeHeader({ ...recipe, width: recipe.width }).slice(1) })).toMatch(
      /^[A-Z_]+:/,
    );
    expect(await refused(challenger, { accused: scene.miner.publicKey })).toMatch(/positive voter/);
    const other = chain.demo.verifiers.find((keys) => !isDrawn(keys));
    if (other !== undefined) expect(await refused(challenger, { accused: other.publicKey })).toMatch(/drawn for/);
    expect(claimRootOf(scene.claim.header)).toEqual(chain.state.settled[0]!.claimRoot);
  });
});
