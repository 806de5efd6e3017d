/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of store/ share. */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include <sys/stat.h>

#include "lib/json.h"
#include "store/cache.h"

/* Folders of the cache; the first CACHE_KINDS are those of the artifacts. */
enum cache_dir {
	CACHE_DIR_LAYERS = CACHE_LAYER,
	CACHE_DIR_FSMETA = CACHE_FSMETA,
	CACHE_DIR_VMDK = CACHE_VMDK,
	CACHE_DIR_FLAT = CACHE_FLAT,
	CACHE_DIR_MANIFESTS,
	CACHE_DIR_TMP,
	CACHE_DIRS,
};

/* Where in an EROFS image: the superblock, and its UUID from there. */
#define EROFS_SUPER_OFF	 1024
#define EROFS_SUPER_SIZE 128
#define EROFS_UUID_OFF	 0x30
#define EROFS_UUID_SIZE	 16

struct cache {
	int dir[CACHE_DIRS];
};

/* lock_holder_stat() - as lock_holder(), by what stat() says of the file; any kind of lock */
void lock_holder_stat(const struct stat *st, char *ret, size_t size);

/* cache_suffix() - what follows the digest in an artifact's file name: ".erofs" */
const char *cache_suffix(enum cache_kind kind);

/* cache_check_fd() - is this file a whole artifact? Return: 0; -EBADMSG and why; -errno */
int cache_check_fd(int fd, enum cache_kind kind, uint64_t *ret_size, struct err *err);

/* cache_artifact_name() - file name of an artifact; @ret: CACHE_NAME_MAX bytes */
int cache_artifact_name(enum cache_kind kind, const char *digest, char *ret, struct err *err);

/*
 * cache_metadata_parse() - the metadata file @name of one reference
 * @ret_digest: of its manifest, well-formed; lives as long as the document
 * Return: a new reference; NULL if there is none or it cannot be understood
 */
json_t *cache_metadata_parse(struct cache *cache, const char *name, const char **ret_digest);

/* cache_file_create() - begin to make the file @name of @dirfd, one of the cache's folders */
int cache_file_create(
	struct cache *cache, int dirfd, const char *name, struct cache_file *ret, struct err *err);

/* cache_file_name() - bring it to the disk and give it its name, replacing what had it */
int cache_file_name(struct cache_file *file, struct err *err);

/*
 * cache_before_layer() - a layer's file is about to get its name: delete what was merged of another
 * file that has it now. The caller holds its lock.
 */
int cache_before_layer(struct cache_file *file, struct err *err);

/* dir_sync() - make names in a folder durable */
int dir_sync(int dirfd, const char *what, struct err *err);

/*
 * tree_remove() - delete what @name below @dirfd is, with everything in it, never leaving it:
 * symbolic links are deleted, not followed, and mount points are not entered. Needs a bounded
 * number of descriptors and no recursion however deep the tree is. 0 also if there is nothing.
 */
int tree_remove(int dirfd, const char *name, struct err *err);

struct store;
struct lock;

/* What is under way with a volume, as its lock file has it. */
enum volume_step { VOLUME_SETTLED = 0, VOLUME_BEING_MADE = 'c', VOLUME_BEING_REMOVED = 'r' };

/* volume_mark() - write it; @lock is held. Return: 0; -errno. */
int volume_mark(const struct lock *lock, enum volume_step step, struct err *err);

/* volume_recover() - finish or undo what a killed process had under way; @lock is held. */
int volume_recover(
	struct store *store, int dirfd, const char *name, const struct lock *lock, struct err *err);

#endif
