// Opens the embedded ledger of argv[2] on the real store and submits 1, 2, 3, … for ever, printing each height as it is
// answered; or, with argv[3] = check, prints what the store holds.
import { blake3 } from '@noble/hashes/blake3.js';
import { EmbeddedLedger } from '../../../dist/ledger/engine.js';

const encoder = new TextEncoder();
const machine = {
  genesis: () => [],
  apply: async (state, block) => {
    const values = block.transactions.map((bytes) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true));
    return { state: [...state, ...values], events: values.map((value) => ({ type: 'added', value })) };
  },
  encode: (state) => encoder.encode(JSON.stringify(state)),
  decode: (bytes) => JSON.parse(new TextDecoder().decode(bytes)),
  root: (state) => blake3(encoder.encode(JSON.stringify(state))),
};

try {
  const ledger = await EmbeddedLedger.open({ machine, directory: process.argv[2] });
  if (process.argv[3] === 'check') {
    process.stdout.write(`${JSON.stringify({ height: ledger.height, state: ledger.state })}\n`);
    await ledger.close();
  } else {
    for (let value = 1; ; value += 1) {
      const bytes = new Uint8Array(4 + 1000);
      new DataView(bytes.buffer).setUint32(0, value, true);
      const { height } = await ledger.submit(bytes);
      process.stdout.write(`${height}\n`);
    }
  }
} catch (error) {
  process.stdout.write(`${JSON.stringify({ code: error.code, message: error.message })}\n`);
}
