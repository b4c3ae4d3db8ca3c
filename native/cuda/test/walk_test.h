#ifndef POGO_CUDA_TEST_WALK_TEST_H
#define POGO_CUDA_TEST_WALK_TEST_H

#include <string>

/** Empty, or what is wrong with a walk. */
std::string test_walks();

#endif
