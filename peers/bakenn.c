/* BakeNN's generated library. */
#include "bknn_peer.h"
#include "peer.h"

void peer_run(const int8_t *input, int8_t *output) {
    static _Alignas(BKNN_PEER_ARENA_ALIGNMENT) uint8_t arena[BKNN_PEER_ARENA_SIZE];
    bknn_peer_infer(arena, input, output);
}
