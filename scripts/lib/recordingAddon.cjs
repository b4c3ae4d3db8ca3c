// Loaded in place of the CPU addon (POGO_CPU_ADDON): records the calls that src/backend/cpu.ts makes, and computes nothing.
const calls = [];

const set = { built: true, machine: true, calls: 0, reason: '' };
const own = {
  recordedCalls: calls,
  describe: () => ({ isa: 'scalar', isas: { scalar: set }, features: [] }),
  setIsa: (name) => name,
  // Enough for every set; kernel_test.cc cuts the array to what its set needs.
  packedBytes: (rows, cols) => (rows + 64) * (2 * cols + 256),
};

module.exports = new Proxy(own, {
  get: (target, name) => target[name] ?? ((...positional) => calls.push({ method: name, positional })),
});
