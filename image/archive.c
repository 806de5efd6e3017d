/* SPDX-License-Identifier: Apache-2.0 */
#include "image/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/decode.h"
#include "image/tar.h"
#include "lib/cleanup.h"
#include "lib/num.h"
#include "lib/path.h"

#define READ_CHUNK  KIB(256)
#define LINKS_MAX   8
#define TAR_HEADER  512
#define FILE_MAX    GIB(64)
#define PATH_LENGTH 4096
#define HEAD_BYTES  6
/* Of an archive that is compressed as a whole; its layers have limits of their own. */
#define UNPACK_RATIO_MAX 256

/* The file gets its name when its digest is known. */
static const char no_digest[] =
	"sha256:0000000000000000000000000000000000000000000000000000000000000000";
#define ALGORITHM_LEN (sizeof("sha256:") - 1)

/*
 * struct archive
 * @by_name: tree of struct member (tsearch)
 * @folder:  where files are taken in when they are asked for, or -1
 * @now, @head, @new_layer: of the member being read; @head holds its bytes until it was judged
 * @hasher: of a layer whose digest is to be another than what struct layer computes, or NULL
 */
struct archive {
	struct cache *cache;
	void *by_name;
	size_t members, layers;
	uint64_t document_bytes;
	int folder;
	struct member *now;
	struct buf head;
	bool judged;
	struct layer *new_layer;
	struct hasher *hasher;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static void member_free(void *p)
{
	struct member *m = p;

	free(m->name);
	free(m->target);
	buf_release(&m->doc);
	cache_file_release(&m->file);
	free(m);
}

void archive_free(struct archive *a)
{
	if (!a)
		return;
	tdestroy(a->by_name, member_free);
	layer_free(a->new_layer);
	hasher_free(a->hasher);
	buf_release(&a->head);
	free(a);
}

static const char *plain_name(const char *name)
{
	for (;;) {
		if (name[0] == '/')
			name++;
		else if (name[0] == '.' && name[1] == '/')
			name += 2;
		else
			return name;
	}
}

static struct member *find(struct archive *a, const char *name)
{
	struct member key = { .name = (char *)plain_name(name) };
	struct member **found = tfind(&key, &a->by_name, by_name);

