/* The network as one writes it: two loops a layer, an exact 64-bit product to rescale. */
#define WITH_WEIGHTS
#include "peer.h"

static int8_t rescale(int64_t accumulator, const struct layer *layer) {
    int64_t product = accumulator * layer->multiplier;
    int64_t half = (int64_t)1 << (layer->shift - 1);
    int32_t value = (int32_t)((product + half - (product < 0)) >> layer->shift);
    value += layer->output_zero_point;
    return (int8_t)(value < layer->low ? layer->low : value > 127 ? 127 : value);
}

static void dense(const struct layer *layer, const int8_t *restrict input, int8_t *restrict output) {
    for (int row = 0; row < layer->d_output; row++) {
        const int8_t *weights = layer->weights + row * layer->d_input;
        int32_t sum = layer->biases[row];
        for (int i = 0; i < layer->d_input; i++) {
            sum += weights[i] * (input[i] - layer->input_zero_point);
        }
        output[row] = rescale(sum, layer);
    }
}

void peer_run(const int8_t *input, int8_t *output) {
    int8_t buffers[2][WIDEST];
    for (int i = 0; i < NUM_LAYERS; i++) {
        int8_t *to = i + 1 < NUM_LAYERS ? buffers[i & 1] : output;
        dense(&layers[i], input, to);
        input = to;
    }
}
