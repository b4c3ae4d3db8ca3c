// Loaded before a program (`--import`): sends it SIGTERM as soon as it listens, before it has begun any work.
const timer = setInterval(() => {
  if (process.listenerCount('SIGTERM') === 0) return;
  clearInterval(timer);
  process.kill(process.pid, 'SIGTERM');
}, 1);
timer.unref();
