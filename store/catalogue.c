/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the catalogue, and making it. */
#include "store/catalogue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "lib/num.h"
#include "store/home.h"
#include "store/internal.h"
#include "store/sql.h"

#define DB_NAME	       "msb.db"
#define MIGRATION_LOCK "msb.db.migration.lock"

/* Of the log's index, as long as the log is short; of the log, for most of what is written. */
#define INDEX_SIZE KIB(32)
#define LOG_SIZE   KIB(256)

/* Where SQLite has its locks of a database, whatever the length of the file. */
#define PENDING_AT 0x40000000
#define SHARED_AT  0x40000002
#define SHARED_LEN 510

/* Configs of sandboxes may hold secrets. */
#define DB_DIR_MODE 0700
#define HOME_MODE   0755

enum schema_state { SCHEMA_NONE, SCHEMA_OURS };

/* --- schema */

static bool known(const char *version)
{
	for (unsigned i = 0; i < CATALOGUE_MIGRATIONS; i++) {
		if (strcmp(catalogue_migrations[i], version) == 0)
			return true;
	}
	return false;
}

static int check_versions(struct catalogue *c, enum schema_state *ret, struct err *err)
{
	cleanup_stmt sqlite3_stmt *s = NULL;
	unsigned n = 0;
	int rc = sql_prepare(c, &s, err, "SELECT version FROM seaql_migrations", "");

	if (rc < 0)
		return rc;
	while ((rc = sql_step(c, s, err)) == 1) {
		const char *version = (const char *)sqlite3_column_text(s, 0);

		if (!version || !known(version))
			return err_msg(err, EPROTONOSUPPORT,
				"the catalogue '%s' was made by a newer release (migration "
				"'%.60s');"
				" use that release, or another MSB_HOME",
				c->path, version ? version : "");
		n++;
	}
	if (rc < 0)
		return rc;
	if (n != CATALOGUE_MIGRATIONS)
		return err_msg(err, EPROTONOSUPPORT,
			"the catalogue '%s' was made by an older release (%u of %u migrations); "
			"open it once with release 0.5.10, or use another MSB_HOME",
			c->path, n, CATALOGUE_MIGRATIONS);
	*ret = SCHEMA_OURS;
	return 0;
}

static int schema_state(struct catalogue *c, enum schema_state *ret, struct err *err)
{
	int64_t tables = 0, versions = 0;
	int rc = sql_number(c, &tables, err,
		"SELECT count(*) FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'", "");

	if (rc >= 0)
		rc = sql_number(c, &versions, err,
			"SELECT count(*) FROM sqlite_master WHERE name = 'seaql_migrations'", "");
	if (rc < 0)
		return rc;
	*ret = SCHEMA_NONE;
	if (!tables)
		return 0;
	if (!versions)
		return err_msg(err, EBADMSG, "'%s' is a database, but no catalogue", c->path);
	return check_versions(c, ret, err);
}

static int insert_versions(struct catalogue *c, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < CATALOGUE_MIGRATIONS; i++)
		rc = sql_run(c, err, "INSERT INTO seaql_migrations VALUES (?, ?)", "ti",
			catalogue_migrations[i], (int64_t)time(NULL));
	return rc;
}

static int make_schema(struct catalogue *c, struct err *err)
{
	cleanup_tx struct sql_tx tx = { 0 };
	int rc = sql_begin(c, &tx, err);

	for (unsigned i = 0; rc == 0 && catalogue_schema[i]; i++)
		rc = sql_exec(c, catalogue_schema[i], err);
	rc = rc ? rc : insert_versions(c, err);
	return rc ? rc : sql_commit(&tx, err);
}

/* One process makes the schema, others wait for it; upstream has the same lock. */
static int migrate(struct catalogue *c, const char *dir, struct err *err)
{
	cleanup_lock struct lock lock = LOCK_INIT;
	cleanup_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum schema_state state;
	int rc;

	if (fd < 0)
		return err_set(err, errno, "open '%s'", dir);
	rc = lock_take(fd, MIGRATION_LOCK, LOCK_EXCLUSIVE, LOCK_SHORT_MS,
		"the making of the catalogue", &lock, err);
	rc = rc ? rc : sql_exec(c, "PRAGMA journal_mode = WAL", err);
	rc = rc ? rc : schema_state(c, &state, err);
	if (rc < 0 || state == SCHEMA_OURS)
		return rc;
	return make_schema(c, err);
}

