/* SPDX-License-Identifier: Apache-2.0 */
#include "image/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/file.h"
#include "image/json.h"
#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define CONFIG_FILE_MAX MIB(4)

static int wrong(struct err *err, const char *host, const char *what)
{
	return err_msg(err, EINVAL, "config.json: registries.hosts.%.200s%s", host, what);
}

/* Copy an optional text member. */
static int get_text(const json_t *obj, const char *key, char **ret)
{
	const char *s = json_text(obj, key);

	*ret = s[0] ? strdup(s) : NULL;
	return s[0] && !*ret ? -ENOMEM : 0;
}

static int parse_auth(const json_t *auth, struct image_host *h, struct err *err)
{
	const char *store = json_text(auth, "store");
	int sources;

	if (!auth || json_is_null(auth))
		return 0;
	if (get_text(auth, "username", &h->username) < 0 ||
		get_text(auth, "password_env", &h->password_env) < 0 ||
		get_text(auth, "secret_name", &h->secret_name) < 0)
		return err_set(err, ENOMEM, "read config.json");
	h->keyring = !strcmp(store, "keyring");
	if (store[0] && !h->keyring)
		return wrong(err, h->name, ".auth.store can only be \"keyring\"");
	if (!h->username && !h->keyring)
		return wrong(err, h->name, ".auth has no username");
	sources = h->keyring + (h->password_env != NULL) + (h->secret_name != NULL);
	if (sources != 1)
		return wrong(err, h->name,
			".auth must have exactly one of store, password_env and secret_name");
	if (h->secret_name && (strchr(h->secret_name, '/') || h->secret_name[0] == '.'))
		return wrong(err, h->name, ".auth.secret_name is no plain file name");
	return 0;
}

static int parse_mirrors(const json_t *list, struct image_host *h, struct err *err)
{
	size_t n = json_array_size(list);

	h->mirrors = calloc(n + 1, sizeof(*h->mirrors));
	if (!h->mirrors)
		return err_set(err, ENOMEM, "read config.json");
	for (size_t i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(list, i));

		if (!s || !s[0] || strpbrk(s, "/ @?#"))
			return wrong(err, h->name, ".mirrors is no list of HOST[:PORT]");
		h->mirrors[i] = strdup(s);
		if (!h->mirrors[i])
			return err_set(err, ENOMEM, "read config.json");
	}
	return 0;
}

static int parse_host(const char *name, const json_t *j, struct image_host *h, struct err *err)
{
	int rc;

	h->name = strdup(name);
	if (!h->name)
		return err_set(err, ENOMEM, "read config.json");
	if (!json_is_object(j))
		return wrong(err, name, " is no object");
	h->insecure = json_is_true(json_object_get(j, "insecure"));
	rc = parse_mirrors(json_object_get(j, "mirrors"), h, err);
	return rc ? rc : parse_auth(json_object_get(j, "auth"), h, err);
}

static int parse_registries(json_t *reg, struct image_settings *s, struct err *err)
{
	json_t *hosts = json_object_get(reg, "hosts"), *j;
	const char *name;
	int rc = 0;

	s->hosts = calloc(json_object_size(hosts) + 1, sizeof(*s->hosts));
	if (!s->hosts || get_text(reg, "ca_certs", &s->ca_certs) < 0)
		return err_set(err, ENOMEM, "read config.json");
	json_object_foreach(hosts, name, j)
	{
		rc = parse_host(name, j, &s->hosts[s->host_count++], err);
		if (rc < 0)
			break;
	}
	return rc;
}

int image_settings_from(const struct json_t *config, const char *secrets,
	struct image_settings **ret, struct err *err)
{
	struct image_settings *s = calloc(1, sizeof(*s));
	int rc;

	if (!s || asprintf(&s->secrets_dir, "%s/registries", secrets) < 0)
		rc = err_set(err, ENOMEM, "read config.json");
	else
		rc = parse_registries(json_object_get(config, "registries"), s, err);
	if (rc < 0) {
		image_settings_free(s);
		return rc;
	}
	*ret = s;
	return 0;
}

int image_settings_parse(const char *raw, size_t len, const char *secrets,
	struct image_settings **ret, struct err *err)
{
	cleanup_json json_t *doc = json_document(raw, len, false, "config.json", err);

	return doc ? image_settings_from(doc, secrets, ret, err) : -EINVAL;
}

int image_settings_load(
	const char *path, const char *secrets, struct image_settings **ret, struct err *err)
{
	cleanup_buf struct buf text = { 0 };
	int rc = small_file_read(path, CONFIG_FILE_MAX, &text, err);

	if (rc == -ENOENT)
		return image_settings_parse("{}", 2, secrets, ret, err);
	if (rc < 0)
		return rc;
	return image_settings_parse((const char *)buf_head(&text), text.len, secrets, ret, err);
}

static void free_host(struct image_host *h)
{
	for (char **m = h->mirrors; m && *m; m++)
		free(*m);
	free(h->mirrors);
	free(h->name);
	free(h->username);
	free(h->password_env);
	free(h->secret_name);
}

void image_settings_free(struct image_settings *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->host_count; i++)
		free_host(&s->hosts[i]);
	free(s->hosts);
	free(s->ca_certs);
	free(s->secrets_dir);
	free(s);
}

const struct image_host *image_settings_host(const struct image_settings *s, const char *name)
{
	for (size_t i = 0; s && i < s->host_count; i++) {
		if (!strcmp(s->hosts[i].name, name))
			return &s->hosts[i];
	}
	return NULL;
}
