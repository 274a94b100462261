// The ops of training as cases: derivatives one by one, and the loss.
#ifndef MOSA_TESTS_GPU_OPS_GRADS_H
#define MOSA_TESTS_GPU_OPS_GRADS_H

#include "ops_case.h"

extern const ops_case ops_grad_cases[];
extern const int ops_n_grad_cases;

#endif
