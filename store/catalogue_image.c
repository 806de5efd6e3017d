/* SPDX-License-Identifier: Apache-2.0 */
/* References, manifests, configs and layers in the catalogue. images.md 2.5, 2.6. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/num.h"
#include "store/sql.h"

static int not_found(const char *reference, struct err *err)
{
	return err_msg(err, ENOENT, "image not found: %s", reference);
}

/* --- memory */

static void free_text(const char *s)
{
	free((void *)(uintptr_t)s);
}

static void release_image(struct catalogue_image *i)
{
	const char *const texts[] = { i->reference, i->manifest_digest, i->media_type,
		i->architecture, i->os, i->variant, i->config_digest, i->env, i->cmd, i->entrypoint,
		i->working_dir, i->user, i->labels, i->stop_signal, i->created_at,
		i->last_used_at };

	for (unsigned t = 0; t < ARRAY_LEN(texts); t++)
		free_text(texts[t]);
	for (size_t l = 0; i->layers && l < i->layer_count; l++) {
		free_text(i->layers[l].diff_id);
		free_text(i->layers[l].blob_digest);
		free_text(i->layers[l].media_type);
	}
	free(i->layers);
}

void catalogue_images_free(struct catalogue_image *images, size_t n)
{
	for (size_t i = 0; i < n; i++)
		release_image(&images[i]);
	free(images);
}

void catalogue_image_free(struct catalogue_image *image)
{
	catalogue_images_free(image, image ? 1 : 0);
}

void catalogue_gone_release(struct catalogue_gone *gone)
{
	for (size_t i = 0; i < gone->n; i++)
		free(gone->diff_ids[i]);
	free(gone->diff_ids);
	free(gone->manifest);
	*gone = (struct catalogue_gone){ 0 };
}

/* --- writing */

static int put_config(
	struct catalogue *c, int64_t manifest, const struct catalogue_image *i, struct err *err)
{
	char now[SQL_TIME_MAX];

	sql_now(now);
	return sql_run(c, err,
		"INSERT INTO config (manifest_id, digest, env, cmd, entrypoint, working_dir, user,"
		" labels, stop_signal, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
		" ON CONFLICT (manifest_id) DO UPDATE SET digest = excluded.digest,"
		" env = excluded.env, cmd = excluded.cmd, entrypoint = excluded.entrypoint,"
		" working_dir = excluded.working_dir, user = excluded.user,"
		" labels = excluded.labels, stop_signal = excluded.stop_signal",
		"ittttttttt", manifest, i->config_digest ? i->config_digest : "", i->env, i->cmd,
		i->entrypoint, i->working_dir, i->user, i->labels, i->stop_signal, now);
}

static int put_layer(struct catalogue *c, int64_t manifest, const struct catalogue_layer *l,
	size_t position, struct err *err)
{
	int64_t layer = 0;
	char now[SQL_TIME_MAX];
	int rc;

	sql_now(now);
	rc = sql_run(c, err,
		"INSERT INTO layer (diff_id, blob_digest, media_type, compressed_size_bytes,"
		" erofs_size_bytes, created_at, last_used_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
		" ON CONFLICT (diff_id) DO UPDATE SET last_used_at = excluded.last_used_at,"
		" erofs_size_bytes = coalesce(excluded.erofs_size_bytes, erofs_size_bytes)",
		"tttzztt", l->diff_id, l->blob_digest ? l->blob_digest : "", l->media_type,
		l->compressed_size, l->erofs_size, now, now);
	if (rc == 0)
		rc = sql_number(
			c, &layer, err, "SELECT id FROM layer WHERE diff_id = ?", "t", l->diff_id);
	if (rc < 0)
		return rc;
	return sql_run(c, err,
		"INSERT INTO manifest_layer (manifest_id, layer_id, position) VALUES (?, ?, ?)",
		"iii", manifest, layer, (int64_t)position);
}

static int put_manifest(
	struct catalogue *c, const struct catalogue_image *i, int64_t *ret, struct err *err)
{
	char now[SQL_TIME_MAX];
	int rc;

