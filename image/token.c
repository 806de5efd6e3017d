/* SPDX-License-Identifier: Apache-2.0 */
/* What to show an endpoint: Basic credentials, or a token from where its challenge says. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <openssl/evp.h>

#include "image/exchange.h"
#include "image/json.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/num.h"

#define TOKEN_REPLY_MAX KIB(256)
#define TOKEN_TOTAL_MS	60000
#define TOKEN_DEFAULT_S 60
/* Renewed so long before it expires, for clocks and slow networks. */
#define TOKEN_SLACK_S	 5
#define TOKEN_LIFE_S_MAX (24 * 3600)
#define CLIENT_ID	 "microsandbox"

bool endpoint_fresh(const struct endpoint *ep)
{
	return !ep->authorization || !ep->expires_ns || clock_mono_ns() < ep->expires_ns;
}

void endpoint_forget(struct endpoint *ep)
{
	if (ep->authorization)
		explicit_bzero(ep->authorization, strlen(ep->authorization));
	free(ep->authorization);
	ep->authorization = NULL;
	ep->expires_ns = 0;
}

void endpoint_release(struct endpoint *ep)
{
	endpoint_forget(ep);
	credentials_release(&ep->credentials);
	free(ep->name);
}

/* "Basic BASE64"; NULL: out of memory */
static char *basic(const struct credentials *c)
{
	cleanup_free char *plain = NULL;
	char *text;
	int n = asprintf(&plain, "%s:%s", c->username, c->password);
	size_t len = n < 0 ? 0 : (size_t)n;

	if (n < 0)
		return NULL;
	text = malloc(sizeof("Basic ") + 4 * (len / 3 + 1));
	if (text) {
		memcpy(text, "Basic ", 6);
		(void)EVP_EncodeBlock(
			(unsigned char *)text + 6, (const unsigned char *)plain, (int)len);
	}
	explicit_bzero(plain, len);
	return text;
}

static int load_credentials(struct registry *r, struct endpoint *ep, struct err *err)
{
	struct credentials *c = &ep->credentials;

	if (ep->credentials_known)
		return 0;
	ep->credentials_known = true;
	if (!r->o.username || ep->is_mirror)
		return auth_find(r->o.settings, ep->name, c, err);
	c->username = strdup(r->o.username);
	c->password = strdup(r->o.password ? r->o.password : "");
	return c->username && c->password ? 0 : err_set(err, ENOMEM, "keep credentials");
}

/* Take @key=@value, escaped, behind *text, which is replaced. */
static int add_field(char **text, const char *key, const char *value)
{
	char *escaped = curl_easy_escape(NULL, value, 0), *more = NULL;
	int rc = -1;

	if (escaped)
		rc = asprintf(&more, "%s%s%s=%s", *text, **text ? "&" : "", key, escaped);
	curl_free(escaped);
	if (rc < 0)
		return -ENOMEM;
	explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = more;
	return 0;
}

