/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/clock.h"

static struct {
	log_sink_fn *fn;
	void *ctx;
	enum log_level level;
	int phase_fd;
} sink = { NULL, NULL, LOG_WARN, -1 };

void log_set_sink(log_sink_fn *fn, void *ctx, enum log_level level)
{
	sink.fn = fn;
	sink.ctx = ctx;
	sink.level = level;
}

int log_enabled(enum log_level level)
{
	return level <= sink.level;
}

static void to_stderr(enum log_level level, const char *line)
{
	static const char *const names[] = { "", "error", "warning", "info", "debug", "trace" };

	dprintf(STDERR_FILENO, "msb: %s: %s\n", names[level], line);
}

/* Return: bytes of the UTF-8 character at @p that a terminal may see, 0 if it may not */
static size_t visible(const unsigned char *p)
{
	size_t len = *p < 0x80	 ? 1
		     : *p < 0xc2 ? 0
		     : *p < 0xe0 ? 2
		     : *p < 0xf0 ? 3
		     : *p < 0xf5 ? 4
				 : 0;

	if (len == 1)
		return (*p >= 0x20 && *p != 0x7f) || *p == '\t';
	/* C1 control characters, and longer forms of what has a shorter one */
	if ((*p == 0xc2 && p[1] < 0xa0) || (*p == 0xe0 && p[1] < 0xa0) ||
		(*p == 0xf0 && p[1] < 0x90))
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	return len;
}

void log_clean(char *line)
{
	unsigned char *p = (unsigned char *)line;

	while (*p) {
		size_t len = visible(p);

		if (len) {
			p += len;
		} else {
			*p++ = '?';
		}
	}
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_clean(line);
	if (sink.fn)
		sink.fn(sink.ctx, level, line);
	else
		to_stderr(level, line);
}

void log_set_phase_fd(int fd)
{
	sink.phase_fd = fd;
}

void log_phase_at(const char *name, uint64_t ns)
{
	if (sink.phase_fd >= 0)
		dprintf(sink.phase_fd, "phase %s %" PRIu64 "\n", name, ns);
}

void log_phase(const char *name)
{
	if (sink.phase_fd >= 0)
		log_phase_at(name, clock_mono_ns());
}
