/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rate of the host's TSC, which is the guest's TSC under TCG. Measured over work that is done
 * anyway: begin, do something, end.
 */
#ifndef VMM_QEMU_TSC_H
#define VMM_QEMU_TSC_H

#include <stdint.h>

struct tsc_span {
	uint64_t tsc, ns;
};

void tsc_span_begin(struct tsc_span *span);

/*
 * tsc_span_khz() - rate seen since tsc_span_begin()
 * Return: kHz; 0 if the span was too short to be exact, or the TSC does not run evenly here
 */
uint64_t tsc_span_khz(const struct tsc_span *span);

#endif
