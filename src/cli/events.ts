/**
 * Events of `--json`: one object a line on stdout, `type` first, then `time`. The schema is `docs/events.schema.json`.
 */

export interface RunEvent {
  readonly type: 'run';
  readonly recipe: string;
  readonly recipeRoot: string;
  readonly parameters: number;
  readonly backend: string;
  readonly isa: string;
  readonly lanes: number;
  readonly version: string;
  readonly [more: string]: unknown;
}

export interface StepEvent {
  readonly type: 'step';
  readonly claim: number;
  readonly step: number;
  readonly loss: number;
  readonly tokens: number;
  readonly ms: number;
  readonly stateRoot: string;
  readonly [more: string]: unknown;
}

export interface ClaimEvent {
  readonly type: 'claim';
  readonly claim: number;
  readonly miner: string;
  readonly fromRoot: string;
  readonly toRoot: string;
  readonly modelRoot: string;
  readonly steps: number;
  readonly bytes: number;
  readonly [more: string]: unknown;
}

export interface AttestationEvent {
  readonly type: 'attestation';
  readonly claim: number;
  readonly verifier: string;
  readonly verdict: 'positive' | 'negative';
  readonly checks: number;
  readonly seconds: number;
  readonly [more: string]: unknown;
}

export interface EvidenceEvent {
  readonly type: 'evidence';
  readonly claim: number;
  readonly kind: string;
  readonly file: string;
  readonly bytes: number;
  readonly [more: string]: unknown;
}

export interface DisputeEvent {
  readonly type: 'dispute';
  readonly claim: number;
  readonly attempt: number;
  readonly dispute: number;
  readonly challenger: string;
  readonly accused: string;
  readonly change: 'queued' | 'opened' | 'traced' | 'named' | 'node-opened' | 'contested' | 'convicted' | 'lost';
  readonly reason: string;
  readonly [more: string]: unknown;
}

export interface JobEvent {
  readonly type: 'job';
  readonly job: number;
  readonly owner: string;
  readonly change: 'created' | 'funded' | 'ended' | 'closed';
  readonly claims: number;
  readonly refund: string;
  readonly [more: string]: unknown;
}

export interface OutcomeEvent {
  readonly type: 'outcome';
  readonly claim: number;
  readonly outcome: 'finalized' | 'slashed' | 'rejected' | 'void';
  readonly stakeFor: string;
  readonly stakeAgainst: string;
  readonly slashed: string;
  readonly height: number;
  readonly [more: string]: unknown;
}

export interface SampleEvent {
  readonly type: 'sample';
  readonly text: string;
  readonly [more: string]: unknown;
}

export interface SummaryEvent {
  readonly type: 'summary';
  readonly recipe: string;
  readonly parameters: number;
  readonly claims: number;
  readonly finalized: number;
  readonly slashed: number;
  readonly rejected: number;
  readonly steps: number;
  readonly tokens: number;
  readonly lossFirst: number;
  readonly lossLast: number;
  readonly heldOutBefore: number;
  readonly heldOutAfter: number;
  readonly trainSeconds: number;
  readonly verifySeconds: number;
  readonly verifyToTrain: number;
  readonly tokensPerSecond: number;
  readonly detection: number;
  readonly backend: string;
  readonly isa: string;
  readonly lanes: number;
  readonly stateRoot: string;
  readonly chart: string;
  readonly seconds: number;
  readonly [more: string]: unknown;
}

/** What a command prints beside these: results of `verify`, `eval` and the like. */
export interface OtherEvent {
  readonly type: 'error' | 'progress' | 'draw' | 'verify' | 'eval' | 'doctor' | 'recipe' | 'mine' | 'bench' | 'result';
  readonly [more: string]: unknown;
}

export type PogoEvent =
  | RunEvent
  | StepEvent
  | ClaimEvent
  | AttestationEvent
  | EvidenceEvent
  | DisputeEvent
  | JobEvent
  | OutcomeEvent
  | SampleEvent
  | SummaryEvent
  | OtherEvent;

/** Prints one event as a line of JSON. */
export function printEvent(event: PogoEvent, out: NodeJS.WritableStream = process.stdout): void {
  const { type, ...rest } = event;
  out.write(`${JSON.stringify({ type, time: new Date().toISOString(), ...rest })}\n`);
}
