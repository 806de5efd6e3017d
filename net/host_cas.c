/* SPDX-License-Identifier: Apache-2.0 */
#include "net/host_cas.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/log.h"
#include "lib/num.h"

#define PEM_BEGIN "-----BEGIN CERTIFICATE-----"
#define PEM_END	  "-----END CERTIFICATE-----"
#define LINE_LEN  64
#define FILE_MAX  MIB(16)
#define CERT_MAX  KIB(64)

/* struct ca_cert - one, in DER */
struct ca_cert {
	uint8_t *der;
	size_t len;
};

void ca_set_release(struct ca_set *set)
{
	for (size_t i = 0; i < set->n; i++)
		free(set->certs[i].der);
	free(set->certs);
	*set = (struct ca_set){ 0 };
}

/* --- reading --- */

/* A certificate is one SEQUENCE and nothing behind it (X.690 8.1, definite lengths only). */
static bool is_sequence(const uint8_t *der, size_t len)
{
	size_t n = 0, bytes;

	if (len < 2 || der[0] != 0x30)
		return false;
	if (der[1] < 0x80)
		return len == 2u + der[1];
	bytes = der[1] & 0x7f;
	if (!bytes || bytes > 3 || len < 2 + bytes)
		return false;
	for (size_t i = 0; i < bytes; i++)
		n = n << 8 | der[2 + i];
	return len == 2 + bytes + n;
}

static bool known(const struct ca_set *set, const uint8_t *der, size_t len)
{
	for (size_t i = 0; i < set->n; i++) {
		if (set->certs[i].len == len && !memcmp(set->certs[i].der, der, len))
			return true;
	}
	return false;
}

/* Takes @der over. Return: 1 new, 0 known, -errno. */
static int add(struct ca_set *set, uint8_t *der, size_t len)
{
	cleanup_free uint8_t *own = der;

	if (known(set, der, len))
		return 0;
	if (set->n == CA_SET_MAX)
		return -E2BIG;
	if (set->n == set->cap) {
		size_t cap = set->cap ? 2 * set->cap : 64;
		void *more = reallocarray(set->certs, cap, sizeof(*set->certs));

		if (!more)
			return -ENOMEM;
		set->certs = more;
		set->cap = cap;
	}
	set->certs[set->n++] = (struct ca_cert){ own, len };
	own = NULL;
	return 1;
}

/* The text between the marks. Return: as add(); broken ones are passed over. */
static int add_section(struct ca_set *set, const char *text, size_t len)
{
	uint8_t *der;
	size_t n;

	if (len > 2 * CERT_MAX)
		return 0;
	der = malloc(len + 1);
	if (!der)
		return -ENOMEM;
	if (base64_decode(text, len, der, &n) == 0 && n > 0 && is_sequence(der, n))
		return add(set, der, n);
	free(der);
	return 0;
}

int ca_set_add_pem(struct ca_set *set, const char *text, size_t len)
{
	const char *p = text, *end = text + len;
	int added = 0;

	while ((p = memmem(p, (size_t)(end - p), PEM_BEGIN, strlen(PEM_BEGIN)))) {
		const char *stop;
		int rc;

		p += strlen(PEM_BEGIN);
		stop = memmem(p, (size_t)(end - p), PEM_END, strlen(PEM_END));
		if (!stop)
			break;
		rc = add_section(set, p, (size_t)(stop - p));
		if (rc < 0)
			return rc;
		added += rc;
		p = stop + strlen(PEM_END);
	}
	return added;
}

/* --- writing --- */

static void encode_group(const uint8_t *p, size_t n, char *dst)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t v = (uint32_t)p[0] << 16;

	if (n > 1)
		v |= (uint32_t)p[1] << 8;
	if (n > 2)
		v |= p[2];
	dst[0] = digits[v >> 18];
	dst[1] = digits[v >> 12 & 63];
	dst[2] = n > 1 ? digits[v >> 6 & 63] : '=';
	dst[3] = n > 2 ? digits[v & 63] : '=';
}

