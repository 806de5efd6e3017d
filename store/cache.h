/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image cache: files below HOME/cache, named by what is in them. Nothing inside holds an
 * absolute path, so the folder can be moved.
 *
 *	manifests/<sha256 of the canonical reference>.json   what a reference means (metadata)
 *	layers/<diff id>.erofs     one layer		     kind CACHE_LAYER
 *	fsmeta/<manifest>.erofs    merged metadata image     kind CACHE_FSMETA
 *	vmdk/<manifest>.vmdk       upstream's descriptor     kind CACHE_VMDK: never made here, since
 *				   it has absolute paths; upstream makes it again when it is missing
 *	flat/<manifest>.ext4       the whole image as one     kind CACHE_FLAT: made for the first
 *				   ext4 file system	      sandbox that wants its root so, or
 *							      by msb pull --materialize flat
 *	tmp/<blob>.part            a download		     and whatever is being made
 *
 * Rules that make it safe to kill any process at any time, and to collect garbage beside pulls:
 *
 * - An artifact (layer, fsmeta, vmdk, flat) never changes once it has its name. It gets the name
 *when it is complete and on disk (cache_artifact_create(), cache_file_publish()).
 * - Whoever uses an artifact holds a shared flock on it: cache_artifact_open() gives it, and the
 *   descriptor is the mark. A pull keeps the descriptors of its layers until its rows are in the
 *   catalogue; a running sandbox keeps them as long as it runs. Only files that can be locked
 *   exclusively are deleted. (An open file would survive deletion anyway; the mark keeps it
 *   findable, so that the next pull need not download it again.)
 * - Whoever makes an artifact holds its lock file exclusively (cache_lock_artifact()), and looks
 *   again for the artifact once it has the lock.
 * - Metadata stay while the merged image that they are of is marked as in use: a pull keeps that
 *   mark from before it writes them until its rows are in the catalogue.
 * - Order of locks: reference, download, artifact. No lock is taken while the catalogue is locked.
 *
 * Everything here may block on the disk; struct cache is immutable after cache_open(), so any
 * thread may use it.
 */
#ifndef STORE_CACHE_H
#define STORE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/num.h"
#include "store/lock.h"

struct cache;

enum cache_kind { CACHE_LAYER, CACHE_FSMETA, CACHE_VMDK, CACHE_FLAT, CACHE_KINDS };

/* Longest digest text, and longest name made of one, with NUL. */
#define CACHE_DIGEST_MAX   192
#define CACHE_NAME_MAX	   224
#define CACHE_METADATA_MAX MIB(16)

/*
 * cache_open() - the cache in the folder @path
 * @create: make the folders that are missing; else a missing one is -ENOENT
 */
int cache_open(const char *path, bool create, struct cache **ret, struct err *err);
void cache_close(struct cache *cache);

static inline void cache_cleanup_fn(struct cache **cache)
{
	cache_close(*cache);
}
#define cleanup_cache cleanup_(cache_cleanup_fn)

/* cache_tmp_fd() - the folder tmp/; stays the cache's. It is on the file system of the artifacts.
 */
int cache_tmp_fd(const struct cache *cache);

/*
 * cache_digest_name() - "sha256:<hex>" as part of a file name: "sha256_<hex>"
 * @ret: at least CACHE_DIGEST_MAX bytes
 * Return: 0; -EINVAL for what is no digest (the hex of sha256, sha384 or sha512, lower case)
 */
int cache_digest_name(const char *digest, char *ret, struct err *err);

/* --- locks; see lock.h for timeouts and errors */

/* cache_lock_reference() - who resolves, pulls, loads or removes a reference holds this exclusively
 * @canonical: the reference in canonical text */
int cache_lock_reference(struct cache *cache, const char *canonical, uint64_t timeout_ms,
	struct lock *ret, struct err *err);

/* cache_lock_artifact() - who makes an artifact holds this exclusively */
int cache_lock_artifact(struct cache *cache, enum cache_kind kind, const char *digest,
	uint64_t timeout_ms, struct lock *ret, struct err *err);

/* cache_lock_download() - who writes tmp/<blob>.part holds this exclusively */
int cache_lock_download(struct cache *cache, const char *blob_digest, uint64_t timeout_ms,
	struct lock *ret, struct err *err);

/* --- artifacts */

/*
 * cache_artifact_open() - a finished artifact, marked as in use until every duplicate of *ret_fd
 * is closed
 * @ret_fd:   read-only; the caller's
 * @ret_size: bytes; may be NULL
 * Return: 0; -ENOENT: not there, or there but damaged (log says how): make it (again); -errno
 */
int cache_artifact_open(struct cache *cache, enum cache_kind kind, const char *digest, int *ret_fd,
	uint64_t *ret_size, struct err *err);

/* cache_artifact_remove() - delete it whoever uses it, under the artifact lock; 0 also if there is
 * none
 */
int cache_artifact_remove(
	struct cache *cache, enum cache_kind kind, const char *digest, struct err *err);

