/**
 * The ledger's rules once more, slow and plain, written from docs/protocol.md and sharing nothing with `src/ledger`: names
 * instead of keys, no signatures, no encodings. Only who was drawn as a miner is told to it.
 *
 * One claim of each job is open at a time; nobody registers; parameters are the embedded ones with an epoch of `epoch`
 * claims. A job of an owner is the same machine over the same members, heights and balances, with a fund of its own.
 */
const COIN = 1_000_000_000n;
const BOND = 1000n * COIN;
const STAKE = 1000n * COIN;
const FINE = BOND + 100n * COIN;
const REWARD = 50n * COIN;
const BONUS = 50n * COIN;
const PAY = 20n * COIN;
const FEE = 10n * COIN;
const CHALLENGE = 10n * COIN;
const UNBONDING = 16;
const PIECE_HEIGHTS = 8;
const SILENCE = 8;

export type Stage = 'beacon one' | 'training' | 'claimed' | 'attesting' | 'revealing';

export interface RefMember {
  verifier: boolean;
  status: 'active' | 'unbonding' | 'ejected' | 'slashed';
  stake: bigint;
  locked: bigint;
  silence: number;
  unbondHeight: number;
  unbondClaim: number;
}

interface RefClaim {
  id: number;
  number: number;
  stage: Stage;
  since: number;
  seats: { name: string; stake: bigint }[];
  shares: Set<string>;
  miner: string;
  made: boolean;
  lie: boolean;
  round: number;
  /** Gain in quarters that a positive vote names; 'against' for a negative one. */
  votes: Map<string, number | 'against'>;
  receipts: Map<string, boolean>;
}

interface RefCommit {
  finder: string;
  claim: number;
  height: number;
  accused: string;
  guilty: boolean;
}

export class ReferenceLedger {
  height = 0;
  balance = new Map<string, bigint>();
  members = new Map<string, RefMember>();
  pool = 1_000_000n * COIN;
  burned = 0n;
  finalized = 0;
  epoch = 0;
  epochStake = 0n;
  open: RefClaim | undefined;
  commits: RefCommit[] = [];
  pieces: { challenger: string; claim: number; index: number; height: number }[] = [];
  settled: { claim: number; named: Set<string>; convicted: Set<string> }[] = [];
  gains: number[] = [];
  windows: number[] = [];
  outcomes: string[] = [];
  readonly jobs: ReferenceJob[] = [];
  /** Names claims, over all jobs. */
  ids = { last: 0 };
  protected reward = REWARD;
  protected bonus = BONUS;
  protected pay = PAY;

  constructor(
    miners: readonly string[],
    verifiers: readonly string[],
    readonly epochClaims: number,
  ) {
    for (const name of [...miners, ...verifiers]) {
      const verifier = verifiers.includes(name);
      this.balance.set(name, 100n * COIN);
      const stake = verifier ? 2n * STAKE : 5n * BOND;
      this.members.set(name, {
        verifier,
        status: 'active',
        stake,
        locked: 0n,
        silence: 0,
        unbondHeight: 0,
        unbondClaim: 0,
      });
    }
    if (miners.length > 0) this.openNext();
  }

  /** The whole chain behind a job. */
  get chain(): ReferenceLedger {
    return this;
  }

  total(): bigint {
    let sum = this.pool + this.burned + CHALLENGE * BigInt(this.commits.length + this.pieces.length);
    for (const job of this.jobs) sum += job.pool + CHALLENGE * BigInt(job.commits.length + job.pieces.length);
    for (const value of this.balance.values()) sum += value;
    for (const { stake } of this.members.values()) sum += stake;
    return sum;
  }

  /** After each transaction: what another job set free, or time brought, may open or end a claim. */
  retry(): void {
    if (this.jobs.length === 0) return;
    for (const scope of [this, ...this.jobs]) if (scope.open === undefined) scope.openNext();
  }

