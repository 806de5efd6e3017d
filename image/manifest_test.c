/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/manifest.h"
#include "lib/num.h"

#define D1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define D2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define CONFIG                                                                                     \
	"\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG "\",\"size\":2,\"digest\":\"" D1 "\"}"
#define LAYER(type) "{\"mediaType\":\"" type "\",\"size\":5,\"digest\":\"" D2 "\"}"
#define V2	    "{\"schemaVersion\":2,"

static int parse(const char *doc, const char *type, struct manifest *m, struct err *err)
{
	return manifest_parse(doc, strlen(doc), type, m, err);
}

static void test_content_types(void **state)
{
	static const char doc[] = V2 CONFIG ",\"layers\":[" LAYER(MEDIA_OCI_LAYER) "]}";
	cleanup_manifest struct manifest m = { .is_index = false }, old = { .is_index = false };

	assert_int_equal(parse(doc, MEDIA_OCI_MANIFEST, &m, NULL), 0);
	assert_string_equal(m.media_type, MEDIA_OCI_MANIFEST);
	assert_int_equal(
		parse(doc, "application/vnd.docker.distribution.manifest.v1+prettyjws", &old, NULL),
		-ENOTSUP);
}

static void test_manifest(void **state)
{
	cleanup_manifest struct manifest m = { .is_index = false };

	assert_int_equal(parse(V2 CONFIG ",\"layers\":[" LAYER(MEDIA_OCI_LAYER "+gzip") "," LAYER(
				       MEDIA_DOCKER_LAYER ".gzip") "]}",
				 NULL, &m, NULL),
		0);
	assert_false(m.is_index);
	assert_int_equal(m.layer_count, 2);
	assert_string_equal(m.layers[1].digest, D2);
	assert_int_equal(m.layers[1].size, 5);
	assert_string_equal(m.config.digest, D1);
}

