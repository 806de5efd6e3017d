/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "lib/num.h"
#include "store/internal.h"
#include "store/reserve.h"

/* Images that are forgotten at a time where there is room for little: some 10 KiB each. */
#define PRUNE_STEP 16

static bool no_room(int rc)
{
	return rc == -ENOSPC || rc == -EDQUOT;
}

/* @s has its home; what is open when this fails is its owner's to release. */
static int open_in_home(struct store *s, enum catalogue_mode mode, struct err *err)
{
	int rc = catalogue_open(&s->home, mode, &s->catalogue, err);

	if (rc < 0)
		return rc;
	rc = cache_open(s->home.dir[HOME_CACHE], mode == CATALOGUE_WRITE, &s->cache, err);
	return rc == -ENOENT && mode == CATALOGUE_READ ? 0 : rc;
}

static void move_to(struct store *ret, struct store *s)
{
	*ret = *s;
	*s = (struct store){ 0 };
}

int store_open(enum catalogue_mode mode, struct store *ret, struct err *err)
{
	cleanup_store struct store s = { 0 };
	int rc = home_init(&s.home, err);

	rc = rc ? rc : open_in_home(&s, mode, err);
	if (rc < 0)
		return rc;
	if (mode == CATALOGUE_WRITE)
		reserve_keep(&s.home, true);
	move_to(ret, &s);
	return 0;
}

static int make_room(const struct home *home, struct err *err)
{
	cleanup_cache struct cache *cache = NULL;
	struct cache_collected done;
	int rc = cache_open(home->dir[HOME_CACHE], false, &cache, err);

	return rc ? rc : cache_collect_tmp(cache, &done, err);
}

/* The last resort on a full disk; @err says why, and is cleared if that works. */
static int open_to_look(struct store *s, struct store *ret, struct err *err)
{
	catalogue_close(take_ptr(&s->catalogue));
	if (open_in_home(s, CATALOGUE_READ, NULL) < 0 || !s->cache)
		return -err->code;
	err_clear(err);
	move_to(ret, s);
	return 0;
}

/* However full the disk is: no command that was refused for that has to be understood first. */
int store_open_to_free(struct store *ret, struct err *err)
{
	cleanup_store struct store s = { 0 };
	int rc = home_init(&s.home, err);

	if (rc < 0)
		return rc;
	reserve_give(&s.home);
	s.gave_reserve = true;
	rc = open_in_home(&s, CATALOGUE_WRITE, err);
	if (no_room(rc) && make_room(&s.home, NULL) == 0) {
		err_clear(err);
		catalogue_close(take_ptr(&s.catalogue));
		rc = open_in_home(&s, CATALOGUE_WRITE, err);
	}
	if (no_room(rc))
		return open_to_look(&s, ret, err);
	if (rc < 0)
		return rc;
	/* What others wrote last, when they were killed, is in the way of what is written now. */
	catalogue_checkpoint(s.catalogue);
	move_to(ret, &s);
	return 0;
}

int store_open_to_use(struct store *ret, struct err *err)
{
	cleanup_store struct store s = { 0 };
	int rc = store_open(CATALOGUE_WRITE, ret, err);

	if (!no_room(rc) || home_init(&s.home, NULL) < 0)
		return rc;
	return open_to_look(&s, ret, err);
}

/* Its log is deleted with that, if nobody else has it open: only then there is room again. */
void store_close_catalogue(struct store *store)
{
	catalogue_close(take_ptr(&store->catalogue));
	if (store->gave_reserve)
		reserve_keep(&store->home, false);
	store->gave_reserve = false;
}

void store_release(struct store *store)
{
	store_close_catalogue(store);
	cache_close(take_ptr(&store->cache));
	home_release(&store->home);
}

static int wanted(void *ctx, enum cache_kind kind, const char *digest, struct err *err)
{
	struct store *s = ctx;

	return kind == CACHE_LAYER ? catalogue_has_layer(s->catalogue, digest, err)
				   : catalogue_has_manifest(s->catalogue, digest, err);
}