	return found ? *found : NULL;
}

static int add(struct archive *a, const char *name, uint64_t size, struct err *err)
{
	struct member *m, **in;

	if (find(a, name))
		return err_msg(err, EBADMSG, "the archive has two members '%.200s'", name);
	if (++a->members > ARCHIVE_MEMBERS_MAX)
		return err_msg(
			err, E2BIG, "the archive has more than %d members", ARCHIVE_MEMBERS_MAX);
	m = calloc(1, sizeof(*m));
	if (m)
		m->name = strdup(plain_name(name));
	in = m && m->name ? tsearch(m, &a->by_name, by_name) : NULL;
	if (!in) {
		if (m)
			free(m->name);
		free(m);
		return err_set(err, ENOMEM, "read the archive");
	}
	m->kind = MEMBER_OTHER;
	m->size = size;
	m->file = CACHE_FILE_INIT;
	a->now = m;
	a->judged = false;
	return 0;
}

/* Where a link beside @name leads, within the archive: "a/../b" is "b". */
static char *link_target(const char *name, const char *link)
{
	const char *slash = strrchr(name, '/');
	char *path = NULL, *out, *in, *save = NULL;
	size_t len = 0;

	if (asprintf(&path, "%.*s/%s", slash ? (int)(slash - name) : 0, slash ? name : "", link) <
		0)
		return NULL;
	out = calloc(1, strlen(path) + 2);
	for (in = out ? strtok_r(path, "/", &save) : NULL; in; in = strtok_r(NULL, "/", &save)) {
		if (!strcmp(in, ".."))
			while (len && out[--len] != '/')
				;
		else if (strcmp(in, ".") != 0)
			len += (size_t)sprintf(out + len, "%s%s", len ? "/" : "", in);
		out[len] = '\0';
	}
	free(path);
	return out;
}

static bool tar_header(const uint8_t *h)
{
	unsigned sum = 0, said = 0, i = 148;

	while (i < 156 && h[i] == ' ')
		i++;
	for (; i < 156 && h[i] >= '0' && h[i] <= '7'; i++)
		said = said * 8 + h[i] - '0';
	for (i = 0; i < TAR_HEADER; i++)
		sum += i >= 148 && i < 156 ? ' ' : h[i];
	return sum == said;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	while (len && !*p) {
		p++;
		len--;
	}
	return len == 0;
}

/* gzip or zstd */
static bool compressed(const uint8_t *p, size_t len)
{
	return decode_guess(p, len) != LAYER_PLAIN;
}

static bool looks_like_layer(const struct buf *head)
{
	const uint8_t *p = buf_head(head);

	if (compressed(p, head->len))
		return true;
	return head->len >= TAR_HEADER && (tar_header(p) || all_zero(p, TAR_HEADER));
}

bool archive_promise(const char *name, char ret[static DIGEST_TEXT_MAX])
{
	static const char folder[] = "blobs/";
	const char *at = strstr(name, folder), *slash;
	cleanup_hasher struct hasher *h = NULL;

	at = at ? at + sizeof(folder) - 1 : NULL;
	slash = at ? strchr(at, '/') : NULL;
	if (!slash)
		return false;
	(void)snprintf(ret, DIGEST_TEXT_MAX, "%.*s:%s", (int)(slash - at), at, slash + 1);
	h = hasher_new(ret);
	return h != NULL;
}

static void end_layer(struct archive *a)
{
	layer_free(take_ptr(&a->new_layer));
	hasher_free(take_ptr(&a->hasher));
}

/* What goes wrong with a layer matters only if somebody wants it. */
static void layer_failed(struct archive *a, int rc)
{
	a->now->rc = rc;
	end_layer(a);
	cache_file_release(&a->now->file);
	a->now->file = CACHE_FILE_INIT;
}

static int begin_layer(struct archive *a, struct err *err)
{
	char promised[DIGEST_TEXT_MAX];
	struct member *m = a->now;
	int rc;

	if (++a->layers > ARCHIVE_LAYERS_MAX)
		return err_msg(
			err, E2BIG, "the archive has more than %d layers", ARCHIVE_LAYERS_MAX);
	m->kind = MEMBER_LAYER;
	if (archive_promise(m->name, promised) &&
		strncmp(promised, no_digest, ALGORITHM_LEN) != 0) {
		a->hasher = hasher_new(promised);
		if (!a->hasher)
			return err_set(err, ENOMEM, "read the archive");
	}
	rc = cache_artifact_create(a->cache, CACHE_LAYER, no_digest, &m->file, err);
	return rc ? rc : layer_new(m->file.fd, NULL, &a->new_layer, err);
}

static int take(struct archive *a, const uint8_t *data, size_t len, struct err *err)
{
	struct member *m = a->now;
	int rc;

	if (m->kind == MEMBER_DOCUMENT && buf_append(&m->doc, data, len) < 0)
		return err_set(err, ENOMEM, "read '%.200s' of the archive", m->name);
	if (m->kind != MEMBER_LAYER || !a->new_layer)
		return 0;
	if (a->hasher)
		hasher_update(a->hasher, data, len);
	rc = layer_feed(a->new_layer, data, len, &m->why);
	if (rc == -EBADMSG || rc == -E2BIG || rc == -EINVAL)
		layer_failed(a, rc);
	else if (rc < 0)
		return err_msg(err, -rc, "%s", m->why.msg);
	return 0;
}

/* The head is complete: what is this? */
static int judge(struct archive *a, struct err *err)
{
	struct member *m = a->now;
	int rc = 0;

	a->judged = true;
	if (looks_like_layer(&a->head)) {
		rc = begin_layer(a, err);
	} else if (m->size <= ARCHIVE_DOCUMENT_MAX) {
		a->document_bytes += m->size;
		if (a->document_bytes > ARCHIVE_DOCUMENTS_MAX)
			return err_msg(err, E2BIG, "the archive has too many documents");
		m->kind = MEMBER_DOCUMENT;
	}
	if (rc == 0 && a->head.len)
		rc = take(a, buf_head(&a->head), a->head.len, err);
	buf_consume(&a->head, a->head.len);
	return rc;
}

static int on_entry(void *ctx, const struct tar_entry *e, struct err *err)
{
	struct archive *a = ctx;
	int rc;

	if (e->type == TAR_FILE) {
		if (e->map)
			return err_msg(
				err, EBADMSG, "'%.200s' in the archive is a sparse file", e->path);
		return add(a, e->path, e->size, err);
	}
	if (e->type != TAR_SYMLINK && e->type != TAR_LINK)
		return 0;
	rc = add(a, e->path, 0, err);
	if (rc < 0)
		return rc;
	a->now->kind = MEMBER_LINK;
	a->now->target = e->type == TAR_LINK ? strdup(plain_name(e->link))
					     : link_target(a->now->name, e->link);
	return a->now->target ? 0 : err_set(err, ENOMEM, "read the archive");
}

static int on_data(void *ctx, const uint8_t *data, size_t len, struct err *err)
{
	struct archive *a = ctx;
	size_t n;
	int rc;

	if (!a->judged) {
		n = MIN_OF(TAR_HEADER - a->head.len, len);
		if (buf_append(&a->head, data, n) < 0)
			return err_set(err, ENOMEM, "read the archive");
		data += n;
		len -= n;
		if (a->head.len < TAR_HEADER)
			return 0;
		rc = judge(a, err);
		if (rc < 0)
			return rc;
	}
	return len ? take(a, data, len, err) : 0;
}

static int on_end(void *ctx, struct err *err)
{
	struct archive *a = ctx;
	int rc = a->judged ? 0 : judge(a, err);

	if (rc < 0 || !a->new_layer)
		return rc;
	rc = layer_finish(a->new_layer, &a->now->layer, &a->now->why);
	if (rc == -EBADMSG || rc == -E2BIG || rc == -EINVAL)
		layer_failed(a, rc);
	else if (rc < 0)
		return err_msg(err, -rc, "%s", a->now->why.msg);
	if (a->hasher)
		hasher_finish(a->hasher, a->now->digest);
	else
		memcpy(a->now->digest, a->now->layer.blob_digest, LAYER_DIGEST_LEN);
	end_layer(a);
	return 0;
}

/* Return: bytes, 0 at the end; -errno */
static ssize_t read_some(int fd, uint8_t *chunk, size_t size, struct err *err)
{
	ssize_t n;

	do
		n = read(fd, chunk, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? err_set(err, errno, "read the archive") : n;
}

/*
 * struct reader - an archive on its way in
 * @in, @out: READ_CHUNK bytes each; @out for a compressed archive only
 */
struct reader {
	struct tar *tar;
	struct decode *decode;
	uint8_t *in, *out;
};

static void reader_release(struct reader *r)
{
	tar_free(r->tar);
	decode_free(r->decode);
	free(r->in);
	free(r->out);
}

static uint8_t *unpack_room(void *ctx, size_t *ret_size)
{
	*ret_size = READ_CHUNK;
	return ((struct reader *)ctx)->out;
}

static int unpack_put(void *ctx, const uint8_t *data, size_t len, struct err *err)
{
	return tar_feed(((struct reader *)ctx)->tar, data, len, err);
}

/* People compress archives, which `docker load` reads all the same. A tar begins with a name. */
static int begin_reading(struct reader *r, size_t len, struct err *err)
{
	static const struct decode_limits limits = { FILE_MAX, UNPACK_RATIO_MAX };
	static const struct decode_sink sink = { unpack_room, unpack_put };

	if (len >= 6 && (!memcmp(r->in,
				 "\xfd"
				 "7zXZ",
				 6) ||
				!memcmp(r->in, "BZh", 3)))
		return err_msg(err, ENOTSUP,
			"it is compressed with %s, of which only gzip and zstd are known here: "
			"decompress it first",
			r->in[0] == 'B' ? "bzip2" : "xz");
	if (!compressed(r->in, len))
		return 0;
	r->out = malloc(READ_CHUNK);
	if (!r->out)
		return err_set(err, ENOMEM, "read the archive");
	return decode_new(&limits, &sink, r, &r->decode, err);
}

/* The first bytes, enough to see what it is. Return: how many */
static ssize_t read_head(int fd, uint8_t *in, struct err *err)
{
	ssize_t n, len = 0;

	while (len < HEAD_BYTES) {
		n = read_some(fd, in + len, READ_CHUNK - (size_t)len, err);
		if (n <= 0)
			return n < 0 ? n : len;
		len += n;
	}
	return len;
}

static int read_tar(struct archive *a, int fd, struct err *err)
{
	static const struct tar_limits limits = { FILE_MAX, ARCHIVE_MEMBERS_MAX, PATH_LENGTH };
	static const struct tar_ops ops = { on_entry, on_data, on_end };
	__attribute__((cleanup(reader_release))) struct reader r = { .in = malloc(READ_CHUNK) };
	ssize_t n;
	int rc;

	if (!r.in)
		return err_set(err, ENOMEM, "read the archive");
	n = read_head(fd, r.in, err);
	if (n < 0)
		return (int)n;
	rc = begin_reading(&r, (size_t)n, err);
	rc = rc ? rc : tar_new(&limits, &ops, a, &r.tar, err);
	for (; rc == 0 && n > 0; n = read_some(fd, r.in, READ_CHUNK, err))
		rc = r.decode ? decode_feed(r.decode, r.in, (size_t)n, err)
			      : tar_feed(r.tar, r.in, (size_t)n, err);
	if (rc == 0 && n < 0)
		return (int)n;
	if (rc == 0 && r.decode)
		rc = decode_finish(r.decode, err);
	return rc ? rc : tar_finish(r.tar, err);
}

int archive_read(struct cache *cache, int fd, struct archive **ret, struct err *err)
{
	cleanup_archive struct archive *a = calloc(1, sizeof(*a));
	struct stat st;
	int rc = 0;

	if (!a)
		return err_set(err, ENOMEM, "read the archive");
	a->cache = cache;
	a->folder = -1;
	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "read the archive");
	if (S_ISDIR(st.st_mode))
		a->folder = fd;
	else
		rc = read_tar(a, fd, err);
	if (rc < 0)
		return err_wrap(err, "read the archive");
	*ret = take_ptr(&a);
	return 0;
}

/* What was being read is no member: as if it had not been begun. */
static void drop_member(struct archive *a)
{
	end_layer(a);
	buf_consume(&a->head, a->head.len);
	(void)tdelete(a->now, &a->by_name, by_name);
	member_free(take_ptr(&a->now));
}

static int read_content(struct archive *a, int fd, const char *name, uint64_t size, struct err *err)
{
	cleanup_free uint8_t *chunk = malloc(READ_CHUNK);
	ssize_t n;
	int rc = 0;

	if (!chunk)
		return err_set(err, ENOMEM, "read '%s'", name);
	while (rc == 0) {
		n = read_some(fd, chunk, READ_CHUNK, err);
		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		if ((uint64_t)n > size)
			return err_msg(err, EBADMSG, "'%s' grows while it is read", name);
		size -= (uint64_t)n;
		rc = on_data(a, chunk, (size_t)n, err);
	}
	return rc ? rc : on_end(a, err);
}

/* A file of the folder, taken in like a member of an archive. */
static int read_file(struct archive *a, const char *name, int fd, uint64_t size, struct err *err)
{
	int rc = add(a, name, size, err);

	if (rc < 0)
		return rc;
	rc = read_content(a, fd, name, size, err);
	if (rc < 0)
		drop_member(a);
	return rc;
}

/* The member, links followed; in a folder, taken in now. NULL: there is none. */
static struct member *look_up(struct archive *a, const char *name, struct err *err)
{
	struct member *m = find(a, name);
	cleanup_fd int fd = -1;
	struct stat st;

