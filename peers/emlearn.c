/* emlearn's float network, from float inputs. */
#include "emlearn.h"
#include "peer.h"

void peer_run(const float *input, float *output) {
    eml_net_regress(&peer, input, D_INPUT, output, D_OUTPUT);
}