static bool busy(void *ctx, const char *manifest_digest)
{
	struct store *s = ctx;

	return cache_image_busy(s->cache, manifest_digest, NULL, 0);
}

/* --- removing */

static int check_running(struct store *s, const char *reference, struct err *err)
{
	cleanup_catalogue_image struct catalogue_image *image = NULL;
	char holder[96];
	int rc = catalogue_image_get(s->catalogue, reference, &image, err);

	if (rc < 0)
		return rc;
	if (!cache_image_busy(s->cache, image->manifest_digest, holder, sizeof(holder)))
		return 0;
	return err_msg(err, EBUSY, "image '%s' is used by %s; end that first, or use --force",
		reference, holder);
}

/* What the image's digest leads to; those who use the image still may need it. */
static int discard_key(struct store *s, const char *digest, struct err *err)
{
	char key[CACHE_MANIFEST_KEY_MAX];
	cleanup_lock struct lock lock = LOCK_INIT;
	int rc;

	cache_manifest_key(digest, key);
	rc = cache_lock_reference(s->cache, key, LOCK_SHORT_MS, &lock, err);
	if (rc == 0 && busy(s, digest))
		return 0;
	rc = rc ? rc : wanted(s, CACHE_FSMETA, digest, err);
	return rc ? MIN_OF(rc, 0) : cache_metadata_remove(s->cache, key, err);
}

/* The rows are gone; files that cannot be deleted now are for the next prune. */
static void discard(struct store *s, const struct catalogue_gone *gone, uint64_t *ret_bytes)
{
	struct cache_collected done = { 0 };
	struct err err = ERR_INIT;

	if (gone->manifest)
		(void)discard_key(s, gone->manifest, &err);
	for (enum cache_kind k = CACHE_FSMETA; gone->manifest && k < CACHE_KINDS; k++)
		(void)cache_discard(s->cache, k, gone->manifest, wanted, s, &done, &err);
	for (size_t i = 0; i < gone->n; i++)
		(void)cache_discard(
			s->cache, CACHE_LAYER, gone->diff_ids[i], wanted, s, &done, &err);
	if (err.code)
		log_info("image prune will delete what is left: %s", err.msg);
	if (ret_bytes)
		*ret_bytes = done.bytes;
}

int store_image_remove(struct store *store, const char *reference, const char *canonical,
	bool force, uint64_t *ret_bytes, struct err *err)
{
	cleanup_catalogue_gone struct catalogue_gone gone = { 0 };
	cleanup_lock struct lock lock = LOCK_INIT;
	int rc = cache_lock_reference(store->cache, canonical, LOCK_SHORT_MS, &lock, err);

	rc = rc || force ? rc : check_running(store, reference, err);
	rc = rc ? rc : catalogue_image_remove(store->catalogue, reference, force, &gone, err);
	rc = rc ? rc : cache_metadata_remove(store->cache, canonical, err);
	if (rc < 0)
		return rc;
	discard(store, &gone, ret_bytes);
	return 0;
}

void store_make_room(struct store *store)
{
	struct cache_collected done;
	struct err err = ERR_INIT;

	if (cache_collect(store->cache, wanted, store, true, &done, &err) < 0)
		log_info("%s", err.msg);
}

void store_image_drop(struct store *store, const char *canonical, const char *manifest_digest,
	char **diff_ids, size_t n)
{
	char copy[CACHE_DIGEST_MAX];
	struct catalogue_gone gone = { copy, diff_ids, n };
	cleanup_lock struct lock lock = LOCK_INIT;

	(void)snprintf(copy, sizeof(copy), "%s", manifest_digest);
	if (cache_lock_reference(store->cache, canonical, 0, &lock, NULL) < 0 ||
		busy(store, copy) || wanted(store, CACHE_FSMETA, copy, NULL) != 0)
		return;
	(void)cache_metadata_remove(store->cache, canonical, NULL);
	discard(store, &gone, NULL);
}

static void add_pruned(struct catalogue_pruned *sum, const struct catalogue_pruned *more)
{
	sum->references += more->references;
	sum->manifests += more->manifests;
	sum->layers += more->layers;
}

