/* SPDX-License-Identifier: Apache-2.0 */
/* Small files and helper programs, read whole and within limits. */
#ifndef IMAGE_FILE_H
#define IMAGE_FILE_H

#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

/*
 * small_file_read() - append the regular file @path to @ret
 * Return: 0; -ENOENT; -EFBIG if it has more than @max bytes; -errno
 */
int small_file_read(const char *path, size_t max, struct buf *ret, struct err *err);

/*
 * file_or_pipe_read() - as small_file_read(), and takes what comes out of a pipe, too
 * @timeout_ms: for a pipe, until all of its writers have closed it
 * Return: likewise; -ETIMEDOUT
 */
int file_or_pipe_read(
	const char *path, size_t max, unsigned timeout_ms, struct buf *ret, struct err *err);

/*
 * program_run() - run a program found on the PATH, give it @input, append its output to @ret
 * @argv: NULL-terminated
 * @timeout_ms: then it is killed
 * @ret_status: its exit status, or 128 + signal
 * Return: 0 it ended by itself; -ENOENT no such program; -ETIMEDOUT; -EFBIG more than @max bytes of
 * output; -errno. Standard error goes where ours goes. No shell.
 */
int program_run(char *const *argv, const char *input, size_t max, unsigned timeout_ms,
	struct buf *ret, int *ret_status, struct err *err);

#endif
