/* The C interface of simground: small simulation-grounded networks in integers, with the explanation of every answer.
 *
 * Written by `cargo xtask c --bless` from c-interface/src/; docs/c.md says how to link it.
 */

#ifndef SIMGROUND_H
#define SIMGROUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if UINTPTR_MAX > 0xffffffff
#define SIMGROUND_64_BIT
#else
#define SIMGROUND_32_BIT
#endif

// Most simulations that `simground_attribute` names.
#define SIMGROUND_MAX_NEAREST 16

// Most mechanisms of any model.
#define SIMGROUND_MAX_MECHANISMS 16

// Most quantile levels of any model.
#define SIMGROUND_MAX_LEVELS 16

// Most parameters of any model.
#define SIMGROUND_MAX_THETAS 32

// Bytes of a region's header.
#define SIMGROUND_HEADER_BYTES 32

// Largest size of a record; `simground_record_bytes` has that of a model.
#define SIMGROUND_MAX_RECORD_BYTES 320

// Most records of a region.
#define SIMGROUND_MAX_RECORDS 256

// Most mechanisms of an answer by both parts: the model's and eight that a region adds.
#define SIMGROUND_MAX_LABELS 24

// The count of a window that a person is sure of.
#define SIMGROUND_ONE_OBSERVATION 16

#if defined(SIMGROUND_64_BIT)
// Size of a `simground_model` in words of 64 bits, with room to grow.
#define SIMGROUND_MODEL_WORDS 136
#endif

#if defined(SIMGROUND_32_BIT)
// Size of a `simground_model` in words of 64 bits, with room to grow.
#define SIMGROUND_MODEL_WORDS 112
#endif

#if defined(SIMGROUND_64_BIT)
// Size of a `simground_inference` in words of 64 bits, with room to grow.
#define SIMGROUND_INFERENCE_WORDS 12
#endif

#if defined(SIMGROUND_32_BIT)
// Size of a `simground_inference` in words of 64 bits, with room to grow.
#define SIMGROUND_INFERENCE_WORDS 8
#endif

#if defined(SIMGROUND_64_BIT)
// Size of a `simground_attribution` in words of 64 bits, with room to grow.
#define SIMGROUND_ATTRIBUTION_WORDS 80
#endif

#if defined(SIMGROUND_32_BIT)
// Size of a `simground_attribution` in words of 64 bits, with room to grow.
#define SIMGROUND_ATTRIBUTION_WORDS 72
#endif

#if defined(SIMGROUND_64_BIT)
// Size of a `simground_additions` in words of 64 bits, with room to grow.
#define SIMGROUND_ADDITIONS_WORDS 20
#endif

#if defined(SIMGROUND_32_BIT)
// Size of a `simground_additions` in words of 64 bits, with room to grow.
#define SIMGROUND_ADDITIONS_WORDS 16
#endif

#if defined(SIMGROUND_64_BIT)
// Size of a `simground_grown` in words of 64 bits, with room to grow.
#define SIMGROUND_GROWN_WORDS 128
#endif

#if defined(SIMGROUND_32_BIT)
// Size of a `simground_grown` in words of 64 bits, with room to grow.
#define SIMGROUND_GROWN_WORDS 112
#endif

