// Checks the CPU addon against every known-answer vector, on each instruction set that build and machine have.
//   [POGO_CPU_ADDON=FILE] node scripts/vector-check.mjs [--require SET]
// Exit code 0 all bits as committed, 1 some differ, 5 no addon, or SET cannot run here.
// Needs `dist/`.
import { cli, ScriptError } from './lib/project.mjs';

await cli(async (args) => {
  const { loadCpuAddon } = await import('../dist/backend/cpuAddon.js');
  const { openCpuBackend } = await import('../dist/backend/cpu.js');
  const { selfTest } = await import('../dist/backend/selfTest.js');
  const loaded = loadCpuAddon();
  if (loaded.addon === undefined) throw new ScriptError(`error ENVIRONMENT: ${loaded.reason}; ${loaded.fix}`, 5);
  const { isas } = loaded.addon.describe();
  const required = args[0] === '--require' ? args[1] : undefined;
  if (required !== undefined && isas[required]?.reason !== '') {
    throw new ScriptError(`error ENVIRONMENT: expected ${required}, found: ${isas[required]?.reason}`, 5);
  }
  let failed = 0;
  for (const isa of Object.keys(isas).filter((name) => isas[name].reason === '')) {
    const results = selfTest(openCpuBackend(isa).kernels);
    const wrong = results.filter((result) => !result.ok);
    failed += wrong.length;
    const cases = results.reduce((sum, result) => sum + result.cases, 0);
    process.stderr.write(
      `vectors: cpu/${isa}: ${cases} cases of ${results.length} operations, ${wrong.length} operations differ\n`,
    );
    for (const result of wrong.slice(0, 3)) process.stderr.write(`  ${result.message.slice(0, 300)}\n`);
  }
  return failed > 0 ? 1 : 0;
});