static void test_refused_manifests(void **state)
{
	static const struct {
		const char *doc;
		int rc;
		const char *says;
	} cases[] = {
		{ "", -EBADMSG, "empty" },
		{ "[]", -EBADMSG, "object" },
		{ "{\"a\":1,\"a\":2}", -EBADMSG, "JSON" },
		{ "{}", -EBADMSG, "schemaVersion" },
		{ "{\"schemaVersion\":1}", -ENOTSUP, "schema 1" },
		{ V2 CONFIG "}", -EBADMSG, "no layers" },
		{ V2 CONFIG ",\"layers\":[]}", -EBADMSG, "no layers" },
		{ V2 "\"layers\":[" LAYER(MEDIA_OCI_LAYER) "]}", -EBADMSG, "configuration" },
		{ V2 CONFIG ",\"layers\":[1]}", -EBADMSG, "no layer" },
		{ V2 CONFIG ",\"layers\":[" LAYER("text/x") "]}", -ENOTSUP, "text/x" },
		{ V2 CONFIG ",\"layers\":[{\"mediaType\":\"" MEDIA_OCI_LAYER
			    "\",\"size\":-1,\"digest\":\"" D1 "\"}]}",
			-EBADMSG, "size" },
		{ V2 CONFIG ",\"layers\":[{\"mediaType\":\"" MEDIA_OCI_LAYER
			    "\",\"size\":1,\"digest\":\"../../etc\"}]}",
			-EBADMSG, "digest" },
		{ V2 "\"mediaType\":\"application/x\"," CONFIG "}", -EBADMSG, "application/x" },
		{ V2 "\"manifests\":{}}", -EBADMSG, "list" },
		/* claims to be an index, holds the members of a manifest */
		{ V2 "\"mediaType\":\"" MEDIA_OCI_INDEX "\"," CONFIG "}", -EBADMSG, "type" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct manifest m = { .is_index = false };
		struct err err = ERR_INIT;

		if (parse(cases[i].doc, NULL, &m, &err) != cases[i].rc ||
			!strstr(err.msg, cases[i].says))
			fail_msg("case %zu: %d %s", i, err.code, err.msg);
	}
}

#define ENTRY(type, platform)                                                                      \
	"{\"mediaType\":\"" type "\",\"size\":5,\"digest\":\"" D2 "\",\"platform\":" platform "}"
#define P(os, arch, variant)                                                                       \
	"{\"os\":\"" os "\",\"architecture\":\"" arch "\",\"variant\":\"" variant "\"}"

static void test_choice(void **state)
{
	static const char doc[] =
		V2 "\"manifests\":["
		   "{\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"size\":5,\"digest\":\"" D1
		   "\"}," ENTRY("application/vnd.in-toto.attestation+json",
			   P("linux", "arm64", "")) "," ENTRY(MEDIA_OCI_MANIFEST,
			   P("windows", "arm64", "")) "," ENTRY(MEDIA_OCI_MANIFEST,
			   P("linux", "arm64", "v7")) "," ENTRY(MEDIA_OCI_MANIFEST,
			   P("linux", "arm64", "v8")) "]}";
	cleanup_manifest struct manifest m = { .is_index = false };
	char text[200];

	assert_int_equal(parse(doc, MEDIA_OCI_INDEX, &m, NULL), 0);
	assert_true(m.is_index);
	assert_null(manifest_choose(&m, "amd64", NULL));
	assert_ptr_equal(manifest_choose(&m, "arm64", NULL), &m.entries[3]);
	assert_ptr_equal(manifest_choose(&m, "arm64", "v8"), &m.entries[4]);
	assert_ptr_equal(manifest_choose(&m, "arm64", "v9"), &m.entries[3]);
	manifest_platforms(&m, text, sizeof(text));
	assert_string_equal(text, "windows/arm64, linux/arm64/v7, linux/arm64/v8");
}

static void test_config(void **state)
{
	static const char doc[] =
		"{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Env\":[\"A=b\"],"
		"\"Cmd\":[\"sh\",\"-c\"],\"Entrypoint\":null,\"ExposedPorts\":{\"80/tcp\":{}},"
		"\"Volumes\":{\"/b\":{},\"/a\":{}},\"Labels\":{\"k\":\"v\"},\"User\":\"1\","
		"\"WorkingDir\":\"/w\",\"StopSignal\":\"SIGINT\"},"
		"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D1 "\",\"" D2 "\"]}}";
	cleanup_config struct image_config c = { .env = NULL };

	assert_int_equal(config_parse(doc, strlen(doc), &c, NULL), 0);
	assert_string_equal(c.env[0], "A=b");
	assert_string_equal(c.cmd[1], "-c");
	assert_null(c.entrypoint[0]);
	assert_string_equal(c.exposed_ports[0], "80/tcp");
	assert_string_equal(c.volumes[0], "/a");
	assert_string_equal(c.volumes[1], "/b");
	assert_string_equal(c.labels[0], "k=v");
	assert_string_equal(c.user, "1");
	assert_string_equal(c.working_dir, "/w");
	assert_string_equal(c.stop_signal, "SIGINT");
	assert_string_equal(c.architecture, "amd64");
	assert_int_equal(config_layer_count(&c), 2);
}

static void test_sparse_config(void **state)
{
	cleanup_config struct image_config c = { .env = NULL };

	assert_int_equal(config_parse("{}", 2, &c, NULL), 0);
	assert_null(c.env[0]);
	assert_null(c.labels[0]);
	assert_string_equal(c.user, "");
	assert_int_equal(config_layer_count(&c), 0);
}

static void test_refused_configs(void **state)
{
	static const char *const cases[] = { "", "[]", "{\"os\":1}", "{\"config\":{\"Env\":{}}}",
		"{\"config\":{\"Env\":[1]}}", "{\"config\":{\"Labels\":{\"a\":1}}}",
		"{\"config\":{\"Volumes\":[]}}", "{\"rootfs\":{\"diff_ids\":[\"x\"]}}",
		"{\"config\":{\"User\":\"a\\u0000b\"}}" };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct image_config c = { .env = NULL };
		struct err err = ERR_INIT;

		if (config_parse(cases[i], strlen(cases[i]), &c, &err) != -EBADMSG)
			fail_msg("accepted %s", cases[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content_types),
		cmocka_unit_test(test_manifest),
		cmocka_unit_test(test_refused_manifests),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_sparse_config),
		cmocka_unit_test(test_refused_configs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
