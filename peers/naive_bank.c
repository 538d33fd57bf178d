/* The nearest five as one writes it: every distance in full, insertion into a sorted list. */
#define WITH_WEIGHTS
#include "peer.h"

void peer_run(const int8_t *query, int16_t *nearest) {
    int32_t distances[D_OUTPUT];
    int found = 0;
    for (int p = 0; p < PROTOTYPES; p++) {
        int32_t distance = 0;
        for (int i = 0; i < D_INPUT; i++) {
            int32_t difference = query[i] - prototypes[p][i];
            distance += difference * difference;
        }
        if (found == D_OUTPUT && distance >= distances[D_OUTPUT - 1]) {
            continue;
        }
        int place = found;
        while (place > 0 && distances[place - 1] > distance) {
            place--;
        }
        found += found < D_OUTPUT;
        for (int i = found - 1; i > place; i--) {
            distances[i] = distances[i - 1];
            nearest[i] = nearest[i - 1];
        }
        distances[place] = distance;
        nearest[place] = (int16_t)p;
    }
}
