/* Answers for every window of inputs.bin into outputs.bin, both on the debugger's side of semihosting.
 *
 * inputs.bin: the number of windows, then their values. outputs.bin: for each window the words of
 * firmware-examples/record/src/lib.rs, and for one window in four those of growth.rs beside it, in the same order, so that the host
 * can compare bit for bit.
 */
#include "simground.h"

/* The artifact, in flash and aligned to 16. */
__asm__(".section .rodata.artifact, \"a\"\n"
        ".balign 16\n"
        "artifact: .incbin \"" ARTIFACT_FILE "\"\n"
        "artifact_end:\n"
        ".previous\n");
extern const uint8_t artifact[], artifact_end[];

#define NEAREST 5
#define MAX_D_VALUES 128
#define SCRATCH_WORDS 1024
#define ABSENT 0xffffffffu
#define REFUSED 0xfffffffeu

static simground_model model;
static simground_inference inference;
static simground_attribution attribution;
static uint32_t scratch[SCRATCH_WORDS];
static float window[MAX_D_VALUES];
static simground_additions additions;
static simground_grown grown;
static uint8_t region[1024];
static uint32_t weights[31];

/* ---- semihosting ---- */

static uint32_t semihosting(uint32_t operation, const void *block) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

_Noreturn void semihosting_exit(uint32_t code) {
    const uint32_t block[2] = {0x20026, code};
    semihosting(0x20, block);
    for (;;) {
    }
}

static uint32_t open(const char *name, uint32_t length, uint32_t mode) {
    const uint32_t block[3] = {(uint32_t)(uintptr_t)name, mode, length};
    return semihosting(0x01, block);
}

static int read_all(uint32_t file, void *bytes, uint32_t length) {
    const uint32_t block[3] = {file, (uint32_t)(uintptr_t)bytes, length};
    return semihosting(0x06, block) == 0;
}

static void print(const char *text) {
    semihosting(0x04, text);
}

/* ---- outputs.bin, in few calls: each stops the core ---- */

static uint32_t outputs_file;
static uint32_t pending[128];
static uint32_t num_pending;
static int write_failed;

static void flush(void) {
    const uint32_t block[3] = {outputs_file, (uint32_t)(uintptr_t)pending, num_pending * 4};
    write_failed |= semihosting(0x05, block) != 0;
    num_pending = 0;
}

static void put(uint32_t word) {
    pending[num_pending++] = word;
    if (num_pending == sizeof pending / sizeof pending[0]) {
        flush();
    }
}

/* A float's bits; every NaN counts as the same, because which NaN an operation makes is not fixed. */
static void put_float(float value) {
    union {
        float value;
        uint32_t bits;
    } both = {value};
    put(value != value ? 0x7fc00000u : both.bits);
}

static void put_floats(simground_status status, const float *values, size_t length) {
    if (status != SIMGROUND_OK) {
        put(ABSENT);
        return;
    }
    put((uint32_t)length);
    for (size_t i = 0; i < length; i++) {
        put_float(values[i]);
    }
}

/* ---- one record ---- */

static void record_attribution(void) {
    simground_nearest nearest[NEAREST];
    float values[SIMGROUND_MAX_MECHANISMS];
    simground_theta thetas[SIMGROUND_MAX_THETAS];
    size_t found;
    if (simground_attribute(&inference, nearest, NEAREST, &found, &attribution) != SIMGROUND_OK) {
        put(ABSENT);
        return;
    }
    put((uint32_t)found);
    for (size_t i = 0; i < found; i++) {
        put(nearest[i].prototype);
        put((uint32_t)nearest[i].index);
        put((uint32_t)(nearest[i].index >> 32));
        put(nearest[i].mechanism);
        put(nearest[i].squared_distance);
        put_float(nearest[i].weight);
    }
    simground_status status = simground_attribution_mechanism_posterior(
        &attribution, values, SIMGROUND_MAX_MECHANISMS, &found);
    put_floats(status, values, found);
    simground_thetas(&attribution, thetas, SIMGROUND_MAX_THETAS, &found);
    put((uint32_t)found);
    for (size_t i = 0; i < found; i++) {
        put_float(thetas[i].present);
        put_float(thetas[i].mean);
        put_float(thetas[i].sd);
    }
    float novelty;
    simground_novelty(&attribution, &novelty);
    put_float(novelty);
}

