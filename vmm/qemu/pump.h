/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies bytes from one descriptor to another on a loop, for consoles whose host ends QEMU cannot
 * take over as they are (two different descriptors, or no socket).
 */
#ifndef VMM_QEMU_PUMP_H
#define VMM_QEMU_PUMP_H

#include "lib/err.h"
#include "lib/loop.h"

struct pump;

/*
 * pump_new() - start copying @from to @to until either ends; nothing is closed or shut down
 * Both are borrowed until pump_free() and may be blocking: they are only touched when ready, in
 * pieces that do not block. Regular files are fine.
 * Return: 0 and *ret; -errno
 */
int pump_new(struct loop *loop, int from, int to, struct pump **ret, struct err *err);

/* pump_free() - copies what can be had without waiting, then ends; NULL is fine. */
void pump_free(struct pump *pump);

#endif
