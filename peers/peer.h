/* What a peer is: one function from input_t to output_t. PEER_FLOAT_INPUT, PEER_FLOAT_OUTPUT and PEER_BANK say which. */
#ifndef PEER_H
#define PEER_H

#include "network.h"

#ifdef PEER_FLOAT_INPUT
typedef float input_t;
#define INPUT_OF(q) (INPUT_SCALE * (float)((q) - (INPUT_ZERO_POINT)))
#else
typedef int8_t input_t;
#define INPUT_OF(q) (q)
#endif

#ifdef PEER_FLOAT_OUTPUT
typedef float output_t;
/* The nearest step of the output's grid; outside of what is counted. */
#define OUTPUT_OF(x) ((int32_t)((x) / OUTPUT_SCALE + (float)(OUTPUT_ZERO_POINT) + 1000.5f) - 1000)
#elif defined(PEER_BANK)
typedef int16_t output_t;
#define OUTPUT_OF(x) ((int32_t)(x))
#else
typedef int8_t output_t;
#define OUTPUT_OF(x) ((int32_t)(x))
#endif

void peer_run(const input_t *input, output_t *output);

#endif