static void record(size_t d_values) {
    simground_status status =
        simground_infer(&model, window, d_values, scratch, SCRATCH_WORDS, &inference);
    if (status != SIMGROUND_OK) {
        put(REFUSED);
        return;
    }
    simground_input_report report;
    simground_inference_input_report(&inference, &report);
    put(report.missing);
    put(report.clamped);
    put(report.untrained_missing);
    const int32_t *outputs;
    const int16_t *embedding;
    size_t length;
    simground_outputs(&inference, &outputs, &length);
    put((uint32_t)length);
    for (size_t i = 0; i < length; i++) {
        put((uint32_t)outputs[i]);
    }
    simground_embedding(&inference, &embedding, &length);
    put((uint32_t)length);
    for (size_t i = 0; i < length; i++) {
        put((uint32_t)(int32_t)embedding[i]);
    }
    float values[SIMGROUND_MAX_MECHANISMS];
    status = simground_mechanism_posterior(&inference, values, SIMGROUND_MAX_MECHANISMS, &length);
    put_floats(status, values, length);
    for (size_t target = 0; status != SIMGROUND_ABSENT || target == 0; target++) {
        float quantiles[SIMGROUND_MAX_LEVELS];
        status = simground_quantiles(&inference, target, quantiles, SIMGROUND_MAX_LEVELS, &length);
        put_floats(status, quantiles, length);
    }
    record_attribution();
}

/* ---- growth in the field: a region that fills, breaks, is taken back and begins anew ---- */

static void put_text(uint8_t *to, const uint8_t *from, size_t length) {
    for (size_t i = 0; i < length; i++) {
        to[i] = from[i];
    }
}

static void erase(const uint8_t *header) {
    for (size_t i = 0; i < sizeof region; i++) {
        region[i] = 0xff;
    }
    put_text(region, header, SIMGROUND_HEADER_BYTES);
}

static void record_grown(size_t slots_used) {
    simground_grown_nearest nearest[NEAREST];
    simground_mechanism_share shares[SIMGROUND_MAX_LABELS];
    simground_theta thetas[SIMGROUND_MAX_THETAS];
    simground_grown_summary summary;
    size_t found;
    if (simground_attribute_with(&inference, &additions, weights, slots_used, nearest, NEAREST, &found,
                                 &grown) != SIMGROUND_OK) {
        put(ABSENT);
        return;
    }
    put((uint32_t)found);
    for (size_t i = 0; i < found; i++) {
        put(nearest[i].from_field);
        put(nearest[i].prototype);
        put((uint32_t)nearest[i].index);
        put((uint32_t)(nearest[i].index >> 32));
        put(nearest[i].mechanism);
        put(nearest[i].squared_distance);
        put_float(nearest[i].weight);
    }
    simground_grown_mechanism_posterior(&grown, shares, SIMGROUND_MAX_LABELS, &found);
    put((uint32_t)found);
    for (size_t i = 0; i < found; i++) {
        put_float(shares[i].probability);
        put_float(shares[i].from_field);
    }
    simground_grown_thetas(&grown, thetas, SIMGROUND_MAX_THETAS, &found);
    put((uint32_t)found);
    for (size_t i = 0; i < found; i++) {
        put_float(thetas[i].present);
        put_float(thetas[i].mean);
        put_float(thetas[i].sd);
    }
    simground_grown_summarize(&grown, &summary);
    put(3);
    put_float(summary.from_field);
    put_float(summary.novelty);
    put_float(summary.novelty_of_both);
}

/* A theta in the middle of the golden artifact's ranges, as the host computes it: low + step * 99. */
static const float thetas_of_labels[2] = {0.15f + (0.5f - 0.15f) / 254.0f * 99.0f,
                                          0.1f + (0.5f - 0.1f) / 254.0f * 99.0f};

