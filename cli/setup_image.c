/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image of a reference: pulled if need be, then its files are one read-only disk, the metadata
 * first and the layers behind it, which is where the metadata says that they are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/image_record.h"
#include "cli/progress.h"
#include "cli/run_setup.h"
#include "image/settings.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "store/store.h"

/* An image that the catalogue does not know would be pruned. Running goes on without. */
static void record(struct store *store, const struct image *image)
{
	struct err err = ERR_INIT;
	int rc = image->was_cached
			 ? catalogue_has_manifest(store->catalogue, image->manifest_digest, &err)
			 : 0;

	if (rc == 0)
		rc = image_record(store, image, &err);
	if (rc < 0)
		log_warn("%s", err.msg);
}

static int pull(
	struct store *store, const struct run_args *args, struct image **ret, struct err *err)
{
	struct image_pull_options options = { .policy = args->pull };
	struct image_settings *settings = NULL;
	struct progress progress;
	int rc = image_settings_from(store->home.config, store->home.root, &settings, err);

	progress_init(&progress, "Pulling", args->image, false);
	options.settings = settings;
	options.progress = progress_event;
	options.progress_ctx = &progress;
	if (rc == 0)
		rc = image_pull(store->cache, args->image, &options, ret, err);
	progress_end(&progress);
	image_settings_free(settings);
	if (rc == 0)
		record(store, *ret);
	return rc;
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

static int add_parts(struct run_setup *s, const struct image *image, struct err *err)
{
	struct setup_disk *disk = setup_add_disk(s, "image", -1, true, err);
	unsigned n = 0;

	if (!disk)
		return -E2BIG;
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
	int rc = store_open(CATALOGUE_WRITE, &store, err);

	if (rc < 0)
		return rc;
	if (store.home.settings.upper_size_mib)
		s->upper_mib = (uint32_t)store.home.settings.upper_size_mib;
	rc = pull(&store, args, &s->image, err);
	if (rc < 0)
		return explain(args->image, err);
	return add_parts(s, s->image, err);
}
