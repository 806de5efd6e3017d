/* SPDX-License-Identifier: Apache-2.0 */
#include "image/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>
#include <openssl/ssl.h>

#include "image/json.h"
#include "image/pem.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"

/* A peer that sends less than this per second, for as long as silence is allowed, is stalled. */
#define SLOW_BYTES_PER_S 256L
/* How much of the body of a refusal is kept, to find a message in it. */
#define REFUSAL_MAX 4096
/* More than this is as good as never. */
#define RETRY_AFTER_MAX (24 * 3600)
/* What libcurl may not say itself. */
#define ADDRESS_REFUSED "an address of this machine's own networks"
#define OWN_HOSTS	"localhost,127.0.0.0/8,::1"

struct http {
	CURLM *multi;
	struct http_settings settings;
	struct pem_certs *certs;
};

struct http_transfer {
	struct http *http;
	CURL *easy;
	struct curl_slist *headers;
	struct http_response response;
	struct buf refusal;
	http_body_fn *body;
	void *body_ctx;
	uint64_t body_max, received;
	char *form;
	char *host; /* "https://host:port", for errors */
	bool public_only, address_refused;
	bool done;
	CURLcode code;
	int body_error;
	char words[CURL_ERROR_SIZE];
};

int http_new(const struct http_settings *s, struct http **ret, struct err *err)
{
	struct http *h = calloc(1, sizeof(*h));
	int rc = 0;

	/* Counts its calls, and is safe for threads since 7.84. */
	if (!h || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(h);
		return err_set(err, ENOMEM, "start the HTTP client");
	}
	h->settings = *s;
	h->multi = curl_multi_init();
	if (!h->multi)
		rc = err_set(err, ENOMEM, "start the HTTP client");
	else if (s->ca_pem)
		rc = pem_certs_new(s->ca_pem, s->ca_pem_len, &h->certs, err);
	if (rc < 0) {
		http_free(h);
		return rc;
	}
	*ret = h;
	return 0;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	pem_certs_free(h->certs);
	if (h->multi)
		(void)curl_multi_cleanup(h->multi);
	curl_global_cleanup();
	free(h);
}

static bool private_v4(uint32_t a)
{
	static const struct {
		uint32_t net;
		unsigned bits;
	} nets[] = { { 0x00000000, 8 }, { 0x0a000000, 8 }, { 0x64400000, 10 }, { 0x7f000000, 8 },
		{ 0xa9fe0000, 16 }, { 0xac100000, 12 }, { 0xc0000000, 24 }, { 0xc0a80000, 16 },
		{ 0xc6120000, 15 }, { 0xe0000000, 3 } };

	for (size_t i = 0; i < sizeof(nets) / sizeof(*nets); i++) {
		if ((a ^ nets[i].net) >> (32 - nets[i].bits) == 0)
			return true;
	}
	return false;
}

static bool private_v6(const struct in6_addr *a)
{
	uint32_t v4;

	memcpy(&v4, &a->s6_addr[12], 4);
	if (IN6_IS_ADDR_V4MAPPED(a) || (a->s6_addr[0] == 0 && a->s6_addr[1] == 0x64))
		return private_v4(ntohl(v4)); /* also 64:ff9b::/96, which leads to IPv4 */
	return IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_UNSPECIFIED(a) ||
	       (a->s6_addr[0] & 0xfe) == 0xfc || a->s6_addr[0] == 0xff ||
	       (a->s6_addr[0] == 0xfe && (a->s6_addr[1] & 0x80));
}

static bool is_private(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return private_v4(
			ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr));
	if (sa->sa_family == AF_INET6)
		return private_v6(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
	return true;
}

/* libcurl asks for every address before it connects to it. */
static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct http_transfer *t = ctx;

	if (t->public_only && is_private(&a->addr)) {
		t->address_refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static CURLcode on_tls(CURL *easy, void *ssl_ctx, void *ctx)
{
	struct http_transfer *t = ctx;

	if (pem_certs_add(t->http->certs, SSL_CTX_get_cert_store(ssl_ctx)) < 0)
		return CURLE_OUT_OF_MEMORY;
	return CURLE_OK;
}

static void keep(char *dst, size_t size, const char *value, size_t len)
{
	/* A cut URL or digest would be another one: then rather none. */
	if (len >= size)
		len = 0;
	memcpy(dst, value, len);
	dst[len] = '\0';
}

static void keep_clean(char *dst, size_t size, const char *value, size_t len)
{
	keep(dst, size, value, len);
	log_clean(dst);
}

static void keep_challenge(struct http_response *r, const char *value, size_t len)
{
	size_t at = strlen(r->challenge);

	if (len + 2 > sizeof(r->challenge) - at)
		return;
	memcpy(r->challenge + at, value, len);
	memcpy(r->challenge + at + len, "\n", 2);
}

static long long header_number(const char *value, size_t len)
{
	long long v = 0;

	if (len == 0 || len > 18)
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (value[i] < '0' || value[i] > '9')
			return -1;
		v = v * 10 + (value[i] - '0');
	}
	return v;
}

