// Loaded before a program (`--import`): SIGTERM as soon as it listens, before it has begun any work. Emitted, not sent: what the
// system sends is told in a turn of the event loop, and how many of those loading takes is each Node's own.
process.on('newListener', (name) => {
  if (name === 'SIGTERM') queueMicrotask(() => process.emit('SIGTERM'));
});
