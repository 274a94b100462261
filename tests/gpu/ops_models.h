// Small models of several layers as cases: what single ops do not show (fusion, shared memory, order of nodes).
#ifndef MOSA_TESTS_GPU_OPS_MODELS_H
#define MOSA_TESTS_GPU_OPS_MODELS_H

#include "ops_case.h"

extern const ops_case ops_model_cases[];
extern const int ops_n_model_cases;

#endif