/* "bytes 100-199/200" */
static int64_t range_start(const char *value, size_t len)
{
	const char *dash;

	if (len < 7 || strncasecmp(value, "bytes ", 6) != 0)
		return -1;
	dash = memchr(value, '-', len);
	return dash ? header_number(value + 6, (size_t)(dash - value) - 6) : -1;
}

/* Seconds, or a date. Return: seconds; -1: neither */
static int retry_after(const char *value, size_t len)
{
	long long n = header_number(value, len);
	char date[64];
	time_t then;

	if (n < 0 && len < sizeof(date)) {
		keep(date, sizeof(date), value, len);
		then = curl_getdate(date, NULL);
		n = then < 0 ? -1 : MAX_OF((long long)(then - time(NULL)), 0);
	}
	return (int)MIN_OF(n, RETRY_AFTER_MAX);
}

static void keep_header(
	struct http_response *r, const char *name, size_t n, const char *value, size_t len)
{
#define IS(s) (n == sizeof(s) - 1 && strncasecmp(name, s, n) == 0)
	if (IS("content-type"))
		keep(r->content_type, sizeof(r->content_type), value, len);
	else if (IS("content-encoding"))
		keep_clean(r->content_encoding, sizeof(r->content_encoding), value, len);
	else if (IS("docker-content-digest"))
		keep(r->digest, sizeof(r->digest), value, len);
	else if (IS("location"))
		keep(r->location, sizeof(r->location), value, len);
	else if (IS("www-authenticate"))
		keep_challenge(r, value, len);
	else if (IS("content-range"))
		r->range_from = range_start(value, len);
	else if (IS("content-length"))
		r->length = header_number(value, len);
	else if (IS("retry-after"))
		r->retry_after_s = retry_after(value, len);
#undef IS
}

static void response_init(struct http_response *r)
{
	memset(r, 0, sizeof(*r));
	r->range_from = -1;
	r->length = -1;
	r->retry_after_s = -1;
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
	struct http_transfer *t = ctx;
	size_t len = size * n, name_len;
	const char *colon = memchr(line, ':', len), *value, *end = line + len;

	/* Each status line begins anew: "100 Continue", or the answer of a proxy, came before. */
	if (len > 5 && !memcmp(line, "HTTP/", 5)) {
		response_init(&t->response);
		return len;
	}
	if (!colon)
		return len;
	name_len = (size_t)(colon - line);
	for (value = colon + 1; value < end && (*value == ' ' || *value == '\t'); value++)
		;
	while (end > value && strchr(" \t\r\n", end[-1]))
		end--;
	keep_header(&t->response, line, name_len, value, (size_t)(end - value));
	return len;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
	struct http_transfer *t = ctx;
	size_t len = size * n;
	long status = 0;

	(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200 && status != 206) {
		size_t room = REFUSAL_MAX - t->refusal.len;

		(void)buf_append(&t->refusal, data, MIN_OF(len, room));
		/* Enough seen: an endless refusal need not be read to its end. */
		return len <= room ? len : 0;
	}
	t->received += len;
	if (t->received > t->body_max)
		t->body_error = -EBADMSG;
	else if (t->body)
		t->body_error = t->body(t->body_ctx, data, len);
	return t->body_error < 0 ? 0 : len;
}

char *http_host_of(const char *url)
{
	const char *start = strstr(url, "://"), *at;
	char *host = NULL;
	size_t scheme, len;

	start = start ? start + 3 : url;
	scheme = (size_t)(start - url);
	len = strcspn(start, "/?#");
	at = memrchr(start, '@', len);
	if (at)
		len -= (size_t)(at + 1 - start);
	if (asprintf(&host, "%.*s%.*s", (int)scheme, url, (int)len, at ? at + 1 : start) < 0)
		return NULL;
	return host;
}