// What a call came to. 1 to 31: the bytes, export again. 32 to 47: the call, fix the code. 48 to 63: this device.
//
// The numbers stay the same from version to version.
enum simground_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // All is well.
  SIMGROUND_OK = 0,
  // The first four bytes are not `SGNN`.
  SIMGROUND_NOT_AN_ARTIFACT = 1,
  // A format version that this library does not read.
  SIMGROUND_UNSUPPORTED_VERSION = 2,
  // A flag whose meaning this library does not know.
  SIMGROUND_UNKNOWN_FLAGS = 3,
  // The file was cut.
  SIMGROUND_TRUNCATED = 4,
  // Bytes follow the artifact's end.
  SIMGROUND_TRAILING_BYTES = 5,
  // A bit changed.
  SIMGROUND_CHECKSUM_MISMATCH = 6,
  // The bytes lie at an address that this core's kernels cannot read: align the array to 16.
  SIMGROUND_MISALIGNED = 7,
  // The lengths in the prelude contradict each other.
  SIMGROUND_PRELUDE = 8,
  // Bytes that do not decode as the manifest.
  SIMGROUND_UNDECODABLE = 9,
  // A shape of zero, over a limit, or that does not fit its neighbor.
  SIMGROUND_SHAPE = 10,
  // A section outside the tensors, or of another length than its shape asks.
  SIMGROUND_SECTION = 11,
  // A section that does not start at a multiple of 16 bytes.
  SIMGROUND_SECTION_ALIGNMENT = 12,
  // A row of weights for which an accumulator could leave its range.
  SIMGROUND_ACCUMULATOR_BOUND = 13,
  // A number outside its legal range.
  SIMGROUND_VALUE = 14,
  // The region of additions is erased: write a header to its start.
  SIMGROUND_BLANK = 16,
  // The first four bytes are not `SGAD`.
  SIMGROUND_NOT_ADDITIONS = 17,
  // The additions were made with another artifact.
  SIMGROUND_OTHER_ARTIFACT = 18,
  // An artifact is wrong in a way that only a newer header names.
  SIMGROUND_ARTIFACT = 31,
  // The window has another number of values than the model's input.
  SIMGROUND_WRONG_WIDTH = 32,
  // The scratch buffer is too small; `simground_scratch_words` tells its size.
  SIMGROUND_SCRATCH_TOO_SMALL = 33,
  // The inference is of another model than the additions.
  SIMGROUND_OTHER_MODEL = 34,
  // A mechanism past the last that a region can add, or one of the model's where a new one is to be named.
  SIMGROUND_MECHANISM = 35,
  // A label that counts for nothing.
  SIMGROUND_COUNT = 36,
  // A parameter of a label outside the range of the simulations.
  SIMGROUND_THETA = 37,
  // A name that is empty, too long for a record, or not UTF-8.
  SIMGROUND_NAME = 38,
  // Every record of the region is written: compact it, or erase it.
  SIMGROUND_FULL = 39,
  // A pointer that must not be null is null, or is not aligned for its type.
  SIMGROUND_POINTER = 40,
  // The model, inference, attribution or additions were not made by a call that returned `SIMGROUND_OK`.
  SIMGROUND_NOT_READY = 41,
  // An array is too short for the answer, or longer than the library supports.
  SIMGROUND_LENGTH = 42,
  // The model has no such head, target or bank; the region no such record or name.
  SIMGROUND_ABSENT = 43,
  // A call is wrong in a way that only a newer header names.
  SIMGROUND_CALL = 47,
  // Self-test: the input transform gave other integers.
  SIMGROUND_SELF_TEST_INPUT = 48,
  // Self-test: network, embedding or attribution gave other integers.
  SIMGROUND_SELF_TEST_INTEGERS = 49,
  // Self-test: the answers in physical units have other bits.
  SIMGROUND_SELF_TEST_ANSWERS = 50,
  // Self-test: failed in a way that only a newer header names.
  SIMGROUND_SELF_TEST = 63,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum simground_status simground_status;
#else
typedef int32_t simground_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The part of an artifact that an error speaks of.
//
// The numbers stay the same from version to version.
enum simground_part
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // The file as a whole, or the call.
  SIMGROUND_PART_NONE = 0,
  // Names, shapes and layout.
  SIMGROUND_PART_MANIFEST = 1,
  // Input transform.
  SIMGROUND_PART_INPUT = 2,
  // A layer of the trunk.
  SIMGROUND_PART_TRUNK = 3,
  // A head.
  SIMGROUND_PART_HEAD = 4,
  // The embedding layer of the bank.
  SIMGROUND_PART_EMBEDDING = 5,
  // Prototype vectors, masses, parameters, mechanisms.
  SIMGROUND_PART_BANK = 6,
  // Table of held-out distances.
  SIMGROUND_PART_NOVELTY = 7,
  // Self-test vectors.
  SIMGROUND_PART_SELF_TEST = 8,
  // Where the artifact comes from.
  SIMGROUND_PART_PROVENANCE = 9,
  // A part that only a newer header names.
  SIMGROUND_PART_OTHER = 15,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum simground_part simground_part;