	for (unsigned i = 0; m && m->kind == MEMBER_LINK && i < LINKS_MAX; i++)
		m = find(a, m->target);
	if (m || a->folder < 0)
		return m && m->kind != MEMBER_LINK ? m : NULL;
	name = plain_name(name);
	if (path_open_beneath(a->folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &fd, NULL) <
		0)
		return NULL;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return NULL;
	if (read_file(a, name, fd, (uint64_t)st.st_size, err) < 0)
		return NULL;
	return find(a, name);
}

bool archive_empty(const struct archive *a)
{
	return a->folder < 0 && !a->members;
}

bool archive_has(struct archive *a, const char *name)
{
	return look_up(a, name, NULL) != NULL;
}

static int missing(const char *name, const char *what, const char *but, struct err *err)
{
	return err->code ? -err->code
			 : err_msg(err, EBADMSG, "the archive's %s, '%.200s', %s", what, name, but);
}

int archive_document(struct archive *a, const char *name, const char *what, const struct buf **ret,
	struct err *err)
{
	struct err why = ERR_INIT;
	struct member *m = look_up(a, name, &why);
	int rc = 0;

	if (!m)
		rc = missing(name, what, "is missing", &why);
	else if (m->kind != MEMBER_DOCUMENT)
		rc = missing(name, what, "is no document, or too large", &why);
	if (rc < 0)
		return err_msg(err, -rc, "%s", why.msg);
	*ret = &m->doc;
	return 0;
}

int archive_layer(struct archive *a, const char *name, struct member **ret, struct err *err)
{
	struct err why = ERR_INIT;
	struct member *m = look_up(a, name, &why);
	int rc = 0;

	if (!m)
		rc = missing(name, "layer", "is missing", &why);
	else if (m->kind != MEMBER_LAYER)
		rc = missing(name, "layer", "is no tar, compressed or not", &why);
	else if (m->rc < 0)
		return err_msg(err, -m->rc, "layer '%.100s': %s", m->name, m->why.msg);
	if (rc < 0)
		return err_msg(err, -rc, "%s", why.msg);
	*ret = m;
	return 0;
}
