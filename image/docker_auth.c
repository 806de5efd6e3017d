/* SPDX-License-Identifier: Apache-2.0 */
/* Docker's credential file, and the answers of its helpers. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "image/auth.h"
#include "image/json.h"
#include "image/reference.h"
#include "lib/cleanup.h"

/* The name under which Docker keeps the default registry. */
#define DOCKER_DEFAULT_KEY "https://index.docker.io/v1/"
#define AUTH_TEXT_MAX	   16384

static void wipe(char **s)
{
	if (*s)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

void credentials_release(struct credentials *c)
{
	wipe(&c->username);
	wipe(&c->password);
	wipe(&c->identity_token);
}

static int set_pair(struct credentials *c, const char *user, const char *password)
{
	c->username = strdup(user);
	c->password = strdup(password);
	if (c->username && c->password)
		return 0;
	credentials_release(c);
	return -ENOMEM;
}

/* "dXNlcjpwYXNz": user:pass in Base64 */
static int set_encoded(struct credentials *c, const char *text)
{
	size_t len = strlen(text);
	cleanup_free unsigned char *plain = NULL;
	char *colon;
	int n, rc = -EBADMSG;

	if (len == 0 || len % 4 || len > AUTH_TEXT_MAX)
		return -EBADMSG;
	plain = malloc(len + 1);
	if (!plain)
		return -ENOMEM;
	n = EVP_DecodeBlock(plain, (const unsigned char *)text, (int)len);
	if (n < 0)
		return -EBADMSG;
	plain[n] = '\0'; /* padding decodes to NULs, which end the password */
	colon = memchr(plain, ':', (size_t)n);
	if (colon) {
		*colon = '\0';
		rc = set_pair(c, (const char *)plain, colon + 1);
	}
	explicit_bzero(plain, (size_t)n);
	return rc;
}

static int from_entry(const json_t *entry, struct credentials *ret)
{
	const char *token = json_text(entry, "identitytoken");
	const char *user = json_text(entry, "username");
	const char *encoded = json_text(entry, "auth");

	if (token[0]) {
		ret->identity_token = strdup(token);
		return ret->identity_token ? 0 : -ENOMEM;
	}
	if (encoded[0])
		return set_encoded(ret, encoded);
	if (user[0])
		return set_pair(ret, user, json_text(entry, "password"));
	return 0;
}

/* The ways in which Docker and its kin have written the name of a registry. */
static const json_t *find_host(const json_t *map, const char *domain)
{
	static const char *const forms[][2] = { { "", "" }, { "https://", "" }, { "https://", "/" },
		{ "https://", "/v1/" }, { "https://", "/v2/" }, { "http://", "" } };
	char key[REFERENCE_DOMAIN_MAX + 32];
	const json_t *found = NULL;

	if (!strcmp(domain, REFERENCE_DEFAULT_DOMAIN)) {
		found = json_object_get(map, DOCKER_DEFAULT_KEY);
		if (!found)
			found = json_object_get(map, "index.docker.io");
	}
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms) && !found; i++) {
		(void)snprintf(key, sizeof(key), "%s%s%s", forms[i][0], domain, forms[i][1]);
		found = json_object_get(map, key);
	}
	return found;
}

/* It becomes part of the name of a program: letters, digits, '.', '_' and '-' only. */
static int take_helper(const char *name, char *ret)
{
	size_t len = strlen(name);

	if (len >= DOCKER_HELPER_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return -EBADMSG;
	}
	memcpy(ret, name, len + 1);
	return 0;
}

int docker_auth_parse(const char *raw, size_t len, const char *domain,
	char ret_helper[static DOCKER_HELPER_MAX], struct credentials *ret, struct err *err)
{
	cleanup_json json_t *doc =
		json_document(raw, len, false, "Docker's configuration file", err);
	const json_t *helper;
	const char *name;
	int rc;

	ret_helper[0] = '\0';
	if (!doc)
		return -EBADMSG;
	helper = find_host(json_object_get(doc, "credHelpers"), domain);
	name = helper ? json_string_value(helper) : json_text(doc, "credsStore");
	rc = take_helper(name ? name : "", ret_helper);
	if (rc < 0)
		return err_msg(err, EBADMSG,
			"Docker's configuration file names no valid credential helper for %s",
			domain);
	rc = from_entry(find_host(json_object_get(doc, "auths"), domain), ret);
	if (rc < 0)
		return err_msg(err, -rc,
			"Docker's configuration file has malformed credentials for %s", domain);
	return 0;
}

int docker_helper_parse(const char *raw, size_t len, struct credentials *ret, struct err *err)
{
	cleanup_json json_t *doc =
		json_document(raw, len, false, "the answer of the credential helper", err);
	const char *user, *secret;
	int rc = 0;

	if (!doc)
		return -EBADMSG;
	user = json_text(doc, "Username");
	secret = json_text(doc, "Secret");
	if (!strcmp(user, "<token>")) {
		ret->identity_token = strdup(secret);
		rc = ret->identity_token ? 0 : -ENOMEM;
	} else if (user[0] || secret[0]) {
		rc = set_pair(ret, user, secret);
	}
	return rc < 0 ? err_set(err, -rc, "keep credentials") : 0;
}