static int put_cert(struct buf *b, const struct ca_cert *c)
{
	char line[LINE_LEN + 1];
	size_t n = 0;
	int rc = buf_append(b, PEM_BEGIN "\n", strlen(PEM_BEGIN) + 1);

	for (size_t i = 0; i < c->len && rc == 0; i += 3) {
		encode_group(c->der + i, MIN_OF(c->len - i, (size_t)3), line + n);
		n += 4;
		if (n < LINE_LEN && i + 3 < c->len)
			continue;
		line[n++] = '\n';
		rc = buf_append(b, line, n);
		n = 0;
	}
	return rc == 0 ? buf_append(b, PEM_END "\n", strlen(PEM_END) + 1) : rc;
}

char *ca_set_to_pem(const struct ca_set *set)
{
	cleanup_buf struct buf b = { 0 };

	for (size_t i = 0; i < set->n; i++) {
		if (put_cert(&b, &set->certs[i]) < 0)
			return NULL;
	}
	if (buf_append(&b, "", 1) < 0)
		return NULL;
	return strdup((const char *)buf_head(&b));
}

/* --- where hosts keep them --- */

static int add_file(struct ca_set *set, int dir, const char *path, struct err *err)
{
	cleanup_fd int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	cleanup_free char *text = NULL;
	struct stat st;
	ssize_t have;
	int rc;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "read certificates from '%s'", path);
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_MAX)
		return err_set(
			err, EFBIG, "read certificates from '%s': no file of sane size", path);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return err_set(err, ENOMEM, "read certificates from '%s'", path);
	have = io_read(fd, text, (size_t)st.st_size);
	if (have < 0)
		return err_set(err, (int)have, "read certificates from '%s'", path);
	rc = ca_set_add_pem(set, text, (size_t)have);
	return rc < 0 ? err_set(err, -rc, "read certificates from '%s'", path) : 0;
}

/* Every file of a directory; links to one another are the custom there. */
static int add_dir(struct ca_set *set, const char *path, struct err *err)
{
	DIR *d = opendir(path);
	const struct dirent *e;
	int rc = 0;

	if (!d)
		return err_set(err, errno, "read certificates in '%s'", path);
	while (rc == 0 && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		rc = add_file(set, dirfd(d), e->d_name, NULL);
		if (rc != -ENOMEM && rc != -E2BIG)
			rc = 0; /* a dangling link, a folder */
	}
	(void)closedir(d);
	return rc < 0 ? err_set(err, -rc, "read certificates in '%s'", path) : 0;
}

static int add_usual(struct ca_set *set, struct err *err)
{
	static const char *const files[] = { "/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem" };
	static const char dir[] = "/etc/ssl/certs";

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		if (access(files[i], F_OK) == 0)
			return add_file(set, AT_FDCWD, files[i], err);
	}
	return access(dir, F_OK) == 0 ? add_dir(set, dir, err) : 0;
}

int host_cas_collect(char **ret_pem, struct err *err)
{
	const char *file = getenv("SSL_CERT_FILE"), *dir = getenv("SSL_CERT_DIR");
	cleanup_ca_set struct ca_set set = { 0 };
	int rc = 0;

	if (file && *file)
		rc = add_file(&set, AT_FDCWD, file, err);
	if (rc == 0 && dir && *dir)
		rc = add_dir(&set, dir, err);
	if (!(file && *file) && !(dir && *dir))
		rc = add_usual(&set, err);
	if (rc < 0)
		return rc;
	if (!set.n)
		return err_set(err, ENOENT,
			"find the host's certificates (install ca-certificates, or set "
			"SSL_CERT_FILE)");
	*ret_pem = ca_set_to_pem(&set);
	return *ret_pem ? 0 : err_set(err, ENOMEM, "collect the host's certificates");
}