	sql_now(now);
	rc = sql_run(c, err,
		"INSERT INTO manifest (digest, media_type, config_digest, architecture, os, "
		"variant,"
		" layer_count, total_size_bytes, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
		" ON CONFLICT (digest) DO UPDATE SET layer_count = excluded.layer_count",
		"ttttttiit", i->manifest_digest, i->media_type, i->config_digest, i->architecture,
		i->os, i->variant, (int64_t)i->layer_count, (int64_t)i->total_size, now);
	if (rc == 0)
		rc = sql_number(c, ret, err, "SELECT id FROM manifest WHERE digest = ?", "t",
			i->manifest_digest);
	if (rc < 0)
		return rc;
	rc = put_config(c, *ret, i, err);
	rc = rc ? rc
		: sql_run(c, err, "DELETE FROM manifest_layer WHERE manifest_id = ?", "i", *ret);
	for (size_t l = 0; rc == 0 && l < i->layer_count; l++)
		rc = put_layer(c, *ret, &i->layers[l], l, err);
	return rc;
}

/* Return: 1 and *ret, 0 no such reference, -errno */
static int find_ref(struct catalogue *c, const char *reference, int64_t *ret, struct err *err)
{
	return sql_number(c, ret, err, "SELECT manifest_id FROM image_ref WHERE reference = ?", "t",
		reference);
}

static int put_ref(struct catalogue *c, const char *reference, int64_t manifest, struct err *err)
{
	char now[SQL_TIME_MAX];

	sql_now(now);
	return sql_run(c, err,
		"INSERT INTO image_ref (reference, manifest_id, created_at, updated_at)"
		" VALUES (?, ?, ?, ?) ON CONFLICT (reference) DO UPDATE SET"
		" manifest_id = excluded.manifest_id, updated_at = excluded.updated_at",
		"titt", reference, manifest, now, now);
}

/* --- forgetting */