  createJob(owner: string, claims: number, deadline: number, fund: bigint, leastStake: bigint): boolean {
    if (deadline <= this.height + 1 || fund < JOB_COST || (this.balance.get(owner) ?? 0n) < fund + FEE) return false;
    this.height += 1;
    this.payTo(owner, -fund - FEE);
    this.burned += FEE;
    this.jobs.push(new ReferenceJob(this, owner, claims, deadline, fund, leastStake));
    return true;
  }

  /** One transaction. @returns whether it is taken; `drawn` is asked for the miner that beacon 1 drew */
  share(name: string, drawn: () => string): boolean {
    const open = this.open;
    const at = this.height + 1;
    if (open === undefined || (open.stage !== 'beacon one' && open.stage !== 'claimed')) return false;
    if (open.stage === 'claimed' && at < open.since + 2) return false;
    if (!open.seats.some((seat) => seat.name === name) || open.shares.has(name)) return false;
    this.height = at;
    open.shares.add(name);
    if (open.shares.size < open.seats.length) return true;
    open.shares.clear();
    open.since = at;
    if (open.stage === 'claimed') open.stage = 'attesting';
    else {
      open.stage = 'training';
      open.miner = drawn();
    }
    return true;
  }

  claim(lie: boolean): boolean {
    const open = this.open;
    if (open?.stage !== 'training') return false;
    const miner = this.members.get(open.miner);
    if (miner === undefined || miner.stake - miner.locked < BOND) return false;
    this.height += 1;
    miner.locked += BOND;
    Object.assign(open, { made: true, lie, stage: 'claimed', since: this.height });
    return true;
  }

