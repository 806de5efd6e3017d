/* SPDX-License-Identifier: Apache-2.0 */
/* Images and the catalogue: what image/ makes and store/ remembers. */
#ifndef CLI_IMAGE_RECORD_H
#define CLI_IMAGE_RECORD_H

#include "image/image.h"
#include "store/store.h"

/*
 * image_record() - let the catalogue know of an image that is in the cache; call before
 * image_free() Return: 0; -errno as of catalogue_image_put()
 */
int image_record(struct store *store, const struct image *image, struct err *err);

/*
 * image_drop() - images that could not be recorded: their marks end, and what of them the catalogue
 * does not know is deleted. They are still to be freed.
 */
void image_drop(struct store *store, struct image *const *images, size_t n);

/*
 * image_find_stored() - the reference in the catalogue that means the same as @text
 * @ret_canonical: canonical text of it; free both
 * Return: 0; -ENOENT "image not found: TEXT"; -EINVAL
 */
int image_find_stored(struct store *store, const char *text, char **ret_stored,
	char **ret_canonical, struct err *err);

/* image_explain_full() - if @err says that there is no space left: where, and what to do */
void image_explain_full(const struct store *store, struct err *err);

/* image_canonical() - canonical text; free it. Return: 0; -EINVAL */
int image_canonical(const char *text, char **ret, struct err *err);

#endif
