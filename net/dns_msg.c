/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dns_msg.h"

#include <errno.h>

#include "lib/buf.h"
#include "lib/num.h"

#define FLAG_QR	    0x8000
#define FLAG_OPCODE 0x7800
#define FLAG_AA	    0x0400
#define FLAG_TC	    0x0200
#define FLAG_RD	    0x0100
#define FLAG_RA	    0x0080

#define WIRE_NAME_MAX 255
#define JUMPS_MAX     32
#define RECORDS_MAX   512
#define CHAIN_MAX     16

/* struct wire_name - uncompressed, letters lowered: equal names are equal bytes */
struct wire_name {
	uint8_t b[WIRE_NAME_MAX];
	size_t len;
};

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/* One label at c->pos into @n. Return: its length; 0 the root; -EBADMSG. */
static int read_label(struct cursor *c, uint8_t size, struct wire_name *n)
{
	const uint8_t *p = cursor_bytes(c, size);

	if (!p || n->len + 1u + size > WIRE_NAME_MAX)
		return -EBADMSG;
	n->b[n->len++] = size;
	for (unsigned i = 0; i < size; i++)
		n->b[n->len++] = lower(p[i]);
	return size;
}

/*
 * A name at c->pos, leaving c behind it. Compression pointers must point backwards, each further
 * than the one before, so that a walk ends; and not into the header.
 */
static int read_name(struct cursor *c, struct wire_name *n)
{
	struct cursor at = *c;
	size_t limit = c->pos;
	bool jumped = false;

	n->len = 0;
	for (;;) {
		uint8_t size = cursor_u8(&at);
		int rc;

		if (at.failed)
			return -EBADMSG;
		if ((size & 0xc0) == 0xc0) {
			size_t target = (size_t)(size & 0x3f) << 8 | cursor_u8(&at);

			if (!jumped)
				*c = at;
			jumped = true;
			if (at.failed || target >= limit || target < DNS_HDR_LEN)
				return -EBADMSG;
			limit = at.pos = target;
			continue;
		}
		if (size & 0xc0)
			return -EBADMSG;
		rc = read_label(&at, size, n);
		if (rc < 0)
			return rc;
		if (rc == 0)
			break;
	}
	if (!jumped)
		*c = at;
	return 0;
}

static bool name_equal(const struct wire_name *a, const struct wire_name *b)
{
	return a->len == b->len && memcmp(a->b, b->b, a->len) == 0;
}

/* Text form, if the labels are those of a host name. */
static bool name_text(const struct wire_name *n, char ret[NAME_BUF])
{
	char text[WIRE_NAME_MAX + 1];
	size_t len = 0;

	for (size_t i = 0; n->b[i]; i += 1u + n->b[i]) {
		for (unsigned k = 1; k <= n->b[i]; k++) {
			if (n->b[i + k] == '.') /* a dot inside a label is no separator */
				return false;
			text[len++] = (char)n->b[i + k];
		}
		text[len++] = '.';
	}
	return len > 0 && name_canon(text, len, ret) == 0;
}

/* struct record - one resource record; @data lies in the message */
struct record {
	struct wire_name owner;
	uint16_t type, class;
	uint32_t ttl;
	size_t data_pos, data_len;
};

static int read_record(struct cursor *c, struct record *r)
{
	if (read_name(c, &r->owner) < 0)
		return -EBADMSG;
	r->type = cursor_be16(c);
	r->class = cursor_be16(c);
	r->ttl = cursor_be32(c);
	r->data_len = cursor_be16(c);
	r->data_pos = c->pos;
	return cursor_bytes(c, r->data_len) || (!r->data_len && !c->failed) ? 0 : -EBADMSG;
}

/* The EDNS size, if the additional section has an OPT record (RFC 6891). */
static uint16_t read_udp_max(struct cursor *c, unsigned skip, unsigned additional)
{
	struct record r;

	for (unsigned i = 0; i < skip + additional && i < RECORDS_MAX; i++) {
		if (read_record(c, &r) < 0)
			break;
		if (i >= skip && r.type == DNS_TYPE_OPT)
			return MAX_OF(r.class, (uint16_t)DNS_UDP_MIN);
	}
	return DNS_UDP_MIN;
}

int dns_read_query(const uint8_t *msg, size_t len, struct dns_query *ret)
{
	struct cursor c = cursor_init(msg, len);
	unsigned questions, answers, authority, additional;
	struct wire_name name;

	*ret = (struct dns_query){
		.id = cursor_be16(&c), .end = DNS_HDR_LEN, .udp_max = DNS_UDP_MIN
	};
	ret->flags = cursor_be16(&c);
	questions = cursor_be16(&c);
	answers = cursor_be16(&c);
	authority = cursor_be16(&c);
	additional = cursor_be16(&c);
	if (c.failed || (ret->flags & FLAG_QR) || len > DNS_MAX_LEN)
		return -EBADMSG;
	if (questions != 1 || (ret->flags & FLAG_OPCODE) || read_name(&c, &name) < 0)
		return -EINVAL;
	ret->type = cursor_be16(&c);
	ret->class = cursor_be16(&c);
	if (c.failed)
		return -EINVAL;
	ret->end = c.pos;
	ret->is_host = name_text(&name, ret->name);
	ret->udp_max = read_udp_max(&c, answers + authority, additional);
	return 0;
}

/* --- answers --- */