static int add_header(struct http_transfer *t, const char *name, const char *value)
{
	cleanup_free char *line = NULL;
	struct curl_slist *more;

	if (!value)
		return 0;
	if (asprintf(&line, "%s: %s", name, value) < 0)
		return -ENOMEM;
	more = curl_slist_append(t->headers, line);
	explicit_bzero(line, strlen(line));
	if (!more)
		return -ENOMEM;
	t->headers = more;
	return 0;
}

static void set_limits(CURL *e, const struct http_settings *s, const struct http_request *q)
{
	(void)curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, q->plain_ok ? "http,https" : "https");
	(void)curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)s->connect_timeout_ms);
	(void)curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES_PER_S);
	(void)curl_easy_setopt(
		e, CURLOPT_LOW_SPEED_TIME, (long)((s->idle_timeout_ms + 999) / 1000));
	(void)curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)q->total_ms);
	(void)curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	(void)curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 256L << 10);
}

/* Without a bundle of the system the certificates of --ca-certs must still do. */
static void set_trust(struct http_transfer *t)
{
	bool only = t->http->settings.ca_pem_only;
	char *bundle = NULL;

	(void)curl_easy_getinfo(t->easy, CURLINFO_CAINFO, &bundle);
	if (only || (bundle && access(bundle, R_OK) != 0))
		(void)curl_easy_setopt(t->easy, CURLOPT_CAINFO, NULL);
	if (only)
		(void)curl_easy_setopt(t->easy, CURLOPT_CAPATH, NULL);
	if (!t->http->certs)
		return;
	(void)curl_easy_setopt(t->easy, CURLOPT_SSL_CTX_FUNCTION, on_tls);
	(void)curl_easy_setopt(t->easy, CURLOPT_SSL_CTX_DATA, t);
}

/*
 * Proxies come from the environment, which libcurl reads, but for two habits of other programs: it
 * takes http_proxy in small letters only, because a web server may set the other by what a client
 * sends (then there is REQUEST_METHOD too); and this machine itself is never behind a proxy.
 */
static int set_proxy(struct http_transfer *t, const char *url)
{
	const char *direct = getenv("no_proxy"), *proxy = getenv("HTTP_PROXY");
	cleanup_free char *all = NULL;

	if (!direct)
		direct = getenv("NO_PROXY");
	if (!direct)
		direct = "";
	if (asprintf(&all, "%s%s" OWN_HOSTS, direct, *direct ? "," : "") < 0) {
		all = NULL;
		return -ENOMEM;
	}
	if (curl_easy_setopt(t->easy, CURLOPT_NOPROXY, strcmp(direct, "*") ? all : direct))
		return -ENOMEM;
	if (strncmp(url, "http:", 5) != 0 || !proxy || getenv("http_proxy") ||
		getenv("REQUEST_METHOD"))
		return 0;
	return curl_easy_setopt(t->easy, CURLOPT_PROXY, proxy) ? -ENOMEM : 0;
}

static void set_callbacks(struct http_transfer *t)
{
	CURL *e = t->easy;

	(void)curl_easy_setopt(e, CURLOPT_PRIVATE, t);
	(void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->words);
	(void)curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
	(void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
	(void)curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	(void)curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);
	(void)curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	(void)curl_easy_setopt(e, CURLOPT_USERAGENT, "microsandbox");
}

static int prepare(struct http_transfer *t, const struct http_request *q)
{
	char range[32];

	if (add_header(t, "Authorization", q->authorization) < 0 ||
		add_header(t, "Accept", q->accept) < 0)
		return -ENOMEM;
	if (q->form)
		t->form = strdup(q->form);
	t->host = http_host_of(q->url);
	if (!t->host || (q->form && !t->form))
		return -ENOMEM;
	if (curl_easy_setopt(t->easy, CURLOPT_URL, q->url) != CURLE_OK || set_proxy(t, q->url) < 0)
		return -ENOMEM;
	(void)curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
	if (t->form)
		(void)curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, t->form);
	if (q->from) {
		/* Not RESUME_FROM, with which libcurl fails if it gets the whole from the start. */
		(void)snprintf(range, sizeof(range), "%" PRIu64 "-", q->from);
		if (curl_easy_setopt(t->easy, CURLOPT_RANGE, range) != CURLE_OK)
			return -ENOMEM;
	}
	t->body = q->body;
	t->body_ctx = q->body_ctx;
	t->body_max = q->body_max;
	t->public_only = q->public_only;
	/* A connection made for somebody else was not asked about its address. */
	if (q->public_only)
		(void)curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
	return 0;
}