  receipt(name: string): boolean {
    const open = this.open;
    if (open?.stage !== 'attesting' || !this.#seated(name) || open.receipts.has(name)) return false;
    this.height += 1;
    open.receipts.set(name, false);
    return true;
  }

  vote(name: string, vote: number | 'against'): boolean {
    const open = this.open;
    if (open?.stage !== 'attesting' || !this.#seated(name) || open.votes.has(name)) return false;
    if (vote === 'against' && !this.commits.some((c) => c.finder === name && c.claim === open.id)) return false;
    if (vote !== 'against' && !open.receipts.has(name)) return false;
    this.height += 1;
    open.votes.set(name, vote);
    this.#settle(false);
    return true;
  }

  reveal(name: string): boolean {
    const open = this.open;
    if (open?.stage !== 'revealing' || open.receipts.get(name) !== false) return false;
    this.height += 1;
    open.receipts.set(name, true);
    this.#settle(false);
    return true;
  }

  commit(finder: string, claim: number, accused: string, guilty: boolean): boolean {
    const open = this.open?.id === claim && this.open.made && this.open.stage !== 'revealing';
    if (!open && !this.settled.some((other) => other.claim === claim)) return false;
    if (this.commits.some((other) => other.finder === finder && other.claim === claim)) return false;
    if ((this.balance.get(finder) ?? 0n) < CHALLENGE) return false;
    this.height += 1;
    this.#pay(finder, -CHALLENGE);
    this.commits.push({ finder, claim, height: this.height, accused, guilty });
    return true;
  }

  evidence(finder: string, claim: number): boolean {
    const entry = this.commits.find((other) => other.finder === finder && other.claim === claim);
    if (entry === undefined || this.height + 1 <= entry.height) return false;
    const accused = this.members.get(entry.accused);
    const done = (): void => {
      this.height += 1;
      this.commits = this.commits.filter((other) => other !== entry);
    };
    if (entry.accused.startsWith('miner')) {
      const open = this.open;
      if (open?.id !== claim || entry.accused !== open.miner) return false;
      done();
      if (!entry.guilty) {
        this.#pay(open.miner, CHALLENGE);
        this.#settle(false);
        return true;
      }
      this.#pay(finder, CHALLENGE);
      this.#convictMiner(finder);
      return true;
    }
    const record = this.settled.find((other) => other.claim === claim);
    if (record === undefined || accused === undefined || record.convicted.has(entry.accused)) return false;
    done();
    if (!entry.guilty) {
      this.#pay(entry.accused, CHALLENGE);
      return true;
    }
    this.#pay(finder, CHALLENGE);
    record.convicted.add(entry.accused);
    this.#slash(accused, STAKE, finder);
    return true;
  }

  piece(challenger: string, index: number): boolean {
    const open = this.open;
    if (open === undefined || !open.made || open.stage === 'revealing') return false;
    if (this.pieces.length >= 16 || this.pieces.some((other) => other.index === index)) return false;
    if ((this.balance.get(challenger) ?? 0n) < CHALLENGE) return false;
    this.height += 1;
    this.#pay(challenger, -CHALLENGE);
    this.pieces.push({ challenger, claim: open.id, index, height: this.height });
    return true;
  }

  answer(index: number): boolean {
    const piece = this.pieces.find((other) => other.index === index);
    if (piece === undefined || this.open === undefined) return false;
    this.height += 1;
    this.pieces = this.pieces.filter((other) => other !== piece);
    this.#pay(this.open.miner, CHALLENGE);
    this.#settle(false);
    return true;
  }

  silence(index: number): boolean {
    const piece = this.pieces.find((other) => other.index === index);
    if (piece === undefined || this.height + 1 < piece.height + PIECE_HEIGHTS) return false;
    this.height += 1;
    this.#convictMiner(piece.challenger);
    return true;
  }

  tick(): boolean {
    const open = this.open;
    if (open === undefined) return false;
    const at = this.height + 1;
    if (open.stage === 'training') {
      this.height = at;
      const miner = this.members.get(open.miner);
      if (miner !== undefined) this.#burn(miner, FEE);
      this.#fall('missed');
      return true;
    }
    if (open.stage === 'claimed' && at < open.since + 2) {
      this.height = at;
      return true;
    }
    if (open.stage === 'beacon one' || open.stage === 'claimed') {
      const missing = open.seats.filter((seat) => !open.shares.has(seat.name));
      const left = this.#sum(open.seats) - this.#sum(missing);
      const waited = at >= open.since + (open.stage === 'claimed' ? 2 : 0) + UNBONDING;
      if (3n * left < 2n * this.epochStake && !(waited && left > 0n)) return false;
      this.height = at;
      if (waited && left > 0n && left < this.epochStake) this.epochStake = left;
      for (const { name } of missing) {
        const member = this.members.get(name);
        if (member === undefined) continue;
        this.#burn(member, FINE);
        if (member.status === 'active') member.status = 'ejected';
      }
      open.seats = open.seats.filter((seat) => open.shares.has(seat.name));
      open.shares.clear();
      open.since = at;
      if (open.stage === 'beacon one') this.#fall('missed');
      return true;
    }
    this.height = at;
    this.#settle(true);
    return true;
  }

  unbond(name: string): boolean {
    const member = this.members.get(name);
    if (member === undefined || member.status === 'unbonding') return false;
    this.height += 1;
    const unbondClaim = this.finalized + (this.open === undefined ? 0 : 1);
    Object.assign(member, { status: 'unbonding', unbondHeight: this.height, unbondClaim });
    return true;
  }

  withdraw(name: string): boolean {
    const member = this.members.get(name);
    if (member?.status !== 'unbonding' || this.height + 1 < member.unbondHeight + UNBONDING) return false;
    if (this.finalized < member.unbondClaim || member.locked > 0n) return false;
    if ([this, ...this.jobs].some(({ settled }) => settled.some((record) => record.named.has(name)))) return false;
    const busy = this.jobs.some(({ open }) => open?.miner === name || open?.seats.some((seat) => seat.name === name));
    if (busy) return false;
    this.height += 1;
    this.#pay(name, member.stake);
    this.members.delete(name);
    return true;
  }

  transfer(from: string, to: string, amount: bigint): boolean {
    if (amount <= 0n || (this.balance.get(from) ?? 0n) < amount) return false;
    this.height += 1;
    this.#pay(from, -amount);
    this.#pay(to, amount);
    return true;
  }

  #pay(name: string, amount: bigint): void {
    this.balance.set(name, (this.balance.get(name) ?? 0n) + amount);
  }

  #sum(seats: readonly { stake: bigint }[]): bigint {
    return seats.reduce((sum, seat) => sum + seat.stake, 0n);
  }

