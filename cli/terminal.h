/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's terminal: raw while a guest owns it, as it was before on every way out. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdint.h>

#include "lib/err.h"

/*
 * terminal_raw() - put the terminal behind @fd into raw mode
 * It is restored by terminal_restore(), at exit, and when a fatal signal ends the process.
 * Return: 0; -errno
 */
int terminal_raw(int fd, struct err *err);

/* terminal_restore() - as it was; fine if it never was raw, and in signal handlers. */
void terminal_restore(void);

/* terminal_size() - rows and columns of the terminal behind @fd; 24 and 80 if it has none. */
void terminal_size(int fd, uint16_t *ret_rows, uint16_t *ret_cols);

#endif
