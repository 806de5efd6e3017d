/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/auth.h"
#include "image/challenge.h"
#include "image/file.h"
#include "lib/buf.h"
#include "lib/num.h"

static int docker(const char *text, const char *domain, char *helper, struct credentials *c)
{
	return docker_auth_parse(text, strlen(text), domain, helper, c, NULL);
}

static void test_docker_file(void **state)
{
	/* "u:p:q" */
	static const char file[] =
		"{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"dTpwOnE=\"},"
		"\"a.b\":{\"username\":\"x\",\"password\":\"y\"},"
		"\"c.d:5000\":{\"identitytoken\":\"t\"},\"e.f\":{\"auth\":\"!!!!\"}},"
		"\"credHelpers\":{\"g.h\":\"mine\",\"i.j\":\"../x\"},"
		"\"credsStore\":\"store\"}";
	char helper[DOCKER_HELPER_MAX];
	struct credentials c = { .username = NULL };

	assert_int_equal(docker(file, "docker.io", helper, &c), 0);
	assert_string_equal(helper, "store");
	assert_string_equal(c.username, "u");
	assert_string_equal(c.password, "p:q");
	credentials_release(&c);
	assert_int_equal(docker(file, "a.b", helper, &c), 0);
	assert_string_equal(c.password, "y");
	credentials_release(&c);
	assert_int_equal(docker(file, "c.d:5000", helper, &c), 0);
	assert_string_equal(c.identity_token, "t");
	credentials_release(&c);
	assert_int_equal(docker(file, "g.h", helper, &c), 0);
	assert_string_equal(helper, "mine");
	assert_null(c.username);
	assert_int_equal(docker(file, "e.f", helper, &c), -EBADMSG);
	assert_int_equal(docker(file, "i.j", helper, &c), -EBADMSG);
	assert_int_equal(docker("{", "a", helper, &c), -EBADMSG);
	assert_int_equal(docker("{}", "a", helper, &c), 0);
	assert_string_equal(helper, "");
	credentials_release(&c);
}

static void test_challenges(void **state)
{
	static const struct {
		const char *text;
		enum challenge_kind kind;
		const char *realm, *service;
	} cases[] = {
		{ "", CHALLENGE_NONE, "", "" },
		{ "Negotiate", CHALLENGE_NONE, "", "" },
		{ "Basic realm=\"x\"", CHALLENGE_BASIC, "x", "" },
		{ "Bearer realm=\"https://a/t\",service=\"s\",scope=\"r\"", CHALLENGE_BEARER,
			"https://a/t", "s" },
		{ "bearer  REALM = https://a , Service=s", CHALLENGE_BEARER, "https://a", "s" },
		{ "Bearer service=\"s\"", CHALLENGE_NONE, "", "" },
		{ "Basic realm=b\nBearer realm=\"c\"", CHALLENGE_BEARER, "c", "" },
		{ "Bearer realm=\"c\", Basic realm=b", CHALLENGE_BEARER, "c", "" },
		{ "Bearer realm=\"a\\\"b\"", CHALLENGE_BEARER, "a\"b", "" },
		{ "Bearer realm=\"unfinished", CHALLENGE_BEARER, "unfinished", "" },
		{ "=,=\"\",", CHALLENGE_NONE, "", "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct challenge c;

		challenge_parse(cases[i].text, &c);
		if (c.kind != cases[i].kind)
			fail_msg("case %zu", i);
		assert_string_equal(c.realm, cases[i].realm);
		assert_string_equal(c.service, cases[i].service);
	}
}

static void test_settings(void **state)
{
	static const char good[] =
		"{\"registries\":{\"ca_certs\":\"/ca\",\"hosts\":{\"a:1\":{\"insecure\":true,"
		"\"mirrors\":[\"m\"],\"auth\":{\"username\":\"u\",\"password_env\":\"E\"}}}}}";
	static const char *const bad[] = { "[]",
		"{\"registries\":{\"hosts\":{\"a\":{\"auth\":{\"username\":\"u\"}}}}}",
		"{\"registries\":{\"hosts\":{\"a\":{\"auth\":{\"username\":\"u\",\"password_env\":"
		"\"E\",\"secret_name\":\"s\"}}}}}",
		"{\"registries\":{\"hosts\":{\"a\":{\"mirrors\":[\"http://m\"]}}}}",
		"{\"registries\":{\"hosts\":{\"a\":{\"auth\":{\"username\":\"u\",\"secret_name\":"
		"\"../s\"}}}}}",
		"{\"registries\":{\"hosts\":{\"a\":1}}}" };
	struct image_settings *s;

	assert_int_equal(image_settings_parse(good, strlen(good), "/home/secrets", &s, NULL), 0);
	assert_string_equal(s->ca_certs, "/ca");
	assert_string_equal(s->secrets_dir, "/home/secrets/registries");
	assert_true(image_settings_host(s, "a:1")->insecure);
	assert_string_equal(image_settings_host(s, "a:1")->mirrors[0], "m");
	assert_null(image_settings_host(s, "a"));
	assert_null(image_settings_host(NULL, "a"));
	image_settings_free(s);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (image_settings_parse(bad[i], strlen(bad[i]), "/home", &s, NULL) != -EINVAL)
			fail_msg("accepted %s", bad[i]);
	}
}

static int run(const char *script, const char *input, size_t max, unsigned ms, struct buf *out,
	int *status)
{
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, strdup(script), NULL };
	int rc = program_run(argv, input, max, ms, out, status, NULL);

	free(argv[2]);
	return rc;
}

static void test_programs(void **state)
{
	cleanup_buf struct buf out = { 0 };
	char *absent[] = { (char[]){ "no-such-program-here" }, NULL };
	int status;

	assert_int_equal(run("cat; exit 3", "hello", 100, 30000, &out, &status), 0);
	assert_int_equal(status, 3);
	assert_memory_equal(buf_head(&out), "hello", 5);
	buf_consume(&out, out.len);
	/* One that does not read all that it is told. */
	assert_int_equal(run("read a; echo $a", "one\ntwo\n", 100, 30000, &out, &status), 0);
	assert_int_equal(status, 0);
	assert_memory_equal(buf_head(&out), "one\n", 4);
	assert_int_equal(run("exec sleep 100", "", 100, 50, &out, &status), -ETIMEDOUT);
	assert_int_equal(run("exec 1>&-; exec sleep 100", "", 100, 50, &out, &status), -ETIMEDOUT);
	assert_int_equal(run("exec yes", "", 100, 30000, &out, &status), -EFBIG);
	assert_int_equal(program_run(absent, "", 1, 1000, &out, &status, NULL), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_docker_file),
		cmocka_unit_test(test_challenges),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_programs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
