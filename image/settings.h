/* SPDX-License-Identifier: Apache-2.0 */
/* The member "registries" of config.json: what the user said about registries (images.md 1.5). */
#ifndef IMAGE_SETTINGS_H
#define IMAGE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

/*
 * struct image_host - registries.hosts.<name>
 * @mirrors:  "host[:port]", asked before the host itself, in order; NULL-terminated. A mirror is
 *            itself looked up here for its own @insecure and credentials.
 * @username: NULL: no credentials here; else exactly one of @keyring, @password_env and
 *            @secret_name is set
 */
struct image_host {
	char *name;
	bool insecure;
	char **mirrors;
	char *username;
	bool keyring;
	char *password_env;
	char *secret_name;
};

/* struct image_settings - @ca_certs: path or NULL; @secrets_dir: where secret_name files are */
struct image_settings {
	struct image_host *hosts;
	size_t host_count;
	char *ca_certs;
	char *secrets_dir;
};

/*
 * image_settings_parse() - read the text of config.json
 * @secrets: folder with registries/, where secret_name files are
 * Return: 0 and *ret (image_settings_free()); -EINVAL and what is wrong with the file
 */
int image_settings_parse(const char *raw, size_t len, const char *secrets,
	struct image_settings **ret, struct err *err);

/* image_settings_from() - the same from the document, a json_t object of jansson; NULL: none */
struct json_t;
int image_settings_from(const struct json_t *config, const char *secrets,
	struct image_settings **ret, struct err *err);

/* image_settings_load() - the same from the file @path; no such file means no settings */
int image_settings_load(
	const char *path, const char *secrets, struct image_settings **ret, struct err *err);
void image_settings_free(struct image_settings *s);

/* image_settings_host() - what was said about @name, or NULL; @s may be NULL */
const struct image_host *image_settings_host(const struct image_settings *s, const char *name);

#endif
