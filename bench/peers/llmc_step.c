// llm.c's CPU training step (forward, backward, AdamW) of GPT-2's shape, as a peer. Built against a checkout that is given:
//   cc -Ofast -march=native -fopenmp -DOMP -DTESTING -I LLMC bench/peers/llmc_step.c -lm -o llmc_step
//   llmc_step CONTEXT SEQUENCES [WARMUP]
// Speaks as torch_step.py does: a line "ready", then a line for each {"calls": N, "seconds": S} on its standard input. The
// checkout's own code is used as it is, with its own flags; weights are made here, since a step's time does not rest on them.
#include "train_gpt2.c"

#include <sys/resource.h>
#include <unistd.h>

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static unsigned long long state = 88172645463325252ULL;

static unsigned next_word(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (unsigned)(state >> 32);
}

static GPT2 model;
static int *tokens, *targets, batch, context, steps;

static double step_ms(void) {
  double start = now_ms();
  gpt2_forward(&model, tokens, targets, (size_t)batch, (size_t)context);
  gpt2_zero_grad(&model);
  gpt2_backward(&model);
  steps += 1;
  gpt2_update(&model, 1e-4f, 0.9f, 0.95f, 1e-8f, 0.1f, steps);
  return now_ms() - start;
}

static void build(void) {
  memset(&model, 0, sizeof model);
  GPT2Config config = {.max_seq_len = 1024, .vocab_size = 50257, .padded_vocab_size = 50304, .num_layers = 12,
                       .num_heads = 12, .channels = 768};
  model.config = config;
  fill_in_parameter_sizes(model.param_sizes, config);
  model.params_memory = malloc_and_point_parameters(&model.params, model.param_sizes);
  for (int i = 0; i < NUM_PARAMETER_TENSORS; i += 1) model.num_parameters += model.param_sizes[i];
  for (size_t i = 0; i < model.num_parameters; i += 1) {
    model.params_memory[i] = 0.02f * ((float)next_word() / 2147483648.0f - 1.0f);
  }
  float* gains[] = {model.params.ln1w, model.params.ln2w, model.params.lnfw};
  size_t sizes[] = {model.param_sizes[2], model.param_sizes[8], model.param_sizes[14]};
  for (int g = 0; g < 3; g += 1) {
    for (size_t i = 0; i < sizes[g]; i += 1) gains[g][i] = 1.0f;
  }
  model.mean_loss = -1.0f;
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: llmc_step CONTEXT SEQUENCES [WARMUP]\n");
    return 2;
  }
  context = atoi(argv[1]);
  batch = atoi(argv[2]);
  int warm_up = argc > 3 ? atoi(argv[3]) : 2;
  if (context < 1 || context > 1024 || batch < 1 || batch > 1024 || warm_up < 1 || warm_up > 16) return 2;
  // The checkout prints what it does: our lines have a file of their own.
  FILE* lines = fdopen(dup(1), "w");
  if (lines == NULL || freopen("/dev/null", "w", stdout) == NULL) return 1;
  build();
  size_t count = (size_t)batch * (size_t)context;
  tokens = mallocCheck(count * sizeof(int));
  targets = mallocCheck(count * sizeof(int));
  for (size_t i = 0; i < count; i += 1) {
    tokens[i] = (int)(next_word() % 50257u);
    targets[i] = (int)(next_word() % 50257u);
  }
  int threads = 1;
#ifdef OMP
  threads = omp_get_max_threads();
#endif
  fprintf(lines, "{\"type\":\"ready\",\"name\":\"llm.c fp32\",\"threads\":%d,\"warmUpMs\":[", threads);
  for (int i = 0; i < warm_up; i += 1) fprintf(lines, "%s%.3f", i == 0 ? "" : ",", step_ms());
  fprintf(lines, "]}\n");
  fflush(lines);
  char line[256];
  while (fgets(line, sizeof line, stdin) != NULL) {
    int calls = 1;
    double seconds = 0;
    if (sscanf(line, "{\"calls\":%d,\"seconds\":%lf}", &calls, &seconds) != 2) return 2;
    double begin = now_ms();
    fprintf(lines, "{\"type\":\"round\",\"samplesMs\":[");
    for (int i = 0; i < calls && (i == 0 || now_ms() - begin < 1e3 * seconds); i += 1) {
      fprintf(lines, "%s%.3f", i == 0 ? "" : ",", step_ms());
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    fprintf(lines, "],\"peakBytes\":%lld}\n", 1024LL * (long long)usage.ru_maxrss);
    fflush(lines);
  }
  return 0;
}
