/* SPDX-License-Identifier: Apache-2.0 */
/* Image references ("debian", "localhost:5000/a/b:tag@sha256:...") and their canonical form. */
#ifndef IMAGE_REFERENCE_H
#define IMAGE_REFERENCE_H

#include <stdbool.h>

#include "lib/err.h"

#define REFERENCE_REPOSITORY_MAX 255
#define REFERENCE_TAG_MAX	 128
#define REFERENCE_DIGEST_MAX	 136 /* "sha512:" and 128 digits fit */
#define REFERENCE_DOMAIN_MAX	 255
/* Room for the canonical text with its NUL. */
#define REFERENCE_TEXT_MAX                                                                         \
	(REFERENCE_DOMAIN_MAX + REFERENCE_REPOSITORY_MAX + REFERENCE_TAG_MAX +                     \
		REFERENCE_DIGEST_MAX + 4)

/*
 * struct reference - one image reference, taken apart; every field is legal
 * @domain:     registry, "host[:port]"; the default registry has its canonical name
 * @repository: "library/debian"; never empty
 * @tag:        "" when there is none; "latest" when the text had neither tag nor digest
 * @digest:     "" or "sha256:<64 hex>" (sha384 and sha512 alike)
 */
struct reference {
	char domain[REFERENCE_DOMAIN_MAX + 1];
	char repository[REFERENCE_REPOSITORY_MAX + 1];
	char tag[REFERENCE_TAG_MAX + 1];
	char digest[REFERENCE_DIGEST_MAX + 1];
};

/* The default registry: its name in references, and the host that answers its API. */
#define REFERENCE_DEFAULT_DOMAIN "docker.io"
#define REFERENCE_DEFAULT_HOST	 "registry-1.docker.io"

/*
 * reference_parse() - take @text apart and normalise it
 * Return: 0, or -EINVAL with a line that names @text and what is wrong with it; @ret is untouched
 */
int reference_parse(const char *text, struct reference *ret, struct err *err);

/* reference_format() - the canonical text, "registry/repository[:tag][@digest]". */
void reference_format(const struct reference *ref, char text[static REFERENCE_TEXT_MAX]);

/* reference_canonical() - from any text to the canonical one. Return: as reference_parse() */
int reference_canonical(const char *text, char ret[static REFERENCE_TEXT_MAX], struct err *err);

/*
 * reference_target() - what to ask the registry for: the digest if there is one, else the tag.
 * The text lives as long as @ref.
 */
const char *reference_target(const struct reference *ref);

/* reference_is_path() - does @text name something on this machine (images.md 1.1) rather than an
 * image? */
bool reference_is_path(const char *text);

#endif