/* --- opening */

void catalogue_close(struct catalogue *c)
{
	if (!c)
		return;
	(void)sqlite3_close(c->db);
	close_fd(&c->guard);
	free(c->path);
	free(c);
}

static int open_db(
	struct catalogue *c, const char *name, int flags, unsigned busy_s, struct err *err)
{
	int rc = sqlite3_open_v2(
		name, &c->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);

	if (rc != SQLITE_OK)
		return c->db ? sql_error(c, err) : err_set(err, ENOMEM, "open '%s'", c->path);
	(void)sqlite3_busy_timeout(c->db, (int)busy_s * 1000);
	return sql_exec(c,
		"PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL;"
		" PRAGMA temp_store = MEMORY",
		err);
}

static int open_memory(struct catalogue *c, struct err *err)
{
	int rc;

	(void)sqlite3_close(take_ptr(&c->db));
	rc = open_db(c, ":memory:", SQLITE_OPEN_READWRITE, 1, err);
	rc = rc ? rc : make_schema(c, err);
	return rc ? rc : sql_exec(c, "PRAGMA query_only = ON", err);
}

/* Does somebody read without SQLite's locks? Nobody begins that while there is a log. */
static bool is_guarded(struct catalogue *c)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = PENDING_AT, .l_len = 1 };

	if (c->guard < 0)
		c->guard = open(c->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return c->guard < 0 || fcntl(c->guard, F_GETLK, &lock) < 0 || lock.l_type != F_UNLCK;
}

