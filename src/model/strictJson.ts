/**
 * JSON without repeated keys. `JSON.parse` keeps the last of two equal keys in silence, so two readers of one file
 * could see two different objects; here that is an error.
 */

/** Whoever walks what was read may call itself once a level. No format here has more than a dozen. */
const MAX_DEPTH = 256;

/** The SyntaxError of an object with two equal keys. */
export class RepeatedKey extends SyntaxError {
  constructor(key: string) {
    super(`the key ${JSON.stringify(key.slice(0, 80))} appears twice`);
  }
}

/**
 * @param text JSON
 * @returns what `JSON.parse` returns
 * @throws SyntaxError for text that is no JSON, or is nested without need; {@link RepeatedKey} for an object with a key twice
 */
export function parseStrictJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  // The text is valid JSON from here on, so the scan below needs to know strings, braces and colons only.
  const open: (Set<string> | null)[] = []; // one set of keys for each open object, null for each open array
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (open.length > MAX_DEPTH) throw new SyntaxError(`values in more than ${MAX_DEPTH} others`);
    if (character === '{') open.push(new Set());
    else if (character === '[') open.push(null);
    else if (character === '}' || character === ']') open.pop();
    else if (character === '"') {
      const start = at;
      at = endOfString(text, at);
      const keys = open[open.length - 1];
      if (keys === null || keys === undefined || !isKey(text, at + 1)) continue;
      const key = JSON.parse(text.slice(start, at + 1)) as string; // unescaped: "\u0061" and "a" are one key
      if (keys.has(key)) throw new RepeatedKey(key);
      keys.add(key);
    }
  }
  return value;
}

/** Of the string that opens at `start`: where its closing quote is. Long texts are passed over by the engine's search. */
function endOfString(text: string, start: number): number {
  for (let end = start; ; ) {
    end = text.indexOf('"', end + 1);
    let slashes = 0;
    while (text[end - 1 - slashes] === '\\') slashes += 1;
    if (slashes % 2 === 0) return end;
  }
}

/** Whether a colon follows: then the string before was a key. */
function isKey(text: string, at: number): boolean {
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++;
  return text[at] === ':';
}
