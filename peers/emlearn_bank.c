/* emlearn's nearest neighbors: what eml_neighbors_predict does, with its list of distances kept. */
#include "emlearn.h"
#include "peer.h"

void peer_run(const int8_t *query, int16_t *nearest) {
    static EmlNeighborsDistanceItem distances[PROTOTYPES];
    int16_t features[D_INPUT];
    int16_t label;
    for (int i = 0; i < D_INPUT; i++) {
        features[i] = query[i];
    }
    eml_neighbors_infer(&peer, features, D_INPUT, distances, PROTOTYPES);
    eml_neighbors_find_nearest(&peer, distances, PROTOTYPES, D_OUTPUT, &label);
    for (int i = 0; i < D_OUTPUT; i++) {
        nearest[i] = distances[i].index;
    }
}