/*
 * struct cache_file - something being made, without a name until it is published
 * @fd: read and write here, at will
 */
struct cache_file {
	int fd;
	struct cache *cache; /* borrowed */
	int dirfd;	     /* borrowed: where it is going */
	char name[CACHE_NAME_MAX];
	char tmp[64]; /* name in tmp/ where the file system has no O_TMPFILE, else empty */
};

#define CACHE_FILE_INIT ((struct cache_file){ .fd = -1 })

/*
 * cache_artifact_create() - begin to make an artifact; the caller holds its artifact lock
 * Return: 0 and *ret (cache_file_release()); -errno. If the process dies nothing is left, or a
 * file in tmp/ that cache_collect() deletes.
 */
int cache_artifact_create(struct cache *cache, enum cache_kind kind, const char *digest,
	struct cache_file *ret, struct err *err);

/*
 * cache_file_rename() - decide anew under which name @file will be published: for what is made
 * before its digest is known. The caller holds the lock of the artifact @digest.
 */
int cache_file_rename(
	struct cache_file *file, enum cache_kind kind, const char *digest, struct err *err);

/* cache_tmp_create() - a nameless scratch file on the same file system; never published */
int cache_tmp_create(struct cache *cache, int *ret_fd, struct err *err);

/*
 * cache_file_publish() - check it, bring it to the disk, give it its name
 * @ret_fd: as of cache_artifact_open(), already marked: there is no moment at which garbage
 *	    collection could take it away. NULL: not wanted
 * Return: 0: survives a power cut from now on; -EBADMSG: not a valid artifact; -ENOSPC, -errno:
 * the cache is as it was. Call once; then cache_file_release().
 */
int cache_file_publish(struct cache_file *file, int *ret_fd, struct err *err);
void cache_file_release(struct cache_file *file);
#define cleanup_cache_file cleanup_(cache_file_release)

/* --- downloads: the compressed blob, kept when a pull is interrupted; hold the download lock */

/* cache_part_open() - tmp/<blob>.part, created empty if it is not there; *ret_fd is read-write */
int cache_part_open(struct cache *cache, const char *blob_digest, int *ret_fd, struct err *err);
int cache_part_remove(struct cache *cache, const char *blob_digest, struct err *err);

/* --- metadata of references; hold the reference lock to write */

#define CACHE_MANIFEST_KEY_MAX (CACHE_DIGEST_MAX + 1)

/* cache_manifest_key() - instead of a reference: the key under which an image's metadata are found
 * by its manifest's digest, which is what a sandbox pins. Lock it after all references. */
void cache_manifest_key(const char *digest, char ret[static CACHE_MANIFEST_KEY_MAX]);

/* cache_metadata_write() - replace what is known of a reference, atomically and durably */
int cache_metadata_write(
	struct cache *cache, const char *canonical, const void *json, size_t len, struct err *err);

/* cache_metadata_read() - append to @ret. Return: 0; -ENOENT; -EFBIG above CACHE_METADATA_MAX */
int cache_metadata_read(
	struct cache *cache, const char *canonical, struct buf *ret, struct err *err);

/* cache_metadata_remove() - 0 also if there is none */
int cache_metadata_remove(struct cache *cache, const char *canonical, struct err *err);

/* --- whole images */

/*
 * cache_image_busy() - does a pull or a running sandbox use this image now?
 * @ret_holder: who, "msb (pid 12)"; may be NULL
 */
bool cache_image_busy(
	struct cache *cache, const char *manifest_digest, char *ret_holder, size_t size);

/* --- garbage collection */

/* struct cache_collected - what cache_collect() did; @busy: kept only because somebody uses it */
struct cache_collected {
	unsigned artifacts[CACHE_KINDS], metadata, stray, busy;
	uint64_t bytes; /* given back, as far as the disk counts them */
};

/*
 * cache_keep_fn - is this still wanted? Asked with the artifact locked exclusively, so that the
 * answer cannot be made wrong by a pull that is about to finish.
 * @digest: diff id of a layer, manifest digest of the others and of metadata (@kind CACHE_FSMETA)
 * Return: 1 keep, 0 delete, -errno end the collection
 */
typedef int cache_keep_fn(void *ctx, enum cache_kind kind, const char *digest, struct err *err);

/*
 * cache_collect() - delete artifacts and metadata that are neither in use nor wanted, lock files
 * that go with them, and what killed processes left in tmp/; runs beside pulls and sandboxes
 * @parts: also downloads that were interrupted and might be resumed
 */
int cache_collect(struct cache *cache, cache_keep_fn *keep, void *ctx, bool parts,
	struct cache_collected *ret, struct err *err);

/* cache_collect_tmp() - only what killed processes and interrupted downloads left in tmp/ */
int cache_collect_tmp(struct cache *cache, struct cache_collected *ret, struct err *err);

/* cache_discard() - cache_collect() for one artifact; adds to *done */
int cache_discard(struct cache *cache, enum cache_kind kind, const char *digest,
	cache_keep_fn *keep, void *ctx, struct cache_collected *done, struct err *err);

#endif
