/** Safetensors files from a test's own values: an encoder that shares only the header's with the code under test. */
import { writeFile } from 'node:fs/promises';
import { type SafetensorsDtype, serializeSafetensorsHeader } from '../../src/model/safetensors.js';

export interface FileTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: readonly number[];
  readonly dtype?: SafetensorsDtype;
}

export async function writeTensors(path: string, tensors: readonly FileTensor[], metadata = {}): Promise<void> {
  const entries = tensors.map(({ name, shape, dtype = 'F32' }) => ({ name, shape, dtype }));
  const { bytes } = serializeSafetensorsHeader(entries, metadata);
  const parts = tensors.map(({ values, dtype = 'F32' }) => {
    if (dtype === 'F32') return Buffer.from(Float32Array.from(values).buffer);
    if (dtype === 'BF16')
      return Buffer.from(Uint16Array.from(new Uint32Array(Float32Array.from(values).buffer), (b) => b >>> 16).buffer);
    return Buffer.from(Int32Array.from(values).buffer);
  });
  await writeFile(path, Buffer.concat([bytes, ...parts]));
}

/** Several files and their index, tensors dealt out in turn. */
export async function writeSharded(folder: string, tensors: readonly FileTensor[], count: number): Promise<void> {
  const name = (shard: number): string => `model-${shard + 1}-of-${count}.safetensors`;
  const map: Record<string, string> = {};
  for (let shard = 0; shard < count; shard++) {
    const own = tensors.filter((_, i) => i % count === shard);
    for (const tensor of own) map[tensor.name] = name(shard);
    await writeTensors(`${folder}/${name(shard)}`, own, { format: 'pt' });
  }
  await writeFile(`${folder}/model.safetensors.index.json`, JSON.stringify({ metadata: {}, weight_map: map }));
}

/** All tensors of a GPT-2 with one layer of width 64, as Hugging Face names and shapes them. Values are exact in bf16. */
export function gpt2Tensors(prefix: string, dtype: SafetensorsDtype = 'F32', vocab = 257, context = 64): FileTensor[] {
  const C = 64;
  const F = 256;
  const shapes: [string, number[]][] = [
    ['wte.weight', [vocab, C]],
    ['wpe.weight', [context, C]],
    ['h.0.ln_1.weight', [C]],
    ['h.0.ln_1.bias', [C]],
    ['h.0.attn.c_attn.weight', [C, 3 * C]],
    ['h.0.attn.c_attn.bias', [3 * C]],
    ['h.0.attn.c_proj.weight', [C, C]],
    ['h.0.attn.c_proj.bias', [C]],
    ['h.0.ln_2.weight', [C]],
    ['h.0.ln_2.bias', [C]],
    ['h.0.mlp.c_fc.weight', [C, F]],
    ['h.0.mlp.c_fc.bias', [F]],
    ['h.0.mlp.c_proj.weight', [F, C]],
    ['h.0.mlp.c_proj.bias', [C]],
    ['ln_f.weight', [C]],
    ['ln_f.bias', [C]],
  ];
  return shapes.map(([name, shape], t) => {
    const size = shape.reduce((product, axis) => product * axis, 1);
    return {
      name: prefix + name,
      shape,
      dtype,
      values: Array.from({ length: size }, (_, i) => ((i * 7 + t) % 255) - 127),
    };
  });
}
