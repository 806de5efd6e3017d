/* SPDX-License-Identifier: Apache-2.0 */
#include "image/reference.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "image/digest.h"

/* How much of a bad reference an error repeats. */
#define SHOWN 200

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* Return: length of the separator at @s ('.', '_', "__" or a run of '-'), 0 if there is none. */
static size_t separator_len(const char *s, size_t len)
{
	size_t n = 0;

	if (len >= 2 && s[0] == '_' && s[1] == '_')
		return 2;
	if (len >= 1 && (s[0] == '_' || s[0] == '.'))
		return 1;
	while (n < len && s[n] == '-')
		n++;
	return n;
}

/* alphanumerics, joined by single separators: never at an end, never two in a row */
static bool component_ok(const char *s, size_t len)
{
	size_t i = 0, sep;

	for (;;) {
		if (i == len || !is_lower_alnum(s[i]))
			return false;
		while (i < len && is_lower_alnum(s[i]))
			i++;
		if (i == len)
			return true;
		sep = separator_len(s + i, len - i);
		if (!sep)
			return false;
		i += sep;
	}
}

static bool repository_ok(const char *s, size_t len)
{
	const char *slash;

	while ((slash = memchr(s, '/', len))) {
		if (!component_ok(s, (size_t)(slash - s)))
			return false;
		len -= (size_t)(slash - s) + 1;
		s = slash + 1;
	}
	return component_ok(s, len);
}

static bool tag_ok(const char *s, size_t len)
{
	if (len == 0 || len > REFERENCE_TAG_MAX || !(is_alnum(s[0]) || s[0] == '_'))
		return false;
	for (size_t i = 1; i < len; i++) {
		if (!is_alnum(s[i]) && !strchr("_.-", s[i]))
			return false;
	}
	return true;
}

static bool port_ok(const char *s, size_t len)
{
	unsigned v = 0;

	if (len == 0 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (unsigned)(s[i] - '0');
	}
	return v > 0 && v < 65536;
}

/* Labels of letters, digits and inner hyphens. */
static bool hostname_ok(const char *s, size_t len)
{
	char before = '.';

	for (size_t i = 0; i < len; i++) {
		bool joint = s[i] == '.' || s[i] == '-';

		if (!is_alnum(s[i]) && !joint)
			return false;
		if (joint && (before == '.' || (s[i] == '.' && before == '-')))
			return false;
		before = s[i];
	}
	return len > 0 && before != '.' && before != '-';
}

static bool ipv6_ok(const char *s, size_t len)
{
	if (len < 2 || len > 45)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '\0' || !strchr("0123456789abcdefABCDEF:.", s[i]))
			return false;
	}
	return true;
}

static bool domain_ok(const char *s, size_t len)
{
	const char *end, *host = s;
	size_t host_len;

	if (len > REFERENCE_DOMAIN_MAX)
		return false;
	if (len && s[0] == '[') {
		end = memchr(s, ']', len);
		if (!end || !ipv6_ok(s + 1, (size_t)(end - s) - 1))
			return false;
		end++;
	} else {
		end = memchr(s, ':', len);
		host_len = end ? (size_t)(end - host) : len;
		if (!hostname_ok(host, host_len))
			return false;
	}
	if (!end || end == s + len)
		return true;
	return *end == ':' && port_ok(end + 1, len - (size_t)(end - s) - 1);
}

/* The first component is a registry only if it cannot be the name of a user on the default one. */
static bool looks_like_domain(const char *s, size_t len)
{
	return memchr(s, '.', len) || memchr(s, ':', len) ||
	       (len == strlen("localhost") && memcmp(s, "localhost", len) == 0);
}

static int bad(struct err *err, const char *text, const char *why)
{
	return err_msg(err, EINVAL, "invalid image reference '%.*s': %s", SHOWN, text, why);
}

static void copy(char *dst, const char *src, size_t len)
{
	memcpy(dst, src, len);
	dst[len] = '\0';
}

/* Cut "@digest" off the end of [text, *len). */
static int take_digest(const char *text, size_t *len, struct reference *r, struct err *err)
{
	const char *at = memchr(text, '@', *len);

	if (!at)
		return 0;
	if (strlen(at + 1) > REFERENCE_DIGEST_MAX || !digest_valid(at + 1))
		return bad(err, text,
			"the digest must be sha256:, sha384: or sha512: and as many lower-case "
			"hexadecimal digits as that has");
	copy(r->digest, at + 1, strlen(at + 1));
	*len = (size_t)(at - text);
	return 0;
}

