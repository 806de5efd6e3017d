/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The room's public header: everything that is kept on the host's disk.
 *
 *	lock.h		locks with a deadline
 *	home.h		where things lie, config.json
 *	catalogue.h	the SQLite database
 *	cache.h		image files
 *	volume.h	named volumes
 *
 * struct store brings them together; what concerns more than one of them is here.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "store/cache.h"
#include "store/catalogue.h"
#include "store/home.h"
#include "store/lock.h"

/* struct store - belongs to one thread at a time; @catalogue not to both sides of a fork */
struct store {
	struct home home;
	struct catalogue *catalogue;
	struct cache *cache;
	bool gave_reserve; /* to be made again (reserve.h) */
};

/*
 * store_open() - home, catalogue and cache, from the environment
 * @mode: CATALOGUE_READ creates nothing: catalogue and cache are empty where there are none, and
 * @cache is NULL then
 * Return: 0 and *ret (store_release())
 */
int store_open(enum catalogue_mode mode, struct store *ret, struct err *err);
void store_release(struct store *store);
#define cleanup_store cleanup_(store_release)

/*
 * store_open_to_free() - store_open(CATALOGUE_WRITE) for what gives space back: the reserve
 * (reserve.h) makes that work on a full disk; where it is missing and the catalogue cannot be
 * written, interrupted downloads are deleted first, and if that is not enough @catalogue is for
 * reading only: store_image_prune() can work with that, the others are -ENOSPC
 */
int store_open_to_free(struct store *ret, struct err *err);

/*
 * store_open_to_use() - store_open(CATALOGUE_WRITE) for what needs no more than what is there, but
 * takes notes if it can: on a full disk @catalogue is for reading only, and changes to it are
 * -ENOSPC
 */
int store_open_to_use(struct store *ret, struct err *err);

/* store_close_catalogue() - before a fork; @catalogue is NULL afterwards. */
void store_close_catalogue(struct store *store);

/*
 * store_image_remove() - forget a reference, and delete what only it needed and nobody uses
 * @reference: as the catalogue has it
 * @canonical: its canonical text, which names its metadata
 * @force:     also if a sandbox uses it, running ones go on undisturbed
 * @ret_bytes: given back; may be NULL
 * Return: 0; -ENOENT; -EBUSY and by whom it is used
 */
int store_image_remove(struct store *store, const char *reference, const char *canonical,
	bool force, uint64_t *ret_bytes, struct err *err);

/* store_make_room() - for a full disk: delete what no image in the catalogue needs and nobody uses:
 * layers without image, interrupted downloads. As far as that works. */
void store_make_room(struct store *store);

/*
 * store_image_drop() - undo a pull that could not be recorded: delete what nobody uses and the
 * catalogue does not know, of an image with the layers @diff_ids, @n of them
 */
void store_image_drop(struct store *store, const char *canonical, const char *manifest_digest,
	char **diff_ids, size_t n);

/* struct store_pruned - as cli.md 2.8 names them; @strays: left behind by killed processes */
struct store_pruned {
	unsigned references, manifests, layers, fsmeta, vmdk, strays;
	uint64_t bytes;
};

/* store_image_prune() - every image that no sandbox uses, and everything that belongs to none */
int store_image_prune(struct store *store, struct store_pruned *ret, struct err *err);

/* store_image_tag() - a further name for an image, in catalogue and cache; all canonical but @from
 */
int store_image_tag(struct store *store, const char *from, const char *from_canonical,
	const char *to_canonical, struct err *err);

#include "store/volume.h"

#endif
