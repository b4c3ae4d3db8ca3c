{
  # One static library per instruction set: gyp has no flags per file, and code compiled for a newer set must not be
  # reachable by an older one. -ffp-contract=off and -fno-math-errno (an inlined SQRTSS) everywhere, never -ffast-math.
  "variables": {
    "pogo_x86": "<!(node -p \"process.arch === 'x64' || process.arch === 'ia32' ? 1 : 0\")",
    "pogo_amx": "<!(node native/cpu/has_flags.cjs \"tdpbssd %tmm2, %tmm1, %tmm0\" -mamx-tile -mamx-int8)",
    "pogo_avxvnni": "<!(node native/cpu/has_flags.cjs \"{vex} vpdpbusd %ymm2, %ymm1, %ymm0\" -mavx2 -mavxvnni)",
    "pogo_arm64": "<!(node -p \"process.arch === 'arm64' ? 1 : 0\")",
    "pogo_cflags": ["-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wextra"],
    # The last two: GCC's own intrinsics of this set read their undefined operand (GCC bug 105593).
    "pogo_avx512_cflags": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni",
                           "-mprefer-vector-width=512", "-Wno-uninitialized", "-Wno-maybe-uninitialized"]
  },
  "target_defaults": {
    "cflags!": ["-O2"],
    "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
    "cflags_cc": ["<@(pogo_cflags)"],
    "conditions": [
      ["pogo_x86==1", { "defines": ["POGO_X86=1"] }],
      ["pogo_arm64==1", { "defines": ["POGO_NEON=1"] }]
    ],
    "msvs_settings": {
      "VCCLCompilerTool": { "ExceptionHandling": 1, "AdditionalOptions": ["/std:c++17", "/fp:precise"] }
    },
    "xcode_settings": {
      "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
      "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
      "OTHER_CPLUSPLUSFLAGS": ["<@(pogo_cflags)"]
    }
  },
  "targets": [
    {
      "target_name": "pogo_cpu_scalar",
      "type": "static_library",
      "sources": ["native/cpu/isa/scalar.cc"]
    },
    {
      "target_name": "pogo_cpu_avx2",
      "type": "static_library",
      "conditions": [
        ["pogo_x86==1", {
          "sources": ["native/cpu/isa/avx2.cc"],
          "cflags_cc": ["-mavx2"],
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["-mavx2"] },
          "msvs_settings": { "VCCLCompilerTool": { "EnableEnhancedInstructionSet": 5 } }
        }, { "type": "none" }]
      ]
    },
    {
      "target_name": "pogo_cpu_avxvnni",
      "type": "static_library",
      "conditions": [
        ["pogo_avxvnni==1", {
          "sources": ["native/cpu/isa/avxvnni.cc"],
          "cflags_cc": ["-mavx2", "-mavxvnni"],
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["-mavx2", "-mavxvnni"] }
        }, { "type": "none" }]
      ]
    },
    {
      "target_name": "pogo_cpu_avx512",
      "type": "static_library",
      "conditions": [
        ["pogo_x86==1", {
          "sources": ["native/cpu/isa/avx512.cc"],
          "cflags_cc": ["<@(pogo_avx512_cflags)"],
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(pogo_avx512_cflags)"] },
          "msvs_settings": { "VCCLCompilerTool": { "AdditionalOptions": ["/arch:AVX512"] } }
        }, { "type": "none" }]
      ]
    },
    {
      "target_name": "pogo_cpu_amx",
      "type": "static_library",
      "conditions": [
        ["pogo_amx==1", {
          "sources": ["native/cpu/isa/amx.cc"],
          "cflags_cc": ["<@(pogo_avx512_cflags)", "-mamx-tile", "-mamx-int8"],
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(pogo_avx512_cflags)", "-mamx-tile", "-mamx-int8"] }
        }, { "type": "none" }]
      ]
    },
    {
      "target_name": "pogo_cpu_neon",
      "type": "static_library",
      "conditions": [
        ["pogo_arm64==1", { "sources": ["native/cpu/isa/neon.cc"] }, { "type": "none" }]
      ]
    },
    {
      # MSVC has the intrinsics without a flag; dotprod.cc says itself what it needs.
      "target_name": "pogo_cpu_dotprod",
      "type": "static_library",
      "conditions": [
        ["pogo_arm64==1", {
          "sources": ["native/cpu/isa/dotprod.cc"],
          "cflags_cc": ["-march=armv8.2-a+dotprod"],
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["-march=armv8.2-a+dotprod"] }
        }, { "type": "none" }]
      ]
    },
    {
      "target_name": "pogo_cpu",
      "sources": ["native/cpu/addon.cc", "native/cpu/arena.cc", "native/cpu/dispatch.cc", "native/cpu/machine.cc"],
      "dependencies": [
        "pogo_cpu_scalar",
        "pogo_cpu_avx2",
        "pogo_cpu_avxvnni",
        "pogo_cpu_avx512",
        "pogo_cpu_amx",
        "pogo_cpu_neon",
        "pogo_cpu_dotprod",
        "<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"
      ],
      "defines": ["NAPI_VERSION=8", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "conditions": [
        ["pogo_amx==1", { "defines": ["POGO_HAVE_AMX=1"] }],
        ["pogo_avxvnni==1", { "defines": ["POGO_HAVE_AVXVNNI=1"] }],
        ["OS=='linux'", { "ldflags": ["-Wl,-z,nodelete", "-Wl,--exclude-libs,ALL"] }]
      ]
    }
  ]
}
