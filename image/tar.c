/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine. An archive is a row of 512-byte blocks: a header, then its payload padded to
 * whole blocks. Headers of type x, L and K speak about the member that follows them.
 *
 *	HEADER --x,L,K--> META --> HEADER
 *	HEADER --g,V,sockets--> SKIP --> HEADER
 *	HEADER --file--> [GNU_MAP | TEXT_MAP] --> DATA --> PAD --> HEADER
 *	HEADER --zeros--> END_HALF --zeros--> END
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/tar_internal.h"
#include "lib/num.h"

enum state { HEADER, META, GNU_MAP, TEXT_MAP, DATA, PAD, SKIP, END_HALF, END };

/*
 * struct tar - a reader
 * @block:   the block being collected, @fill bytes of it
 * @left:    payload bytes to come; in SKIP with their padding
 * @pad:     bytes of padding to come after the payload
 * @entry:   the member at hand, while its sparse map is being collected
 * @packed:  bytes of data the member at hand has in the archive
 */
struct tar {
	struct tar_limits limits;
	const struct tar_ops *ops;
	void *ctx;
	enum state state;
	uint8_t block[TAR_BLOCK_SIZE];
	size_t fill;
	uint64_t left, packed, entries, dropped;
	size_t pad;
	struct tar_header head;
	struct tar_over over;
	struct tar_text text;
	struct tar_entry entry;
	struct buf meta;
};

/* The map of a file that is one hole. */
static const struct tar_extent no_pieces;

int tar_new(const struct tar_limits *limits, const struct tar_ops *ops, void *ctx, struct tar **ret,
	struct err *err)
{
	struct tar *t = calloc(1, sizeof(*t));

	if (!t)
		return err_set(err, ENOMEM, "read tar archive");
	t->limits = *limits;
	t->ops = ops;
	t->ctx = ctx;
	t->meta.max = TAR_META_MAX;
	*ret = t;
	return 0;
}

void tar_free(struct tar *t)
{
	if (!t)
		return;
	tar_over_clear(&t->over);
	buf_release(&t->meta);
	free(t);
}

uint64_t tar_entries(const struct tar *t)
{
	return t->entries;
}

uint64_t tar_dropped(const struct tar *t)
{
	return t->dropped;
}

static size_t padding(uint64_t size)
{
	return (size_t)(-size & (TAR_BLOCK_SIZE - 1));
}

/* Return: @r, with @path in front of its message. */
static int about(const char *path, int r, struct err *err)
{
	(void)err_wrap(err, "'%s'", path);
	return r;
}

static void member_done(struct tar *t)
{
	t->dropped += t->over.dropped;
	tar_over_clear(&t->over);
	t->state = HEADER;
}

/* ---- headers that speak about the next member ---- */

static int long_name(char **dst, const struct buf *meta, struct err *err)
{
	size_t n = meta->len ? strnlen((const char *)buf_head(meta), meta->len) : 0;
	char *copy;

	if (!n)
		return err_msg(err, EBADMSG, "tar: a GNU long name is empty");
	copy = strndup((const char *)buf_head(meta), n);
	if (!copy)
		return err_set(err, ENOMEM, "tar: long name");
	free(*dst);
	*dst = copy;
	return 0;
}

static int meta_done(struct tar *t, struct err *err)
{
	int r;

	if (t->head.type == 'L')
		r = long_name(&t->over.path, &t->meta, err);
	else if (t->head.type == 'K')
		r = long_name(&t->over.link, &t->meta, err);
	else
		r = tar_pax_parse(buf_head(&t->meta), t->meta.len, &t->over, err);
	buf_consume(&t->meta, t->meta.len);
	t->over.has |= OVER_ANY;
	t->state = PAD;
	return r;
}

static int begin_meta(struct tar *t, struct err *err)
{
	if (t->head.size > TAR_META_MAX)
		return err_msg(err, E2BIG,
			"tar: a header of type '%c' has %llu bytes, %u are allowed", t->head.type,
			(unsigned long long)t->head.size, TAR_META_MAX);
	t->left = t->head.size;
	t->pad = padding(t->head.size);
	t->state = META;
	return t->left ? 0 : meta_done(t, err);
}

static void begin_skip(struct tar *t, uint64_t size)
{
	t->left = size + padding(size);
	t->state = t->left ? SKIP : HEADER;
}

/* ---- members ---- */

