// Compiles the device code of .cu files by a runtime compiler (NVRTC), for releases of CUDA whose nvcc cannot be had: its front end
// and assembler are those of the release. Host code is parsed as device code and stands beside the kernels; a launch only names its
// kernel (device_code.h). Nothing runs.
//   nvrtc_compile LIBRARY ARCHITECTURE FOLDER FILE...     LIBRARY: libnvrtc.so; ARCHITECTURE: sm_80, …; FOLDER: native/cuda
// A line for each file: its name, 0 or the error, bytes of machine code. Exit code 0 all compiled, 1 not, 2 bad arguments, 5 no library.
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

typedef struct Program_* Program;

/** Headers of the host that the kernels name, as far as device code needs them: the compiler has the rest built in. */
const char* const HEADERS[][2] = {
    {"stdint.h",
     "#pragma once\n"
     "typedef signed char int8_t; typedef short int16_t; typedef int int32_t; typedef long int64_t;\n"
     "typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t;\n"
     "typedef unsigned long uint64_t; typedef unsigned long uintptr_t;\n"},
    {"stddef.h", "#pragma once\ntypedef unsigned long size_t;\n"},
    {"float.h", "#pragma once\n#define FLT_EVAL_METHOD 0\n"},
    {"math.h", "#pragma once\n"},
    {"string.h", "#pragma once\n"},
    {"stdlib.h", "#pragma once\n"},
    {"atomic", "#pragma once\n"},
    {"tuple", "#pragma once\n"},
    {"utility", "#pragma once\n"},
    {"type_traits",
     "#pragma once\n"
     "namespace std {\n"
     "template <class A, class B> struct is_same { static constexpr bool value = false; };\n"
     "template <class A> struct is_same<A, A> { static constexpr bool value = true; };\n"
     "template <class A, class B> constexpr bool is_same_v = is_same<A, B>::value;\n"
     "}\n"},
    {"cuda.h", "#pragma once\nstruct alignas(64) CUtensorMap { unsigned long opaque[16]; };\n"},
    {"cuda_runtime.h",
     "#pragma once\n"
     "inline const char* cudaGetErrorString(cudaError_t) { return \"\"; }\n"
     "inline cudaError_t cudaMemsetAsync(void*, int, unsigned long, cudaStream_t) { return cudaSuccess; }\n"},
};

template <class F>
bool find(void* library, const char* name, F* function) {
  *function = reinterpret_cast<F>(dlsym(library, name));
  if (*function == nullptr) fprintf(stderr, "nvrtc_compile: the library has no %s\n", name);
  return *function != nullptr;
}

struct Compiler {
  int (*create)(Program*, const char*, const char*, int, const char* const*, const char* const*);
  int (*compile)(Program, int, const char* const*);
  int (*log_size)(Program, size_t*);
  int (*log)(Program, char*);
  int (*code_size)(Program, size_t*);
  int (*destroy)(Program*);

  bool load(void* library) {
    return find(library, "nvrtcCreateProgram", &create) && find(library, "nvrtcCompileProgram", &compile) && find(library, "nvrtcGetProgramLogSize", &log_size) &&
           find(library, "nvrtcGetProgramLog", &log) && find(library, "nvrtcGetCUBINSize", &code_size) &&
           find(library, "nvrtcDestroyProgram", &destroy);
  }
};

/** The flags of CMakeLists.txt, and no warnings: what is declared for the host is not used. */
bool compiled(const Compiler& compiler, const std::string& architecture, const std::string& folder, const std::string& file) {
  std::ifstream stream(folder + "/" + file);
  std::stringstream source;
  source << stream.rdbuf();
  std::vector<const char*> names, texts;
  for (const auto& header : HEADERS) {
    names.push_back(header[0]);
    texts.push_back(header[1]);
  }
  Program program = nullptr;
  const std::string arch = "--gpu-architecture=" + architecture, include = "--include-path=" + folder;
  const char* const options[] = {arch.c_str(),  include.c_str(), "--std=c++17",      "--fmad=false",     "--ftz=false",
                                 "--prec-div=true", "--prec-sqrt=true", "--device-as-default-execution-space", "--disable-warnings"};
  if (!stream || compiler.create(&program, source.str().c_str(), file.c_str(), (int)names.size(), texts.data(), names.data()) != 0) {
    printf("%s not read\n", file.c_str());
    return false;
  }
  const int error = compiler.compile(program, (int)(sizeof(options) / sizeof(options[0])), options);
  size_t bytes = 0;
  if (error == 0) {
    compiler.code_size(program, &bytes);
  } else {
    size_t length = 0;
    compiler.log_size(program, &length);
    std::string log(length, '\0');
    compiler.log(program, &log[0]);
    fprintf(stderr, "%s\n", log.c_str());
  }
  compiler.destroy(&program);
  printf("%s %s %d %zu\n", file.c_str(), architecture.c_str(), error, bytes);
  fflush(stdout);
  return error == 0 && bytes > 0;
}

}  // namespace

int main(int count, char** words) {
  if (count < 5) {
    fprintf(stderr, "usage: nvrtc_compile LIBRARY ARCHITECTURE FOLDER FILE...\n");
    return 2;
  }
  void* library = dlopen(words[1], RTLD_NOW);
  Compiler compiler;
  if (library == nullptr || !compiler.load(library)) {
    fprintf(stderr, "nvrtc_compile: %s\n", library == nullptr ? dlerror() : "another library");
    return 5;
  }
  bool all = true;
  for (int i = 4; i < count; i += 1) all = compiled(compiler, words[2], words[3], words[i]) && all;
  return all ? 0 : 1;
}