  #seated(name: string): boolean {
    return this.open?.seats.some((seat) => seat.name === name) === true && name !== this.open.miner;
  }

  #burn(member: RefMember, amount: bigint): bigint {
    const taken = amount < member.stake ? amount : member.stake;
    member.stake -= taken;
    if (member.locked > member.stake) member.locked = member.stake;
    this.burned += taken;
    return taken;
  }

  #slash(member: RefMember, amount: bigint, finder: string): void {
    const taken = this.#burn(member, amount);
    this.burned -= taken / 2n;
    this.#pay(finder, taken / 2n);
    member.status = 'slashed';
  }

  #convictMiner(finder: string): void {
    const miner = this.members.get(this.open!.miner)!;
    this.#slash(miner, BOND, finder);
    miner.locked = miner.locked > BOND ? miner.locked - BOND : 0n;
    this.#fall('slashed');
  }

  protected payTo(name: string, amount: bigint): void {
    this.#pay(name, amount);
  }

  /** Whether a member takes part. */
  protected serves(_name: string): boolean {
    return true;
  }

  /** Whether the rules of the job let another claim begin. */
  protected mayOpen(): boolean {
    return true;
  }

  /** What becomes of a final claim's bond. */
  protected endBond(open: { readonly miner: string }): void {
    this.unlock(open.miner);
  }

  protected unlock(name: string): void {
    const miner = this.members.get(name);
    if (miner !== undefined) miner.locked = miner.locked > BOND ? miner.locked - BOND : 0n;
  }

  openNext(): void {
    this.open = undefined;
    if (!this.mayOpen()) return;
    const seats = [...this.members]
      .filter(([name, m]) => this.serves(name) && m.verifier && m.status === 'active' && m.stake >= FINE)
      .map(([name, { stake }]) => ({ name, stake }));
    const miners = [...this.members].filter(
      ([name, m]) => this.serves(name) && !m.verifier && m.status === 'active' && m.stake - m.locked >= BOND,
    );
    if (seats.length === 0 || miners.length === 0) return;
    const number = this.finalized;
    const epoch = Math.floor(number / this.epochClaims);
    if (epoch !== this.epoch || this.#sum(seats) > this.epochStake) {
      this.epoch = epoch;
      this.epochStake = this.#sum(seats);
    }
    this.ids.last += 1;
    this.open = {
      id: this.ids.last,
      number,
      stage: 'beacon one',
      since: this.height,
      seats,
      shares: new Set(),
      miner: '',
      made: false,
      lie: false,
      round: 0,
      votes: new Map(),
      receipts: new Map(),
    };
  }

  #remember(open: RefClaim): void {
    const positive = [...open.votes].filter(([, vote]) => vote !== 'against').map(([name]) => name);
    this.settled.push({ claim: open.id, named: new Set([...positive, ...open.receipts.keys()]), convicted: new Set() });
    for (const old of this.settled.splice(0, this.settled.length - this.epochClaims)) {
      const lost = this.commits.filter((commit) => commit.claim === old.claim);
      this.burned += CHALLENGE * BigInt(lost.length);
      this.commits = this.commits.filter((commit) => commit.claim !== old.claim);
    }
  }

  /** Bonds of the accusations of the open claim go to its miner, or back. */
  #endCommits(toMiner: boolean): void {
    const open = this.open!;
    const mine = open.made ? this.commits.filter((commit) => commit.claim === open.id) : [];
    for (const { finder } of mine) this.#pay(toMiner ? open.miner : finder, CHALLENGE);
    this.commits = this.commits.filter((commit) => !mine.includes(commit));
  }

  #fall(outcome: string): void {
    const open = this.open!;
    if (open.made) this.#remember(open);
    this.#endCommits(outcome === 'rejected');
    for (const { challenger } of this.pieces) this.#pay(challenger, CHALLENGE);
    this.pieces = [];
    const miner = this.members.get(open.miner);
    if (open.made && outcome !== 'slashed' && miner !== undefined) {
      miner.locked = miner.locked > BOND ? miner.locked - BOND : 0n;
    }
    this.outcomes.push(outcome);
    this.openNext();
  }

  #settle(late: boolean): void {
    const open = this.open;
    if (open === undefined) return;
    const voters = open.seats.filter((seat) => seat.name !== open.miner);
    const allOpen = (): boolean =>
      [...open.votes].every(([name, vote]) => vote === 'against' || open.receipts.get(name) === true);
    let deadline = late;
    if (open.stage === 'attesting') {
      const disputed = this.commits.some((commit) => commit.claim === open.id);
      if (!deadline && (open.votes.size !== voters.length || disputed)) return;
      open.stage = 'revealing';
      open.since = this.height;
      deadline = false;
      if (!allOpen()) return;
    }
    if (open.stage !== 'revealing' || !(allOpen() || deadline) || this.pieces.length > 0) return;
    // Positive votes that count, by what they name.
    const groups = new Map<number, { name: string; stake: bigint }[]>();
    for (const [name, vote] of open.votes) {
      if (vote === 'against' || open.receipts.get(name) !== true) continue;
      const seat = voters.find((other) => other.name === name)!;
      groups.set(vote, [...(groups.get(vote) ?? []), seat]);
    }
    const total = this.#sum(voters);
    const winner = [...groups].find(([, seats]) => total > 0n && 3n * this.#sum(seats) >= 2n * total);
    if (winner !== undefined) return this.#finalize(open, winner[0], winner[1]);
    this.#countSilence(open, voters);
    if (open.round === 0) {
      this.#endCommits(true);
      Object.assign(open, { round: 1, stage: 'claimed', since: this.height });
      open.votes.clear();
      open.receipts.clear();
      this.outcomes.push('reopened');
      return;
    }
    this.#fall('rejected');
  }

  #countSilence(open: RefClaim, voters: readonly { name: string }[]): void {
    for (const { name } of voters) {
      const member = this.members.get(name);
      if (member === undefined) continue;
      const vote = open.votes.get(name);
      const spoke = vote === 'against' || (vote !== undefined && open.receipts.get(name) === true);
      member.silence = spoke ? 0 : member.silence + 1;
      if (member.silence >= SILENCE && member.status === 'active') member.status = 'ejected';
    }
  }

  #finalize(open: RefClaim, gain: number, seats: readonly { name: string; stake: bigint }[]): void {
    // Two steps a claim, so the window of 40 steps is this claim and 19 before it.
    const window = gain + this.gains.slice(-19).reduce((sum, other) => sum + other, 0);
    const recent = this.windows.slice(-16).sort((a, b) => a - b);
    const median = recent[Math.floor((recent.length - 1) / 2)];
    this.#endCommits(true);
    this.endBond(open);
    this.#reward(open.miner, this.reward);
    this.#reward(open.miner, bonusOf(this.bonus, window, median));
    const total = this.#sum(seats);
    for (const { name, stake } of seats) this.#reward(name, (this.pay * stake) / total);
    this.#countSilence(
      open,
      open.seats.filter((seat) => seat.name !== open.miner),
    );
    this.gains.push(gain);
    this.windows.push(window);
    this.finalized += 1;
    this.#remember(open);
    this.outcomes.push('finalized');
    this.openNext();
  }

  #reward(name: string, amount: bigint): void {
    const paid = amount < this.pool ? amount : this.pool;
    this.pool -= paid;
    this.#pay(name, paid);
  }
}

