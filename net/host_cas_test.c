/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/num.h"
#include "net/host_cas.h"

#define BEGIN "-----BEGIN CERTIFICATE-----\n"
#define END   "-----END CERTIFICATE-----\n"
#define ONE   "MAMBAgM=\n" /* SEQUENCE of 1 2 3 */
#define TWO   "MAMBAgQ=\n"

static void test_each_once(void **state)
{
	static const char text[] =
		"# comment\r\n-----BEGIN CERTIFICATE-----\r\nMAMB\r\nAgM=\r\n"
		"-----END CERTIFICATE-----\r\n" BEGIN ONE END BEGIN TWO END
		"-----BEGIN PRIVATE KEY-----\nMAMBAgM=\n-----END PRIVATE KEY-----\n";
	cleanup_ca_set struct ca_set set = { 0 };
	char *pem;

	assert_int_equal(ca_set_add_pem(&set, text, strlen(text)), 2);
	assert_int_equal(ca_set_add_pem(&set, text, strlen(text)), 0);
	pem = ca_set_to_pem(&set);
	assert_non_null(pem);
	assert_string_equal(pem, BEGIN ONE END BEGIN TWO END);
	free(pem);
}

static void test_broken(void **state)
{
	static const char *const rows[] = {
		BEGIN "MAMBAgM" END,	    /* not padded: taken, as others take it */
		BEGIN "MAMBAg==\n" END,	    /* too short for its length */
		BEGIN "MAMBAgMEBQ==\n" END, /* something behind it */
		BEGIN "MIABAgM=\n" END,	    /* indefinite length */
		BEGIN "BAMBAgM=\n" END,	    /* no sequence */
		BEGIN "MAMB*gM=\n" END,
		BEGIN "MAMB=AgM\n" END,
		BEGIN "MAMBAgN=\n" END, /* bits that are none */
		BEGIN "MAMBAgM=\n",	/* no end */
		BEGIN END,
		"",
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cleanup_ca_set struct ca_set set = { 0 };

		if (ca_set_add_pem(&set, rows[i], strlen(rows[i])) != (i == 0))
			fail_msg("row %zu", i);
	}
}

static void test_long_lines(void **state)
{
	cleanup_ca_set struct ca_set set = { 0 }, again = { 0 };
	static const size_t lens[] = { 48, 49, 50, 96, 200 };
	uint8_t der[256];

	for (size_t i = 0; i < ARRAY_LEN(lens); i++) { /* through a text and back */
		size_t len = lens[i], head = len > 129 ? 3 : 2;
		char text[600] = "-----BEGIN CERTIFICATE-----\n", *pem;
		static const char digits[] =
			"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
		size_t at = strlen(text);

		for (size_t k = 0; k < len; k++)
			der[k] = (uint8_t)(k * 7 + i);
		der[0] = 0x30;
		der[1] = head == 3 ? 0x81 : (uint8_t)(len - 2);
		if (head == 3)
			der[2] = (uint8_t)(len - 3);
		for (size_t k = 0; k < len * 8; k += 6) {
			unsigned v = 0;

			for (size_t b = k; b < k + 6; b++)
				v = v << 1 | (b < len * 8 ? der[b / 8] >> (7 - b % 8) & 1 : 0);
			text[at++] = digits[v];
		}
		memcpy(text + at, "\n" END, strlen(END) + 2);
		assert_int_equal(ca_set_add_pem(&set, text, strlen(text)), 1);
		pem = ca_set_to_pem(&set);
		assert_int_equal(ca_set_add_pem(&again, pem, strlen(pem)), 1);
		for (const char *p = pem, *nl; (nl = strchr(p, '\n')); p = nl + 1)
			assert_true(nl - p <= 64);
		free(pem);
	}
}

static void test_from_host(void **state)
{
	char path[] = "/tmp/host_cas_test.XXXXXX", *pem;
	int fd = mkstemp(path);
	struct err err = ERR_INIT;

	assert_true(fd >= 0);
	assert_int_equal(setenv("SSL_CERT_FILE", path, 1) | unsetenv("SSL_CERT_DIR"), 0);
	assert_int_equal(host_cas_collect(&pem, &err), -ENOENT);
	assert_int_equal(write(fd, BEGIN ONE END, strlen(BEGIN ONE END)), strlen(BEGIN ONE END));
	assert_int_equal(host_cas_collect(&pem, &err), 0);
	assert_string_equal(pem, BEGIN ONE END);
	free(pem);
	(void)close(fd);
	(void)unlink(path);
	assert_int_equal(host_cas_collect(&pem, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_once),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_from_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
