/** What the errors of the operating system mean to who sees them. No Node import: the errors of a browser have none of these. */

/** Code → what it means: what to do. */
const ADVICE: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full: free space and resume; nothing that was committed is lost',
  EDQUOT: 'the disk quota is used up: free space and resume; nothing that was committed is lost',
  EACCES: 'no permission: choose another path, or change its owner or mode',
  EPERM: 'not permitted: choose another path, or change its owner or mode',
  EROFS: 'the file system is read-only: choose another directory',
  ENOENT: 'no such file or directory: check the path',
  EEXIST: 'it already exists: choose another name',
  EISDIR: 'it is a directory: name a file',
  ENOTDIR: 'a part of the path is a file, not a directory: check the path',
  EBUSY: 'it is in use, or another file system is mounted there: name a folder inside it',
  ENOTEMPTY: 'the directory is not empty: choose another name',
  ENAMETOOLONG: 'the name is too long for the file system: choose a shorter one',
  ELOOP: 'too many symbolic links: check the path',
  EFBIG: 'the file is over a size limit: raise it (ulimit -f) and resume; nothing that was committed is lost',
  EMFILE: 'too many open files: raise the limit (ulimit -n)',
  ENOMEM: 'no memory is left: close other programs, or use fewer lanes (POGO_LANES)',
};

/** An error of a system call, as Node gives it. */
export interface SystemError extends Error {
  readonly code?: string;
  readonly syscall?: string;
  readonly path?: string;
}

/** The code of a system error (`ENOENT`), or `undefined` if `error` is another one. */
export function systemErrorCode(error: Error): string | undefined {
  const { code } = error as SystemError;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/**
 * `cannot open FILE (ENOENT): no such file or directory: check the path`.
 * @param target empty where the system does not say it, as of a write to an open file
 */
export function systemErrorText(action: string, target: string, code: string, error: unknown): string {
  const meaning = ADVICE[code] ?? (error instanceof Error ? error.message : String(error));
  return `cannot ${action}${target === '' ? '' : ` ${target}`} (${code}): ${meaning}`;
}
