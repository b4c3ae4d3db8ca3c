// `npm run bench`: sets up, compiles `bench/` into `.tools/bench` and runs it with the given arguments.
import { cli, runProgram } from './lib/project.mjs';
import { setup } from './setup.mjs';

await cli(async (args) => {
  await setup({ quiet: true });
  const result = await runProgram(process.execPath, ['bench/build.mjs', ...args], { stdio: 'inherit' });
  return result.code;
});