/* service=...&scope=repository:...:pull, and for a refresh token what makes it an OAuth2 request */
static char *token_fields(const struct registry *r, const struct endpoint *ep)
{
	const char *refresh = ep->credentials.identity_token;
	char scope[REFERENCE_REPOSITORY_MAX + 32];
	char *text = strdup("");
	int rc = text ? 0 : -ENOMEM;

	(void)snprintf(scope, sizeof(scope), "repository:%s:pull", r->ref.repository);
	if (rc == 0 && ep->challenge.service[0])
		rc = add_field(&text, "service", ep->challenge.service);
	if (rc == 0)
		rc = add_field(&text, "scope", scope);
	if (rc == 0 && refresh)
		rc = add_field(&text, "grant_type", "refresh_token");
	if (rc == 0 && refresh)
		rc = add_field(&text, "client_id", CLIENT_ID);
	if (rc == 0 && refresh)
		rc = add_field(&text, "refresh_token", refresh);
	if (rc < 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* It becomes part of a header: visible ASCII only. */
static bool token_ok(const char *s)
{
	size_t len = strlen(s);

	for (const char *p = s; *p; p++) {
		if (*p <= ' ' || *p > '~')
			return false;
	}
	return len > 0 && len < TOKEN_REPLY_MAX;
}

static int take_token(struct endpoint *ep, const struct buf *reply, struct err *err)
{
	cleanup_json json_t *doc = json_document((const char *)buf_head(reply), reply->len, false,
		"the answer of the token service", err);
	const char *token = json_text(doc, "token");
	json_int_t life = json_integer_value(json_object_get(doc, "expires_in"));

	if (!doc)
		return -EBADMSG;
	if (!token[0])
		token = json_text(doc, "access_token");
	if (!token_ok(token))
		return err_msg(err, EBADMSG, "the token service sent no usable token");
	if (asprintf(&ep->authorization, "Bearer %s", token) < 0) {
		ep->authorization = NULL;
		return err_set(err, ENOMEM, "keep a token");
	}
	life = life > 0 ? MIN_OF(life, TOKEN_LIFE_S_MAX) : TOKEN_DEFAULT_S;
	life -= MIN_OF(TOKEN_SLACK_S, life / 4);
	ep->expires_ns = clock_mono_ns() + (uint64_t)life * NS_PER_S;
	return 0;
}

static int token_rewind(void *ctx, uint64_t *from)
{
	struct buf *b = ctx;

	buf_consume(b, b->len);
	*from = 0;
	return 0;
}

static int token_body(void *ctx, const void *data, size_t len)
{
	return buf_append(ctx, data, len);
}

static int ask(struct registry *r, struct endpoint *ep, const struct exchange_request *q,
	struct buf *reply, struct err *err)
{
	struct exchange x;
	int rc = exchange_init(&x, r, ep, q, err);

	if (rc == 0)
		rc = exchange_run(&x, err);
	exchange_release(&x);
	if (rc < 0)
		return rc;
	return take_token(ep, reply, err);
}

static int get_token(struct registry *r, struct endpoint *ep, struct err *err)
{
	cleanup_buf struct buf reply = { .max = TOKEN_REPLY_MAX };
	cleanup_free char *fields = token_fields(r, ep), *url = NULL, *shown = NULL;
	const char *realm = ep->challenge.realm;
	bool post = ep->credentials.identity_token != NULL;
	struct exchange_request q = { .total_ms = TOKEN_TOTAL_MS,
		.body_max = TOKEN_REPLY_MAX,
		.rewind = token_rewind,
		.body = token_body,
		.ctx = &reply };
	int rc;

	if (ep->credentials.username)
		shown = basic(&ep->credentials);
	if (!fields || (ep->credentials.username && !shown) ||
		asprintf(&url, "%s%s%s", realm,
			post		     ? ""
			: strchr(realm, '?') ? "&"
					     : "?",
			post ? "" : fields) < 0)
		return err_set(err, ENOMEM, "ask for a token");
	q.url = url;
	q.authorization = shown;
	q.form = post ? fields : NULL;
	rc = ask(r, ep, &q, &reply, err);
	if (reply.data)
		explicit_bzero(reply.data, reply.cap);
	if (shown)
		explicit_bzero(shown, strlen(shown));
	explicit_bzero(fields, strlen(fields));
	return rc < 0 ? err_wrap(err, "get a token for %s", ep->name) : 0;
}

static int set_basic(struct endpoint *ep, struct err *err)
{
	if (!ep->credentials.username)
		return err_msg(err, EACCES,
			"%s wants credentials, and there are none for it; 'msb pull --username' "
			"takes them, or config.json has them",
			ep->name);
	ep->authorization = basic(&ep->credentials);
	return ep->authorization ? 0 : err_set(err, ENOMEM, "keep credentials");
}

static int authorize(
	struct registry *r, struct endpoint *ep, const char *challenge, struct err *err)
{
	int rc;

	endpoint_forget(ep);
	if (challenge)
		challenge_parse(challenge, &ep->challenge);
	rc = load_credentials(r, ep, err);
	if (rc < 0)
		return rc;
	if (ep->challenge.kind == CHALLENGE_BASIC)
		return set_basic(ep, err);
	if (ep->challenge.kind != CHALLENGE_BEARER)
		return err_msg(
			err, EACCES, "%s wants an authorization of an unknown kind", ep->name);
	return get_token(r, ep, err);
}

int endpoint_authorize(
	struct registry *r, struct endpoint *ep, const char *challenge, struct err *err)
{
	struct err why = ERR_INIT;
	int rc = authorize(r, ep, challenge, &why);

	/* That something is not there is said of images only. */
	if (rc < 0)
		return err_msg(err, rc == -ENOENT ? EACCES : -rc, "%s", why.msg);
	return 0;
}
