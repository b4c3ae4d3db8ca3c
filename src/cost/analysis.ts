/**
 * What a claim costs: its miner, its verifiers, the network and the disks, for a recipe on a machine.
 *
 * Every formula stands here once; docs/cost.md and `pogo cost` print the same figures. Probabilities and times are
 * doubles: nothing here decides anything on a ledger.
 */
import { PogoError } from '../errors.js';
import { badUnits, committeeDetection, samplesForDetection } from '../protocol/detection.js';
import type { Device } from './device.js';
import { type Duty, dutyOf, HELD_OUT_SEQUENCES } from './duty.js';
import { type Basis, type Figure, figure } from './figure.js';
import { commitBytes, hashBytes, weightBytes } from './passBytes.js';
import { logBytes, type Workload } from './workload.js';

/** What whoever asks puts in. */
export interface CostInputs {
  /** Fraction of bad units that is to be found, and the probability of finding one; parts per million. */
  readonly fractionPpm: number;
  readonly targetPpm: number;
  /** Seats that check a claim. */
  readonly committee: number;
  /** Machines of the miner. */
  readonly machines: number;
  /** Price of a machine for an hour, of a gigabyte sent, of a gigabyte kept for a month; any currency. */
  readonly machineHour: number;
  readonly sentGigabyte: number;
  readonly storedGigabyteMonth: number;
  /** Of a verifier's line, bits a second. */
  readonly bandwidth: number;
}

export const DEFAULT_INPUTS: CostInputs = {
  fractionPpm: 10_000,
  targetPpm: 990_000,
  committee: 4,
  machines: 1,
  machineHour: 1,
  sentGigabyte: 0.05,
  storedGigabyteMonth: 0.02,
  bandwidth: 1e9,
};

export interface Row {
  readonly name: string;
  readonly figure: Figure;
}

export interface Section {
  readonly title: string;
  readonly rows: readonly Row[];
}

export interface Analysis {
  readonly work: Workload;
  readonly device: Device;
  readonly inputs: CostInputs;
  readonly stepSeconds: Figure;
  readonly claimSeconds: Figure;
  readonly verifySeconds: Figure;
  readonly verifyToTrain: Figure;
  /** Parts of a seat's duty. */
  readonly duty: Duty;
  readonly samples: number;
  readonly detection: number;
  readonly claimBytes: Figure;
  readonly sections: readonly Section[];
}

const HEADER_BYTES = 460;
/** Bytes of a step's commitment with M units, beside its units' roots and losses: see `StepCommitment`. */
const COMMITMENT_BYTES = 8 + 3 * 32 + 3 * 4;
const ROOT_AND_LOSS_BYTES = 32 + 4;
const DAY = 86_400;

/** The least exact of several bases: what follows from something assumed is assumed. */
function basisOf(...bases: readonly Basis[]): Basis {
  return bases.includes('assumed') ? 'assumed' : 'derived';
}

/** Seconds of a training step on `machines` machines: units by turns, then the commit pass, hash and weights; the log. */
export function stepSeconds(work: Workload, device: Device, machines: number): Figure {
  const unit = device.unitSeconds(work);
  const lanes = machines * device.lanes;
  const rounds = Math.max(1, work.unitsPerStep / lanes);
  const commit = commitBytes(work.length, work.unitsPerStep) / (device.commit.value * machines);
  const hash = hashBytes(work.length) / (device.hash.value * machines);
  const weights = weightBytes(work.length) / (device.weights.value * machines);
  const busy = rounds * unit.value * device.together.value + commit + hash + weights;
  const seconds = busy + device.waits(busy).value + device.log(logBytes(work) / machines).value;
  const basis = basisOf(unit.basis, device.commit.basis);
  return figure(seconds, 's', basis, '(units ÷ lanes) · unit beside others + commit + hash + weights + waits + log');
}

/** Bytes of one claim by what they are. */
export function claimBytes(work: Workload): {
  log: number;
  list: number;
  model: number;
  header: number;
  total: number;
} {
  const log = work.stepsPerClaim * work.unitsPerStep * work.unitBytes;
  const list = work.stepsPerClaim * (COMMITMENT_BYTES + work.unitsPerStep * ROOT_AND_LOSS_BYTES);
  const { modelBytes: model } = work;
  return { log, list, model, header: HEADER_BYTES, total: log + list + model + HEADER_BYTES };
}

/**
 * @param drawnSteps steps that the units of a seat were really drawn from; the expected number where it is not known
 * @throws PogoError RANGE for inputs that mean nothing
 */
