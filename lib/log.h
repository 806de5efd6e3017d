/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: one sink per process (one of the two places with file-scope state). Code outside cli/
 * never prints; it logs or returns an error.
 */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include <stdint.h>

enum log_level { LOG_OFF, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* A sink gets one line without newline, already formatted; called from any thread, must not log. */
typedef void log_sink_fn(void *ctx, enum log_level level, const char *line);

/* log_set_sink() - replace the sink (NULL: stderr) and the level; call before threads start. */
void log_set_sink(log_sink_fn *fn, void *ctx, enum log_level level);

/* log_enabled() - is this level wanted? For work that only a log line needs. */
int log_enabled(enum log_level level);

/* log_clean() - make a line of foreign words fit for a terminal, in place: control characters,
 * escape sequences and what is no UTF-8 become '?'. log_write() does it to every line. */
void log_clean(char *line);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

/*
 * log_once() - a line that a guest can provoke at will is written once per site and owner
 * @flag: lives in the object the line is about; starts false
 */
#define log_once(flag, level, ...)                                                                 \
	do {                                                                                       \
		if (!(flag)) {                                                                     \
			(flag) = 1;                                                                \
			log_write(level, __VA_ARGS__);                                             \
		}                                                                                  \
	} while (0)

/*
 * log_phase() - a point in a start-up, for the phase table of bench/boot: writes
 * "phase NAME MONOTONIC_NS" to the phase descriptor if one was set, else does nothing.
 */
void log_phase(const char *name);

/* log_phase_at() - as log_phase(), for a point that was not seen itself: @ns on CLOCK_MONOTONIC. */
void log_phase_at(const char *name, uint64_t ns);

/* log_set_phase_fd() - borrow @fd (-1: off) for log_phase() lines. */
void log_set_phase_fd(int fd);

#endif