/** Gains are counted in quarters of a nat. */
function bonusOf(full: bigint, window: number, median: number | undefined): bigint {
  if (window <= 0) return 0n;
  if (median === undefined || median <= 0 || window >= median) return full;
  return 4 * window < median ? 0n : (full * BigInt(window)) / BigInt(median);
}

export const JOB_REWARD = 30n * COIN;
export const JOB_BONUS = 10n * COIN;
export const JOB_PAY = 8n * COIN;
const JOB_COST = JOB_REWARD + JOB_BONUS + JOB_PAY;
const DELIVERY_HEIGHTS = 32;

/** A job of an owner: claims, funds and what is settled are its own; members, balances and heights are the chain's. */
export class ReferenceJob extends ReferenceLedger {
  status: 'open' | 'delivering' | 'closed' = 'open';
  heldBy: string | undefined;
  readonly servers = new Set<string>();
  deliverUntil = 0;

  constructor(
    readonly main: ReferenceLedger,
    readonly owner: string,
    readonly claims: number,
    readonly deadline: number,
    fund: bigint,
    readonly leastStake: bigint,
  ) {
    super([], [], main.epochClaims);
    for (const name of ['height', 'burned'] as const) {
      Object.defineProperty(this, name, {
        get: () => main[name],
        set: (value: never) => {
          main[name] = value;
        },
      });
    }
    Object.assign(this, { balance: main.balance, members: main.members, ids: main.ids, pool: fund });
    Object.assign(this, { reward: JOB_REWARD, bonus: JOB_BONUS, pay: JOB_PAY });
  }