static int begin_data(struct tar *t, struct err *err)
{
	struct tar_entry *e = &t->entry;
	int r;

	if (t->over.map.v || e->map) {
		r = tar_map_check(&t->over.map, e->size, t->packed, err);
		if (r < 0)
			return about(e->path, r, err);
		/* A hole from end to end has no pieces, but is a map. */
		e->n_map = t->over.map.n;
		e->map = e->n_map ? t->over.map.v : &no_pieces;
	}
	if (e->size > t->limits.max_file_bytes)
		return err_msg(err, E2BIG, "'%s' has %llu bytes, %llu are allowed in one file",
			e->path, (unsigned long long)e->size,
			(unsigned long long)t->limits.max_file_bytes);
	r = t->ops->entry(t->ctx, e, err);
	t->left = t->packed;
	t->pad = padding(t->packed);
	t->state = DATA;
	return r;
}

/* Directories and the like: all there is to say is in the header. */
static int whole_member(struct tar *t, struct err *err)
{
	int r;

	if (t->packed)
		return err_msg(err, EBADMSG, "tar: '%s' has data, but its type '%c' has none",
			t->entry.path, t->head.type);
	t->entry.size = 0;
	r = t->ops->entry(t->ctx, &t->entry, err);
	member_done(t);
	return r;
}

/* Two sizes that differ let two readers see two archives. */
static int member_size(struct tar *t, struct err *err)
{
	const struct tar_over *o = &t->over;

	t->packed = t->head.size;
	if (!(o->has & OVER_SIZE))
		return 0;
	if (t->head.size && t->head.size != o->size && o->size < (1ULL << 33))
		return err_msg(err, EBADMSG, "tar: '%s' has two sizes, %llu and %llu",
			t->entry.path, (unsigned long long)t->head.size,
			(unsigned long long)o->size);
	t->packed = o->size;
	return 0;
}

static int member_names(struct tar *t, struct err *err)
{
	const struct tar_over *o = &t->over;
	struct tar_entry *e = &t->entry;

	e->path = o->sparse_name ? o->sparse_name : o->path ? o->path : t->head.path;
	e->link = o->link ? o->link : t->head.link;
	if (!e->path[0])
		return err_msg(err, EBADMSG, "tar: a member has no name");
	if (strlen(e->path) > t->limits.max_path)
		return err_msg(err, E2BIG, "tar: a path has %zu bytes, %u are allowed",
			strlen(e->path), t->limits.max_path);
	if (strlen(e->link) > t->limits.max_path)
		return err_msg(err, E2BIG, "'%s': its link target has %zu bytes, %u are allowed",
			e->path, strlen(e->link), t->limits.max_path);
	return 0;
}

static void member_numbers(struct tar *t)
{
	const struct tar_over *o = &t->over;
	const struct tar_header *h = &t->head;
	struct tar_entry *e = &t->entry;

	e->mode = h->mode;
	e->uid = o->has & OVER_UID ? o->uid : h->uid;
	e->gid = o->has & OVER_GID ? o->gid : h->gid;
	e->major = o->has & OVER_MAJOR ? o->major : h->major;
	e->minor = o->has & OVER_MINOR ? o->minor : h->minor;
	e->mtime = o->has & OVER_MTIME ? o->mtime : h->mtime;
	e->mtime_ns = o->has & OVER_MTIME ? o->mtime_ns : 0;
	for (size_t i = 0; i < o->n_xattrs; i++)
		if (!strcmp(o->xattrs[i].name, "system.posix_acl_access"))
			e->mode = acl_mode(e->mode, o->xattrs[i].value, o->xattrs[i].len);
	e->xattrs = o->xattrs;
	e->n_xattrs = o->n_xattrs;
}

/* Before ustar, a directory was a file whose name ends in '/'. */
static bool is_old_directory(const struct tar *t)
{
	char c = t->head.type;
	size_t n = strlen(t->entry.path);

	return (c == '0' || c == '\0') && t->entry.path[n - 1] == '/' &&
	       !(t->over.has & OVER_SPARSE);
}

/* Offsets in an old GNU sparse header: four pieces, "more to come", size when unpacked. */
static int begin_gnu_sparse(struct tar *t, const uint8_t *block, struct err *err)
{
	int64_t size;
	int r;

	if (t->over.has & OVER_SPARSE || !t->head.gnu)
		return err_msg(err, EBADMSG, "tar: '%s' is sparse in two ways", t->entry.path);
	r = tar_number(block + 483, 12, "sparse size", &size, err);
	if (r < 0)
		return r;
	if (size < 0)
		return err_msg(err, EBADMSG, "tar: '%s' has a negative size", t->entry.path);
	t->entry.size = (uint64_t)size;
	t->entry.map = &no_pieces;
	r = tar_map_gnu(&t->over.map, block + 386, 4, err);
	if (r < 0)
		return r;
	if (!block[482])
		return begin_data(t, err);
	t->state = GNU_MAP;
	return 0;
}