export function analyse(work: Workload, device: Device, inputs: CostInputs, drawnSteps?: number): Analysis {
  checkInputs(inputs);
  const { stepsPerClaim: steps, unitsPerStep } = work;
  const units = steps * unitsPerStep;
  const { fractionPpm, targetPpm, committee } = inputs;
  const samples = samplesForDetection(units, fractionPpm, targetPpm, committee);
  const detection = committeeDetection(units, badUnits(units, fractionPpm), samples, committee);
  const step = stepSeconds(work, device, inputs.machines);
  const claim = figure(steps * step.value, 's', step.basis, 'steps a claim · seconds of a step');
  const duty = dutyOf(work, device, samples, drawnSteps);
  const seconds = Object.values(duty).reduce((sum, part: number) => sum + part, 0);
  const verify = figure(
    seconds,
    's',
    step.basis,
    'drawn units, comparing them + replay and reading of the log + hashes + model + held-out loss, one machine',
  );
  const machineSeconds = claim.value * inputs.machines;
  const ratio = figure(
    seconds / machineSeconds,
    'share',
    step.basis,
    'one seat’s machine time ÷ the miner’s machine time',
  );
  const bytes = claimBytes(work);
  const counted = (value: number, unit: string, source: string): Figure => figure(value, unit, 'counted', source);
  const sections: Section[] = [
    {
      title: 'Model and claim',
      rows: [
        { name: 'parameters', figure: counted(work.parameters, '', 'layout of the recipe') },
        {
          name: 'tokens a step',
          figure: counted(work.tokensPerStep, '', `${unitsPerStep} units of ${work.tokensPerUnit}`),
        },
        { name: 'steps a claim', figure: counted(steps, '', 'recipe, or --steps') },
        {
          name: 'model FLOP a step',
          figure: counted(
            work.modelFlopPerToken * work.tokensPerStep,
            'FLOP',
            'three products a weight, six of the causal attention',
          ),
        },
        {
          name: 'integer operations a step',
          figure: counted(work.unitOperations * unitsPerStep, 'OP', 'products of the tape'),
        },
      ],
    },
    {
      title: `Training, ${inputs.machines} × ${device.name}`,
      rows: [
        { name: 'a unit on one lane', figure: device.unitSeconds(work) },
        { name: 'a step', figure: step },
        { name: 'of it: the log', figure: device.log(logBytes(work) / inputs.machines) },
        { name: 'a claim (block time)', figure: claim },
        { name: 'start and end, once', figure: device.around('mine', memoryOf(work).state) },
        { name: 'claims a day', figure: figure(DAY / claim.value, '', step.basis, 'a day ÷ a claim') },
        {
          name: 'tokens a second',
          figure: figure(work.tokensPerStep / step.value, 'tokens/s', step.basis, 'tokens ÷ seconds of a step'),
        },
      ],
    },
    {
      title: `Verification, each of ${committee} seats`,
      rows: [
        {
          name: 'units drawn',
          figure: counted(
            samples,
            '',
            `hypergeometric: ${fractionPpm / 1e4} % of bad units found by all seats with ${(100 * detection).toFixed(3)} %`,
          ),
        },
        {
          name: 'drawn units',
          figure: figure(
            duty.units,
            's',
            step.basis,
            'rounds of units over the lanes of a step, its weights, waits, trips',
          ),
        },
        {
          name: 'replay of the log',
          figure: figure(duty.replay, 's', step.basis, device.replay(work).source),
        },
        {
          name: 'reading of the log',
          figure: figure(duty.read, 's', step.basis, device.read(logBytes(work)).source),
        },
        {
          name: 'hashes',
          figure: figure(
            duty.hash,
            's',
            step.basis,
            `the state at drawn steps and the end: ${device.stateHash(work).source}`,
          ),
        },
        {
          name: 'comparing drawn units',
          figure: figure(duty.compare, 's', step.basis, device.compare(work.unitBytes).source),
        },
        {
          name: '4-bit model and diff',
          figure: figure(duty.model, 's', step.basis, device.model(work.modelBytes).source),
        },
        {
          name: 'held-out loss',
          figure: figure(
            duty.heldOut,
            's',
            step.basis,
            `${HELD_OUT_SEQUENCES} sequences, 4-bit models before and after`,
          ),
        },
        { name: 'together', figure: verify },
        { name: 'start and end, once', figure: device.around('verify', memoryOf(work).state) },
        { name: 'of training', figure: ratio },
        {
          name: 'all seats, of training',
          figure: figure(committee * ratio.value, 'share', step.basis, 'seats · one seat'),
        },
      ],
    },
    {
      title: 'Bytes of a claim',
      rows: [
        { name: 'log (4-bit units)', figure: counted(bytes.log, 'B', 'steps · units · bytes of a unit') },
        { name: 'list of commitments', figure: counted(bytes.list, 'B', 'SSZ types') },
        { name: '4-bit model', figure: counted(bytes.model, 'B', 'layout') },
        {
          name: 'published',
          figure: counted(bytes.total, 'B', 'sum; the diff is at most the model and a byte in 16,384'),
        },
        { name: 'fetched by all seats', figure: counted(committee * bytes.total, 'B', 'seats · published') },
        {
          name: 'time on a seat’s line',
          figure: figure(
            (8 * bytes.total) / inputs.bandwidth,
            's',
            'assumed',
            `${inputs.bandwidth / 1e9} Gbit/s (--bandwidth)`,
          ),
        },
        {
          name: 'line for fetching within 1 % of training',
          figure: figure(
            (8 * bytes.total) / (0.01 * claim.value),
            'bit/s',
            step.basis,
            'bits ÷ a hundredth of the block time',
          ),
        },
        {
          name: 'published a day',
          figure: figure((bytes.total * DAY) / claim.value, 'B', step.basis, 'bytes · claims a day'),
        },
      ],
    },
    { title: 'Memory', rows: memoryRows(work, device) },
    {
      title: 'Money, a claim',
      rows: moneyRows(inputs, machineSeconds, committee * seconds, committee * bytes.total, bytes.total),
    },
  ];
  return {
    work,
    device,
    inputs,
    stepSeconds: step,
    claimSeconds: claim,
    verifySeconds: verify,
    verifyToTrain: ratio,
    duty,
    samples,
    detection,
    claimBytes: counted(bytes.total, 'B', 'published bytes'),
    sections,
  };
}

