/* SPDX-License-Identifier: Apache-2.0 */
#include "image/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "image/exchange.h"
#include "image/file.h"
#include "image/pem.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/num.h"

#define DOCUMENT_TOTAL_MS 120000
#define CA_FILE_MAX	  MIB(16)
#define CA_PIPE_MS	  30000

static const char accept_manifests[] =
	MEDIA_OCI_MANIFEST ", " MEDIA_OCI_INDEX ", " MEDIA_DOCKER_MANIFEST ", " MEDIA_DOCKER_LIST;

static int endpoint_init(struct registry *r, const char *name, bool is_mirror, struct err *err)
{
	const struct image_host *h = image_settings_host(r->o.settings, name);
	struct endpoint *ep = &r->endpoints[r->endpoint_count];

	ep->name = strdup(name);
	if (!ep->name)
		return err_set(err, ENOMEM, "start the registry client");
	r->endpoint_count++;
	ep->host = strcmp(name, REFERENCE_DEFAULT_DOMAIN) ? ep->name : REFERENCE_DEFAULT_HOST;
	ep->is_mirror = is_mirror;
	ep->plain = (h && h->insecure) || (r->o.insecure && !is_mirror);
	return 0;
}

static int init_endpoints(struct registry *r, struct err *err)
{
	const struct image_host *h = image_settings_host(r->o.settings, r->ref.domain);
	size_t mirrors = 0;
	int rc = 0;

	while (h && h->mirrors && h->mirrors[mirrors])
		mirrors++;
	r->endpoints = calloc(mirrors + 1, sizeof(*r->endpoints));
	if (!r->endpoints)
		return err_set(err, ENOMEM, "start the registry client");
	for (size_t i = 0; i < mirrors && rc == 0; i++)
		rc = endpoint_init(r, h->mirrors[i], true, err);
	return rc ? rc : endpoint_init(r, r->ref.domain, false, err);
}

/* Each file is judged alone: an error names it. */
static int add_ca_file(struct registry *r, const char *path, struct err *err)
{
	cleanup_buf struct buf text = { 0 };
	struct pem_certs *certs = NULL;
	int rc;

	if (!path)
		return 0;
	rc = file_or_pipe_read(path, CA_FILE_MAX, CA_PIPE_MS, &text, err);
	if (rc < 0)
		return rc;
	rc = pem_certs_new((const char *)buf_head(&text), text.len, &certs, err);
	if (rc < 0)
		return err_wrap(err, "'%s'", path);
	pem_certs_free(certs);
	if (buf_append(&r->ca_pem, buf_head(&text), text.len) < 0 ||
		buf_append(&r->ca_pem, "\n", 1) < 0)
		return err_set(err, ENOMEM, "read '%s'", path);
	return 0;
}

/* SSL_CERT_FILE, which much else reads, is in place of what the system trusts. */
static int add_own_bundle(struct registry *r, bool *ret_given, struct err *err)
{
	const char *path = getenv("SSL_CERT_FILE");
	int rc = 0;

	*ret_given = path && *path;
	if (*ret_given)
		rc = add_ca_file(r, path, err);
	return rc < 0 ? err_wrap(err, "SSL_CERT_FILE") : 0;
}

static int init_http(struct registry *r, struct err *err)
{
	struct http_settings s = {
		.connect_timeout_ms = r->o.connect_timeout_ms,
		.idle_timeout_ms = r->o.idle_timeout_ms,
	};
	int rc = add_own_bundle(r, &s.ca_pem_only, err);

	rc = rc ? rc : add_ca_file(r, r->o.settings ? r->o.settings->ca_certs : NULL, err);
	rc = rc ? rc : add_ca_file(r, r->o.ca_certs, err);
	if (rc < 0)
		return err_wrap(err, "certificates to trust");
	s.ca_pem = (const char *)buf_head(&r->ca_pem);
	s.ca_pem_len = r->ca_pem.len;
	rc = http_new(&s, &r->http, err);
	return rc < 0 && s.ca_pem ? err_wrap(err, "certificates to trust") : rc;
}

