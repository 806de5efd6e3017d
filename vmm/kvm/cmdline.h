/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel command line, token by token, within what Linux keeps of it. */
#ifndef VMM_KVM_CMDLINE_H
#define VMM_KVM_CMDLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define CMDLINE_MAX 2048 /* with its NUL: COMMAND_LINE_SIZE of x86 */

/* struct cmdline - zero-initialised is empty */
struct cmdline {
	char text[CMDLINE_MAX];
	size_t len;
};

/*
 * cmdline_add() - append printf-formatted tokens, blank-separated
 * Return: 0; -E2BIG does not fit; -EINVAL a byte outside printable ASCII (nothing is appended)
 */
int cmdline_add(struct cmdline *c, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* cmdline_prolog() - the engine's own tokens; @root: boot from the share tagged /dev/root */
int cmdline_prolog(struct cmdline *c, bool root, struct err *err);

#endif
