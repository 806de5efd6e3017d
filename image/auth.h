/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials for a registry: from this pull, config.json, the keyring, Docker (images.md 1.5). */
#ifndef IMAGE_AUTH_H
#define IMAGE_AUTH_H

#include <stddef.h>

#include "image/settings.h"
#include "lib/err.h"

/*
 * struct credentials - what to show a registry; all NULL: nothing, that is, anonymous
 * @identity_token: to be exchanged for tokens (OAuth2 refresh token); then no password
 */
struct credentials {
	char *username;
	char *password;
	char *identity_token;
};

void credentials_release(struct credentials *c); /* wipes them */

/*
 * auth_find() - stored credentials for @domain, the first of: config.json, Docker's config file
 * @domain: canonical name of the registry
 * Return: 0, *ret perhaps anonymous; -errno when what is configured does not work. May run helper
 * programs, at most 30 s each.
 */
int auth_find(const struct image_settings *settings, const char *domain, struct credentials *ret,
	struct err *err);

#define DOCKER_HELPER_MAX 64

/*
 * docker_auth_parse() - what Docker's config.json says about @domain
 * @ret_helper: name of the credential helper to ask first, or ""
 * @ret:        credentials in the file itself, or anonymous
 * Return: 0; -EBADMSG malformed
 */
int docker_auth_parse(const char *raw, size_t len, const char *domain,
	char ret_helper[static DOCKER_HELPER_MAX], struct credentials *ret, struct err *err);

/*
 * docker_helper_parse() - the answer of a credential helper
 * Return: 0; -EBADMSG malformed
 */
int docker_helper_parse(const char *raw, size_t len, struct credentials *ret, struct err *err);

#endif
