// The module that is shipped.
#include "addon.h"

NODE_API_MODULE(pogo_cuda, pogo_cuda_initialize)