#else
typedef int32_t simground_part;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A model: an artifact whose every bound is proved. The caller's memory; static, or zeroed before its first use.
typedef struct simground_model {
  // Not for the caller.
  uint64_t opaque[SIMGROUND_MODEL_WORDS];
} simground_model;

// A name inside the artifact. Not ended by a zero byte.
typedef struct simground_text {
  // UTF-8.
  const char *text;
  // Bytes.
  size_t length;
} simground_text;

// What the network made of one window. The caller's memory; static, or zeroed before its first use.
typedef struct simground_inference {
  // Not for the caller.
  uint64_t opaque[SIMGROUND_INFERENCE_WORDS];
} simground_inference;

// What the input transform met.
typedef struct simground_input_report {
  // Values that were NaN and were taken as missing.
  uint16_t missing;
  // Values outside the range that the grid covers: far from anything the model was trained on.
  uint16_t clamped;
  // True where a value was missing although the model was not trained with missing values.
  bool untrained_missing;
} simground_input_report;

// One simulation of the bank.
typedef struct simground_nearest {
  // Index of the simulation in its corpus: with the study and the seed, the simulation itself.
  uint64_t index;
  // Position in the bank.
  uint32_t prototype;
  // Squared distance in embedding space, in grid units.
  uint32_t squared_distance;
  // Its share of the kernel posterior, in [0, 1].
  float weight;
  // Position of its mechanism.
  uint8_t mechanism;
} simground_nearest;

// The explanation of one answer. The caller's memory; static, or zeroed before its first use.
typedef struct simground_attribution {
  // Not for the caller.
  uint64_t opaque[SIMGROUND_ATTRIBUTION_WORDS];
} simground_attribution;

// Kernel-weighted moments of one parameter.
typedef struct simground_theta {
  // Share of the kernel posterior whose mechanism has this parameter, in [0, 1].
  float present;
  // Mean over that share, in the parameter's unit; NaN where `present` is 0.
  float mean;
  // Standard deviation over that share; NaN where `present` is 0.
  float sd;
} simground_theta;

// What is wrong, where, and with which numbers.
typedef struct simground_error {
  // What is wrong; `SIMGROUND_OK` when nothing is.
  simground_status status;
  // Where.
  simground_part part;
  // Which layer, head or self-test vector; otherwise 0.
  uint32_t position;
  // What the library or the artifact asks for: bytes, words of scratch, values of a window, the version, the checksum, the
  // alignment; otherwise 0.
  uint32_t needed;
  // What there is instead, or the row of weights or the flags that are wrong; otherwise 0.
  uint32_t found;
} simground_error;

// A drift monitor: evidence that a stream of windows has stopped looking like the simulations.
//
// Plain words, to be kept where the power may go. `simground_drift_start` fills them.
typedef struct simground_drift {
  // Not for the caller.
  uint32_t words[4];
} simground_drift;

// Labeled windows beside a model's artifact. The caller's memory; static, or zeroed before its first use.
typedef struct simground_additions {
  // Not for the caller.
  uint64_t opaque[SIMGROUND_ADDITIONS_WORDS];
} simground_additions;

// What a region holds.
typedef struct simground_additions_report {
  // Records for which the region has room.
  uint16_t capacity;
  // Slots up to the last that is written: the words of weights that `simground_attribute_with` takes.
  uint16_t slots_used;
  // Slots that are written but hold no record: the power failed, or the bytes changed.
  uint16_t broken;
  // Labeled windows in force.
  uint16_t in_force;
  // Mechanisms of an answer by both parts.
  uint16_t num_mechanisms;
} simground_additions_report;

// What a person says of a window.
typedef struct simground_label {
  // Its parameters in their units and the bank's order, NaN for those that are not known; null when none is.
  const float *thetas;
  // How many: as many as the bank has, or 0.
  size_t num_thetas;
  // A word that comes back with the answers that rest on it.
  uint32_t tag;
  // How many observations it is worth, in 1/16: `SIMGROUND_ONE_OBSERVATION`, or less where the person is not sure.
  uint16_t count;
  // How far its kernel reaches: a code of 0 to 255, or negative for twice the squared distance of the nearest prototype.
  int16_t reach;
  // Position of its mechanism: the model's first, behind them up to eight that the region adds.
  uint8_t mechanism;
} simground_label;

