/* Vector table and what must happen before main. */
#include <stdint.h>

extern uint32_t data_start, data_end, data_stored, bss_start, bss_end, stack_top;

int main(void);
_Noreturn void semihosting_exit(uint32_t code);

_Noreturn void reset(void);
_Noreturn static void fault(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*handlers[15])(void);
} vectors = {&stack_top, {reset, fault, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, 0, 0, fault}};

_Noreturn void reset(void) {
    volatile uint32_t *to = &data_start;
    for (const uint32_t *from = &data_stored; to < &data_end;) {
        *to++ = *from++;
    }
    for (to = &bss_start; to < &bss_end;) {
        *to++ = 0;
    }
#if defined(__ARM_FP)
    /* Full access to the floating-point unit: CPACR, coprocessors 10 and 11. */
    *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20;
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    semihosting_exit((uint32_t)main());
}

_Noreturn static void fault(void) {
    semihosting_exit(3);
}
