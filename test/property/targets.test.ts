/** What a user named to be written, on disks that die at any byte: the old or the new is there, and never a part. */
import { describe, expect, it } from 'vitest';
import { unfinishedPath } from '../../src/files/durable.js';
import { placeGroup } from '../../src/files/fileGroup.js';
import { type FileLayer, readWholeFile } from '../../src/files/fileLayer.js';
import { type FolderKind, placeFolder, requireFreeFolder, writeTarget } from '../../src/files/target.js';
import { crashSweep } from '../support/crashSweep.js';
import { FaultFiles } from '../support/faultFiles.js';
import { seededBytes } from '../support/random.js';
import { refusal } from '../support/refusal.js';

const OLD = seededBytes(400, 1);
const NEW = seededBytes(500, 2);
const PAIR: FolderKind = { name: 'a pair', files: ['a', 'b'] };

function write(files: FileLayer, file: string, bytes: Uint8Array): void {
  const handle = files.open(file, 'exclusive');
  handle.write(bytes, 0);
  handle.sync();
  handle.close();
}

function disk(...names: string[]): FaultFiles {
  const files = new FaultFiles();
  files.makeDirectory('/d');
  for (const name of names) write(files, `/d/${name}`, OLD);
  files.syncDirectory('/d');
  return files;
}

describe('writeTarget', () => {
  it('replaces nothing without force, and leaves a file with the same bytes', async () => {
    const files = disk('file');
    expect(await refusal(() => writeTarget('/d/file', NEW, false, files))).toMatch(
      /^IO: expected nothing at \/d\/file, found a file of 400 bytes; name another, or replace it with --force$/,
    );
    writeTarget('/d/file', OLD, false, files);
    expect(readWholeFile(files, '/d/file', 999)).toEqual(OLD);
    expect(await refusal(() => writeTarget('/d', NEW, true, files))).toMatch(/expected no folder .*name a file in it$/);
  });

  it('makes folders, and takes them back where the disk is full', async () => {
    const files = disk();
    writeTarget('/d/new/folder/file', OLD, false, files);
    expect(readWholeFile(files, '/d/new/folder/file', 999)).toEqual(OLD);
    files.capacity = 450;
    const message = await refusal(() => writeTarget('/d/other/folder/file', NEW, false, files));
    expect(message).toMatch(/^IO: cannot write .*\(ENOSPC\)/);
    expect(message).not.toContain('unfinished');
    expect(files.list('/d')).toEqual(['new']);
  });

  it('has the old or the new bytes after any crash; the same command then clears what is left', async () => {
    const seen = new Set<string>();
    await crashSweep(
      (files) => {
        files.makeDirectory('/d');
        write(files, '/d/file', OLD);
        files.syncDirectory('/d');
      },
      (files) => writeTarget('/d/file', NEW, true, files),
      (files) => {
        const found = readWholeFile(files, '/d/file', 999);
        expect([OLD, NEW]).toContainEqual(found);
        seen.add(found.length === OLD.length ? 'old' : 'new');
      },
      17,
    );
    expect(seen).toEqual(new Set(['old', 'new']));
    // A process id that no system gives.
    const files = disk('file', '.unfinished-file-4194999-1', '.unfinished-other-4194999-1');
    writeTarget('/d/file', NEW, true, files);
    expect(files.list('/d')).toEqual(['.unfinished-other-4194999-1', 'file']);
  });
});