// Where the bytes of a record belong.
typedef struct simground_appended {
  // Where the record starts, from the region's start: a multiple of 32.
  size_t offset;
  // Its number.
  uint16_t record;
  // The record that it replaces, or 65,535.
  uint16_t replaces;
} simground_appended;

// One prototype of either part.
typedef struct simground_grown_nearest {
  // Index of the simulation in its corpus; in the field the label's tag.
  uint64_t index;
  // Position in the artifact's bank, or number of the field's record.
  uint32_t prototype;
  // Squared distance in embedding space, in grid units.
  uint32_t squared_distance;
  // Its share of the kernel posterior, in [0, 1].
  float weight;
  // Position of its mechanism.
  uint8_t mechanism;
  // Where it comes from: false for a simulation of the artifact, true for labeled windows of the field.
  bool from_field;
} simground_grown_nearest;

// The explanation of one answer by both parts of the bank. The caller's memory; static, or zeroed before its first use.
typedef struct simground_grown {
  // Not for the caller.
  uint64_t opaque[SIMGROUND_GROWN_WORDS];
} simground_grown;

// How probable a mechanism is, and on whose word.
typedef struct simground_mechanism_share {
  // Its share of the kernel posterior, in [0, 1].
  float probability;
  // How much of that comes from the field: at most `probability`.
  float from_field;
} simground_mechanism_share;

// What an answer by both parts says as a whole.
typedef struct simground_grown_summary {
  // Share of the kernel posterior that comes from the field, in [0, 1].
  float from_field;
  // How unusual the distance to the nearest simulation is: the p-value of `simground_novelty`, which labels do not touch.
  float novelty;
  // The same of the distance to the nearest of both parts: at least `novelty`.
  float novelty_of_both;
} simground_grown_summary;

// Gives 32 random bits; `context` is what the caller passed beside it.
typedef uint32_t (*simground_random)(void *context);

// Equally spaced values of one parameter, both ends included.
typedef struct simground_axis {
  // First value.
  float low;
  // Last value.
  float high;
  // How many, at least 1; a single one is `low`.
  uint16_t points;
} simground_axis;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Proves that the bytes are an artifact that this library can run on this core, and makes `model` of them.
//
// The bytes are read in place, from then on: they stay where they are, unchanged, as long as the model is used. Align
// them to 16.
//
// `model` points to a `simground_model`, `bytes` to `length` bytes that outlive it.
simground_status simground_model_from_bytes(struct simground_model *model,
                                            const uint8_t *bytes,
                                            size_t length);

// Values in a window: steps times channels. 0 without a model.
//
// `model` is null or points to a `simground_model`.
size_t simground_d_values(const struct simground_model *model);

// Words of scratch that `simground_infer` takes. 0 without a model.
//
// `model` is null or points to a `simground_model`.
size_t simground_scratch_words(const struct simground_model *model);

// Mechanisms of the model: the length of `simground_mechanism_posterior`'s answer. 0 without a model.
//
// `model` is null or points to a `simground_model`.
size_t simground_num_mechanisms(const struct simground_model *model);

// Parameters of the bank: the length of `simground_thetas`' answer. 0 without a bank.
//
// `model` is null or points to a `simground_model`.
size_t simground_num_thetas(const struct simground_model *model);

// The name of a mechanism, inside the artifact.
//
// `model` is null or points to a `simground_model`; `name` is null or points to a `simground_text`.
simground_status simground_mechanism_name(const struct simground_model *model,
                                          size_t mechanism,
                                          struct simground_text *name);

// Levels of a target's quantiles, probabilities in their order; targets count as for `simground_quantiles`. `*found` is set to how
// many. Past the last target the status is `SIMGROUND_ABSENT`.
//
// `model` is null or points to a `simground_model`, `levels` to `length` floats, `found` to a `size_t`.
simground_status simground_levels(const struct simground_model *model,
                                  size_t target,
                                  float *levels,
                                  size_t length,
                                  size_t *found);

