/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "lib/num.h"

/* Messages whose list of errno names has a row */
#define IN_FAILED 1u
#define IN_STDIN  2u

/* struct errno_row - name on the wire; kind NULL: "other" */
struct errno_row {
	int error;
	const char *name;
	const char *kind;
	unsigned where;
};

#define ROW(e, kind, where)                                                                        \
	{                                                                                          \
		e, #e, kind, where                                                                 \
	}

static const struct errno_row errno_rows[] = {
	ROW(E2BIG, "bad_args", IN_FAILED),
	ROW(EACCES, "permission_denied", IN_FAILED),
	ROW(EAGAIN, "resource_limit", IN_FAILED),
	ROW(EBADF, NULL, IN_STDIN),
	ROW(EBUSY, NULL, IN_FAILED),
	ROW(EFAULT, "bad_args", IN_FAILED),
	ROW(EFBIG, NULL, IN_STDIN),
	ROW(EINVAL, NULL, IN_FAILED | IN_STDIN),
	ROW(EIO, NULL, IN_FAILED | IN_STDIN),
	ROW(EISDIR, "not_executable", IN_FAILED),
	ROW(ELOOP, "bad_args", IN_FAILED),
	ROW(EMFILE, "resource_limit", IN_FAILED),
	ROW(ENAMETOOLONG, "bad_args", IN_FAILED),
	ROW(ENFILE, "resource_limit", IN_FAILED),
	ROW(ENOENT, "not_found", IN_FAILED),
	ROW(ENOEXEC, "not_executable", IN_FAILED),
	ROW(ENOMEM, "out_of_memory", IN_FAILED),
	ROW(ENOSPC, NULL, IN_STDIN),
	ROW(ENOSYS, NULL, IN_FAILED),
	ROW(ENOTDIR, "bad_cwd", IN_FAILED),
	ROW(ENXIO, NULL, IN_FAILED),
	ROW(EPERM, "permission_denied", IN_FAILED),
	ROW(EPIPE, NULL, IN_STDIN),
	ROW(ETXTBSY, "not_executable", IN_FAILED),
};

static const struct errno_row *find_row(int error)
{
	for (size_t i = 0; i < ARRAY_LEN(errno_rows); i++) {
		if (errno_rows[i].error == error)
			return &errno_rows[i];
	}
	return NULL;
}

static const char *name_in(int error, unsigned where)
{
	const struct errno_row *row = find_row(error);

	return row && (row->where & where) ? row->name : NULL;
}

const char *failure_errno_name(int error)
{
	return name_in(error, IN_FAILED);
}

const char *failure_stdin_errno_name(int error)
{
	return name_in(error, IN_STDIN);
}

void failure_set_errno(struct failure *f, const char *stage, int error, const char *fmt, ...)
{
	const struct errno_row *row = find_row(error);
	char attempt[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(attempt, sizeof(attempt), fmt, ap);
	va_end(ap);
	f->kind = row && row->kind ? row->kind : "other";
	f->error = error;
	f->stage = stage;
	(void)snprintf(f->message, sizeof(f->message), "%s: %s (os error %d)", attempt,
		strerror(error), error);
}

void failure_set(struct failure *f, const char *stage, const char *fmt, ...)
{
	va_list ap;

	f->kind = "other";
	f->error = 0;
	f->stage = stage;
	va_start(ap, fmt);
	(void)vsnprintf(f->message, sizeof(f->message), fmt, ap);
	va_end(ap);
}