int http_start(
	struct http *h, const struct http_request *q, struct http_transfer **ret, struct err *err)
{
	cleanup_transfer struct http_transfer *t = calloc(1, sizeof(*t));

	if (t) {
		t->http = h;
		response_init(&t->response);
		t->easy = curl_easy_init();
	}
	if (!t || !t->easy)
		return err_set(err, ENOMEM, "start a request");
	set_limits(t->easy, &h->settings, q);
	set_callbacks(t);
	set_trust(t);
	if (prepare(t, q) < 0 || curl_multi_add_handle(h->multi, t->easy) != CURLM_OK)
		return err_set(err, ENOMEM, "start a request");
	*ret = t;
	t = NULL;
	return 0;
}

void http_finish(struct http_transfer *t)
{
	if (!t)
		return;
	if (t->easy) {
		(void)curl_multi_remove_handle(t->http->multi, t->easy);
		curl_easy_cleanup(t->easy);
	}
	for (struct curl_slist *s = t->headers; s; s = s->next)
		explicit_bzero(s->data, strlen(s->data));
	curl_slist_free_all(t->headers);
	if (t->form)
		explicit_bzero(t->form, strlen(t->form));
	free(t->form);
	free(t->host);
	buf_release(&t->refusal);
	free(t);
}

bool http_done(const struct http_transfer *t)
{
	return t->done;
}

const struct http_response *http_response(const struct http_transfer *t)
{
	return &t->response;
}

/* {"errors":[{"message":"..."}]}, as registries answer; anything else says nothing. */
static void find_message(struct http_transfer *t)
{
	json_error_t je;
	cleanup_json json_t *doc = NULL;
	const char *text;

	if (!t->refusal.len)
		return;
	doc = json_loadb((const char *)buf_head(&t->refusal), t->refusal.len, 0, &je);
	text = json_text(json_array_get(json_object_get(doc, "errors"), 0), "message");
	if (!text[0])
		text = json_text(doc, "details");
	(void)snprintf(t->response.message, sizeof(t->response.message), "%.150s", text);
	log_clean(t->response.message);
}

/*
 * Who answered, and nobody else: of several addresses some are only tried, and on a connection that
 * is used again none is.
 */
static bool peer_is_private(const struct http_transfer *t)
{
	struct in6_addr v6;
	struct in_addr v4;
	char *text = NULL;

	(void)curl_easy_getinfo(t->easy, CURLINFO_PRIMARY_IP, &text);
	if (text && inet_pton(AF_INET, text, &v4) == 1)
		return private_v4(ntohl(v4.s_addr));
	return text && inet_pton(AF_INET6, text, &v6) == 1 && private_v6(&v6);
}

static void set_done(struct http_transfer *t, CURLcode code)
{
	(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->response.status);
	t->response.private_peer = peer_is_private(t);
	t->code = code;
	t->done = true;
	/* A refusal whose body was cut short on purpose is whole enough. */
	if (t->response.status >= 300 && code == CURLE_WRITE_ERROR)
		t->code = CURLE_OK;
	find_message(t);
}

/* Let all make progress. @ret_done: has one of them ended? */
static CURLMcode perform(struct http *h, bool *ret_done)
{
	CURLMsg *msg;
	int running, left;
	CURLMcode mc = curl_multi_perform(h->multi, &running);

	*ret_done = false;
	while (mc == CURLM_OK && (msg = curl_multi_info_read(h->multi, &left))) {
		void *t = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t);
		set_done(t, msg->data.result);
		*ret_done = true;
	}
	return mc;
}

int http_poll(struct http *h, int timeout_ms, struct err *err)
{
	bool done;
	CURLMcode mc = perform(h, &done);

	/* What failed at once has no socket that would end the wait. */
	if (mc == CURLM_OK && timeout_ms > 0 && !done) {
		mc = curl_multi_poll(h->multi, NULL, 0, timeout_ms, NULL);
		if (mc == CURLM_OK)
			mc = perform(h, &done);
	}
	if (mc != CURLM_OK)
		return err_msg(err, EIO, "the HTTP client failed: %s", curl_multi_strerror(mc));
	return 0;
}