// Parameters of the joint posterior: the length of a theta in every call that takes or gives one. A `mixture`'s or a `flow`'s, without
// them a `ratio`'s, without it a `point`'s; 0 without any.
//
// `model` is null or points to a `simground_model`.
size_t simground_num_parameters(const struct simground_model *model);

// The name of a parameter of the joint posterior, inside the artifact; counted as in a theta.
//
// `model` is null or points to a `simground_model`; `name` is null or points to a `simground_text`.
simground_status simground_parameter_name(const struct simground_model *model,
                                          size_t parameter,
                                          struct simground_text *name);

// Runs every self-test vector of the artifact: proves at boot that this device computes what the host computed.
//
// `model` is null or points to a `simground_model`, `scratch` to `scratch_words` words.
simground_status simground_self_test(const struct simground_model *model,
                                     uint32_t *scratch,
                                     size_t scratch_words);

// Runs the network on a window in raw units; NaN is a missing value.
//
// `x` is time-major and `d_values` long. `inference` uses `model` and `scratch` as long as it is asked; the next call
// with the same scratch replaces it.
//
// `model` is null or points to a `simground_model`, `x` to `d_values` floats, `scratch` to `scratch_words` words, and
// `inference` to a `simground_inference`. `model` and `scratch` outlive `inference`.
simground_status simground_infer(const struct simground_model *model,
                                 const float *x,
                                 size_t d_values,
                                 uint32_t *scratch,
                                 size_t scratch_words,
                                 struct simground_inference *inference);

// What the input transform met.
//
// `inference` is null or points to a `simground_inference`, `report` to a `simground_input_report`.
simground_status simground_inference_input_report(const struct simground_inference *inference,
                                                  struct simground_input_report *report);

// The accumulators of all heads, one behind the other, each rounded up to a multiple of four: `*outputs` and `*length`
// are set to where they lie in the scratch.
//
// `inference` is null or points to a `simground_inference`; `outputs` and `length` are null or point to their types.
simground_status simground_outputs(const struct simground_inference *inference,
                                   const int32_t **outputs,
                                   size_t *length);

// The observation in the bank's space, rounded up to a multiple of four, empty without a bank: `*embedding` and
// `*length` are set to where it lies in the scratch.
//
// `inference` is null or points to a `simground_inference`; `embedding` and `length` are null or point to their types.
simground_status simground_embedding(const struct simground_inference *inference,
                                     const int16_t **embedding,
                                     size_t *length);

// Posterior probabilities of the mechanisms, in their order. `*found` is set to how many.
//
// `inference` is null or points to a `simground_inference`, `probabilities` to `length` floats, `found` to a `size_t`.
simground_status simground_mechanism_posterior(const struct simground_inference *inference,
                                               float *probabilities,
                                               size_t length,
                                               size_t *found);

// Quantiles of one target in physical units, ascending, one for each level. `*found` is set to how many. Past the last
// target the status is `SIMGROUND_ABSENT`.
//
// `inference` is null or points to a `simground_inference`, `quantiles` to `length` floats, `found` to a `size_t`.
simground_status simground_quantiles(const struct simground_inference *inference,
                                     size_t target,
                                     float *quantiles,
                                     size_t length,
                                     size_t *found);

// Names the `k` nearest simulations of the bank, nearest first, and makes `attribution` of what they say.
//
// `k` is at most `SIMGROUND_MAX_NEAREST`; `*found` is set to how many there are, at most `k`. `attribution` uses the
// scratch of `inference` as long as it is asked; the next call with the same inference or scratch replaces it.
//
// `inference` is null or points to a `simground_inference`, `nearest` to `k` of `simground_nearest`, `found` to a `size_t`,
// `attribution` to a `simground_attribution`. What `inference` uses outlives `attribution`.
simground_status simground_attribute(struct simground_inference *inference,
                                     struct simground_nearest *nearest,
                                     size_t k,
                                     size_t *found,
                                     struct simground_attribution *attribution);

