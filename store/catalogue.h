/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue: a SQLite database, HOME/db/msb.db, that is also read and written by release
 * 0.5.10 of upstream. launch-contract.md 6.1 and 6.2.
 *
 * Many processes may have it open; each change is one transaction that waits for others, never
 * longer than about half a minute. A struct catalogue belongs to one thread at a time, and must not
 * be used on both sides of a fork.
 *
 * Errors beside those named: -EBUSY others write all the time; -ENOSPC; -EROFS opened for reading
 * only; -EBADMSG the file is damaged or no catalogue; -EPROTONOSUPPORT another release's schema.
 */
#ifndef STORE_CATALOGUE_H
#define STORE_CATALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/err.h"

struct catalogue;
struct home;

enum catalogue_mode { CATALOGUE_READ, CATALOGUE_WRITE };

/*
 * catalogue_open() - for writing: create what is missing. For reading: change nothing, so that it
 * also works on a full disk; if there is no catalogue yet, an empty one that is nowhere
 * Return: 0 and *ret (catalogue_close())
 */
int catalogue_open(
	const struct home *home, enum catalogue_mode mode, struct catalogue **ret, struct err *err);
void catalogue_close(struct catalogue *c);

/*
 * catalogue_checkpoint() - let the log's space be used again, as far as nobody reads it now, nor
 * the database on a full disk. For who has opened the catalogue once only: closing it ends the
 * locks of all its connections in this process
 */
void catalogue_checkpoint(struct catalogue *c);

static inline void catalogue_cleanup_fn(struct catalogue **c)
{
	catalogue_close(*c);
}
#define cleanup_catalogue cleanup_(catalogue_cleanup_fn)

/* --- images */

/* struct catalogue_layer - strings as in struct catalogue_image; @erofs_size 0: not known */
struct catalogue_layer {
	const char *diff_id, *blob_digest, *media_type;
	uint64_t compressed_size, erofs_size;
};

/*
 * struct catalogue_image - a reference and what it stands for
 * Strings that are not known are NULL. @env, @cmd, @entrypoint are JSON arrays of strings, @labels
 * a JSON object. Times are UTC "YYYY-MM-DD HH:MM:SS.nnnnnnnnn". Layers are lowest first.
 * What the catalogue returns owns its strings (catalogue_image_free()); what it takes it copies.
 */
struct catalogue_image {
	const char *reference;
	const char *manifest_digest, *media_type, *architecture, *os, *variant;
	uint64_t total_size; /* compressed */
	const char *config_digest, *env, *cmd, *entrypoint, *working_dir, *user, *labels,
		*stop_signal;
	const char *created_at;	  /* of the reference; not taken */
	const char *last_used_at; /* not taken */
	struct catalogue_layer *layers;
	size_t layer_count; /* in a list: the number only, without @layers */
};

void catalogue_image_free(struct catalogue_image *image);
void catalogue_images_free(struct catalogue_image *images, size_t n);

static inline void catalogue_image_cleanup_fn(struct catalogue_image **image)
{
	catalogue_image_free(*image);
}
#define cleanup_catalogue_image cleanup_(catalogue_image_cleanup_fn)

/*
 * catalogue_image_put() - record that @image->reference means this image from now on
 * Call while its artifacts are marked as in use (cache.h). What the reference meant before is
 * forgotten if nothing else names it. The same image again only refreshes times.
 */
int catalogue_image_put(struct catalogue *c, const struct catalogue_image *image, struct err *err);

/* catalogue_image_get() - by the exact text of a reference. Return: 0; -ENOENT */
int catalogue_image_get(
	struct catalogue *c, const char *reference, struct catalogue_image **ret, struct err *err);

/* catalogue_image_list() - all references, newest first; catalogue_images_free() */
int catalogue_image_list(
	struct catalogue *c, struct catalogue_image **ret, size_t *ret_n, struct err *err);

