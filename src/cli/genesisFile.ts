/** The genesis of a chain as a file: its SSZ. */
import { readWholeFile, realFiles } from '../files/fileLayer.js';
import { type Genesis, GenesisType } from '../protocol/ledgerTypes.js';
import { decodeStrict } from '../protocol/ssz.js';

/** 65,536 accounts and members take 15 MB. */
const MAX_GENESIS_BYTES = 1 << 25;

/** @throws PogoError IO, MALFORMED */
export function readGenesis(file: string): Genesis {
  return decodeStrict(GenesisType, readWholeFile(realFiles, file, MAX_GENESIS_BYTES), MAX_GENESIS_BYTES);
}
