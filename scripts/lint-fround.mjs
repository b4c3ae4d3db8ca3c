// Checks that TypeScript on the exact path does one binary32 rounding per float operation.
//   node scripts/lint-fround.mjs [FILE…]      (default: src/reference/ and files that begin with `// exact-arithmetic`)
//
// A value is a *float* if it is read from a Float32Array, is a constant F32_…, is the result of Math.fround, Math.sqrt or of
// a function that returns a float, is assigned from a float, or takes part in an operation that somebody rounded. Found by
// propagation over the symbols of the program, so no annotation is needed. The rules:
//   1. + − * / on a float is the direct argument of Math.fround (or `f32`, `fround`); no compound assignment, %, ** or ++ on one
//   2. a division is rounded, stands in Math.floor, Math.ceil, Math.trunc or `| 0`, or divides an integer by a named unit (n / LEAF)
//   3. Math.sqrt is the direct argument of Math.fround; Math.min and Math.max take no float (−0 and NaN differ by machine)
//   4. no other function of Math than those below, no Float64Array
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import ts from 'typescript';
import { cli, isMain, ROOT } from './lib/project.mjs';
import { filesUnder } from './lib/stamp.mjs';

const ALLOWED_MATH = new Set('fround sqrt abs floor ceil trunc min max imul clz32 sign PI E LN2 LOG2E'.split(' '));
const INTEGER_PARTS = new Set(['floor', 'ceil', 'trunc']);
const { SyntaxKind: Kind } = ts;
const ARITHMETIC = new Set([Kind.PlusToken, Kind.MinusToken, Kind.AsteriskToken, Kind.SlashToken]);
const NEVER = new Set([Kind.PercentToken, Kind.AsteriskAsteriskToken]);
const COMPOUND = new Set([
  Kind.PlusEqualsToken,
  Kind.MinusEqualsToken,
  Kind.AsteriskEqualsToken,
  Kind.SlashEqualsToken,
  Kind.PercentEqualsToken,
  Kind.AsteriskAsteriskEqualsToken,
]);

/** The files that are held to the rules. */
export function exactFiles() {
  const marked = filesUnder(['src']).filter(
    (file) => file.endsWith('.ts') && /^(?:[^\n]*\n){0,4}\/\/ exact-arithmetic/.test(readFileSync(file, 'utf8')),
  );
  const reference = filesUnder(['src/reference']).filter((file) => file.endsWith('.ts'));
  return [...new Set([...reference, ...marked])].sort();
}

/** The expression inside parentheses, `as` and `!`. */
function bare(node) {
  while (ts.isParenthesizedExpression(node) || ts.isAsExpression(node) || ts.isNonNullExpression(node))
    node = node.expression;
  return node;
}

/** The parent, past parentheses and the like. */
function outer(node) {
  let parent = node.parent;
  while (ts.isParenthesizedExpression(parent) || ts.isAsExpression(parent) || ts.isNonNullExpression(parent))
    parent = parent.parent;
  return parent;
}

const mathName = (node) =>
  ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Math'
    ? node.name.text
    : undefined;

function isRounding(call) {
  const callee = call.expression;
  return (
    mathName(callee) === 'fround' || (ts.isIdentifier(callee) && (callee.text === 'f32' || callee.text === 'fround'))
  );
}

const isRounded = (node) => {
  const parent = outer(node);
  return ts.isCallExpression(parent) && isRounding(parent);
};

/**
 * Which expressions are floats: rounded results, elements of float arrays, and whatever they are assigned to, returned from, or
 * computed with.
 *
 * @returns {{isNumber: (node: ts.Node) => boolean, isFloat: (node: ts.Node) => boolean}}
 */
function inferFloats(checker, sources) {
  /** Symbols and functions whose value is a float; grows until nothing changes. */
  const floats = new Set();

  const symbolOf = (node) => {
    const found = ts.isPropertyAccessExpression(node)
      ? checker.getSymbolAtLocation(node.name)
      : ts.isIdentifier(node)
        ? checker.getSymbolAtLocation(node)
        : undefined;
    return found && found.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(found) : found;
  };
  const isNumber = (node) => (checker.getTypeAtLocation(node).flags & ts.TypeFlags.NumberLike) !== 0;
  const arrayName = (node) => checker.getTypeAtLocation(node).symbol?.name;

  const isFloat = (node) => {
    node = bare(node);
    if (ts.isElementAccessExpression(node)) {
      const name = arrayName(node.expression);
      return name === 'Float32Array' || name === 'Float64Array';
    }
    if (ts.isCallExpression(node)) {
      const name = mathName(node.expression);
      if (isRounding(node) || name === 'sqrt') return true;
      if (name === 'abs' || name === 'min' || name === 'max') return node.arguments.some(isFloat);
      const declaration = checker.getResolvedSignature(node)?.declaration;
      return declaration !== undefined && floats.has(declaration);
    }
    if (ts.isIdentifier(node) || ts.isPropertyAccessExpression(node)) {
      const name = ts.isIdentifier(node) ? node.text : node.name.text;
      return name.startsWith('F32_') || floats.has(symbolOf(node));
    }
    if (ts.isConditionalExpression(node)) return isFloat(node.whenTrue) || isFloat(node.whenFalse);
    if (ts.isPrefixUnaryExpression(node)) return node.operator === Kind.MinusToken && isFloat(node.operand);
    if (ts.isBinaryExpression(node)) {
      const kind = node.operatorToken.kind;
      if (kind === Kind.EqualsToken) return isFloat(node.right);
      if (ARITHMETIC.has(kind) || NEVER.has(kind)) return isNumber(node) && (isFloat(node.left) || isFloat(node.right));
    }
    return false;
  };

  const enclosingFunction = (node) => {
    while (node !== undefined && !ts.isFunctionLike(node)) node = node.parent;
    return node;
  };
  const add = (key) => {
    if (key === undefined || floats.has(key)) return false;
    floats.add(key);
    return true;
  };
  /** Bindings that no rounding reaches: loop counters and other integers keep out because nothing float is assigned to them. */
  const propagate = (node) => {
    let changed = false;
    if (
      ts.isVariableDeclaration(node) &&
      node.initializer &&
      ts.isIdentifier(node.name) &&
      isNumber(node.name) &&
      isFloat(node.initializer)
    ) {
      changed = add(symbolOf(node.name));
    } else if (ts.isBinaryExpression(node) && node.operatorToken.kind === Kind.EqualsToken && isFloat(node.right)) {
      changed = add(symbolOf(bare(node.left)));
    } else if (ts.isReturnStatement(node) && node.expression && isFloat(node.expression)) {
      changed = add(enclosingFunction(node));
    } else if (ts.isArrowFunction(node) && !ts.isBlock(node.body) && isFloat(node.body)) {
      changed = add(node);
    } else if (ts.isBinaryExpression(node) && ARITHMETIC.has(node.operatorToken.kind) && isRounded(node)) {
      for (const side of [bare(node.left), bare(node.right)]) {
        const symbol = symbolOf(side);
        // A parameter or field that takes part in a rounded operation. A `const` or `let` says by its assignments what it is.
        const declared = symbol?.valueDeclaration;
        const open =
          declared && (ts.isParameter(declared) || ts.isPropertySignature(declared) || ts.isBindingElement(declared));
        if (open && isNumber(side)) changed = add(symbol) || changed;
      }
    }
    ts.forEachChild(node, (child) => {
      changed = propagate(child) || changed;
    });
    return changed;
  };
  while (sources.map((file) => propagate(file)).some(Boolean));
  return { isNumber, isFloat };
}

