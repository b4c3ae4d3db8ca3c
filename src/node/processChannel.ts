/** Node's child process channel as a {@link Channel}, from either end. Both ends use `serialization: 'advanced'`. */
import type { ChildProcess } from 'node:child_process';
import { PogoError } from '../errors.js';
import type { Channel } from './ipc.js';

/** The parts of `process` and of a ChildProcess that carry messages. */
type End = Pick<ChildProcess, 'connected' | 'on' | 'off'> & {
  send?: (message: object, callback: (error: Error | null) => void) => boolean;
};

function channelOf(end: End): Channel {
  return {
    send(message) {
      // A message to a process that is just going away is lost; its `disconnect` or `exit` tells who needs to know.
      if (end.connected) end.send?.(message, () => undefined);
    },
    onMessage(listener) {
      end.on('message', listener);
      return () => end.off('message', listener);
    },
    onClose(listener) {
      let called = false;
      const once = (): void => {
        if (called) return;
        called = true;
        listener();
      };
      end.on('disconnect', once);
      end.on('exit', once);
      if (!end.connected) queueMicrotask(once);
      return () => {
        end.off('disconnect', once);
        end.off('exit', once);
      };
    },
  };
}

/** The parent's end of a child forked with `serialization: 'advanced'`. */
export function childChannel(child: ChildProcess): Channel {
  return channelOf(child as End);
}

/** The child's end. @throws PogoError USAGE if this process was not forked */
export function parentChannel(): Channel {
  if (process.send === undefined) {
    throw new PogoError('USAGE', 'expected to be started by pogo as a child process, found no channel to a parent');
  }
  return channelOf(process as unknown as End);
}
