/* SPDX-License-Identifier: Apache-2.0 */
/* Computing digests: apart from their text (digest.c), so that who only reads needs no libcrypto.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "image/digest.h"
#include "lib/num.h"

struct algorithm {
	const char *prefix; /* with the colon */
	const EVP_MD *(*md)(void);
};

static const struct algorithm algorithms[] = {
	{ "sha256:", EVP_sha256 },
	{ "sha384:", EVP_sha384 },
	{ "sha512:", EVP_sha512 },
};

struct hasher {
	EVP_MD_CTX *ctx;
	const struct algorithm *alg;
};

static const struct algorithm *find(const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(algorithms); i++) {
		if (!strncmp(text, algorithms[i].prefix, strlen(algorithms[i].prefix)))
			return &algorithms[i];
	}
	return NULL;
}

struct hasher *hasher_new(const char *like)
{
	const struct algorithm *a = find(like);
	struct hasher *h = a ? calloc(1, sizeof(*h)) : NULL;

	if (!h)
		return NULL;
	h->alg = a;
	h->ctx = EVP_MD_CTX_new();
	if (!h->ctx || EVP_DigestInit_ex(h->ctx, a->md(), NULL) != 1) {
		hasher_free(h);
		return NULL;
	}
	return h;
}

void hasher_free(struct hasher *h)
{
	if (!h)
		return;
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

void hasher_update(struct hasher *h, const void *data, size_t len)
{
	(void)EVP_DigestUpdate(h->ctx, data, len);
}

void hasher_finish(struct hasher *h, char ret[static DIGEST_TEXT_MAX])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	size_t at;

	(void)EVP_DigestFinal_ex(h->ctx, md, &len);
	at = (size_t)snprintf(ret, DIGEST_TEXT_MAX, "%s", h->alg->prefix);
	for (unsigned i = 0; i < len && at + 2 < DIGEST_TEXT_MAX; i++, at += 2)
		(void)snprintf(ret + at, 3, "%02x", md[i]);
}

void digest_bytes(const char *like, const void *data, size_t len, char ret[static DIGEST_TEXT_MAX])
{
	cleanup_hasher struct hasher *h = hasher_new(like);

	ret[0] = '\0';
	if (!h)
		return;
	hasher_update(h, data, len);
	hasher_finish(h, ret);
}
