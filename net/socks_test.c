/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/num.h"
#include "net/socks.h"

#define MSG(text) text, sizeof(text) - 1

/* struct row - a conversation: what we must say, what the proxy answers, at most three rounds */
struct row {
	struct {
		const char *ours;
		size_t ours_len;
		const char *answer;
		size_t answer_len;
	} rounds[3];
	int want;
};

static void converse(
	const struct net_proxy *proxy, enum socks_command command, const struct row *row)
{
	struct ip_port dst = { .addr = IP_V4(203, 0, 113, 5), .port = 80 };
	struct socks *s = NULL;
	int fd[2], rc = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	assert_int_equal(socks_start(proxy, command, &dst, fd[0], &s), 0);
	for (size_t i = 0; i < 3 && row->rounds[i].ours; i++) {
		char got[600];
		ssize_t n = read(fd[1], got, sizeof(got));

		assert_int_equal(n, row->rounds[i].ours_len);
		assert_memory_equal(got, row->rounds[i].ours, n);
		for (size_t k = 0; k < row->rounds[i].answer_len; k++) { /* byte by byte */
			assert_int_equal(rc, 0);
			assert_int_equal(write(fd[1], row->rounds[i].answer + k, 1), 1);
			rc = socks_run(s, fd[0]);
		}
	}
	assert_int_equal(rc, row->want);
	assert_int_equal(recv(fd[0], &rc, 1, MSG_DONTWAIT), -1); /* nothing left, nothing taken */
	if (row->want == 1 && command == SOCKS_ASSOCIATE)
		assert_int_equal(socks_bound(s)->port, 0x1234);
	socks_free(s);
	(void)close(fd[0]);
	(void)close(fd[1]);
}

#define ASK4 MSG("\x04\x01\x00\x50\xcb\x00\x71\x05u\x00")
#define ASK5 MSG("\x05\x01\x00\x01\xcb\x00\x71\x05\x00\x50")
#define UDP5 MSG("\x05\x03\x00\x01\xcb\x00\x71\x05\x00\x50")

static void test_conversations(void **state)
{
	char user[] = "u", password[] = "pw";
	struct net_proxy four = { .kind = NET_PROXY_SOCKS4, .user = user };
	struct net_proxy five = { .kind = NET_PROXY_SOCKS5 };
	struct net_proxy auth = { .kind = NET_PROXY_SOCKS5, .user = user, .password = password };
	static const struct row rows4[] = {
		{ { { ASK4, MSG("\0\x5a\0\0\0\0\0\0") } }, 1 },
		{ { { ASK4, MSG("\0\x5b\0\0\0\0\0\0") } }, -ECONNREFUSED },
		{ { { ASK4, MSG("\x04\x5a\0\0\0\0\0\0") } }, -EPROTO },
	};
	static const struct row rows5[] = {
		{ { { MSG("\5\1\0"), MSG("\5\0") }, { ASK5, MSG("\5\0\0\1\1\2\3\4\x12\x34") } },
			1 },
		{ { { MSG("\5\1\0"), MSG("\5\0") }, { ASK5, MSG("\5\0\0\3\3abc\x12\x34") } }, 1 },
		{ { { MSG("\5\1\0"), MSG("\5\0") }, { ASK5, MSG("\5\0\0\2\1") } }, -EPROTO },
		{ { { MSG("\5\1\0"), MSG("\5\0") }, { ASK5, MSG("\5\5\0\1\1") } }, -ECONNREFUSED },
		{ { { MSG("\5\1\0"), MSG("\5\0") }, { ASK5, MSG("\5\4\0\1\1") } }, -EHOSTUNREACH },
		{ { { MSG("\5\1\0"), MSG("\5\0") }, { ASK5, MSG("\5\x77\0\1\1") } }, -EPROTO },
		{ { { MSG("\5\1\0"), MSG("\5\2") } }, -EACCES },
		{ { { MSG("\5\1\0"), MSG("\5\xff") } }, -EACCES },
	};
	static const struct row rows_auth[] = {
		{ { { MSG("\5\1\2"), MSG("\5\2") }, { MSG("\1\1u\2pw"), MSG("\1\0") },
			  { ASK5, MSG("\5\0\0\1\1\2\3\4\x12\x34") } },
			1 },
		{ { { MSG("\5\1\2"), MSG("\5\2") }, { MSG("\1\1u\2pw"), MSG("\1\1") } }, -EACCES },
		{ { { MSG("\5\1\2"), MSG("\5\0") } }, -EACCES }, /* our word was meant to count */
	};
	static const struct row udp = {
		{ { MSG("\5\1\0"), MSG("\5\0") }, { UDP5, MSG("\5\0\0\1\1\2\3\4\x12\x34") } }, 1
	};

	for (size_t i = 0; i < ARRAY_LEN(rows4); i++)
		converse(&four, SOCKS_CONNECT, &rows4[i]);
	for (size_t i = 0; i < ARRAY_LEN(rows5); i++)
		converse(&five, SOCKS_CONNECT, &rows5[i]);
	for (size_t i = 0; i < ARRAY_LEN(rows_auth); i++)
		converse(&auth, SOCKS_CONNECT, &rows_auth[i]);
	converse(&five, SOCKS_ASSOCIATE, &udp);
}

static void test_four_has_neither_six_nor_udp(void **state)
{
	struct net_proxy four = { .kind = NET_PROXY_SOCKS4 };
	struct ip_port six = { .addr = { { 0x20, 1 } }, .port = 80 };
	struct ip_port dst = { .addr = IP_V4(203, 0, 113, 5), .port = 80 };
	struct socks *s = NULL;

	assert_int_equal(socks_start(&four, SOCKS_CONNECT, &six, -1, &s), -ENETUNREACH);
	assert_int_equal(socks_start(&four, SOCKS_ASSOCIATE, &dst, -1, &s), -ENETUNREACH);
}

static void test_datagrams(void **state)
{
	struct ip_port four = { .addr = IP_V4(1, 2, 3, 4), .port = 5 }, back;
	struct ip_port six = { .addr = { { 0x20, 1, 0xd, 0xb8 } }, .port = 0xffff };
	const struct ip_port *rows[] = { &four, &six };
	uint8_t b[SOCKS_UDP_MAX];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int n = (int)socks_put_udp(b, rows[i]);

		assert_int_equal(n, i ? 22 : 10);
		assert_int_equal(socks_read_udp(b, (size_t)n, &back), n);
		assert_true(ip_equal(&back.addr, &rows[i]->addr) && back.port == rows[i]->port);
		for (int cut = 0; cut < n; cut++)
			assert_int_equal(socks_read_udp(b, (size_t)cut, &back), -EBADMSG);
		b[2] = 1; /* a fragment */
		assert_int_equal(socks_read_udp(b, (size_t)n, &back), -EBADMSG);
	}
	memcpy(b, "\0\0\0\3\1a\0\5xx", 10); /* a name */
	assert_int_equal(socks_read_udp(b, 10, &back), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conversations),
		cmocka_unit_test(test_four_has_neither_six_nor_udp),
		cmocka_unit_test(test_datagrams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
