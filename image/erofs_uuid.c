/* SPDX-License-Identifier: Apache-2.0 */
#include "image/erofs_uuid.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/num.h"

#define PIECE KIB(256)

static int take_file(EVP_MD_CTX *md, int fd, uint64_t from, uint64_t to, struct err *err)
{
	cleanup_free uint8_t *piece = malloc(PIECE);

	if (!piece)
		return err_set(err, ENOMEM, "write image");
	while (from < to) {
		size_t len = (size_t)MIN_OF(to - from, (uint64_t)PIECE);
		ssize_t n = io_pread(fd, piece, len, from);

		if (n < 0 || (size_t)n < len)
			return err_set(err, n < 0 ? (int)n : EIO, "read the image's metadata back");
		if (EVP_DigestUpdate(md, piece, len) != 1)
			return err_msg(err, EIO, "the SHA-256 implementation failed");
		from += len;
	}
	return 0;
}

int erofs_uuid_make(const uint8_t seed[static EROFS_SEED_LEN], int fd, uint64_t from, uint64_t to,
	uint8_t ret[static 16], struct err *err)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t hash[EVP_MAX_MD_SIZE];
	int rc = 0;

	if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1 ||
		EVP_DigestUpdate(md, seed, EROFS_SEED_LEN) != 1)
		rc = err_set(err, ENOMEM, "write image");
	rc = rc ? rc : take_file(md, fd, from, to, err);
	if (rc == 0 && EVP_DigestFinal_ex(md, hash, NULL) != 1)
		rc = err_msg(err, EIO, "the SHA-256 implementation failed");
	EVP_MD_CTX_free(md);
	if (rc < 0)
		return rc;
	memcpy(ret, hash, 16);
	ret[6] = (uint8_t)((ret[6] & 0x0f) | 0x80);
	ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80);
	return 0;
}
