/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu/tsc.h"

#include <cpuid.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "lib/cleanup.h"
#include "lib/clock.h"

#define CLOCKSOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"

/* A sample is good to about 50 ns at each end: 25 ppm over this. */
#define MIN_SPAN_NS (4 * NS_PER_MS)

static uint64_t raw_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Both clocks at one moment: the try with the least time between two TSC reads wins. */
static void sample(struct tsc_span *s)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 5; i++) {
		uint64_t before = __rdtsc(), ns = raw_ns(), after = __rdtsc();

		if (after - before < best) {
			best = after - before;
			s->tsc = before + (after - before) / 2;
			s->ns = ns;
		}
	}
}

/* Does the CPU promise it, or does the host's kernel trust it enough to keep time with it? */
static bool tsc_is_even(void)
{
	cleanup_fd int fd = -1;
	unsigned a, b, c, d;
	char name[16] = "";

	if (__get_cpuid(0x80000007, &a, &b, &c, &d) && (d & (1U << 8)))
		return true;
	fd = open(CLOCKSOURCE, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, name, sizeof(name) - 1) <= 0)
		return false;
	return strcmp(name, "tsc\n") == 0;
}

void tsc_span_begin(struct tsc_span *span)
{
	sample(span);
}

uint64_t tsc_span_khz(const struct tsc_span *span)
{
	struct tsc_span now;
	uint64_t ns, ticks;

	sample(&now);
	ns = now.ns - span->ns;
	ticks = now.tsc - span->tsc;
	if (ns < MIN_SPAN_NS || !tsc_is_even())
		return 0;
	return (uint64_t)((unsigned __int128)ticks * NS_PER_MS / ns);
}
