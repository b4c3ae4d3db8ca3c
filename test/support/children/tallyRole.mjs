// A role for tests of child processes: does what its options say, through the ledger of its parent.
import { PogoError } from '../../../dist/errors.js';
import { runRole } from '../../../dist/node/role.js';

const number = (value) => Uint8Array.from([value, 0, 0, 0]);

runRole(async ({ name, options, ledger, signal, report }) => {
  switch (options.work) {
    case 'submit':
      for (const value of options.values) report({ name, result: await ledger.submit(number(value)) });
      return;
    case 'follow': {
      for await (const block of ledger.subscribe(1, signal)) report({ height: block.height, events: block.events });
      return;
    }
    case 'query':
      report({ answer: await ledger.query('/sum', new Uint8Array(new SharedArrayBuffer(3))) });
      await ledger.query('/nothing');
      return;
    case 'fail':
      throw new PogoError('DATA', 'expected text, found none', { path: 'x' });
    case 'crash':
      process.kill(process.pid, 'SIGKILL');
      await new Promise(() => {});
      return;
    case 'stubborn':
      report({ running: true });
      for (;;) await new Promise((resolve) => setTimeout(resolve, 1000));
    case 'idle':
      report({ running: true });
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      return;
  }
});
