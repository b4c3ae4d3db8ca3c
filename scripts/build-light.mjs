// Bundles the example page of the light client into one file that needs nothing else.
//   node scripts/build-light.mjs [OUT]      default: .tools/light/index.html; needs dist/
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { build } from 'esbuild';
import { cli, isMain, progress, ROOT, TOOLS } from './lib/project.mjs';

const EXAMPLE = join(ROOT, 'examples', 'light');
const PLACE = '/* script */';

/** @returns the page as text: HTML with its script inside */
export async function lightPage() {
  const result = await build({
    entryPoints: [join(EXAMPLE, 'page.ts')],
    bundle: true,
    write: false,
    platform: 'browser',
    format: 'iife',
    target: 'es2022',
    minify: true,
    legalComments: 'none',
    inject: [join(EXAMPLE, 'buffer.ts')],
    alias: { 'proof-of-gradient/light': join(ROOT, 'dist', 'light.js') },
  });
  const script = result.outputFiles[0].text.replaceAll('</script', '<\\/script');
  const html = readFileSync(join(EXAMPLE, 'page.html'), 'utf8');
  return html.replace(PLACE, () => script);
}

if (isMain(import.meta.url)) {
  await cli(async ([out = join(TOOLS, 'light', 'index.html')]) => {
    const file = resolve(out);
    const page = await lightPage();
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, page);
    progress(`light page: ${file}, ${(page.length / 1024).toFixed(0)} KiB`);
    return 0;
  });
}