static bool record_addr(const uint8_t *msg, const struct record *r, struct ip_addr *ret)
{
	if (r->class != DNS_CLASS_IN)
		return false;
	if (r->type == DNS_TYPE_A && r->data_len == 4)
		*ret = ip_from_v4(msg + r->data_pos);
	else if (r->type == DNS_TYPE_AAAA && r->data_len == 16)
		*ret = ip_from_v6(msg + r->data_pos);
	else
		return false;
	return true;
}

static void add_addr(
	struct ip_addr *list, size_t *n, const struct ip_addr *a, struct dns_answer *ret)
{
	if (*n < DNS_ADDRS_MAX)
		list[(*n)++] = *a;
	else
		ret->overflow = true;
}

static void use_ttl(struct dns_answer *ret, uint32_t ttl)
{
	ret->ttl_s = MIN_OF(ret->ttl_s, MAX_OF(ttl, 1u));
}

/* One pass over the answer section for the records that @name owns; follows a CNAME into @name. */
static bool follow(const uint8_t *msg, size_t len, size_t start, unsigned answers, uint16_t type,
	struct wire_name *name, struct dns_answer *ret)
{
	struct cursor c = cursor_init(msg, len);
	struct record r;
	struct ip_addr a;

	c.pos = start;
	for (unsigned i = 0; i < answers && read_record(&c, &r) == 0; i++) {
		if (!name_equal(&r.owner, name))
			continue;
		if (r.type == DNS_TYPE_CNAME && r.class == DNS_CLASS_IN) {
			struct cursor target = cursor_init(msg, len);

			target.pos = r.data_pos;
			ret->n_addrs = 0; /* an alias owns none, and a loop none again and again */
			use_ttl(ret, r.ttl);
			return read_name(&target, name) == 0;
		}
		if (r.type == type && record_addr(msg, &r, &a)) {
			add_addr(ret->addrs, &ret->n_addrs, &a, ret);
			use_ttl(ret, r.ttl);
		}
	}
	return false;
}

static int read_all(struct cursor c, const uint8_t *msg, unsigned answers, struct dns_answer *ret)
{
	struct record r;
	struct ip_addr a;

	for (unsigned i = 0; i < answers; i++) {
		if (i == RECORDS_MAX || read_record(&c, &r) < 0)
			return -EBADMSG;
		if (record_addr(msg, &r, &a))
			add_addr(ret->all, &ret->n_all, &a, ret);
	}
	return 0;
}

int dns_read_answer(const uint8_t *msg, size_t len, const struct dns_query *q, uint16_t id,
	struct dns_answer *ret)
{
	struct cursor c = cursor_init(msg, len);
	struct wire_name name;
	uint16_t got_id = cursor_be16(&c), flags = cursor_be16(&c);
	unsigned questions = cursor_be16(&c), answers = cursor_be16(&c);
	char text[NAME_BUF] = "";
	bool is_host;

	(void)cursor_be32(&c);
	if (c.failed || got_id != id || !(flags & FLAG_QR) || questions != 1 ||
		read_name(&c, &name) < 0 || cursor_be16(&c) != q->type ||
		cursor_be16(&c) != q->class || c.failed)
		return -EBADMSG;
	is_host = name_text(&name, text);
	if (is_host != q->is_host || strcmp(text, q->name) != 0)
		return -EBADMSG;
	*ret = (struct dns_answer){
		.rcode = flags & 15, .truncated = flags & FLAG_TC, .ttl_s = UINT32_MAX
	};
	if (read_all(c, msg, answers, ret) < 0)
		return -EBADMSG;
	for (unsigned i = 0; i < CHAIN_MAX; i++) {
		if (!follow(msg, len, c.pos, answers, q->type, &name, ret))
			break;
	}
	return 0;
}

size_t dns_put_status(uint8_t *dst, const uint8_t *query_msg, const struct dns_query *q,
	uint8_t rcode, bool truncated)
{
	size_t question = MIN_OF(q->end - DNS_HDR_LEN, (size_t)260);
	uint16_t flags = (uint16_t)(FLAG_QR | FLAG_RA | (q->flags & (FLAG_OPCODE | FLAG_RD)) |
				    (truncated ? FLAG_TC : 0) | rcode);

	memset(dst, 0, DNS_HDR_LEN);
	store_be16(dst, q->id);
	store_be16(dst + 2, flags);
	store_be16(dst + 4, question ? 1 : 0);
	memcpy(dst + DNS_HDR_LEN, query_msg + DNS_HDR_LEN, question);
	return DNS_HDR_LEN + question;
}

size_t dns_put_address(uint8_t *dst, const uint8_t *query_msg, const struct dns_query *q,
	const struct ip_addr *addr, uint32_t ttl_s)
{
	size_t n = dns_put_status(dst, query_msg, q, DNS_NOERROR, false);
	bool v4 = ip_is_v4(addr);

	store_be16(dst + 2, load_be16(dst + 2) | FLAG_AA);
	store_be16(dst + 6, 1);
	store_be16(dst + n, 0xc000 | DNS_HDR_LEN); /* the name in the question */
	store_be16(dst + n + 2, v4 ? DNS_TYPE_A : DNS_TYPE_AAAA);
	store_be16(dst + n + 4, DNS_CLASS_IN);
	store_be32(dst + n + 6, ttl_s);
	store_be16(dst + n + 10, v4 ? 4 : 16);
	memcpy(dst + n + 12, v4 ? ip_v4_bytes(addr) : addr->b, v4 ? 4 : 16);
	return n + 12 + (v4 ? 4 : 16);
}