int registry_new(const struct registry_options *o, const struct reference *ref,
	struct registry **ret, struct err *err)
{
	struct registry *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(err, ENOMEM, "start the registry client");
	r->o = *o;
	r->ref = *ref;
	r->seed = (unsigned)clock_mono_ns();
	rc = init_endpoints(r, err);
	rc = rc ? rc : init_http(r, err);
	if (rc < 0) {
		registry_free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

void registry_free(struct registry *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->endpoint_count; i++)
		endpoint_release(&r->endpoints[i]);
	free(r->endpoints);
	http_free(r->http);
	buf_release(&r->ca_pem);
	free(r);
}

int registry_poll(struct registry *r, unsigned timeout_ms, struct err *err)
{
	uint64_t now = clock_mono_ns(), wait_ms;

	if (r->next_retry_ns) {
		wait_ms = r->next_retry_ns > now ? (r->next_retry_ns - now) / NS_PER_MS + 1 : 0;
		timeout_ms = (unsigned)MIN_OF(timeout_ms, wait_ms);
		r->next_retry_ns = 0; /* those who still wait say so again */
	}
	return http_poll(r->http, (int)timeout_ms, err);
}

void registry_wake(struct registry *r)
{
	http_wake(r->http);
}

static int document_rewind(void *ctx, uint64_t *from)
{
	struct buf *b = ctx;

	buf_consume(b, b->len);
	*from = 0;
	return 0;
}

static int document_body(void *ctx, const void *data, size_t len)
{
	return buf_append(ctx, data, len);
}

static int check_digest(const struct buf *raw, const char *digest, const char *what,
	const char *host, struct err *err)
{
	char got[DIGEST_TEXT_MAX];

	digest_bytes(digest, buf_head(raw), raw->len, got);
	if (!strcmp(got, digest))
		return 0;
	return err_msg(err, EBADMSG,
		"the %s that %s sent is not what was asked for: %s instead of %s", what, host, got,
		digest);
}

/* Nobody asks for an encoding. Where the label is wrong and there is JSON, it does no harm. */
static int check_encoding(const struct buf *raw, const char *encoding, const char *what,
	const char *host, struct err *err)
{
	if (!encoding[0] || !strcasecmp(encoding, "identity") ||
		(raw->len && *buf_head(raw) == '{'))
		return 0;
	return err_msg(err, EBADMSG,
		"%s sent the %s with the content encoding '%s', which was not asked for", host,
		what, encoding);
}

/* One document from one endpoint. @ret_type: may be NULL */
static int fetch(struct registry *r, struct endpoint *ep, const char *path, uint64_t max,
	const char *digest, struct buf *raw, char *ret_type, struct err *err)
{
	struct exchange_request q = { .path = path,
		.accept = ret_type ? accept_manifests : NULL,
		.body_max = max,
		.total_ms = DOCUMENT_TOTAL_MS,
		.rewind = document_rewind,
		.body = document_body,
		.ctx = raw };
	const char *what = ret_type ? "manifest" : "configuration";
	const struct http_response *resp;
	struct exchange x;
	int rc = exchange_init(&x, r, ep, &q, err);

	rc = rc ? rc : exchange_run(&x, err);
	if (rc == 0) {
		resp = http_response(x.t);
		if (ret_type)
			(void)snprintf(ret_type, MEDIA_TYPE_MAX, "%.127s", resp->content_type);
		rc = check_encoding(raw, resp->content_encoding, what, ep->host, err);
		if (rc == 0 && digest)
			rc = check_digest(raw, digest, what, ep->host, err);
		if (rc == 0 && ret_type && digest_valid(resp->digest))
			rc = check_digest(raw, resp->digest, what, ep->host, err);
	}
	exchange_release(&x);
	return rc;
}

/* Ask the endpoints one after the other; what the last one says counts. */
static int fetch_any(struct registry *r, const char *path, uint64_t max, const char *digest,
	struct buf *raw, char *ret_type, struct err *err)
{
	int rc = -ENOENT;

	for (size_t i = 0; i < r->endpoint_count; i++) {
		struct endpoint *ep = &r->endpoints[i];

		err_clear(err);
		rc = fetch(r, ep, path, max, digest, raw, ret_type, err);
		if (rc == 0)
			return 0;
		if (ep->is_mirror)
			log_info("mirror %s: %s", ep->name, err->msg);
	}
	return rc;
}

int registry_manifest(struct registry *r, const char *target, struct buf *raw,
	char ret_type[static MEDIA_TYPE_MAX], struct err *err)
{
	const char *digest = strchr(target, ':') ? target : NULL;
	cleanup_free char *path = NULL;
	struct err why = ERR_INIT;
	int rc;

	if (asprintf(&path, "%s/manifests/%s", r->ref.repository, target) < 0)
		return err_set(err, ENOMEM, "ask for the manifest");
	rc = fetch_any(r, path, MANIFEST_BYTES_MAX, digest, raw, ret_type, &why);
	if (rc == -ENOENT)
		return err_msg(err, ENOENT, "%s/%s has no image '%s'", r->ref.domain,
			r->ref.repository, target);
	return rc < 0 ? err_msg(err, -rc, "%s", why.msg) : 0;
}

int registry_document(
	struct registry *r, const struct descriptor *d, struct buf *raw, struct err *err)
{
	cleanup_free char *path = NULL;
	struct err why = ERR_INIT;
	int rc;

	if (asprintf(&path, "%s/blobs/%s", r->ref.repository, d->digest) < 0)
		return err_set(err, ENOMEM, "ask for a blob");
	rc = fetch_any(r, path, d->size, d->digest, raw, NULL, &why);
	return rc < 0 ? err_msg(err, -rc, "%s", why.msg) : 0;
}
