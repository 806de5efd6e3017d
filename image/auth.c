/* SPDX-License-Identifier: Apache-2.0 */
#include "image/auth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/file.h"
#include "image/json.h"
#include "image/reference.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"

#define HELPER_MS      30000
#define HELPER_OUT_MAX KIB(64)
/* How much of what a helper complains about is passed on. */
#define HELPER_WORDS_MAX 200
#define SECRET_FILE_MAX	 KIB(64)
#define DOCKER_FILE_MAX	 MIB(4)
#define KEYRING_SERVICE	 "dev.microsandbox.registry"

static void wipe_buf(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_release(b);
}

#define cleanup_secret __attribute__((cleanup(wipe_buf)))

static int pair(const char *user, const char *password, size_t len, struct credentials *ret,
	struct err *err)
{
	ret->username = strdup(user);
	ret->password = strndup(password, len);
	if (ret->username && ret->password)
		return 0;
	credentials_release(ret);
	return err_set(err, ENOMEM, "keep credentials");
}

static int from_env(const struct image_host *h, struct credentials *ret, struct err *err)
{
	const char *password = getenv(h->password_env);

	if (!password)
		return err_msg(err, EINVAL,
			"config.json takes the password of %s from the environment variable %s, "
			"which is not set",
			h->name, h->password_env);
	return pair(h->username, password, strlen(password), ret, err);
}

static int from_secret(const struct image_settings *s, const struct image_host *h,
	struct credentials *ret, struct err *err)
{
	cleanup_secret struct buf text = { 0 };
	cleanup_free char *path = NULL;
	const char *data;
	size_t len;
	int rc;

	if (asprintf(&path, "%s/%s", s->secrets_dir, h->secret_name) < 0)
		return err_set(err, ENOMEM, "read a secret");
	rc = small_file_read(path, SECRET_FILE_MAX, &text, err);
	if (rc < 0)
		return err_wrap(err, "credentials of %s", h->name);
	data = (const char *)buf_head(&text);
	len = text.len;
	for (; len && strchr(" \t\r\n", data[len - 1]); len--)
		;
	for (; len && strchr(" \t\r\n", data[0]); data++, len--)
		;
	return pair(h->username, data, len, ret, err);
}

/* {"username":..., "password":...}, as a login keeps it */
static int keyring_parse(const struct buf *out, struct credentials *ret, struct err *err)
{
	cleanup_json json_t *doc = json_document(
		(const char *)buf_head(out), out->len, false, "the secret in the keyring", err);
	const char *password = json_text(doc, "password");

	if (!doc)
		return -EBADMSG;
	return pair(json_text(doc, "username"), password, strlen(password), ret, err);
}

/* Return: 0 and *ret, anonymous when the keyring has nothing or there is none. */
static int from_keyring(const char *domain, struct credentials *ret, struct err *err)
{
	char *argv[] = { (char[]){ "secret-tool" }, (char[]){ "lookup" }, (char[]){ "service" },
		(char[]){ KEYRING_SERVICE }, (char[]){ "username" }, NULL, NULL };
	cleanup_secret struct buf out = { 0 };
	cleanup_free char *host = strdup(domain);
	int rc, status;

	if (!host)
		return err_set(err, ENOMEM, "ask the keyring");
	argv[5] = host;
	rc = program_run(argv, "", HELPER_OUT_MAX, HELPER_MS, &out, &status, err);
	if (rc < 0)
		return err_wrap(err, "credentials of %s from the keyring", domain);
	return status == 0 && out.len ? keyring_parse(&out, ret, err) : 0;
}

static int from_settings(const struct image_settings *s, const struct image_host *h,
	struct credentials *ret, struct err *err)
{
	if (h->password_env)
		return from_env(h, ret, err);
	if (h->secret_name)
		return from_secret(s, h, ret, err);
	return from_keyring(h->name, ret, err);
}

/* "credentials not found in native keychain" is the way to say that there are none for us. */
static int helper_refused(const char *name, const struct buf *out, int status, struct err *err)
{
	static const char none[] = "credentials not found";
	const char *words = (const char *)buf_head(out);
	const char *end = out->len ? memchr(words, '\n', out->len) : NULL;
	size_t len = end ? (size_t)(end - words) : out->len;

	if (len >= sizeof(none) - 1 && !memcmp(words, none, sizeof(none) - 1))
		return 0;
	return err_msg(err, EACCES, "%s: exit code %d%s%.*s", name, status, len ? ": " : "",
		(int)MIN_OF(len, (size_t)HELPER_WORDS_MAX), len ? words : "");
}

/* Helpers know the default registry by the name that Docker gave it first. */
static int ask_helper(
	const char *helper, const char *domain, struct credentials *ret, struct err *err)
{
	char name[DOCKER_HELPER_MAX + 32], input[REFERENCE_DOMAIN_MAX + 32];
	char *argv[] = { name, (char[]){ "get" }, NULL };
	bool is_default = !strcmp(domain, REFERENCE_DEFAULT_DOMAIN);
	cleanup_secret struct buf out = { 0 };
	int rc, status;

	(void)snprintf(name, sizeof(name), "docker-credential-%s", helper);
	(void)snprintf(
		input, sizeof(input), "%s\n", is_default ? "https://index.docker.io/v1/" : domain);
	rc = program_run(argv, input, HELPER_OUT_MAX, HELPER_MS, &out, &status, err);
	if (rc < 0)
		return err_wrap(err, "credentials of %s", domain);
	if (status == 0)
		return docker_helper_parse((const char *)buf_head(&out), out.len, ret, err);
	return helper_refused(name, &out, status, err);
}

static char *docker_config_path(void)
{
	const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
	char *path = NULL;
	int rc = -1;

	if (dir && dir[0])
		rc = asprintf(&path, "%s/config.json", dir);
	else if (home && home[0])
		rc = asprintf(&path, "%s/.docker/config.json", home);
	return rc < 0 ? NULL : path;
}

/* A helper that Docker has configured but that does not work must not end a public pull. */
static int from_docker(const char *domain, struct credentials *ret, struct err *err)
{
	cleanup_free char *path = docker_config_path();
	cleanup_secret struct buf text = { 0 };
	struct credentials asked = { NULL };
	char helper[DOCKER_HELPER_MAX];
	struct err why = ERR_INIT;
	int rc;

	rc = path ? small_file_read(path, DOCKER_FILE_MAX, &text, &why) : -ENOENT;
	if (rc == -ENOENT)
		return 0;
	if (rc == 0)
		rc = docker_auth_parse(
			(const char *)buf_head(&text), text.len, domain, helper, ret, &why);
	if (rc == 0 && helper[0])
		rc = ask_helper(helper, domain, &asked, &why);
	if (rc < 0)
		log_warn("%s", why.msg);
	if (asked.username || asked.identity_token) {
		credentials_release(ret);
		*ret = asked;
	}
	return 0;
}

int auth_find(const struct image_settings *settings, const char *domain, struct credentials *ret,
	struct err *err)
{
	const struct image_host *h = image_settings_host(settings, domain);

	if (h && (h->username || h->keyring))
		return from_settings(settings, h, ret, err);
	return from_docker(domain, ret, err);
}
