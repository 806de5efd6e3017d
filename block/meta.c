/* SPDX-License-Identifier: Apache-2.0 */
#include "block/meta.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/file.h"
#include "lib/io.h"
#include "lib/num.h"

#define PAGES	     2048 /* of up to 4 KiB: what an image costs at most */
#define BUCKETS_LOG2 12
#define RUN_MAX	     64u
#define NONE	     (-1)

/* struct page - @data: allocated with the first use; @next: in the bucket */
struct page {
	uint64_t off;
	uint8_t *data;
	int next;
	bool used, dirty, recent;
};

struct meta {
	int fd;
	uint32_t page_len;
	pthread_mutex_t lock; /* of what follows */
	unsigned hand, n_dirty;
	struct page *order[PAGES]; /* room for meta_write_back() */
	int bucket[1 << BUCKETS_LOG2];
	struct page page[PAGES];
};

static int *bucket_of(struct meta *m, uint64_t off)
{
	return &m->bucket[off / m->page_len * UINT64_C(0x9e3779b97f4a7c15) >> (64 - BUCKETS_LOG2)];
}

static struct page *find(struct meta *m, uint64_t off)
{
	for (int i = *bucket_of(m, off); i != NONE; i = m->page[i].next) {
		if (m->page[i].off == off)
			return &m->page[i];
	}
	return NULL;
}

static void set_clean(struct meta *m, struct page *p)
{
	m->n_dirty -= p->dirty;
	p->dirty = false;
}

static void drop(struct meta *m, struct page *p)
{
	int *link = bucket_of(m, p->off);

	set_clean(m, p);
	while (&m->page[*link] != p)
		link = &m->page[*link].next;
	*link = p->next;
	p->used = false;
}

/* A page that is free or has not been looked at for the longest time, roughly. NULL: all wait to be
 * written back. */
static struct page *victim(struct meta *m)
{
	for (unsigned i = 0; i < 2 * PAGES; i++) {
		struct page *p = &m->page[m->hand];

		m->hand = (m->hand + 1) % PAGES;
		if (p->used && !p->dirty && !p->recent)
			drop(m, p);
		if (!p->used)
			return p;
		p->recent = false;
	}
	return NULL;
}

/* The last page of a file may be cut short; the rest of it is zeroes. */
static int fill(const struct meta *m, struct page *p, uint64_t off)
{
	ssize_t n;

	if (off > INT64_MAX - m->page_len)
		return -EIO;
	n = io_pread(m->fd, p->data, m->page_len, off);
	if (n < 0)
		return (int)n;
	memset(p->data + n, 0, m->page_len - (size_t)n);
	return n ? 0 : -EIO;
}

static int get(struct meta *m, uint64_t off, struct page **ret)
{
	struct page *p = find(m, off);
	int r;

	if (!p) {
		p = victim(m);
		if (p && !p->data)
			p->data = malloc(m->page_len);
		if (!p || !p->data)
			return -ENOMEM;
		r = fill(m, p, off);
		if (r < 0)
			return r;
		p->off = off;
		p->used = true;
		p->next = *bucket_of(m, off);
		*bucket_of(m, off) = (int)(p - m->page);
	}
	p->recent = true;
	*ret = p;
	return 0;
}

static void set_dirty(struct meta *m, struct page *p)
{
	m->n_dirty += !p->dirty;
	p->dirty = true;
}

int meta_load(struct meta *m, uint64_t off, void *dst, size_t len)
{
	struct page *p;
	int r = 0;

	(void)pthread_mutex_lock(&m->lock);
	while (len) {
		size_t in = off % m->page_len, now = MIN_OF(len, m->page_len - in);

		r = get(m, off - in, &p);
		if (r < 0)
			break;
		memcpy(dst, p->data + in, now);
		dst = (uint8_t *)dst + now;
		off += now;
		len -= now;
	}
	(void)pthread_mutex_unlock(&m->lock);
	return r;
}

int meta_store(struct meta *m, uint64_t off, const void *src, size_t len)
{
	struct page *p;
	int r = 0;

	(void)pthread_mutex_lock(&m->lock);
	while (len) {
		size_t in = off % m->page_len, now = MIN_OF(len, m->page_len - in);

		r = get(m, off - in, &p);
		if (r < 0)
			break;
		memcpy(p->data + in, src, now);
		set_dirty(m, p);
		src = (const uint8_t *)src + now;
		off += now;
		len -= now;
	}
	(void)pthread_mutex_unlock(&m->lock);
	return r;
}

unsigned meta_dirty(const struct meta *m)
{
	return m->n_dirty;
}

bool meta_crowded(const struct meta *m)
{
	return m->n_dirty >= PAGES / 2;
}

static int by_place(const void *a, const void *b)
{
	const struct page *x = *(struct page *const *)a, *y = *(struct page *const *)b;

	return (x->off > y->off) - (x->off < y->off);
}

static unsigned list_dirty(struct meta *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < PAGES && n < m->n_dirty; i++) {
		if (m->page[i].dirty)
			m->order[n++] = &m->page[i];
	}
	qsort(m->order, n, sizeof(*m->order), by_place);
	return n;
}

/* Adjacent pages go together. Return: how many; -errno */
static int write_run(struct meta *m, struct page *const *list, unsigned n)
{
	struct iovec iov[RUN_MAX];
	unsigned k = 0;
	int r;

	while (k < MIN_OF(n, RUN_MAX) && list[k]->off == list[0]->off + k * (uint64_t)m->page_len) {
		iov[k] = (struct iovec){ list[k]->data, m->page_len };
		k++;
	}
	r = file_writev(m->fd, iov, k, list[0]->off);
	for (unsigned i = 0; r == 0 && i < k; i++)
		set_clean(m, list[i]);
	return r < 0 ? r : (int)k;
}

int meta_write_back(struct meta *m)
{
	unsigned n, done = 0;
	int r = 0;

	(void)pthread_mutex_lock(&m->lock);
	n = list_dirty(m);
	while (r >= 0 && done < n) {
		r = write_run(m, m->order + done, n - done);
		done += r > 0 ? (unsigned)r : 0;
	}
	(void)pthread_mutex_unlock(&m->lock);
	return r < 0 ? r : 0;
}

void meta_forget(struct meta *m, uint64_t off, uint64_t len)
{
	(void)pthread_mutex_lock(&m->lock);
	for (uint64_t at = off; at < off + len; at += m->page_len) {
		struct page *p = find(m, at);

		if (p)
			drop(m, p);
	}
	(void)pthread_mutex_unlock(&m->lock);
}

int meta_load_be64(struct meta *m, uint64_t off, uint64_t *ret)
{
	uint8_t raw[8];
	int r = meta_load(m, off, raw, sizeof(raw));

	if (r == 0)
		*ret = load_be64(raw);
	return r;
}

int meta_new(int fd, uint32_t page_len, struct meta **ret, struct err *err)
{
	struct meta *m = calloc(1, sizeof(*m));

	if (!m)
		return err_set(err, ENOMEM, "open disk image");
	m->fd = fd;
	m->page_len = page_len;
	for (unsigned i = 0; i < ARRAY_LEN(m->bucket); i++)
		m->bucket[i] = NONE;
	(void)pthread_mutex_init(&m->lock, NULL);
	*ret = m;
	return 0;
}

void meta_free(struct meta *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < PAGES; i++)
		free(m->page[i].data);
	(void)pthread_mutex_destroy(&m->lock);
	free(m);
}
