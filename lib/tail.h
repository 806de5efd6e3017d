/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last words of a stream: keeps the newest bytes of what somebody printed, for the message that
 * says how it ended. Bounded and allocation-free, since the writer may be a guest.
 */
#ifndef LIB_TAIL_H
#define LIB_TAIL_H

#include <stddef.h>
#include <stdint.h>

#define TAIL_MAX 4096

/* struct tail - a ring; zero-initialised is valid and empty */
struct tail {
	char data[TAIL_MAX];
	uint64_t total; /* bytes ever added */
};

/* tail_add() - append; older bytes than TAIL_MAX are forgotten. */
void tail_add(struct tail *t, const void *data, size_t len);

/*
 * tail_lines() - the last complete or unfinished lines, oldest first, fit for a terminal
 * @max_lines: at most so many
 * @sep:  goes between lines
 * @dst:  NUL-terminated result of at most @size bytes; the oldest lines are left out if it is short
 *	  Control characters and escape sequences are dropped, other non-ASCII bytes become '?'.
 * Return: length of the text; 0 if nothing was said
 */
size_t tail_lines(
	const struct tail *t, unsigned max_lines, const char *sep, char *dst, size_t size);

/*
 * tail_line_with() - as tail_lines(), but one line: the last that contains @word, from there on
 * Return: length of the text; 0 if no line does
 */
size_t tail_line_with(const struct tail *t, const char *word, char *dst, size_t size);

#endif