static int gnu_map_block(struct tar *t, struct err *err)
{
	int r = tar_map_gnu(&t->over.map, t->block, 21, err);

	if (r < 0)
		return about(t->entry.path, r, err);
	return t->block[504] ? 0 : begin_data(t, err);
}

static int text_map_block(struct tar *t, struct err *err)
{
	int r;

	if (t->packed < TAR_BLOCK_SIZE)
		return err_msg(
			err, EBADMSG, "tar: the sparse map of '%s' does not end", t->entry.path);
	t->packed -= TAR_BLOCK_SIZE;
	r = tar_map_text(&t->over.map, &t->text, t->block, err);
	return r == 1 ? begin_data(t, err) : r;
}

static int begin_file(struct tar *t, const uint8_t *block, struct err *err)
{
	const struct tar_over *o = &t->over;

	if (is_old_directory(t)) {
		t->entry.type = TAR_DIR;
		return whole_member(t, err);
	}
	if (t->head.type == 'S')
		return begin_gnu_sparse(t, block, err);
	t->entry.size = t->packed;
	if (!(o->has & OVER_SPARSE))
		return begin_data(t, err);
	if (!(o->has & OVER_REALSIZE))
		return err_msg(
			err, EBADMSG, "tar: the sparse file '%s' has no size", t->entry.path);
	t->entry.size = o->realsize;
	t->entry.map = &no_pieces;
	if (!(o->has & OVER_SPARSE_1_0))
		return begin_data(t, err);
	if (o->map.n)
		return err_msg(err, EBADMSG, "tar: '%s' is sparse in two ways", t->entry.path);
	t->text = (struct tar_text){ 0 };
	t->state = TEXT_MAP;
	return 0;
}

static int begin_link(struct tar *t, enum tar_type type, struct err *err)
{
	t->entry.type = type;
	if (!t->entry.link[0])
		return err_msg(err, EBADMSG, "tar: the link '%s' has no target", t->entry.path);
	return whole_member(t, err);
}

static int begin_type(struct tar *t, const uint8_t *block, struct err *err)
{
	switch (t->head.type) {
	case '\0':
	case '0':
	case '7':
	case 'S':
		t->entry.type = TAR_FILE;
		return begin_file(t, block, err);
	case '1':
		return begin_link(t, TAR_LINK, err);
	case '2':
		return begin_link(t, TAR_SYMLINK, err);
	case '3':
		t->entry.type = TAR_CHAR;
		return whole_member(t, err);
	case '4':
		t->entry.type = TAR_BLOCK;
		return whole_member(t, err);
	case '5':
		t->entry.type = TAR_DIR;
		return whole_member(t, err);
	case '6':
		t->entry.type = TAR_FIFO;
		return whole_member(t, err);
	case '`': /* sockets, as some tools write them */
		t->dropped++;
		begin_skip(t, t->packed);
		tar_over_clear(&t->over);
		return 0;
	default:
		return err_msg(err, EBADMSG, "tar: '%s' is of the unknown type 0x%02x",
			t->entry.path, (unsigned char)t->head.type);
	}
}

static int begin_member(struct tar *t, const uint8_t *block, struct err *err)
{
	int r;

	if (++t->entries > t->limits.max_entries)
		return err_msg(err, E2BIG, "tar: more than %u members", t->limits.max_entries);
	t->entry = (struct tar_entry){ 0 };
	if ((r = member_names(t, err)) < 0 || (r = member_size(t, err)) < 0)
		return r;
	member_numbers(t);
	return begin_type(t, block, err);
}