describe('a group of files', () => {
  /** What a reader of shards finds: everything old, everything new, or no door; anything else is a mixture. */
  function found(files: FaultFiles): string {
    const names = files.list('/d');
    const text = (name: string): string => new TextDecoder().decode(readWholeFile(files, `/d/${name}`, 9999));
    const door = ['single', 'index'].find((name) => names.includes(name));
    if (door === undefined) return 'none';
    const [age, ...parts] = text(door).split(' ');
    for (const part of parts) expect(text(part).slice(0, 3)).toBe(age);
    return age as string;
  }

  /** A group by its parts; without any it is a single file. */
  const group = (age: string, parts: readonly string[]): [string, string][] => [
    ...parts.map((part): [string, string] => [part, age.repeat(40)]),
    [parts.length > 0 ? 'index' : 'single', [age, ...parts].join(' ')],
  ];

  const cases = [
    { from: [], to: ['1of2', '2of2'], gap: false },
    { from: ['1of2', '2of2'], to: [], gap: false },
    { from: ['1of2', '2of2'], to: ['1of3', '2of3', '3of3'], gap: false },
    { from: ['1of2', '2of2'], to: ['1of2', '2of2'], gap: true },
    { from: [], to: [], gap: false },
  ];
  it.each(cases)('of $from that become $to is old or new after any crash, or has no door: $gap', async (test) => {
    const seen = new Set<string>();
    const store = (files: FaultFiles, name: string, text: string): void =>
      write(files, `/d/${name}`, new TextEncoder().encode(text));
    const replace = (files: FaultFiles): void => {
      const whole = group('new', test.to).map(([name, text]) => {
        const draft = unfinishedPath(`/d/${name}`);
        write(files, draft, new TextEncoder().encode(text));
        return { whole: draft, file: `/d/${name}` };
      });
      const stale = files.list('/d').filter((name) => name.includes('of') && !name.startsWith('.'));
      placeGroup(
        {
          parts: whole.slice(0, -1),
          door: whole.at(-1) as (typeof whole)[number],
          oldDoors: [test.to.length > 0 ? '/d/single' : '/d/index'],
          oldParts: stale.filter((name) => !test.to.includes(name)).map((name) => `/d/${name}`),
        },
        files,
      );
    };
    const whole = group('new', test.to).map(([name]) => name);
    await crashSweep(
      (files) => {
        files.makeDirectory('/d');
        for (const [name, text] of group('old', test.from)) store(files, name, text);
        files.syncDirectory('/d');
      },
      replace,
      (files) => {
        seen.add(found(files));
        replace(files); // mends whatever was left
        expect(found(files)).toBe('new');
        expect(files.list('/d').filter((name) => !name.startsWith('.'))).toEqual(whole.sort());
      },
      61,
    );
    expect([...seen].sort()).toEqual(test.gap ? ['new', 'none', 'old'] : ['new', 'old']);
  });
});

describe('a folder', () => {
  const prepare = (files: FaultFiles): void => {
    files.makeDirectory('/d/pair');
    for (const name of PAIR.files) write(files, `/d/pair/${name}`, OLD);
    files.syncDirectory('/d/pair');
    files.syncDirectory('/d');
  };

  it('is replaced by force alone, and only one of its kind', async () => {
    const files = new FaultFiles();
    prepare(files);
    const taken = (force: boolean) => refusal(() => requireFreeFolder('/d/pair', PAIR, force, files));
    expect(await taken(false)).toBe(
      'IO: expected nothing at /d/pair, found a pair; name another, or replace it with --force',
    );
    expect(await taken(true)).toBe('accepted');
    write(files, '/d/pair/letter', OLD);
    expect(await taken(true)).toBe('IO: expected nothing at /d/pair, found a folder with letter; name another folder');
    files.makeDirectory('/d/empty');
    expect(await refusal(() => requireFreeFolder('/d/empty', PAIR, false, files))).toBe('accepted');
  });

  it('is the old or the new one after any crash, or both stand whole under unfinished names', async () => {
    const seen = new Set<string>();
    const contents = (files: FileLayer, folder: string): number[] =>
      files.list(folder).map((name) => readWholeFile(files, `${folder}/${name}`, 999).length);
    await crashSweep(
      prepare,
      (files) => {
        const whole = unfinishedPath('/d/pair');
        files.makeDirectory(whole);
        for (const name of PAIR.files) write(files, `${whole}/${name}`, NEW);
        files.syncDirectory(whole);
        placeFolder(whole, '/d/pair', files);
      },
      (files) => {
        const names = files.list('/d');
        const found = names.includes('pair') ? contents(files, '/d/pair') : [];
        if (found.length > 0)
          expect([
            [400, 400],
            [500, 500],
          ]).toContainEqual(found);
        else
          expect(names.map((name) => contents(files, `/d/${name}`)).sort()).toEqual([
            [400, 400],
            [500, 500],
          ]);
        seen.add(String(found[0]));
      },
      97,
    );
    expect([...seen].sort()).toEqual(['400', '500', 'undefined']);
    const files = new FaultFiles();
    prepare(files);
    files.makeDirectory('/d/.unfinished-pair-4194999-1');
    write(files, '/d/.unfinished-pair-4194999-1/a', NEW);
    files.makeDirectory('/d/whole');
    placeFolder('/d/whole', '/d/pair', files);
    expect(files.list('/d')).toEqual(['pair']);
  });
});
