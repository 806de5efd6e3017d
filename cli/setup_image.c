/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image of a reference: pulled if need be, then its files are one read-only disk, the metadata
 * first and the layers behind it, which is where the metadata says that they are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/image_program.h"
#include "cli/image_record.h"
#include "cli/run_setup.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "store/store.h"

/* An image that the catalogue does not know would be pruned. Running goes on without. */
static void record(struct store *store, const struct image *image, bool known)
{
	struct err err = ERR_INIT;
	int rc = known ? catalogue_has_manifest(store->catalogue, image->manifest_digest, &err) : 0;

	if (rc == 0)
		rc = image_record(store, image, &err);
	if (rc < 0)
		log_warn("%s", err.msg);
}

static int open_flat(struct store *store, const struct image *image, int *ret_fd, struct err *err)
{
	return cache_artifact_open(
		store->cache, CACHE_FLAT, image->manifest_digest, ret_fd, NULL, err);
}

/* By another program, which alone has what speaks to registries. */
static int pull(struct store *store, const struct run_args *args, struct image **ret,
	int *ret_flat_fd, struct err *err)
{
	struct image_fetch fetch;
	bool flat = args->upper.kind == UPPER_FLAT;
	int rc = image_fetch(args->image, args->pull, flat, args->log_level, &fetch, err);

	if (rc < 0)
		return rc;
	rc = image_open(store->cache, args->image, ret, err);
	if (rc == 0 && flat)
		rc = open_flat(store, *ret, ret_flat_fd, err);
	if (rc == 0)
		record(store, *ret, false);
	image_fetch_end(&fetch);
	return rc;
}

/* The image is in the cache, but what is asked for may still have to be made of it. */
static int open_all(struct store *store, const struct run_args *args, const char *canonical,
	struct image **ret, int *ret_flat_fd, struct err *err)
{
	int rc = image_open(store->cache, canonical, ret, err);

	if (rc < 0)
		return rc;
	record(store, *ret, true);
	if (args->upper.kind != UPPER_FLAT)
		return 0;
	rc = open_flat(store, *ret, ret_flat_fd, err);
	if (rc != -ENOENT)
		return rc;
	err_clear(err);
	image_free(take_ptr(ret));
	return pull(store, args, ret, ret_flat_fd, err);
}

/* @ret_flat_fd: if the root is to be flat */
static int open_or_pull(struct store *store, const struct run_args *args, struct image **ret,
	int *ret_flat_fd, struct err *err)
{
	cleanup_free char *canonical = NULL;
	int rc = image_canonical(args->image, &canonical, err);

	if (rc < 0)
		return rc;
	if (args->pull == IMAGE_ALWAYS)
		return pull(store, args, ret, ret_flat_fd, err);
	rc = open_all(store, args, canonical, ret, ret_flat_fd, err);
	if (rc != -ESTALE && (rc != -ENOENT || args->pull == IMAGE_NEVER))
		return rc;
	err_clear(err);
	return pull(store, args, ret, ret_flat_fd, err);
}

/* Who forgot the "./" is told so. */
static int explain(const char *image, struct err *err)
{
	struct err why = *err;
	struct stat st;

	if (stat(image, &st) < 0)
		return -why.code;
	return err_msg(err, why.code, "%.300s; for the %s of that name write './%.100s'", why.msg,
		S_ISDIR(st.st_mode) ? "folder" : "file", image);
}

static int add_parts(
	struct run_setup *s, const char *name, const struct image *image, struct err *err)
{
	struct setup_disk *disk = setup_add_disk(s, "image", -1, true, err);
	unsigned n = 0;

	if (!disk)
		return -E2BIG;
	setup_label(disk, "image '%s'", name);
	s->parts = calloc(1 + image->layer_count, sizeof(*s->parts));
	if (!s->parts)
		return err_set(err, ENOMEM, "attach the image");
	s->parts[n++] = image->fsmeta_fd;
	for (size_t i = 0; i < image->layer_count; i++)
		s->parts[n++] = image->layers[i].fd;
	disk->vm.parts = s->parts;
	disk->vm.n_parts = n;
	return 0;
}

int setup_image(struct run_setup *s, const struct run_args *args, struct err *err)
{
	cleanup_store struct store store = { 0 };
	cleanup_fd int flat_fd = -1;
	int rc = store_open_to_use(&store, err);

	if (rc < 0)
		return rc;
	if (store.home.settings.upper_size_mib)
		s->upper_mib = (uint32_t)store.home.settings.upper_size_mib;
	rc = open_or_pull(&store, args, &s->image, &flat_fd, err);
	if (rc < 0)
		return explain(args->image, err);
	return flat_fd < 0 ? add_parts(s, args->image, s->image, err)
			   : setup_flat(s, store.cache, flat_fd, &args->upper, err);
}
