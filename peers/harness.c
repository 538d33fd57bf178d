/* Runs one peer on every vector and prints a line for each: instructions, then the answers as words, all in hexadecimal.
 *
 * With BARE: a firmware that runs the peer and does nothing else, for its size.
 */
#include "peer.h"

_Noreturn void semihosting_exit(uint32_t code);

#ifdef BARE

static volatile int8_t source[D_INPUT];
static volatile output_t sink[D_OUTPUT];

int main(void) {
    input_t input[D_INPUT];
    output_t output[D_OUTPUT];
    for (;;) {
        for (int i = 0; i < D_INPUT; i++) {
            input[i] = (input_t)source[i];
        }
        peer_run(input, output);
        for (int i = 0; i < D_OUTPUT; i++) {
            sink[i] = output[i];
        }
    }
}

_Noreturn void semihosting_exit(uint32_t code) {
    (void)code;
    for (;;) {
    }
}

#else

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

/* Of the emulator's standard output; writing without a handle goes to its standard error. */
static uint32_t console;

static void open_console(void) {
    const uint32_t block[3] = {(uint32_t)(uintptr_t)":tt", 4, 3};
    console = semihosting(0x01, block);
}

static void print(uint32_t word, char end) {
    char text[9];
    for (int i = 0; i < 8; i++) {
        text[i] = "0123456789abcdef"[(word >> (28 - 4 * i)) & 15];
    }
    text[8] = end;
    const uint32_t block[3] = {console, (uint32_t)(uintptr_t)text, sizeof text};
    semihosting(0x05, block);
}

#define SYST_CSR (*(volatile uint32_t *)0xe000e010)
#define SYST_RVR (*(volatile uint32_t *)0xe000e014)
#define SYST_CVR (*(volatile uint32_t *)0xe000e018)

static const input_t *input;
static output_t *output;

__attribute__((noinline)) static void work(void) {
    peer_run(input, output);
}

__attribute__((noinline)) static void nothing(void) {
    __asm__ volatile("");
}

/* 10,000 iterations of two instructions. */
__attribute__((noinline)) static void spin(void) {
    uint32_t iterations = 10000;
    __asm__ volatile(".syntax unified\n2: subs %0, #1\n bne 2b\n" : "+l"(iterations) : : "cc");
}

/* Ticks of a call; 0 when the counter wrapped. */
__attribute__((noinline)) static uint32_t ticks(void (*volatile call)(void)) {
    SYST_CVR = 0;
    (void)SYST_CSR;
    uint32_t start = SYST_CVR;
    call();
    uint32_t end = SYST_CVR;
    uint32_t wrapped = (SYST_CSR >> 16 & 1) && end > start;
    return wrapped ? 0 : (start - end) & 0xffffff;
}

/* TICKS is SysTick's frequency, as its ticks in the time of 125 instructions (-icount shift=6). */
static uint32_t instructions(void (*call)(void)) {
    return (uint32_t)((uint64_t)(ticks(call) - ticks(nothing)) * 125 / TICKS);
}

int main(void) {
    static input_t inputs[D_INPUT];
    static output_t outputs[D_OUTPUT];
    SYST_RVR = 0xffffff;
    SYST_CVR = 0;
    SYST_CSR = 5;
    uint32_t counted = instructions(spin);
    if (counted < 20000 || counted > 20016) {
        return 1;
    }
    input = inputs;
    output = outputs;
    open_console();
    for (int vector = 0; vector < NUM_VECTORS; vector++) {
        for (int i = 0; i < D_INPUT; i++) {
            inputs[i] = INPUT_OF(vectors[vector][i]);
        }
        uint32_t count = instructions(work);
        if (count > 0xff0000) {
            return 1;
        }
        print(count, ' ');
        for (int i = 0; i < D_OUTPUT; i++) {
            print((uint32_t)OUTPUT_OF(outputs[i]), i + 1 < D_OUTPUT ? ' ' : '\n');
        }
    }
    return 0;
}

#endif