// Kernel posterior over the mechanisms, in their order. `*found` is set to how many.
//
// `attribution` is null or points to a `simground_attribution`, `probabilities` to `length` floats, `found` to a `size_t`.
simground_status simground_attribution_mechanism_posterior(const struct simground_attribution *attribution,
                                                           float *probabilities,
                                                           size_t length,
                                                           size_t *found);

// Kernel posterior of each parameter, in the bank's order. `*found` is set to how many.
//
// `attribution` is null or points to a `simground_attribution`, `thetas` to `length` of `simground_theta`, `found` to a
// `size_t`.
simground_status simground_thetas(const struct simground_attribution *attribution,
                                  struct simground_theta *thetas,
                                  size_t length,
                                  size_t *found);

// How unusual the distance to the nearest simulation is: a p-value in (0, 1]. A small one says that the window is like
// nothing that the model was trained on.
//
// `attribution` is null or points to a `simground_attribution`, `novelty` to a float.
simground_status simground_novelty(const struct simground_attribution *attribution,
                                   float *novelty);

// Says of bytes that `simground_model_from_bytes` or `simground_self_test` refused what is wrong with them, where, and with which
// numbers. `*error` is all zeros, as the status is, when nothing is wrong.
//
// `scratch` is what the self-test takes; with a `scratch_words` of 0, which needs no array, the bytes alone are looked at. What it
// costs is what those two functions cost, and a model's size of stack more.
//
// `bytes` is null or points to `length` bytes, `scratch` to `scratch_words` words, `error` to a `simground_error`.
simground_status simground_diagnose(const uint8_t *bytes,
                                    size_t length,
                                    uint32_t *scratch,
                                    size_t scratch_words,
                                    struct simground_error *error);

// Makes a drift monitor that has seen nothing.
//
// `drift` is null or points to a `simground_drift`.
simground_status simground_drift_start(struct simground_drift *drift);

// Tells a drift monitor the novelty of the next window, which must not overlap the one before.
//
// `drift` is null or points to a `simground_drift`.
simground_status simground_drift_push(struct simground_drift *drift, float novelty);

// Sets `*exceeds` to whether the evidence is `odds` to 1 or more. Of streams of simulated windows at most one in `odds`
// ever comes there, however long it is.
//
// `drift` is null or points to a `simground_drift`, `exceeds` to a `bool`.
simground_status simground_drift_exceeds(const struct simground_drift *drift,
                                         uint32_t odds,
                                         bool *exceeds);

// Bytes of a record of a model's regions. 0 without a bank.
//
// `model` is null or points to a `simground_model`.
size_t simground_record_bytes(const struct simground_model *model);

// Writes the header of an empty region, `SIMGROUND_HEADER_BYTES` long, for the start of erased memory.
//
// `prior_observations` is what the whole bank is worth, 1 to 4,096; 0 for one observation a prototype.
//
// `model` is null or points to a `simground_model`, `header` to 32 bytes.
simground_status simground_additions_header(const struct simground_model *model,
                                            uint16_t prior_observations,
                                            uint8_t *header);

// Proves that the bytes are a region of additions to this model, and makes `additions` of them.
//
// The bytes are read in place: after an append, make `additions` anew. `SIMGROUND_BLANK` says that the region is erased and wants a
// header. A record whose checksum or content is wrong is skipped and counted.
//
// `additions` points to a `simground_additions`, `model` is null or points to a `simground_model`, `bytes` to `length` bytes. `model`
// and the bytes outlive `additions`.
simground_status simground_additions_from_bytes(struct simground_additions *additions,
                                                const struct simground_model *model,
                                                const uint8_t *bytes,
                                                size_t length);

// Says of a region that `simground_additions_from_bytes` refused what is wrong with it, and with which numbers: the bytes of a header
// and those there are, the two checksums, the model's fingerprint and the region's. `*error` is all zeros, as the status is, when
// nothing is wrong.
//
// `model` is null or points to a `simground_model`, `bytes` is null or points to `length` bytes, `error` to a `simground_error`.
simground_status simground_additions_diagnose(const struct simground_model *model,
                                              const uint8_t *bytes,
                                              size_t length,
                                              struct simground_error *error);

