// Takes the lock of the directory in argv[2], says so on stdout, and holds it until stdin ends or it is killed.
import { lockDirectory } from '../../../dist/files/lock.js';

try {
  const lock = lockDirectory(process.argv[2]);
  process.stdout.write('held\n');
  process.stdin.on('end', () => {
    lock.release();
  });
  process.stdin.resume();
} catch (error) {
  process.stdout.write(`${JSON.stringify(error)}\n`);
}
