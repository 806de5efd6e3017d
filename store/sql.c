/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/num.h"
#include "store/internal.h"

/* A writer that does not get its turn asks again so often, each time after a longer wait. */
#define BEGIN_ATTEMPTS 6
#define WAIT_FIRST_NS  (10 * NS_PER_MS)
#define WAIT_LAST_NS   (500 * NS_PER_MS)

static const struct {
	int sqlite, code;
	const char *hint;
} codes[] = {
	{ SQLITE_READONLY, EROFS, "" },
	{ SQLITE_CORRUPT, EBADMSG, "; move it away or restore it from a backup" },
	{ SQLITE_NOTADB, EBADMSG, "; move it away or restore it from a backup" },
	{ SQLITE_CONSTRAINT, EEXIST, "" },
	{ SQLITE_NOMEM, ENOMEM, "" },
	{ SQLITE_CANTOPEN, ENOENT, "" },
	{ SQLITE_PERM, EACCES, "" },
	{ SQLITE_AUTH, EACCES, "" },
};

static bool is_busy(int rc)
{
	return (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED;
}

/* The write lock of a database in WAL mode is a lock of its -shm file. */
static int busy_error(struct catalogue *c, struct err *err)
{
	char shm[PATH_MAX], holder[96] = "another process";
	struct stat st;

	(void)snprintf(shm, sizeof(shm), "%s-shm", c->path);
	if (stat(shm, &st) == 0)
		lock_holder_stat(&st, holder, sizeof(holder));
	return err_msg(err, EBUSY, "the catalogue '%s' is being written by %s; try again later",
		c->path, holder);
}

int sql_room(const struct catalogue *c, uint64_t len)
{
	char probe[PATH_MAX];
	cleanup_fd int fd = -1;
	int rc = 0;

	/* With a name: that takes room too. */
	(void)snprintf(probe, sizeof(probe), "%s-probe", c->path);
	fd = open(probe, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		rc = -errno;
	else
		(void)unlink(probe); /* who asks at the same time may have done that */
	if (fd >= 0 && len && fallocate(fd, 0, 0, (off_t)len) < 0)
		rc = -errno;
	return rc == -ENOSPC || rc == -EDQUOT ? rc : 0;
}

/* Where SQLite cannot create a file, it tries to open it, and what it tells is that there is none.
 */
static int why_not_created(const struct catalogue *c, int why)
{
	int rc = why == ENOENT ? sql_room(c, 0) : 0;

	return rc ? -rc : why;
}

int sql_error(struct catalogue *c, struct err *err)
{
	int rc = sqlite3_extended_errcode(c->db), why = sqlite3_system_errno(c->db);

	if (is_busy(rc))
		return busy_error(c, err);
	if ((rc & 0xff) == SQLITE_CANTOPEN && why)
		return err_set(err, why_not_created(c, why), "open the catalogue '%s'", c->path);
	/* SQLite has a word for a full disk only when it writes pages. */
	if ((rc & 0xff) == SQLITE_FULL || ((rc & 0xff) == SQLITE_READONLY && c->full))
		why = ENOSPC;
	else if ((rc & 0xff) != SQLITE_IOERR)
		why = 0;
	if (why == ENOSPC || why == EDQUOT)
		return err_set(err, why, "write the catalogue '%s'", c->path);
	for (unsigned i = 0; i < ARRAY_LEN(codes); i++) {
		if (codes[i].sqlite == (rc & 0xff))
			return err_msg(err, codes[i].code, "the catalogue '%s': %s%s", c->path,
				sqlite3_errmsg(c->db), codes[i].hint);
	}
	return err_msg(err, EIO, "the catalogue '%s': %s", c->path, sqlite3_errmsg(c->db));
}

int sql_exec(struct catalogue *c, const char *sql, struct err *err)
{
	return sqlite3_exec(c->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : sql_error(c, err);
}

static int bind_one(sqlite3_stmt *s, int at, char type, va_list *ap)
{
	const char *text;
	uint64_t u;

	switch (type) {
	case 't':
		text = va_arg(*ap, const char *);
		return text ? sqlite3_bind_text(s, at, text, -1, SQLITE_TRANSIENT)
			    : sqlite3_bind_null(s, at);
	case 'z':
		u = va_arg(*ap, uint64_t);
		return u ? sqlite3_bind_int64(s, at, (sqlite3_int64)MIN_OF(u, (uint64_t)INT64_MAX))
			 : sqlite3_bind_null(s, at);
	default:
		return sqlite3_bind_int64(s, at, va_arg(*ap, int64_t));
	}
}

static int prepare(struct catalogue *c, sqlite3_stmt **ret, struct err *err, const char *sql,
	const char *types, va_list *ap)
{
	cleanup_stmt sqlite3_stmt *s = NULL;

	if (sqlite3_prepare_v2(c->db, sql, -1, &s, NULL) != SQLITE_OK)
		return sql_error(c, err);
	for (int i = 0; types[i]; i++) {
		if (bind_one(s, i + 1, types[i], ap) != SQLITE_OK)
			return sql_error(c, err);
	}
	*ret = take_ptr(&s);
	return 0;
}

int sql_prepare(struct catalogue *c, sqlite3_stmt **ret, struct err *err, const char *sql,
	const char *types, ...)
{
	va_list ap;
	int rc;

	va_start(ap, types);
	rc = prepare(c, ret, err, sql, types, &ap);
	va_end(ap);
	return rc;
}

int sql_step(struct catalogue *c, sqlite3_stmt *s, struct err *err)
{
	int rc = sqlite3_step(s);

	if (rc == SQLITE_ROW)
		return 1;
	return rc == SQLITE_DONE ? 0 : sql_error(c, err);
}

int sql_run(struct catalogue *c, struct err *err, const char *sql, const char *types, ...)
{
	cleanup_stmt sqlite3_stmt *s = NULL;
	va_list ap;
	int rc;

	va_start(ap, types);
	rc = prepare(c, &s, err, sql, types, &ap);
	va_end(ap);
	if (rc == 0)
		rc = sql_step(c, s, err);
	return rc < 0 ? rc : 0;
}

int sql_number(
	struct catalogue *c, int64_t *ret, struct err *err, const char *sql, const char *types, ...)
{
	cleanup_stmt sqlite3_stmt *s = NULL;
	va_list ap;
	int rc;

	va_start(ap, types);
	rc = prepare(c, &s, err, sql, types, &ap);
	va_end(ap);
	if (rc == 0)
		rc = sql_step(c, s, err);
	if (rc == 1)
		*ret = sqlite3_column_int64(s, 0);
	return rc;
}

int sql_text(sqlite3_stmt *s, int column, const char **ret, struct err *err)
{
	const char *text = (const char *)sqlite3_column_text(s, column);

	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? err_set(err, ENOMEM, "read the catalogue") : 0;
}

uint64_t sql_u64(sqlite3_stmt *s, int column)
{
	sqlite3_int64 v = sqlite3_column_int64(s, column);

	return v > 0 ? (uint64_t)v : 0;
}

void sql_now(char *ret)
{
	struct timespec ts;
	struct tm tm;
	char text[32];

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	(void)gmtime_r(&ts.tv_sec, &tm);
	(void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	(void)snprintf(ret, SQL_TIME_MAX, "%s.%09ld", text, ts.tv_nsec);
}

/* --- transactions */

/* Deferred transactions fail when a second writer was faster; this takes the lock at once. */
int sql_begin(struct catalogue *c, struct sql_tx *ret, struct err *err)
{
	uint64_t wait = WAIT_FIRST_NS;

	for (unsigned i = 1;; i++) {
		struct timespec ts = { .tv_nsec = (long)wait };
		int rc = sqlite3_exec(c->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

		if (rc == SQLITE_OK)
			break;
		if (!is_busy(rc) || i == BEGIN_ATTEMPTS)
			return sql_error(c, err);
		(void)nanosleep(&ts, NULL);
		wait = MIN_OF(wait * 2, WAIT_LAST_NS);
	}
	ret->c = c;
	return 0;
}

int sql_commit(struct sql_tx *tx, struct err *err)
{
	int rc = sql_exec(tx->c, "COMMIT", err);

	if (rc == 0)
		tx->c = NULL;
	return rc;
}

void sql_tx_release(struct sql_tx *tx)
{
	if (tx->c)
		(void)sqlite3_exec(tx->c->db, "ROLLBACK", NULL, NULL, NULL);
	tx->c = NULL;
}