void http_wake(struct http *h)
{
	(void)curl_multi_wakeup(h->multi);
}

int http_wait(struct http *h, const struct http_transfer *t, struct err *err)
{
	int rc = http_poll(h, 0, err);

	while (rc == 0 && !t->done)
		rc = http_poll(h, 1000, err);
	return rc;
}

static int timed_out(const struct http_transfer *t, struct err *err)
{
	curl_off_t connected = 0;

	(void)curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
	if (connected == 0)
		return err_msg(err, ETIMEDOUT, "%s: no connection within %u s", t->host,
			t->http->settings.connect_timeout_ms / 1000);
	return err_msg(err, ETIMEDOUT,
		"%s stalled: next to nothing came for %u s, or the answer never ended", t->host,
		(t->http->settings.idle_timeout_ms + 999) / 1000);
}

static int tls_failed(const struct http_transfer *t, struct err *err)
{
	if (strstr(t->words, "wrong version number") || strstr(t->words, "packet length too long"))
		return err_msg(err, EPROTO,
			"%s does not speak TLS; for a plain HTTP registry there is 'msb pull "
			"--insecure', or \"insecure\" in config.json",
			t->host);
	if (t->code == CURLE_PEER_FAILED_VERIFICATION)
		return err_msg(err, EPERM,
			"%s has a certificate that is not trusted here: %.200s (--ca-certs FILE "
			"adds an authority)",
			t->host, t->words);
	return err_msg(err, EPROTO, "%s: TLS failed: %.200s", t->host, t->words);
}

/*
 * The proxy said no, or there is none where the environment says. Its words are not repeated where
 * they may be its URL, in which there may be a password. Return: 0: it was not the proxy
 */
static int proxy_failed(const struct http_transfer *t, struct err *err)
{
	long status = 0;

	(void)curl_easy_getinfo(t->easy, CURLINFO_HTTP_CONNECTCODE, &status);
	if (t->response.status == 407 || status == 407)
		return err_msg(err, EACCES,
			"%s: the proxy on the way wants other credentials; they belong into the "
			"URL of http_proxy or https_proxy",
			t->host);
	if (!strncmp(t->words, "Unsupported proxy", 17))
		return err_msg(err, EPERM,
			"%s: what http_proxy or https_proxy says is no proxy's URL", t->host);
	if (t->code == CURLE_COULDNT_RESOLVE_PROXY)
		return err_msg(err, EHOSTUNREACH, "%s: %s", t->host,
			strstr(t->words, "Could not resolve") ? t->words : "no such proxy");
	if (t->code != CURLE_OK && status >= 300)
		return err_msg(err, status >= 500 ? ECONNRESET : EPERM,
			"%s: the proxy on the way answered %ld", t->host, status);
	return 0;
}

int http_result(const struct http_transfer *t, struct err *err)
{
	const char *words = t->words[0] ? t->words : curl_easy_strerror(t->code);
	int rc;

	if (t->body_error == -EBADMSG && t->received > t->body_max)
		return err_msg(err, EBADMSG, "%s sent more than the %llu bytes it may", t->host,
			(unsigned long long)t->body_max);
	if (t->body_error < 0)
		return err_set(err, t->body_error, "write what %s sent", t->host);
	if (t->address_refused && t->code != CURLE_OK)
		return err_msg(err, EPERM,
			"%s is " ADDRESS_REFUSED ", to which a public registry "
			"must not redirect",
			t->host);
	rc = proxy_failed(t, err);
	if (rc < 0)
		return rc;
	switch (t->code) {
	case CURLE_OK:
		return 0;
	case CURLE_OPERATION_TIMEDOUT:
		return timed_out(t, err);
	case CURLE_COULDNT_RESOLVE_HOST:
		return err_msg(err, EHOSTUNREACH, "%s: %s", t->host, words);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CONNECT_ERROR:
		return tls_failed(t, err);
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		return err_msg(
			err, EPERM, "'%.200s' is not an address to use here: %s", t->host, words);
	case CURLE_COULDNT_CONNECT:
		return err_msg(err, ECONNREFUSED, "%s: %s", t->host, words);
	default:
		return err_msg(err, ECONNRESET, "%s: %s", t->host, words);
	}
}

bool http_retryable(int rc)
{
	return rc == -ETIMEDOUT || rc == -EHOSTUNREACH || rc == -ECONNREFUSED || rc == -ECONNRESET;
}