static int gone_layer(struct catalogue_gone *gone, const char *diff_id)
{
	char **more = realloc(gone->diff_ids, (gone->n + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	gone->diff_ids = more;
	more[gone->n] = strdup(diff_id ? diff_id : "");
	if (!more[gone->n])
		return -ENOMEM;
	gone->n++;
	return 0;
}

static int forget_layers(struct catalogue *c, struct catalogue_gone *gone, struct err *err)
{
	cleanup_stmt sqlite3_stmt *s = NULL;
	int rc = sql_prepare(
		c, &s, err, "DELETE FROM layer WHERE" LAYER_FREE " RETURNING diff_id", "");

	if (rc < 0)
		return rc;
	while ((rc = sql_step(c, s, err)) == 1) {
		if (gone_layer(gone, (const char *)sqlite3_column_text(s, 0)) < 0)
			return err_set(err, ENOMEM, "forget layers");
	}
	return rc;
}

static int forget_manifest(
	struct catalogue *c, int64_t manifest, struct catalogue_gone *gone, struct err *err)
{
	cleanup_stmt sqlite3_stmt *s = NULL;
	const char *digest = NULL;
	int rc = sql_prepare(c, &s, err,
		"DELETE FROM manifest WHERE id = ? AND" MANIFEST_FREE " RETURNING digest", "i",
		manifest);

	rc = rc ? rc : sql_step(c, s, err);
	if (rc <= 0)
		return rc;
	rc = sql_text(s, 0, &digest, err);
	gone->manifest = (char *)(uintptr_t)digest;
	rc = rc ? rc : sql_step(c, s, err);
	return rc ? rc : forget_layers(c, gone, err);
}

int catalogue_image_put(struct catalogue *c, const struct catalogue_image *image, struct err *err)
{
	cleanup_catalogue_gone struct catalogue_gone gone = { 0 };
	cleanup_tx struct sql_tx tx = { 0 };
	int64_t before = 0, manifest = 0;
	int rc = sql_begin(c, &tx, err);

	if (rc == 0)
		rc = find_ref(c, image->reference, &before, err);
	if (rc >= 0)
		rc = put_manifest(c, image, &manifest, err);
	rc = rc ? rc : put_ref(c, image->reference, manifest, err);
	if (rc == 0 && before && before != manifest)
		rc = forget_manifest(c, before, &gone, err);
	return rc ? rc : sql_commit(&tx, err);
}

int catalogue_image_tag(struct catalogue *c, const char *from, const char *to, struct err *err)
{
	cleanup_catalogue_gone struct catalogue_gone gone = { 0 };
	cleanup_tx struct sql_tx tx = { 0 };
	int64_t manifest = 0, before = 0;
	int rc = sql_begin(c, &tx, err);

	if (rc < 0)
		return rc;
	rc = find_ref(c, from, &manifest, err);
	if (rc <= 0)
		return rc < 0 ? rc : not_found(from, err);
	rc = find_ref(c, to, &before, err);
	if (rc >= 0)
		rc = put_ref(c, to, manifest, err);
	if (rc == 0 && before && before != manifest)
		rc = forget_manifest(c, before, &gone, err);
	return rc ? rc : sql_commit(&tx, err);
}

static int check_unused(
	struct catalogue *c, const char *reference, int64_t manifest, struct err *err)
{
	cleanup_stmt sqlite3_stmt *s = NULL;
	int rc = sql_prepare(c, &s, err,
		"SELECT sandbox.name FROM sandbox_rootfs JOIN sandbox"
		" ON sandbox.id = sandbox_rootfs.sandbox_id WHERE manifest_id = ? LIMIT 1",
		"i", manifest);

	rc = rc ? rc : sql_step(c, s, err);
	if (rc == 1)
		return err_msg(err, EBUSY,
			"image '%s' is used by sandbox '%s'; remove that first, or use --force",
			reference, (const char *)sqlite3_column_text(s, 0));
	return rc;
}

int catalogue_image_remove(struct catalogue *c, const char *reference, bool force,
	struct catalogue_gone *ret, struct err *err)
{
	cleanup_catalogue_gone struct catalogue_gone gone = { 0 };
	cleanup_tx struct sql_tx tx = { 0 };
	int64_t manifest = 0;
	int rc = sql_begin(c, &tx, err);

	if (rc < 0)
		return rc;
	rc = find_ref(c, reference, &manifest, err);
	if (rc <= 0)
		return rc < 0 ? rc : not_found(reference, err);
	rc = force ? 0 : check_unused(c, reference, manifest, err);
	rc = rc ? rc : sql_run(c, err, "DELETE FROM image_ref WHERE reference = ?", "t", reference);
	rc = rc ? rc : forget_manifest(c, manifest, &gone, err);
	rc = rc ? rc : sql_commit(&tx, err);
	if (rc < 0)
		return rc;
	*ret = gone;
	gone = (struct catalogue_gone){ 0 };
	return 0;
}

/* --- reading */

#define IMAGE_COLUMNS                                                                              \
	"image_ref.reference, manifest.digest, manifest.media_type, manifest.architecture,"        \
	" manifest.os, manifest.variant, manifest.total_size_bytes, manifest.layer_count,"         \
	" image_ref.created_at, image_ref.updated_at"
#define IMAGE_FROM " FROM image_ref JOIN manifest ON manifest.id = image_ref.manifest_id"

static int read_image(sqlite3_stmt *s, struct catalogue_image *i, struct err *err)
{
	int rc = sql_text(s, 0, &i->reference, err);

	rc = rc ? rc : sql_text(s, 1, &i->manifest_digest, err);
	rc = rc ? rc : sql_text(s, 2, &i->media_type, err);
	rc = rc ? rc : sql_text(s, 3, &i->architecture, err);
	rc = rc ? rc : sql_text(s, 4, &i->os, err);
	rc = rc ? rc : sql_text(s, 5, &i->variant, err);
	i->total_size = sql_u64(s, 6);
	i->layer_count = (size_t)sql_u64(s, 7);
	rc = rc ? rc : sql_text(s, 8, &i->created_at, err);
	return rc ? rc : sql_text(s, 9, &i->last_used_at, err);
}

static int read_config(
	struct catalogue *c, const char *digest, struct catalogue_image *i, struct err *err)
{
	const char **const to[] = { &i->config_digest, &i->env, &i->cmd, &i->entrypoint,
		&i->working_dir, &i->user, &i->labels, &i->stop_signal };
	cleanup_stmt sqlite3_stmt *s = NULL;
	int rc = sql_prepare(c, &s, err,
		"SELECT digest, env, cmd, entrypoint, working_dir, user, labels, stop_signal"
		" FROM config WHERE manifest_id = (SELECT id FROM manifest WHERE digest = ?)",
		"t", digest);

	rc = rc ? rc : sql_step(c, s, err);
	if (rc <= 0)
		return rc;
	rc = 0;
	for (unsigned t = 0; rc == 0 && t < ARRAY_LEN(to); t++)
		rc = sql_text(s, (int)t, to[t], err);
	return rc;
}

static int read_layer(sqlite3_stmt *s, struct catalogue_image *i, struct err *err)
{
	struct catalogue_layer *more = realloc(i->layers, (i->layer_count + 1) * sizeof(*more));
	struct catalogue_layer *l;
	int rc;

	if (!more)
		return err_set(err, ENOMEM, "read the catalogue");
	i->layers = more;
	l = &more[i->layer_count++];
	*l = (struct catalogue_layer){ 0 };
	rc = sql_text(s, 0, &l->diff_id, err);
	rc = rc ? rc : sql_text(s, 1, &l->blob_digest, err);
	rc = rc ? rc : sql_text(s, 2, &l->media_type, err);
	l->compressed_size = sql_u64(s, 3);
	l->erofs_size = sql_u64(s, 4);
	return rc;
}

static int read_layers(
	struct catalogue *c, const char *digest, struct catalogue_image *i, struct err *err)
{
	cleanup_stmt sqlite3_stmt *s = NULL;
	int rc = sql_prepare(c, &s, err,
		"SELECT diff_id, blob_digest, media_type, compressed_size_bytes, erofs_size_bytes"
		" FROM layer JOIN manifest_layer ON layer.id = manifest_layer.layer_id"
		" WHERE manifest_id = (SELECT id FROM manifest WHERE digest = ?) ORDER BY position",
		"t", digest);

	i->layer_count = 0;
	while (rc >= 0 && (rc = sql_step(c, s, err)) == 1) {
		rc = read_layer(s, i, err);
		if (rc < 0)
			break;
	}
	return rc;
}

int catalogue_image_get(
	struct catalogue *c, const char *reference, struct catalogue_image **ret, struct err *err)
{
	cleanup_catalogue_image struct catalogue_image *i = calloc(1, sizeof(*i));
	cleanup_stmt sqlite3_stmt *s = NULL;
	int rc;

	if (!i)
		return err_set(err, ENOMEM, "read the catalogue");
	rc = sql_prepare(c, &s, err, "SELECT " IMAGE_COLUMNS IMAGE_FROM " WHERE reference = ?", "t",
		reference);
	rc = rc ? rc : sql_step(c, s, err);
	if (rc <= 0)
		return rc < 0 ? rc : not_found(reference, err);
	rc = read_image(s, i, err);
	rc = rc ? rc : read_config(c, i->manifest_digest, i, err);
	rc = rc ? rc : read_layers(c, i->manifest_digest, i, err);
	if (rc == 0)
		*ret = take_ptr(&i);
	return rc;
}

int catalogue_image_list(
	struct catalogue *c, struct catalogue_image **ret, size_t *ret_n, struct err *err)
{
	cleanup_stmt sqlite3_stmt *s = NULL;
	struct catalogue_image *list = NULL;
	size_t n = 0;
	int rc = sql_prepare(
		c, &s, err, "SELECT " IMAGE_COLUMNS IMAGE_FROM " ORDER BY image_ref.id DESC", "");

	while (rc >= 0 && (rc = sql_step(c, s, err)) == 1) {
		struct catalogue_image *more = realloc(list, (n + 1) * sizeof(*more));

		if (!more) {
			rc = err_set(err, ENOMEM, "read the catalogue");
			break;
		}
		list = more;
		list[n] = (struct catalogue_image){ 0 };
		rc = read_image(s, &list[n++], err);
	}
	if (rc < 0) {
		catalogue_images_free(list, n);
		return rc;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

int catalogue_has_layer(struct catalogue *c, const char *diff_id, struct err *err)
{
	int64_t one;

	return sql_number(c, &one, err, "SELECT 1 FROM layer WHERE diff_id = ?", "t", diff_id);
}

int catalogue_has_manifest(struct catalogue *c, const char *digest, struct err *err)
{
	int64_t one;

	return sql_number(c, &one, err, "SELECT 1 FROM manifest WHERE digest = ?", "t", digest);
}
