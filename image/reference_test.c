/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "image/digest.h"
#include "image/reference.h"
#include "lib/num.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_canonical_forms(void **state)
{
	static const struct {
		const char *text, *canonical;
	} cases[] = {
		{ "debian", "docker.io/library/debian:latest" },
		{ "debian:12", "docker.io/library/debian:12" },
		{ "user/repo", "docker.io/user/repo:latest" },
		{ "docker.io/debian", "docker.io/library/debian:latest" },
		{ "index.docker.io/debian:1", "docker.io/library/debian:1" },
		{ "registry-1.docker.io/a/b", "docker.io/a/b:latest" },
		{ "localhost/a", "localhost/a:latest" },
		{ "localhost:5000/a/b:t", "localhost:5000/a/b:t" },
		{ "[::1]:5000/a", "[::1]:5000/a:latest" },
		{ "ghcr.io/o/r@sha256:" HEX64, "ghcr.io/o/r@sha256:" HEX64 },
		{ "ghcr.io/o/r:t@sha256:" HEX64, "ghcr.io/o/r:t@sha256:" HEX64 },
		{ "a.b_c__d---e", "docker.io/library/a.b_c__d---e:latest" },
		{ "Host.Example/a", "Host.Example/a:latest" },
		{ "x:_T.-1", "docker.io/library/x:_T.-1" },
		{ "x@sha512:" HEX64 HEX64, "docker.io/library/x@sha512:" HEX64 HEX64 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct reference r, again;
		struct err err = ERR_INIT;
		char text[REFERENCE_TEXT_MAX], second[REFERENCE_TEXT_MAX];

		if (reference_parse(cases[i].text, &r, &err) < 0)
			fail_msg("%s", err.msg);
		reference_format(&r, text);
		assert_string_equal(text, cases[i].canonical);
		assert_int_equal(reference_parse(text, &again, NULL), 0);
		reference_format(&again, second);
		assert_string_equal(second, text);
	}
}

static void test_refused(void **state)
{
	static const char *const cases[] = { "", ":", "@", "/", "a/", "/a", "a//b", "A", "a/B",
		"a:", "a:-t", "a:t:u", "a@", "a@sha256:abc", "a@md5:" HEX64, "a@sha256:" HEX64 "0",
		"a__-b", "a...b", "a___b", "-a", "a-", "a b", "localhost:/a", "localhost:0/a",
		"localhost:65536/a", "h..x/a", ".x/a", "x.-y/a", "[::1/a", "[g::]/a", "a\n", "a%2f",
		"example.com", "a@sha256:" HEX64 "@sha256:" HEX64, "http://example.com/a", "x.y/" };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct reference r;
		struct err err = ERR_INIT;

		/* A lone word with a dot is a repository of the default registry. */
		if (!strcmp(cases[i], "example.com")) {
			assert_int_equal(reference_parse(cases[i], &r, &err), 0);
			assert_string_equal(r.repository, "library/example.com");
			continue;
		}
		if (reference_parse(cases[i], &r, &err) != -EINVAL)
			fail_msg("accepted '%s'", cases[i]);
		assert_true(err.msg[0]);
	}
}

static void test_lengths(void **state)
{
	char text[1024];
	struct reference r;

	memset(text, 'a', sizeof(text));
	memcpy(text, "x.y/", 4);
	text[4 + REFERENCE_REPOSITORY_MAX] = '\0';
	assert_int_equal(reference_parse(text, &r, NULL), 0);
	text[4 + REFERENCE_REPOSITORY_MAX] = 'a';
	text[5 + REFERENCE_REPOSITORY_MAX] = '\0';
	assert_int_equal(reference_parse(text, &r, NULL), -EINVAL);
	text[5 + REFERENCE_REPOSITORY_MAX] = 'a';
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(reference_parse(text, &r, NULL), -EINVAL);
	memset(text, 'a', sizeof(text));
	text[1] = ':';
	text[2 + REFERENCE_TAG_MAX] = '\0';
	assert_int_equal(reference_parse(text, &r, NULL), 0);
	text[2 + REFERENCE_TAG_MAX] = 'a';
	text[3 + REFERENCE_TAG_MAX] = '\0';
	assert_int_equal(reference_parse(text, &r, NULL), -EINVAL);
}

static void test_paths(void **state)
{
	assert_true(reference_is_path("."));
	assert_true(reference_is_path(".."));
	assert_true(reference_is_path("/x"));
	assert_true(reference_is_path("./x"));
	assert_true(reference_is_path("../x"));
	assert_false(reference_is_path("x/y"));
	assert_false(reference_is_path(".x"));
}

static void test_target(void **state)
{
	struct reference r;

	assert_int_equal(reference_parse("a:t", &r, NULL), 0);
	assert_string_equal(reference_target(&r), "t");
	assert_int_equal(reference_parse("a:t@sha256:" HEX64, &r, NULL), 0);
	assert_string_equal(reference_target(&r), "sha256:" HEX64);
}

static void test_digests(void **state)
{
	char text[DIGEST_TEXT_MAX], safe[DIGEST_TEXT_MAX];

	digest_bytes("sha256:", "abc", 3, text);
	assert_string_equal(
		text, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	digest_path_safe(text, safe);
	assert_memory_equal(safe, "sha256_ba78", 11);
	digest_bytes("sha512:", "", 0, text);
	assert_true(digest_valid(text));
	digest_bytes("md5:", "", 0, text);
	assert_string_equal(text, "");
	assert_false(digest_valid("sha256:" HEX64 "f"));
	assert_false(digest_valid("sha256:0123456789ABCDEF"));
	assert_false(digest_valid("sha256"));
	assert_null(hasher_new("sha1:"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canonical_forms),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_target),
		cmocka_unit_test(test_digests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
