/** A browser that is installed on this machine, driven by playwright-core; nothing is downloaded. */
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'];

/** Path of a Chromium: POGO_TEST_BROWSER, or the first on PATH; undefined where there is none. */
export function findBrowser(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const forced = env['POGO_TEST_BROWSER'];
  if (forced !== undefined && forced !== '') return forced;
  const folders = (env['PATH'] ?? '').split(delimiter);
  return NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find((file) => existsSync(file));
}

/** Starts it without a window. Root and containers have no sandbox to give it. */
export function openBrowser(executablePath: string): Promise<Browser> {
  const args = process.getuid?.() === 0 ? ['--no-sandbox', '--disable-dev-shm-usage'] : ['--disable-dev-shm-usage'];
  return chromium.launch({ executablePath, args });
}