function checkInputs(inputs: CostInputs): void {
  for (const [name, value] of Object.entries(inputs)) {
    const positive =
      name.endsWith('Month') || name.startsWith('sent') || name === 'machineHour' ? value >= 0 : value > 0;
    if (!Number.isFinite(value) || !positive) {
      throw new PogoError('RANGE', `expected ${name} to be a positive number, found ${value}`, { name, found: value });
    }
  }
}

/** Bytes of the state, of what keeps it committed, and of a lane. */
export function memoryOf(work: Workload): {
  state: number;
  trees: number;
  weights: number;
  units: number;
  lane: number;
} {
  const { length, vectors, unitBytes, unitsPerStep } = work;
  return {
    state: 4 * vectors * length,
    // 64 bytes a leaf of 256 elements.
    trees: (vectors * length * 64) / 256,
    weights: 2 * work.weightBytes,
    units: 2 * unitsPerStep * unitBytes,
    lane: work.laneBytes,
  };
}

function memoryRows(work: Workload, device: Device): Row[] {
  const memory = memoryOf(work);
  const total = memory.state + memory.trees + memory.weights + memory.units + device.lanes * memory.lane;
  const row = (name: string, bytes: number, source: string): Row => ({
    name,
    figure: figure(bytes, 'B', 'counted', source),
  });
  const rows = [
    row('state', memory.state, `${work.vectors} vectors of fp32`),
    row('trees over it', memory.trees, '64 bytes a leaf'),
    row('integer weights', memory.weights, 'codes and scales of both orientations, and their packed form'),
    row('units', memory.units, 'two sets: one is written while the other is committed'),
    row('a lane’s activations', memory.lane, 'buffers of the tape'),
    row('a machine’s all', total, 'sum with its lanes'),
  ];
  if (device.memoryBytes === undefined) return rows;
  const count = Math.ceil(total / device.memoryBytes);
  return [
    ...rows,
    { name: 'devices that hold it', figure: figure(count, '', 'assumed', `${device.memoryBytes / 1e9} GB each`) },
  ];
}

function moneyRows(inputs: CostInputs, train: number, verify: number, sent: number, kept: number): Row[] {
  const money = (name: string, value: number, source: string): Row => ({
    name,
    figure: figure(value, '¤', 'assumed', source),
  });
  const hour = inputs.machineHour / 3600;
  return [
    money('training', hour * train, `${inputs.machineHour} ¤ a machine hour (--machine-hour)`),
    money('verification, all seats', hour * verify, 'the same machines'),
    money('sending', (inputs.sentGigabyte * sent) / 1e9, `${inputs.sentGigabyte} ¤ a GB (--sent-gb)`),
    money(
      'keeping for a month',
      (inputs.storedGigabyteMonth * kept) / 1e9,
      `${inputs.storedGigabyteMonth} ¤ a GB and month (--stored-gb)`,
    ),
  ];
}
