/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images: what a reference stands for once it is in the cache, and how it gets there. An image is
 * a stack of layers, each an EROFS file, one EROFS file of merged metadata that has the layers as
 * its devices, and a configuration. images.md 1 and 2.
 *
 * Who only opens images that are in the cache links image_open_dep, which brings no large library:
 * image_open*() and image_free(). All else is in image_dep.
 *
 * Threads: every function may be called from any thread; one object belongs to one thread at a
 * time. Functions that use the network block, never longer than the deadlines of their options.
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct cache; /* store/cache.h */

/* Most layers that an image may have. */
#define IMAGE_LAYERS_MAX 256

/*
 * struct image_config - what the image says about how to run it (the parts of the config blob that
 * matter here). Lists end with NULL and are never NULL themselves; strings are "" when not given.
 * @env:           "KEY=VALUE"
 * @exposed_ports: "80/tcp"
 * @volumes:       paths; they create no mounts
 * @labels:        "KEY=VALUE", sorted
 * @diff_ids:      digest of each layer's tar, bottom first
 */
struct image_config {
	char **env;
	char **cmd;
	char **entrypoint;
	char **exposed_ports;
	char **volumes;
	char **labels;
	char **diff_ids;
	char *working_dir;
	char *user;
	char *stop_signal;
	char *architecture;
	char *os;
	char *variant;
	char *created;
};

/*
 * struct image_layer - one layer, as it lies in the cache
 * @diff_id:     digest of the uncompressed tar: the layer's identity
 * @blob_digest: digest of what the registry served
 * @blob_size:   bytes of that
 * @fd:          the EROFS file, open for reading, and marked as in use (store/cache.h) as long as
 *               this descriptor or a duplicate of it is open
 * @erofs_size:  its bytes
 */
struct image_layer {
	char *diff_id;
	char *blob_digest;
	char *media_type;
	uint64_t blob_size;
	int fd;
	uint64_t erofs_size;
};

/*
 * struct image - an image that is complete in the cache
 * @reference:       canonical text of the reference it was looked up with
 * @manifest_digest: of the platform's manifest, never of an index
 * @raw_manifest, @raw_config: the documents byte for byte as received, NUL-terminated
 * @layers:          bottom first
 * @fsmeta_fd:       the merged metadata image, open for reading; its devices are the layers in
 *                   order; marked as in use like the layers
 * Everything belongs to the image; image_free() closes and frees.
 */
struct image {
	char *reference;
	char *manifest_digest;
	char *manifest_media_type;
	char *config_digest;
	char *raw_manifest;
	size_t raw_manifest_len;
	char *raw_config;
	size_t raw_config_len;
	struct image_config config;
	struct image_layer *layers;
	size_t layer_count;
	int fsmeta_fd;
	uint64_t fsmeta_size;
	bool was_cached; /* image_pull() found it complete and downloaded nothing */
};

void image_free(struct image *img);

static inline void image_cleanup(struct image **img)
{
	image_free(*img);
}

#define cleanup_image __attribute__((cleanup(image_cleanup)))

/*
 * image_open() - an image from the cache alone; no network, no credentials
 * @reference: any text that reference_parse() takes
 * Return: 0 and *ret (image_free()); -EINVAL bad reference; -ENOENT "image not cached: REF" when
 * a layer is not there; -ESTALE when only the merged image is not, or is that of other files (the
 * cache is shared with other releases): image_pull() makes it, without network and whatever the
 * policy
 */
int image_open(struct cache *cache, const char *reference, struct image **ret, struct err *err);

/* image_open_digest() - as image_open(), by manifest digest ("sha256:..."): what a sandbox pinned.
 */
int image_open_digest(struct cache *cache, const char *digest, struct image **ret, struct err *err);

enum image_policy { IMAGE_IF_MISSING, IMAGE_ALWAYS, IMAGE_NEVER };

/* Progress of one pull, images.md 1.8. */
enum image_event_kind {
	IMAGE_RESOLVING,
	IMAGE_RESOLVED,	      /* @digest of the manifest, @layers, @total: bytes to download */
	IMAGE_LAYER_DOWNLOAD, /* @layer, @digest, @done of @total */
	IMAGE_LAYER_DOWNLOADED,
	IMAGE_LAYER_STARTED,  /* being made into an EROFS file; runs while it downloads */
	IMAGE_LAYER_PROGRESS, /* @done of @total compressed bytes taken in */
	IMAGE_LAYER_COMPLETE,
	IMAGE_MERGING, /* the layers' trees */
	IMAGE_WRITING_FSMETA,
	IMAGE_RETRYING, /* @reason: what failed; @done: ms until the next attempt */
	IMAGE_COMPLETE,
};

