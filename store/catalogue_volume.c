/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of named volumes, and which sandboxes mount them. images.md 6.5. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "lib/num.h"
#include "store/sql.h"

static void release_info(struct volume_info *v)
{
	const char *const texts[] = { v->name, v->disk_format, v->disk_fstype, v->labels,
		v->created_at };

	for (unsigned t = 0; t < ARRAY_LEN(texts); t++)
		free((void *)(uintptr_t)texts[t]);
}

void volume_infos_free(struct volume_info *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		release_info(&v[i]);
	free(v);
}

void volume_info_free(struct volume_info *v)
{
	volume_infos_free(v, v ? 1 : 0);
}

int catalogue_volume_add(struct catalogue *c, const struct volume_info *v, struct err *err)
{
	char now[SQL_TIME_MAX];
	int rc;

	sql_now(now);
	rc = sql_run(c, err,
		"INSERT INTO volume (name, quota_mib, labels, created_at, updated_at, kind,"
		" capacity_bytes, disk_format, disk_fstype) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		"tzttttztt", v->name, v->quota_mib, v->labels, now, now,
		v->kind == VOLUME_DISK ? "disk" : "dir", v->capacity, v->disk_format,
		v->disk_fstype);
	return rc == -EEXIST ? err_msg(err, EEXIST, "volume already exists: %s", v->name) : rc;
}

#define VOLUME_SELECT                                                                              \
	"SELECT name, kind, quota_mib, capacity_bytes, disk_format, disk_fstype, labels,"          \
	" created_at FROM volume"

static int read_volume(sqlite3_stmt *s, struct volume_info *v, struct err *err)
{
	const char *kind = (const char *)sqlite3_column_text(s, 1);
	int rc = sql_text(s, 0, &v->name, err);

	v->kind = kind && strcmp(kind, "disk") == 0 ? VOLUME_DISK : VOLUME_DIR;
	v->quota_mib = sql_u64(s, 2);
	v->capacity = sql_u64(s, 3);
	rc = rc ? rc : sql_text(s, 4, &v->disk_format, err);
	rc = rc ? rc : sql_text(s, 5, &v->disk_fstype, err);
	rc = rc ? rc : sql_text(s, 6, &v->labels, err);
	return rc ? rc : sql_text(s, 7, &v->created_at, err);
}

int catalogue_volume_get(
	struct catalogue *c, const char *name, struct volume_info **ret, struct err *err)
{
	cleanup_volume_info struct volume_info *v = calloc(1, sizeof(*v));
	cleanup_stmt sqlite3_stmt *s = NULL;
	int rc;

	if (!v)
		return err_set(err, ENOMEM, "read the catalogue");
	rc = sql_prepare(c, &s, err, VOLUME_SELECT " WHERE name = ?", "t", name);
	rc = rc ? rc : sql_step(c, s, err);
	if (rc == 0)
		return err_msg(err, ENOENT, "volume not found: %s", name);
	if (rc == 1)
		rc = read_volume(s, v, err);
	if (rc == 0)
		*ret = take_ptr(&v);
	return rc;
}

int catalogue_volume_list(
	struct catalogue *c, struct volume_info **ret, size_t *ret_n, struct err *err)
{
	cleanup_stmt sqlite3_stmt *s = NULL;
	struct volume_info *list = NULL;
	size_t n = 0;
	int rc = sql_prepare(c, &s, err, VOLUME_SELECT " ORDER BY id DESC", "");

	while (rc >= 0 && (rc = sql_step(c, s, err)) == 1) {
		struct volume_info *more = realloc(list, (n + 1) * sizeof(*more));

		if (!more) {
			rc = err_set(err, ENOMEM, "read the catalogue");
			break;
		}
		list = more;
		list[n] = (struct volume_info){ 0 };
		rc = read_volume(s, &list[n++], err);
	}
	if (rc < 0) {
		volume_infos_free(list, n);
		return rc;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

int catalogue_volume_delete(struct catalogue *c, const char *name, struct err *err)
{
	int rc = sql_run(c, err, "DELETE FROM volume WHERE name = ?", "t", name);

	if (rc < 0)
		return rc;
	return sqlite3_changes(c->db) ? 0 : err_msg(err, ENOENT, "volume not found: %s", name);
}

/* The document of a sandbox has been written by us or by upstream; what it lacks is no mount. */
static bool mounts_volume(const char *config, const char *name)
{
	json_t *doc = config ? json_loads(config, 0, NULL) : NULL;
	const json_t *mounts = json_object_get(doc, "mounts"), *mount;
	bool found = false;
	size_t i;

	json_array_foreach(mounts, i, mount)
	{
		const char *type = json_string_value(json_object_get(mount, "type"));
		const char *of = json_string_value(json_object_get(mount, "name"));

		if (type && of && strcmp(type, "Named") == 0 && strcmp(of, name) == 0)
			found = true;
	}
	json_decref(doc);
	return found;
}

int catalogue_volume_user(
	struct catalogue *c, const char *name, char **ret_sandbox, struct err *err)
{
	cleanup_stmt sqlite3_stmt *s = NULL;
	const char *sandbox = NULL;
	int rc = sql_prepare(c, &s, err,
		"SELECT name, config FROM sandbox WHERE status IN ('Created', 'Starting', "
		"'Running',"
		" 'Draining', 'Paused')",
		"");

	while (rc >= 0 && !sandbox && (rc = sql_step(c, s, err)) == 1) {
		if (mounts_volume((const char *)sqlite3_column_text(s, 1), name))
			rc = sql_text(s, 0, &sandbox, err);
	}
	if (rc < 0)
		return rc;
	*ret_sandbox = (char *)(uintptr_t)sandbox;
	return 0;
}