// What a region holds.
//
// `additions` is null or points to a `simground_additions`, `report` to a `simground_additions_report`.
simground_status simground_additions_describe(const struct simground_additions *additions,
                                              struct simground_additions_report *report);

// The name of a mechanism, the model's or one that the region gives, where it lies.
//
// `additions` is null or points to a `simground_additions`, `name` to a `simground_text`.
simground_status simground_additions_mechanism_name(const struct simground_additions *additions,
                                                    uint8_t mechanism,
                                                    struct simground_text *name);

// Writes the record of a labeled window: `simground_record_bytes` bytes, which belong at `appended->offset` of the region.
//
// A window like one that has the same label raises that one's count: the record replaces it.
//
// `additions` is null or points to a `simground_additions`, `inference` to a `simground_inference`, `label` to a `simground_label` whose
// `thetas` is null or points to `num_thetas` floats, `record` to `length` bytes, `appended` to a `simground_appended`.
simground_status simground_additions_label(const struct simground_additions *additions,
                                           const struct simground_inference *inference,
                                           const struct simground_label *label,
                                           uint8_t *record,
                                           size_t length,
                                           struct simground_appended *appended);

// Writes the record that names a mechanism which the region adds; otherwise as `simground_additions_label`.
//
// As there; `name` is null or points to `name_length` bytes of UTF-8.
simground_status simground_additions_name(const struct simground_additions *additions,
                                          uint8_t mechanism,
                                          const char *name,
                                          size_t name_length,
                                          uint8_t *record,
                                          size_t length,
                                          struct simground_appended *appended);

// Writes the record that takes a labeled window back; otherwise as `simground_additions_label`.
//
// As there.
simground_status simground_additions_retract(const struct simground_additions *additions,
                                             uint16_t retracted,
                                             uint8_t *record,
                                             size_t length,
                                             struct simground_appended *appended);

// Writes what is in force into another region, and erases the rest of it. `*records` is set to how many.
//
// `additions` is null or points to a `simground_additions`, `region` to `length` bytes apart from its own, `records` to a `size_t`.
simground_status simground_additions_compact(const struct simground_additions *additions,
                                             uint8_t *region,
                                             size_t length,
                                             size_t *records);

// Names the `k` nearest prototypes of the bank and of the field's labels together, nearest first, and makes `grown` of what they say.
//
// `k` is at most `SIMGROUND_MAX_NEAREST`; `*found` is set to how many there are, at most `k`. `weights` has as many words as the region
// has slots used, and `grown` uses it, `additions` and the scratch of `inference` as long as it is asked.
//
// `inference` is null or points to a `simground_inference`, `additions` to a `simground_additions`, `weights` to `words` words, `nearest`
// to `k` of `simground_grown_nearest`, `found` to a `size_t`, `grown` to a `simground_grown`. What they use outlives `grown`.
simground_status simground_attribute_with(struct simground_inference *inference,
                                          const struct simground_additions *additions,
                                          uint32_t *weights,
                                          size_t words,
                                          struct simground_grown_nearest *nearest,
                                          size_t k,
                                          size_t *found,
                                          struct simground_grown *grown);

// Kernel posterior over the mechanisms, the model's and then those that the region adds. `*found` is set to how many.
//
// `grown` is null or points to a `simground_grown`, `shares` to `length` of `simground_mechanism_share`, `found` to a `size_t`.
simground_status simground_grown_mechanism_posterior(const struct simground_grown *grown,
                                                     struct simground_mechanism_share *shares,
                                                     size_t length,
                                                     size_t *found);

// Kernel posterior of each parameter, in the bank's order; a label counts for the parameters that it has. `*found` is set to how many.
//
// `grown` is null or points to a `simground_grown`, `thetas` to `length` of `simground_theta`, `found` to a `size_t`.
simground_status simground_grown_thetas(const struct simground_grown *grown,
                                        struct simground_theta *thetas,
                                        size_t length,
                                        size_t *found);

// How much of an answer comes from the field, and how unusual the window is.
//
// `grown` is null or points to a `simground_grown`, `summary` to a `simground_grown_summary`.
simground_status simground_grown_summarize(const struct simground_grown *grown,
                                           struct simground_grown_summary *summary);