/*
 * struct image_event - valid during the callback only
 * @layer: index, 0 is the bottom
 */
struct image_event {
	enum image_event_kind kind;
	const char *reference;
	const char *digest;
	const char *reason;
	size_t layer, layers;
	uint64_t done, total;
};

/* Called from the thread that called image_pull(); must not block for long. */
typedef void image_progress_fn(void *ctx, const struct image_event *ev);

/*
 * struct image_pull_options - zero-initialised means: the default of every field
 * @force:        as if nothing of it were cached: download and build again
 * @settings:     registries of config.json (image/settings.h); NULL: none
 * @username, @password: credentials for this pull; used before any stored ones; NULL: stored ones
 * @insecure:     talk plain HTTP to the reference's registry
 * @ca_certs:     path of further certificates to trust (PEM), also a pipe; NULL: none
 * @architecture: as an image names it ("amd64", "arm64"); NULL: of this machine
 * @variant:      NULL: any
 * @idle_timeout_ms:    give up when a peer sends nothing for so long; 0: 30 s
 * @connect_timeout_ms: 0: 15 s
 * @retry_base_ms:      wait before the second attempt, doubled before each further; 0: 500 ms
 * @attempts:           in a row, without any progress between; 0: 5
 * @parallel:           layers downloaded at once; 0: 6
 */
struct image_pull_options {
	enum image_policy policy;
	bool force;
	const struct image_settings *settings;
	const char *username, *password;
	bool insecure;
	const char *ca_certs;
	const char *architecture, *variant;
	unsigned idle_timeout_ms, connect_timeout_ms, retry_base_ms, attempts, parallel;
	image_progress_fn *progress;
	void *progress_ctx;
};

/*
 * image_pull() - make the image complete in the cache and open it
 *
 * A complete image is opened without network, credentials or certificates, unless the policy is
 * IMAGE_ALWAYS or @o->force is set. Killed at any moment, the cache is as before or has the image;
 * what was downloaded is kept in its tmp folder and used by the next pull of the same layer.
 * Return: 0 and *ret; -EINVAL bad reference; -ENOENT not cached (IMAGE_NEVER) or no such image or
 * platform; -EACCES refused by the registry; -EBADMSG wrong digest or malformed document;
 * -ETIMEDOUT nothing came for too long; other errors of the network and the file system
 */
int image_pull(struct cache *cache, const char *reference, const struct image_pull_options *o,
	struct image **ret, struct err *err);

/*
 * image_make_flat() - the whole image as one ext4 file system (image/merge.h, merge_flat()), in the
 * cache as CACHE_FLAT under its manifest's digest; made unless it is there
 * @rebuild: make it even if it is there; who uses the old one keeps that
 * @ret_made: it was not there, or made anew; may be NULL
 * @ret_fd: open for reading and marked as in use; the caller's
 * Return: 0; -E2BIG there is something in it that ext4 cannot say; -errno
 */
int image_make_flat(struct cache *cache, const struct image *img, bool rebuild, bool *ret_made,
	int *ret_fd, struct err *err);

/*
 * image_load() - import the images of an archive: one made by `docker save` or of an OCI layout
 * @fd:   the archive, a tar, perhaps compressed with gzip or zstd; read from its position to the
 * end, never sought; or a folder with an OCI layout (O_DIRECTORY)
 * @tags: names for the first image of the archive, beside its own
 * @ret:  the images in the archive's order, @ret_n of them; one per reference (free each, and the
 *        array)
 * Return: 0; -EBADMSG not such an archive, or damaged; -EINVAL no tag
 */
int image_load(struct cache *cache, int fd, const char *const *tags, size_t tag_count,
	image_progress_fn *progress, void *progress_ctx, struct image ***ret, size_t *ret_n,
	struct err *err);

enum image_format { IMAGE_DOCKER, IMAGE_OCI };

/*
 * image_save() - write an archive of cached images; the same images give the same bytes
 * @fd: where to; need not be seekable
 * Return: 0; -ENOENT one is not cached; errors of writing
 */
int image_save(struct cache *cache, const char *const *references, size_t n,
	enum image_format format, int fd, struct err *err);

/*
 * image_save_folder() - write cached images as an OCI layout in a folder
 * @path: not there, then it is once it is complete; or an empty folder. '/' may follow.
 * Return: 0; -ENOENT one is not cached; -ENOTEMPTY; -ENOTDIR; errors of writing. After a failure
 * all is as before.
 */
int image_save_folder(struct cache *cache, const char *const *references, size_t n,
	const char *path, struct err *err);

#endif
