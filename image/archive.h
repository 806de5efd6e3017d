/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The members of an image archive, taken in as its bytes come.
 *
 * Standard input cannot be sought and archives put their tables of contents where they like (at
 * the end, as a rule), so each member is judged by its first bytes: what looks like a layer (gzip,
 * zstd, or a tar header) is made into an EROFS file at once, what is small is kept in memory as a
 * document, the rest is passed over. Which of them the image consists of is found out afterwards.
 * Nothing is stored twice, and nothing gets a name in the cache before it is known to be wanted.
 */
#ifndef IMAGE_ARCHIVE_H
#define IMAGE_ARCHIVE_H

#include "image/digest.h"
#include "image/layer.h"
#include "lib/buf.h"
#include "store/cache.h"

#define ARCHIVE_DOCUMENT_MAX  MIB(16)
#define ARCHIVE_DOCUMENTS_MAX MIB(64) /* all of them together */
#define ARCHIVE_LAYERS_MAX    512     /* made at most, since each keeps a file open */
#define ARCHIVE_MEMBERS_MAX   100000

enum member_kind { MEMBER_DOCUMENT, MEMBER_LAYER, MEMBER_LINK, MEMBER_OTHER };

/*
 * struct member - one file of the archive
 * @name:   without leading "./" and "/"
 * @doc:    MEMBER_DOCUMENT: its bytes
 * @target: MEMBER_LINK: name of the member that is meant
 * @file, @layer, @digest: MEMBER_LAYER, if @rc is 0; else @why says what is wrong with it. @digest
 * is that of its bytes, by the algorithm of archive_promise(), else by SHA-256
 */
struct member {
	char *name;
	enum member_kind kind;
	uint64_t size;
	struct buf doc;
	char *target;
	struct cache_file file;
	struct layer_result layer;
	char digest[DIGEST_TEXT_MAX];
	int rc;
	struct err why;
};

struct archive;

/*
 * archive_read() - take in a whole archive
 * @fd: a tar, plain or compressed with gzip or zstd, read to its end; or a folder, whose files are
 * taken in when they are asked for; borrowed until archive_free() Return: 0 and *ret; -EBADMSG
 * damaged, -E2BIG too much in it, -errno
 */
int archive_read(struct cache *cache, int fd, struct archive **ret, struct err *err);
void archive_free(struct archive *a);

static inline void archive_cleanup(struct archive **a)
{
	archive_free(*a);
}

#define cleanup_archive __attribute__((cleanup(archive_cleanup)))

/*
 * archive_promise() - the digest that content must have for its name: "blobs/sha512/<hex>"
 * Return: is there one? Its digits may be anything, its algorithm is known to hasher_new().
 */
bool archive_promise(const char *name, char ret[static DIGEST_TEXT_MAX]);

/* archive_empty() - is there nothing in it at all? Of a folder that is not known. */
bool archive_empty(const struct archive *a);

/* archive_has() - is there a member of this name? */
bool archive_has(struct archive *a, const char *name);

/*
 * archive_document() - a small member; the bytes are the archive's
 * @what: for the error
 * Return: 0; -EBADMSG not there, or no document
 */
int archive_document(struct archive *a, const char *name, const char *what, const struct buf **ret,
	struct err *err);

/* archive_layer() - a member that is a layer. Return: 0; -EBADMSG not there, or no layer; what
 * layer_feed() said of it */
int archive_layer(struct archive *a, const char *name, struct member **ret, struct err *err);

#endif