// The text of a status, in English, ended by a zero byte, never freed. Any number has one.
const char *simground_error_message(int32_t status);

// Posterior mean of one parameter of the `point` head, in its unit. Past the last parameter, or without such a head, the status is
// `SIMGROUND_ABSENT`.
//
// `inference` is null or points to a `simground_inference`, `mean` to a float.
simground_status simground_point(const struct simground_inference *inference,
                                 size_t parameter,
                                 float *mean);

// Mean of one parameter under the joint posterior of the `mixture` head, in its unit. Past the last parameter, or without such a head,
// the status is `SIMGROUND_ABSENT`.
//
// `inference` is null or points to a `simground_inference`, `mean` to a float.
simground_status simground_mixture_mean(const struct simground_inference *inference,
                                        size_t parameter,
                                        float *mean);

// Quantile of one parameter under the joint posterior of the `mixture` head, in its unit; `level` lies between 0 and 1.
//
// `inference` is null or points to a `simground_inference`, `quantile` to a float.
simground_status simground_mixture_quantile(const struct simground_inference *inference,
                                            size_t parameter,
                                            float level,
                                            float *quantile);

// Logarithm of the joint posterior's density at `theta`; minus infinity outside the support.
//
// `inference` is null or points to a `simground_inference`, `theta` to `length` floats, `log_density` to a float.
simground_status simground_mixture_log_density(const struct simground_inference *inference,
                                               const float *theta,
                                               size_t length,
                                               float *log_density);

// Draws one theta from the joint posterior of the `mixture` head. `random` is called once for the component and once for each
// parameter.
//
// `inference` is null or points to a `simground_inference`, `theta` to `length` floats; `random` may be called with `context`.
simground_status simground_mixture_sample(const struct simground_inference *inference,
                                          simground_random random,
                                          void *context,
                                          float *theta,
                                          size_t length);

// Draws one theta from the joint posterior of the `flow` head. `random` is called once for each parameter. Of several threads, or of a task
// and an interrupt, only one may use the inference meanwhile.
//
// `inference` is null or points to a `simground_inference`, `theta` to `length` floats; `random` may be called with `context`.
simground_status simground_flow_sample(struct simground_inference *inference,
                                       simground_random random,
                                       void *context,
                                       float *theta,
                                       size_t length);

// Logarithm of `p(x | theta) / p(x)` by the `ratio` head; minus infinity outside the support.
//
// `inference` is null or points to a `simground_inference`, `theta` to `length` floats, `log_ratio` to a float.
simground_status simground_log_ratio(struct simground_inference *inference,
                                     const float *theta,
                                     size_t length,
                                     float *log_ratio);

// Logarithms of the ratio on a grid, an axis for each parameter, the last one's values running fastest. `length` is the product of
// the axes' points.
//
// `inference` is null or points to a `simground_inference`, `axes` to `num_axes` of `simground_axis`, `surface` to `length` floats.
simground_status simground_surface(struct simground_inference *inference,
                                   const struct simground_axis *axes,
                                   size_t num_axes,
                                   float *surface,
                                   size_t length);

// The theta with the largest likelihood, and the logarithm of the ratio there. `*found` is set to the number of parameters.
//
// `inference` is null or points to a `simground_inference`, `theta` to `length` floats, `found` to a `size_t`, `log_ratio` to a float.
simground_status simground_maximum(struct simground_inference *inference,
                                   float *theta,
                                   size_t length,
                                   size_t *found,
                                   float *log_ratio);

// The ends of one parameter's interval by its profile likelihood; `level` is 0.95 for 95 %. Past the last parameter the status is
// `SIMGROUND_ABSENT`.
//
// `inference` is null or points to a `simground_inference`, `low` and `high` to floats.
simground_status simground_interval(struct simground_inference *inference,
                                    size_t parameter,
                                    float level,
                                    float *low,
                                    float *high);

// The smallest logarithm of the ratio inside the confidence set of all parameters at this level.
//
// `inference` is null or points to a `simground_inference`, `lowest` to a float.
simground_status simground_confidence_limit(struct simground_inference *inference,
                                            float level,
                                            float *lowest);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SIMGROUND_H */