/* Cut ":tag" off: a colon behind the last slash. */
static int take_tag(
	const char *text, size_t start, size_t *len, struct reference *r, struct err *err)
{
	const char *colon = memrchr(text + start, ':', *len - start);
	size_t tag_len;

	if (!colon || memchr(colon, '/', *len - (size_t)(colon - text)))
		return 0;
	tag_len = *len - (size_t)(colon - text) - 1;
	if (!tag_ok(colon + 1, tag_len))
		return bad(err, text,
			"a tag has 1 to 128 letters, digits, '_', '.' and '-', and begins with "
			"none of the last two");
	copy(r->tag, colon + 1, tag_len);
	*len = (size_t)(colon - text);
	return 0;
}

static int take_domain(
	const char *text, size_t len, size_t *start, struct reference *r, struct err *err)
{
	const char *slash = memchr(text, '/', len);
	size_t n = slash ? (size_t)(slash - text) : 0;

	copy(r->domain, REFERENCE_DEFAULT_DOMAIN, strlen(REFERENCE_DEFAULT_DOMAIN));
	*start = 0;
	if (!slash || !looks_like_domain(text, n))
		return 0;
	if (!domain_ok(text, n))
		return bad(err, text, "the registry must be a host name or address and a port");
	*start = n + 1;
	/* The default registry has had two other names. */
	if (!(n == 15 && memcmp(text, "index.docker.io", n) == 0) &&
		!(n == 20 && memcmp(text, REFERENCE_DEFAULT_HOST, n) == 0))
		copy(r->domain, text, n);
	return 0;
}

static int take_repository(
	const char *text, size_t start, size_t len, struct reference *r, struct err *err)
{
	const char *repo = text + start;
	size_t n = len - start;
	const char *prefix = "";

	if (!strcmp(r->domain, REFERENCE_DEFAULT_DOMAIN) && !memchr(repo, '/', n))
		prefix = "library/";
	if (!repository_ok(repo, n))
		return bad(err, text,
			"a repository consists of lower-case letters and digits, with single '.', "
			"'_', '__', '-' between them and '/' between its parts");
	if (n + strlen(prefix) > REFERENCE_REPOSITORY_MAX)
		return bad(err, text, "the repository has more than 255 characters");
	(void)snprintf(r->repository, sizeof(r->repository), "%s%.*s", prefix, (int)n, repo);
	return 0;
}

int reference_parse(const char *text, struct reference *ret, struct err *err)
{
	struct reference r = { .domain = "" };
	size_t len = strlen(text), start;
	int rc;

	if (len == 0)
		return err_msg(err, EINVAL, "the image reference is empty");
	if (len >= REFERENCE_TEXT_MAX)
		return bad(err, text, "it is too long");
	if (reference_is_path(text))
		return bad(err, text,
			"it is a path; 'msb run' takes folders and disk images, 'msb load --input' "
			"takes archives");
	if (strstr(text, "://"))
		return bad(err, text, "it begins with the registry, without what is before '://'");
	rc = take_digest(text, &len, &r, err);
	if (rc == 0)
		rc = take_domain(text, len, &start, &r, err);
	if (rc == 0)
		rc = take_tag(text, start, &len, &r, err);
	if (rc == 0)
		rc = take_repository(text, start, len, &r, err);
	if (rc < 0)
		return rc;
	if (!r.tag[0] && !r.digest[0])
		copy(r.tag, "latest", strlen("latest"));
	*ret = r;
	return 0;
}

void reference_format(const struct reference *ref, char text[static REFERENCE_TEXT_MAX])
{
	(void)snprintf(text, REFERENCE_TEXT_MAX, "%s/%s%s%s%s%s", ref->domain, ref->repository,
		ref->tag[0] ? ":" : "", ref->tag, ref->digest[0] ? "@" : "", ref->digest);
}

int reference_canonical(const char *text, char ret[static REFERENCE_TEXT_MAX], struct err *err)
{
	struct reference ref;
	int rc = reference_parse(text, &ref, err);

	if (rc == 0)
		reference_format(&ref, ret);
	return rc;
}

const char *reference_target(const struct reference *ref)
{
	return ref->digest[0] ? ref->digest : ref->tag;
}

bool reference_is_path(const char *text)
{
	return text[0] == '/' || !strcmp(text, ".") || !strcmp(text, "..") ||
	       !strncmp(text, "./", 2) || !strncmp(text, "../", 3);
}