  override get chain(): ReferenceLedger {
    return this.main;
  }

  serve(name: string, serves: boolean): boolean {
    if (this.status !== 'open' || !this.members.has(name) || this.servers.has(name) === serves) return false;
    this.height += 1;
    if (serves) this.servers.add(name);
    else this.servers.delete(name);
    return true;
  }

  protected override serves(name: string): boolean {
    return this.servers.has(name);
  }

  addFund(from: string, amount: bigint): boolean {
    if (this.status !== 'open' || amount <= 0n || (this.balance.get(from) ?? 0n) < amount) return false;
    this.height += 1;
    this.payTo(from, -amount);
    this.pool += amount;
    return true;
  }

  jobTick(): boolean {
    if (this.status === 'closed') return false;
    const at = this.height + 1;
    if (this.status === 'open') {
      if (at < this.deadline || this.open !== undefined) return false;
      this.height = at;
      this.mayOpen();
      return true;
    }
    if (at < this.deliverUntil) return false;
    this.height = at;
    this.#release();
    this.status = 'closed';
    return true;
  }

  #release(): void {
    if (this.heldBy !== undefined) this.unlock(this.heldBy);
    this.heldBy = undefined;
  }

  protected override endBond({ miner }: { readonly miner: string }): void {
    this.#release();
    this.heldBy = miner;
  }

  protected override mayOpen(): boolean {
    const over = this.height >= this.deadline || this.finalized >= this.claims;
    if (over && this.status === 'open') {
      this.payTo(this.owner, this.pool);
      this.pool = 0n;
      this.status = this.finalized === 0 ? 'closed' : 'delivering';
      this.deliverUntil = this.height + DELIVERY_HEIGHTS;
    }
    let stake = 0n;
    for (const name of this.servers) {
      const member = this.members.get(name);
      if (member?.verifier && member.status === 'active' && member.stake >= STAKE) stake += member.stake;
    }
    return this.status === 'open' && this.pool >= JOB_COST && stake >= this.leastStake;
  }
}