void catalogue_checkpoint(struct catalogue *c)
{
	if (!is_guarded(c))
		(void)sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

/* On a read-only medium SQLite cannot coordinate, and need not: nobody writes. */
static int open_immutable(struct catalogue *c, unsigned busy_s, struct err *err)
{
	char uri[PATH_MAX * 3 + 32] = "file:";
	size_t n = strlen(uri);

	for (const char *p = c->path; *p && n < sizeof(uri) - 32; p++)
		n += (size_t)snprintf(uri + n, sizeof(uri) - n, strchr("?#%", *p) ? "%%%02x" : "%c",
			(unsigned char)*p);
	(void)snprintf(uri + n, sizeof(uri) - n, "?immutable=1");
	(void)sqlite3_close(take_ptr(&c->db));
	return open_db(c, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, busy_s, err);
}

static int guard(int fd, off_t at, off_t len)
{
	struct flock lock = { .l_type = F_RDLCK, .l_start = at, .l_len = len };

	return fcntl(fd, F_OFD_SETLK, &lock);
}

/*
 * Room for the index of the log is what a reader lacks on a full disk. Without a log it needs none,
 * and there is none unless somebody is about to write, or was killed. Who writes begins with a new
 * log; what is in there goes to the database when the last of them closes it, which takes the
 * shared bytes for itself, or by catalogue_checkpoint(), which looks at the other one.
 */
static int open_on_full_disk(struct catalogue *c, unsigned busy_s, struct err *err)
{
	char log[PATH_MAX];
	struct stat st;

	(void)snprintf(log, sizeof(log), "%s-wal", c->path);
	c->guard = open(c->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (c->guard < 0 || guard(c->guard, PENDING_AT, 1) < 0 ||
		guard(c->guard, SHARED_AT, SHARED_LEN) < 0 ||
		(stat(log, &st) == 0 && st.st_size > 0))
		return err_set(err, ENOSPC, "open the catalogue '%s'", c->path);
	c->full = true;
	return open_immutable(c, busy_s, err);
}

/*
 * SQLite makes room for the index of its log, which it maps, by a byte in each page. Where a page
 * is several blocks of the file system that leaves holes, and the process is killed if one of them
 * cannot be filled. So there it is not even tried where room is short.
 */
static int check_index_room(struct catalogue *c, uint64_t need, struct err *err)
{
	char index[PATH_MAX];
	struct statvfs fs;
	struct stat st;
	int rc;

	if (statvfs(c->path, &fs) < 0 || fs.f_frsize >= (unsigned long)sysconf(_SC_PAGESIZE))
		return 0;
	(void)snprintf(index, sizeof(index), "%s-shm", c->path);
	if (stat(index, &st) == 0)
		need -= MIN_OF(need, (uint64_t)st.st_blocks * 512);
	rc = need ? sql_room(c, need) : 0;
	return rc ? err_set(err, -rc, "open the catalogue '%s'", c->path) : 0;
}

static int open_read(struct catalogue *c, unsigned busy_s, struct err *err)
{
	enum schema_state state = SCHEMA_NONE;
	int rc;

	if (access(c->path, F_OK) < 0 && errno == ENOENT)
		return open_memory(c, err);
	rc = check_index_room(c, INDEX_SIZE, err);
	rc = rc ? rc : open_db(c, c->path, SQLITE_OPEN_READONLY, busy_s, err);
	rc = rc ? rc : schema_state(c, &state, err);
	if (rc == -ENOENT || rc == -EROFS) {
		err_clear(err);
		rc = open_immutable(c, busy_s, err);
		rc = rc ? rc : schema_state(c, &state, err);
	} else if (rc == -ENOSPC || rc == -EDQUOT) {
		err_clear(err);
		rc = open_on_full_disk(c, busy_s, err);
		rc = rc ? rc : schema_state(c, &state, err);
	}
	return rc < 0 || state == SCHEMA_OURS ? rc : open_memory(c, err);
}

static int is_wal(struct catalogue *c, struct err *err)
{
	cleanup_stmt sqlite3_stmt *s = NULL;
	const char *mode;
	int rc = sql_prepare(c, &s, err, "PRAGMA journal_mode", "");

	rc = rc ? rc : sql_step(c, s, err);
	mode = rc == 1 ? (const char *)sqlite3_column_text(s, 0) : NULL;
	return rc < 0 ? rc : mode && strcmp(mode, "wal") == 0;
}

/* SQLite opens what it may not write for reading, and fails later with words about other files. */
static int check_writable(const struct catalogue *c, struct err *err)
{
	if (faccessat(AT_FDCWD, c->path, W_OK, AT_EACCESS) == 0 || errno == ENOENT)
		return 0;
	return err_set(err, errno, "write the catalogue '%s'", c->path);
}

static int open_write(struct catalogue *c, const struct home *home, struct err *err)
{
	enum schema_state state = SCHEMA_NONE;
	int rc = home_make(home->root, HOME_MODE, err);

	rc = rc ? rc : home_make(home->db_dir, DB_DIR_MODE, err);
	rc = rc ? rc : check_index_room(c, INDEX_SIZE + LOG_SIZE, err);
	rc = rc ? rc : check_writable(c, err);
	rc = rc ? rc
		: open_db(c, c->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
			  home->settings.busy_timeout_s, err);
	if (rc < 0)
		return rc;
	/* Whoever makes it has it for themselves at times: then looking fails, and migrate() waits.
	 */
	rc = schema_state(c, &state, err);
	if (rc < 0 && rc != -EBUSY)
		return rc;
	if (rc == 0 && state == SCHEMA_OURS && is_wal(c, err) == 1)
		return 0;
	err_clear(err);
	return migrate(c, home->db_dir, err);
}

int catalogue_open(
	const struct home *home, enum catalogue_mode mode, struct catalogue **ret, struct err *err)
{
	cleanup_catalogue struct catalogue *c = calloc(1, sizeof(*c));
	int rc;

	if (c)
		c->guard = -1;
	if (!c || asprintf(&c->path, "%s/" DB_NAME, home->db_dir) < 0)
		return err_set(err, ENOMEM, "open the catalogue");
	rc = mode == CATALOGUE_WRITE ? open_write(c, home, err)
				     : open_read(c, home->settings.busy_timeout_s, err);
	if (rc < 0)
		return rc;
	*ret = take_ptr(&c);
	return 0;
}