/* All at once, or, where the log of that does not fit on the disk, few at a time. */
static int prune_rows(struct store *s, struct catalogue_pruned *sum, struct err *err)
{
	struct catalogue_pruned some = { .references = 1 };
	int rc = catalogue_image_prune(s->catalogue, busy, s, UINT_MAX, &some, err);

	if (rc == 0)
		add_pruned(sum, &some);
	if (!no_room(rc))
		return rc;
	while (some.references) {
		/* The log starts anew. */
		catalogue_checkpoint(s->catalogue);
		err_clear(err);
		rc = catalogue_image_prune(s->catalogue, busy, s, PRUNE_STEP, &some, err);
		if (rc < 0)
			return rc;
		add_pruned(sum, &some);
	}
	return 0;
}

static int needed(void *ctx, enum cache_kind kind, const char *digest, struct err *err)
{
	struct store *s = ctx;

	return kind == CACHE_LAYER ? catalogue_layer_needed(s->catalogue, digest, err)
				   : catalogue_manifest_needed(s->catalogue, digest, err);
}

/*
 * Without any room, not even the reserve, rows cannot go before their files. A row without files is
 * an image that has to be pulled again, and it is about to go too: with the room that the files
 * leave, or, if this is killed, with the next prune.
 */
static int prune_files_first(struct store *s, struct cache_collected *files,
	struct catalogue_pruned *rows, struct err *err)
{
	int rc;

	err_clear(err);
	rc = cache_collect(s->cache, needed, s, true, files, err);
	if (rc < 0)
		return rc;
	catalogue_close(take_ptr(&s->catalogue));
	rc = catalogue_open(&s->home, CATALOGUE_WRITE, &s->catalogue, err);
	return rc ? rc : prune_rows(s, rows, err);
}

static void add_collected(struct cache_collected *sum, const struct cache_collected *more)
{
	for (unsigned i = 0; i < CACHE_KINDS; i++)
		sum->artifacts[i] += more->artifacts[i];
	sum->metadata += more->metadata;
	sum->stray += more->stray;
	sum->bytes += more->bytes;
	sum->busy = more->busy;
}

int store_image_prune(struct store *store, struct store_pruned *ret, struct err *err)
{
	struct catalogue_pruned rows = { 0 };
	struct cache_collected files = { 0 }, more;
	int rc = prune_rows(store, &rows, err);

	if (no_room(rc))
		rc = prune_files_first(store, &files, &rows, err);
	rc = rc ? rc : cache_collect(store->cache, wanted, store, true, &more, err);
	if (rc < 0)
		return rc;
	add_collected(&files, &more);
	*ret = (struct store_pruned){
		.references = rows.references,
		.manifests = rows.manifests,
		.layers = files.artifacts[CACHE_LAYER],
		.fsmeta = files.artifacts[CACHE_FSMETA],
		.vmdk = files.artifacts[CACHE_VMDK],
		.strays = files.stray + files.metadata + files.artifacts[CACHE_FLAT],
		.bytes = files.bytes,
	};
	return 0;
}

int store_image_tag(struct store *store, const char *from, const char *from_canonical,
	const char *to_canonical, struct err *err)
{
	cleanup_lock struct lock lock = LOCK_INIT;
	cleanup_buf struct buf json = { 0 }, old = { 0 };
	bool is_new;
	int rc;

	rc = cache_lock_reference(store->cache, to_canonical, LOCK_SHORT_MS, &lock, err);
	rc = rc ? rc : cache_metadata_read(store->cache, from_canonical, &json, err);
	if (rc < 0)
		return rc;
	is_new = cache_metadata_read(store->cache, to_canonical, &old, NULL) == -ENOENT;
	rc = cache_metadata_write(store->cache, to_canonical, buf_head(&json), json.len, err);
	rc = rc ? rc : catalogue_image_tag(store->catalogue, from, to_canonical, err);
	if (rc < 0 && is_new)
		(void)cache_metadata_remove(store->cache, to_canonical, NULL);
	return rc;
}
