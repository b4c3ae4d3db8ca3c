// Loaded before a program (`--import`): a file system without hard links, such as FAT and exFAT.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

fs.linkSync = (from, to) => {
  throw Object.assign(new Error(`EPERM: operation not permitted, link '${from}' -> '${to}'`), {
    errno: -1,
    code: 'EPERM',
    syscall: 'link',
  });
};
syncBuiltinESMExports();