/**
 * @param files absolute paths
 * @param options compiler options beside those of tsconfig.json
 * @returns {{file: string, line: number, column: number, message: string}[]}
 */
export function lintFround(files, options = {}) {
  const config = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile).config;
  const parsed = ts.parseJsonConfigFileContent({ ...config, include: [], files: [] }, ts.sys, ROOT).options;
  const program = ts.createProgram(files, { ...parsed, ...options, noEmit: true });
  const checker = program.getTypeChecker();
  const sources = program.getSourceFiles().filter((file) => !file.isDeclarationFile);
  const { isNumber, isFloat } = inferFloats(checker, sources);

  const problems = [];
  const report = (node, message) => {
    const source = node.getSourceFile();
    const { line, character } = source.getLineAndCharacterOfPosition(node.getStart());
    problems.push({ file: source.fileName, line: line + 1, column: character + 1, message });
  };
  /** A constant such as CHUNK_BYTES: an exact division of lengths. */
  const isUnit = (node) =>
    /^[A-Z][A-Z0-9_]*$/.test(ts.isPropertyAccessExpression(node) ? node.name.text : node.getText());
  const becomesInteger = (node) => {
    const parent = outer(node);
    if (ts.isCallExpression(parent)) return INTEGER_PARTS.has(mathName(parent.expression));
    return ts.isBinaryExpression(parent) && parent.operatorToken.kind === Kind.BarToken;
  };
  const check = (node) => {
    if (ts.isBinaryExpression(node)) {
      const kind = node.operatorToken.kind;
      const float = isFloat(node.left) || isFloat(node.right);
      if (ARITHMETIC.has(kind) && isNumber(node) && !isRounded(node)) {
        if (float) report(node, 'an operation on a float is not rounded by its own Math.fround');
        else if (kind === Kind.SlashToken && !becomesInteger(node) && !isUnit(node.right))
          report(node, 'a division is neither rounded nor made an integer');
      }
      if (NEVER.has(kind) && float) report(node, '% and ** are not exact arithmetic');
      if (COMPOUND.has(kind) && isNumber(node) && (float || kind === Kind.SlashEqualsToken)) {
        report(node, 'a compound assignment on a float is not rounded: write x = f32(x op y)');
      }
    }
    const increment = ts.isPrefixUnaryExpression(node) || ts.isPostfixUnaryExpression(node);
    if (
      increment &&
      (node.operator === Kind.PlusPlusToken || node.operator === Kind.MinusMinusToken) &&
      isFloat(node.operand)
    ) {
      report(node, '++ and -- on a float are not rounded');
    }
    const name = mathName(node);
    if (name !== undefined && !ALLOWED_MATH.has(name)) report(node, `Math.${name} is not exact arithmetic`);
    if (ts.isCallExpression(node)) {
      const called = mathName(node.expression);
      if (called === 'sqrt' && !isRounded(node)) report(node, 'Math.sqrt is not rounded by Math.fround');
      if ((called === 'min' || called === 'max') && node.arguments.some(isFloat)) {
        report(node, `Math.${called} of floats: compare instead`);
      }
    }
    if (ts.isIdentifier(node) && node.text === 'Float64Array') report(node, 'Float64Array on the exact path');
    ts.forEachChild(node, check);
  };
  const wanted = new Set(files);
  for (const source of sources) if (wanted.has(source.fileName)) check(source);
  return problems;
}

if (isMain(import.meta.url)) {
  await cli((args) => {
    const files = args.length > 0 ? args.map((file) => join(process.cwd(), file)) : exactFiles();
    const problems = lintFround(files);
    for (const { file, line, column, message } of problems) {
      process.stderr.write(`${relative(ROOT, file)}:${line}:${column}: ${message}\n`);
    }
    process.stderr.write(`exact arithmetic: ${files.length} files, ${problems.length} problems\n`);
    return problems.length > 0 ? 1 : 0;
  });
}
