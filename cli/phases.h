/* SPDX-License-Identifier: Apache-2.0 */
/* Collects log_phase() lines of launcher and worker, and reports them. */
#ifndef CLI_PHASES_H
#define CLI_PHASES_H

#include <stdbool.h>

#include "lib/err.h"

/*
 * struct phases - @fd: memfd that every process appends to, -1: nobody asked
 * @table: print it; @out_fd: copy the lines there, -1: no
 */
struct phases {
	int fd, out_fd;
	bool table;
};

/*
 * phases_start() - collect if the table, a file, or the variable MSB_PHASE_FD (the number of an
 * open descriptor) asks for it; the first line is the start of main()
 */
int phases_start(struct phases *p, bool table, const char *file, struct err *err);

/* phases_finish() - report on stderr and to the file; closes. */
void phases_finish(struct phases *p);

#endif
