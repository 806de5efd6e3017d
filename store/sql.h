/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite for the files of this room: statements and transactions that end with their scope. */
#ifndef STORE_SQL_H
#define STORE_SQL_H

#include <sqlite3.h>
#include <stdint.h>

#include "store/catalogue.h"

#define CATALOGUE_MIGRATIONS 13

extern const char *const catalogue_migrations[CATALOGUE_MIGRATIONS];
extern const char *const catalogue_schema[]; /* NULL-terminated */

struct catalogue {
	sqlite3 *db;
	char *path; /* for messages */
	bool in_tx;
	bool full; /* for reading only, since the disk is full */
	int guard; /* the file, for locks that are not SQLite's: those of a reader without; -1 */
};

static inline void sql_stmt_fn(sqlite3_stmt **s)
{
	(void)sqlite3_finalize(*s);
}
#define cleanup_stmt cleanup_(sql_stmt_fn)

/* sql_error() - the database's last failure as an error. Return: -errno */
int sql_error(struct catalogue *c, struct err *err);

/* sql_room() - is there room for a file of @len bytes beside the catalogue? Return: 0 yes, or it
 * cannot be told; -ENOSPC, -EDQUOT */
int sql_room(const struct catalogue *c, uint64_t len);

/* sql_exec() - one or more statements without parameters */
int sql_exec(struct catalogue *c, const char *sql, struct err *err);

/*
 * sql_prepare() - @types has a letter per parameter: t const char * (NULL: null), i int64_t,
 * z uint64_t (0: null). Texts are copied.
 * Return: 0 and *ret (cleanup_stmt)
 */
int sql_prepare(struct catalogue *c, sqlite3_stmt **ret, struct err *err, const char *sql,
	const char *types, ...);

/* sql_step() - Return: 1 a row, 0 no more, -errno */
int sql_step(struct catalogue *c, sqlite3_stmt *s, struct err *err);

/* sql_run() - prepare and step once. Return: 0; -errno */
int sql_run(struct catalogue *c, struct err *err, const char *sql, const char *types, ...);

/* sql_number() - the first column of the first row; *ret untouched without one. Return: 1, 0 */
int sql_number(struct catalogue *c, int64_t *ret, struct err *err, const char *sql,
	const char *types, ...);

/* sql_text() - a column as an own string; NULL for null. Return: 0; -ENOMEM */
int sql_text(sqlite3_stmt *s, int column, const char **ret, struct err *err);
uint64_t sql_u64(sqlite3_stmt *s, int column); /* 0 for null and negative numbers */

/* sql_now() - the time as the catalogue has it */
#define SQL_TIME_MAX 64
void sql_now(char *ret);

/* What keeps a manifest: a reference, a sandbox, a snapshot that will want it as its base. */
#define MANIFEST_FREE                                                                              \
	" NOT EXISTS (SELECT 1 FROM image_ref r WHERE r.manifest_id = manifest.id)"                \
	" AND NOT EXISTS (SELECT 1 FROM sandbox_rootfs s WHERE s.manifest_id = manifest.id)"
#define LAYER_FREE " NOT EXISTS (SELECT 1 FROM manifest_layer ml WHERE ml.layer_id = layer.id)"

/*
 * struct sql_tx - a transaction that may write; without sql_commit() it is undone at the end of its
 * scope. Begin waits for other writers.
 */
struct sql_tx {
	struct catalogue *c;
};

int sql_begin(struct catalogue *c, struct sql_tx *ret, struct err *err);
int sql_commit(struct sql_tx *tx, struct err *err);
void sql_tx_release(struct sql_tx *tx);
#define cleanup_tx cleanup_(sql_tx_release)

#endif
