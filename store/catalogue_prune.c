/* SPDX-License-Identifier: Apache-2.0 */
/* Which images of the catalogue nobody needs, and forgetting all of them. */
#include "store/sql.h"

/* A table of this connection's own holds the manifests that stay. */
static int keep_used(struct catalogue *c, catalogue_used_fn *used, void *ctx, struct err *err)
{
	cleanup_stmt sqlite3_stmt *s = NULL;
	int rc = sql_exec(c,
		"CREATE TEMP TABLE IF NOT EXISTS kept (digest text PRIMARY KEY);"
		"DELETE FROM kept; INSERT INTO kept SELECT image_manifest_digest FROM "
		"snapshot_index"
		" WHERE true ON CONFLICT DO NOTHING",
		err);

	rc = rc ? rc : sql_prepare(c, &s, err, "SELECT digest FROM manifest", "");
	if (rc < 0)
		return rc;
	while ((rc = sql_step(c, s, err)) == 1) {
		const char *digest = (const char *)sqlite3_column_text(s, 0);

		if (!digest || !used(ctx, digest))
			continue;
		rc = sql_run(
			c, err, "INSERT INTO kept VALUES (?) ON CONFLICT DO NOTHING", "t", digest);
		if (rc < 0)
			return rc;
	}
	return rc;
}

static int delete_counted(
	struct catalogue *c, const char *sql, unsigned *ret_count, struct err *err)
{
	int rc = sql_exec(c, sql, err);

	if (rc == 0)
		*ret_count = (unsigned)sqlite3_changes(c->db);
	return rc;
}

static int forget_references(
	struct catalogue *c, unsigned max, unsigned *ret_count, struct err *err)
{
	int rc = sql_run(c, err,
		"DELETE FROM image_ref WHERE id IN (SELECT id FROM image_ref WHERE manifest_id IN"
		" (SELECT id FROM manifest WHERE digest NOT IN (SELECT digest FROM kept)"
		" AND id NOT IN (SELECT manifest_id FROM sandbox_rootfs"
		" WHERE manifest_id IS NOT NULL)) LIMIT ?)",
		"i", (int64_t)max);

	if (rc == 0)
		*ret_count = (unsigned)sqlite3_changes(c->db);
	return rc;
}

int catalogue_image_prune(struct catalogue *c, catalogue_used_fn *used, void *ctx, unsigned max,
	struct catalogue_pruned *ret, struct err *err)
{
	cleanup_tx struct sql_tx tx = { 0 };
	struct catalogue_pruned p = { 0 };
	int rc = keep_used(c, used, ctx, err);

	rc = rc ? rc : sql_begin(c, &tx, err);
	rc = rc ? rc : forget_references(c, max, &p.references, err);
	rc = rc ? rc
		: delete_counted(c,
			  "DELETE FROM manifest WHERE digest NOT IN (SELECT digest FROM kept)"
			  " AND" MANIFEST_FREE,
			  &p.manifests, err);
	rc = rc ? rc : delete_counted(c, "DELETE FROM layer WHERE" LAYER_FREE, &p.layers, err);
	rc = rc ? rc : sql_commit(&tx, err);
	if (rc == 0)
		*ret = p;
	return rc;
}

#define MANIFEST_NEEDED                                                                            \
	" (EXISTS (SELECT 1 FROM sandbox_rootfs s WHERE s.manifest_id = manifest.id)"              \
	" OR EXISTS (SELECT 1 FROM snapshot_index i WHERE i.image_manifest_digest ="               \
	" manifest.digest))"

int catalogue_layer_needed(struct catalogue *c, const char *diff_id, struct err *err)
{
	int64_t one;

	return sql_number(c, &one, err,
		"SELECT 1 FROM layer JOIN manifest_layer ON layer_id = layer.id JOIN manifest"
		" ON manifest.id = manifest_id WHERE diff_id = ? AND" MANIFEST_NEEDED " LIMIT 1",
		"t", diff_id);
}

int catalogue_manifest_needed(struct catalogue *c, const char *digest, struct err *err)
{
	int64_t one;

	return sql_number(c, &one, err,
		"SELECT 1 FROM manifest WHERE digest = ? AND" MANIFEST_NEEDED, "t", digest);
}