static int header_block(struct tar *t, struct err *err)
{
	int r = tar_header_parse(t->block, &t->head, err);

	if (r < 0 && t->entries)
		(void)err_wrap(err, "after %llu members", (unsigned long long)t->entries);
	if (r < 0)
		return r;
	if (r == 1) {
		t->state = END_HALF;
		if (t->over.has & OVER_ANY)
			return err_msg(err, EBADMSG,
				"tar: a header is followed by the end, not by a member");
		return 0;
	}
	switch (t->head.type) {
	case 'x':
	case 'X':
	case 'L':
	case 'K':
		return begin_meta(t, err);
	case 'g': /* defaults for all members: nobody who reads layers listens to them */
	case 'V': /* name of the archive */
		if (++t->entries > t->limits.max_entries)
			return err_msg(
				err, E2BIG, "tar: more than %u members", t->limits.max_entries);
		begin_skip(t, t->head.size);
		return 0;
	default:
		return begin_member(t, t->block, err);
	}
}

static int end_block(struct tar *t, struct err *err)
{
	struct tar_header ignored;

	if (tar_header_parse(t->block, &ignored, NULL) != 1)
		return err_msg(err, EBADMSG, "tar: more data follows the end of the archive");
	t->state = END;
	return 0;
}

static int block_done(struct tar *t, struct err *err)
{
	switch (t->state) {
	case HEADER:
		return header_block(t, err);
	case GNU_MAP:
		return gnu_map_block(t, err);
	case TEXT_MAP:
		return text_map_block(t, err);
	default:
		return end_block(t, err);
	}
}

/* ---- bytes ---- */

/* Return: bytes used, or the error. */
static int64_t feed_block(struct tar *t, const uint8_t *data, size_t len, struct err *err)
{
	size_t n = MIN_OF(len, TAR_BLOCK_SIZE - t->fill);
	int r;

	memcpy(t->block + t->fill, data, n);
	t->fill += n;
	if (t->fill < TAR_BLOCK_SIZE)
		return (int64_t)n;
	t->fill = 0;
	r = block_done(t, err);
	return r < 0 ? r : (int64_t)n;
}

static int64_t feed_data(struct tar *t, const uint8_t *data, size_t len, struct err *err)
{
	size_t n = (size_t)MIN_OF((uint64_t)len, t->left);
	int r = n ? t->ops->data(t->ctx, data, n, err) : 0;

	if (r < 0)
		return r;
	t->left -= n;
	if (!t->left) {
		r = t->ops->end(t->ctx, err);
		member_done(t);
		t->state = PAD;
	}
	return r < 0 ? r : (int64_t)n;
}

static int64_t feed_meta(struct tar *t, const uint8_t *data, size_t len, struct err *err)
{
	size_t n = (size_t)MIN_OF((uint64_t)len, t->left);
	int r = buf_append(&t->meta, data, n);

	if (r < 0)
		return err_set(err, r, "tar: extended header");
	t->left -= n;
	r = t->left ? 0 : meta_done(t, err);
	return r < 0 ? r : (int64_t)n;
}

static int64_t feed_skip(struct tar *t, size_t len)
{
	size_t n = (size_t)MIN_OF((uint64_t)len, t->left);

	t->left -= n;
	if (!t->left)
		t->state = HEADER;
	return (int64_t)n;
}

static int64_t feed_pad(struct tar *t, size_t len)
{
	size_t n = MIN_OF(len, t->pad);

	t->pad -= n;
	if (!t->pad)
		t->state = HEADER;
	return (int64_t)n;
}

/* A file without data is complete as soon as it has begun, and padding may be none: both steps use
 * no byte, so they must not wait for one. */
static bool has_empty_step(const struct tar *t)
{
	return (t->state == DATA && !t->left) || (t->state == PAD && !t->pad);
}

int tar_feed(struct tar *t, const uint8_t *data, size_t len, struct err *err)
{
	while (len || has_empty_step(t)) {
		int64_t n;

		switch (t->state) {
		case META:
			n = feed_meta(t, data, len, err);
			break;
		case DATA:
			n = feed_data(t, data, len, err);
			break;
		case PAD:
			n = feed_pad(t, len);
			break;
		case SKIP:
			n = feed_skip(t, len);
			break;
		case END:
			return 0;
		default:
			n = feed_block(t, data, len, err);
		}
		if (n < 0)
			return (int)n;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int tar_finish(struct tar *t, struct err *err)
{
	/* Some writers (umoci insert) leave out even the padding of the last member. */
	bool between = t->state == END || t->state == PAD ||
		       ((t->state == HEADER || t->state == END_HALF) && !t->fill);

	if (!between)
		return err_msg(err, EBADMSG, "tar: the archive ends in the middle of a member");
	if (t->over.has & OVER_ANY)
		return err_msg(
			err, EBADMSG, "tar: a header is followed by the end, not by a member");
	return 0;
}
