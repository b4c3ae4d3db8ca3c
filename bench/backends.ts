/** The backend that is measured, and the oracle it is compared with. */

import { openReferenceBackend, referenceKernels } from '../src/backend/reference.js';
import type { Backend, Kernels } from '../src/backend/types.js';

export async function benchBackend(): Promise<{ readonly backend: Backend; readonly reference: Kernels }> {
  return { backend: openReferenceBackend(), reference: referenceKernels };
}
