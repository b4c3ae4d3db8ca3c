// Loaded in place of the CPU addon (POGO_CPU_ADDON): records the calls that src/backend/cpu.ts makes, and computes nothing.
const calls = [];

const own = {
  recordedCalls: calls,
  describe: () => ({
    isa: 'scalar',
    isas: { scalar: { built: true, machine: true, calls: 0, reason: '' } },
    features: [],
  }),
  setIsa: (name) => name,
};

module.exports = new Proxy(own, {
  get: (target, name) => target[name] ?? ((...positional) => calls.push({ method: name, positional })),
});