/* catalogue_image_tag() - let @to mean what @from means. Return: 0; -ENOENT: no such @from */
int catalogue_image_tag(struct catalogue *c, const char *from, const char *to, struct err *err);

/* struct catalogue_gone - what nothing in the catalogue names any more */
struct catalogue_gone {
	char *manifest;	 /* NULL: still named */
	char **diff_ids; /* layers that went with it */
	size_t n;
};
void catalogue_gone_release(struct catalogue_gone *gone);
#define cleanup_catalogue_gone cleanup_(catalogue_gone_release)

/*
 * catalogue_image_remove() - forget a reference, and its image if nothing else names it
 * @force: also when a sandbox has been made from it; the image then stays for that
 * Return: 0 and *ret; -ENOENT; -EBUSY "image 'r' is used by sandbox 'a'"
 */
int catalogue_image_remove(struct catalogue *c, const char *reference, bool force,
	struct catalogue_gone *ret, struct err *err);

/* struct catalogue_pruned - numbers of rows that went */
struct catalogue_pruned {
	unsigned references, manifests, layers;
};

/* Is this manifest used by somebody the catalogue does not know? */
typedef bool catalogue_used_fn(void *ctx, const char *manifest_digest);

/*
 * catalogue_image_prune() - forget every image that no sandbox, snapshot or @used needs, and layers
 * without image
 * @used: asked before the catalogue is locked
 * @max:  references to forget at most; there may be more if *ret has as many
 */
int catalogue_image_prune(struct catalogue *c, catalogue_used_fn *used, void *ctx, unsigned max,
	struct catalogue_pruned *ret, struct err *err);

/*
 * catalogue_layer_needed(), catalogue_manifest_needed() - would catalogue_image_prune() keep it,
 * for a sandbox or a snapshot? Return: 1, 0, -errno
 */
int catalogue_layer_needed(struct catalogue *c, const char *diff_id, struct err *err);
int catalogue_manifest_needed(struct catalogue *c, const char *digest, struct err *err);

/* catalogue_has_layer(), catalogue_has_manifest() - Return: 1, 0, -errno */
int catalogue_has_layer(struct catalogue *c, const char *diff_id, struct err *err);
int catalogue_has_manifest(struct catalogue *c, const char *digest, struct err *err);

/* --- volumes */

enum volume_kind { VOLUME_DIR, VOLUME_DISK };

/*
 * struct volume_info - @labels: JSON array of [key, value], NULL without labels; 0: no quota, no
 * capacity; format and fstype only of disks
 */
struct volume_info {
	const char *name;
	enum volume_kind kind;
	uint64_t quota_mib, capacity;
	const char *disk_format, *disk_fstype, *labels, *created_at;
};

void volume_info_free(struct volume_info *v);
void volume_infos_free(struct volume_info *v, size_t n);

static inline void volume_info_cleanup_fn(struct volume_info **v)
{
	volume_info_free(*v);
}
#define cleanup_volume_info cleanup_(volume_info_cleanup_fn)

/* catalogue_volume_add() - Return: 0; -EEXIST */
int catalogue_volume_add(struct catalogue *c, const struct volume_info *v, struct err *err);
/* catalogue_volume_get() - Return: 0; -ENOENT "volume not found: NAME" */
int catalogue_volume_get(
	struct catalogue *c, const char *name, struct volume_info **ret, struct err *err);
/* catalogue_volume_list() - newest first */
int catalogue_volume_list(
	struct catalogue *c, struct volume_info **ret, size_t *ret_n, struct err *err);
/* catalogue_volume_delete() - Return: 0; -ENOENT */
int catalogue_volume_delete(struct catalogue *c, const char *name, struct err *err);
/* catalogue_volume_user() - the name of a live sandbox that mounts it, or NULL; free it */
int catalogue_volume_user(
	struct catalogue *c, const char *name, char **ret_sandbox, struct err *err);

#endif
