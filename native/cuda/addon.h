// The addon's exports, for the two modules that have them: the shipped one and the one over the device model.
#ifndef POGO_CUDA_ADDON_H
#define POGO_CUDA_ADDON_H

#include <napi.h>

Napi::Object pogo_cuda_initialize(Napi::Env env, Napi::Object exports);

#endif