static simground_status append(uint32_t step, uint8_t *bytes, simground_appended *appended) {
    const uint8_t known = (uint8_t)simground_num_mechanisms(&model);
    if (step % 16 == 7) {
        const char *name = step / 16 % 2 ? "spill" : "drift";
        return simground_additions_name(&additions, known, name, 5, bytes, SIMGROUND_MAX_RECORD_BYTES,
                                        appended);
    }
    if (step % 16 == 11) {
        uint16_t live = 0;
        while (simground_additions_retract(&additions, live, bytes, SIMGROUND_MAX_RECORD_BYTES,
                                           appended) == SIMGROUND_ABSENT &&
               live < SIMGROUND_MAX_RECORDS) {
            live++;
        }
        live = live < SIMGROUND_MAX_RECORDS ? live : 0;
        return simground_additions_retract(&additions, live, bytes, SIMGROUND_MAX_RECORD_BYTES,
                                           appended);
    }
    static const float unknown[2] = {__builtin_nanf(""), __builtin_nanf("")};
    const simground_label label = {
        .thetas = step % 5 ? 0 : step & 8 ? unknown : thetas_of_labels,
        .num_thetas = step % 5 ? 0 : 2,
        .tag = step,
        .count = (uint16_t)(4 + 6 * (step % 3)),
        .reach = -1,
        .mechanism = (uint8_t)(step / 2 % (known + 2u)),
    };
    return simground_additions_label(&additions, &inference, &label, bytes, SIMGROUND_MAX_RECORD_BYTES,
                                     appended);
}

static void grow(uint32_t step) {
    uint8_t header[SIMGROUND_HEADER_BYTES], bytes[SIMGROUND_MAX_RECORD_BYTES];
    simground_additions_report report;
    simground_appended appended;
    if (simground_additions_header(&model, 0, header) != SIMGROUND_OK) {
        return;
    }
    if (step == 0) {
        erase(header);
    }
    if (simground_additions_from_bytes(&additions, &model, region, sizeof region) != SIMGROUND_OK) {
        put(ABSENT);
        return;
    }
    simground_additions_describe(&additions, &report);
    put(report.slots_used);
    put(report.broken);
    put(report.num_mechanisms);
    record_grown(report.slots_used);
    simground_status status = append(step, bytes, &appended);
    if (status != SIMGROUND_OK) {
        put((uint32_t)status);
        erase(header);
        return;
    }
    size_t length = simground_record_bytes(&model);
    put(appended.record);
    put(appended.replaces == 0xffff ? ABSENT : appended.replaces);
    for (size_t i = 0; i < length; i += 4) {
        put((uint32_t)bytes[i] | (uint32_t)bytes[i + 1] << 8 | (uint32_t)bytes[i + 2] << 16 |
            (uint32_t)bytes[i + 3] << 24);
    }
    /* Now and then the power fails. */
    put_text(region + appended.offset, bytes, step % 16 == 3 ? length / 2 : length);
}

/* ---- the program ---- */

static int fail(simground_status status) {
    print(simground_error_message(status));
    print("\n");
    return 1;
}

int main(void) {
    simground_status status =
        simground_model_from_bytes(&model, artifact, (size_t)(artifact_end - artifact));
    if (status != SIMGROUND_OK) {
        return fail(status);
    }
    if (simground_scratch_words(&model) > SCRATCH_WORDS) {
        return fail(SIMGROUND_SCRATCH_TOO_SMALL);
    }
    size_t d_values = simground_d_values(&model);
    if (d_values > MAX_D_VALUES) {
        return fail(SIMGROUND_WRONG_WIDTH);
    }
    status = simground_self_test(&model, scratch, SCRATCH_WORDS);
    if (status != SIMGROUND_OK) {
        return fail(status);
    }
    print("self-test passed\n");
    uint32_t inputs = open("inputs.bin", 10, 1);
    outputs_file = open("outputs.bin", 11, 5);
    uint32_t num_windows;
    if (inputs == ~0u || outputs_file == ~0u || !read_all(inputs, &num_windows, 4)) {
        print("cannot open inputs.bin and outputs.bin\n");
        return 1;
    }
    for (uint32_t i = 0; i < num_windows; i++) {
        if (!read_all(inputs, window, (uint32_t)d_values * 4)) {
            print("inputs.bin is too short\n");
            return 1;
        }
        record(d_values);
        if ((i + 1) % 4 == 0) {
            grow((i + 1) / 4 - 1);
        }
    }
    flush();
    return write_failed;
}
