/** The backend that is measured, by POGO_BACKEND and POGO_ISA as everywhere, and the oracle it is compared with. */

import { openBackend } from '../src/backend/open.js';
import { referenceKernels } from '../src/backend/reference.js';
import type { Backend, Kernels } from '../src/backend/types.js';

export function benchBackend(): { readonly backend: Backend; readonly reference: Kernels } {
  return { backend: openBackend(), reference: referenceKernels };
}
