/* SPDX-License-Identifier: Apache-2.0 */
/* msb image inspect. cli.md 2.8. */
#include "cli/image_inspect.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "cli/command.h"
#include "cli/image_record.h"
#include "cli/output.h"

json_t *image_summary_json(const struct catalogue_image *i)
{
	char created[OUTPUT_TEXT_MAX];

	output_rfc3339(i->created_at, created);
	return json_pack("{s:s, s:s, s:I, s:s?, s:s?, s:I, s:s?}", "reference", i->reference,
		"digest", i->manifest_digest, "size_bytes", (json_int_t)i->total_size,
		"architecture", i->architecture, "os", i->os, "layer_count",
		(json_int_t)i->layer_count, "created_at", created[0] ? created : NULL);
}

static int set_format(void *target, const char *value, struct err *err)
{
	if (strcmp(value, "json") != 0)
		return err_msg(err, EINVAL, "'%s' is not json", value);
	*(bool *)target = true;
	return 0;
}

static const struct option_row rows[] = {
	{ 0, "format", "json", "print JSON", set_format },
	{ 0 },
};

static void describe(void)
{
	printf("\nOptions:\n");
	options_help(rows, stdout);
}

/* Text that is JSON in the catalogue; null if it is none. */
static json_t *parsed(const char *text)
{
	json_t *doc = text ? json_loads(text, 0, NULL) : NULL;

	return doc ? doc : json_null();
}

static json_t *config_json(const struct catalogue_image *i)
{
	return json_pack("{s:s?, s:o, s:o, s:o, s:s?, s:s?, s:o, s:s?}", "digest", i->config_digest,
		"env", parsed(i->env), "cmd", parsed(i->cmd), "entrypoint", parsed(i->entrypoint),
		"working_dir", i->working_dir, "user", i->user, "labels", parsed(i->labels),
		"stop_signal", i->stop_signal);
}

static json_t *layers_json(const struct catalogue_image *i)
{
	json_t *list = json_array();

	for (size_t l = 0; list && l < i->layer_count; l++) {
		const struct catalogue_layer *layer = &i->layers[l];

		(void)json_array_append_new(
			list, json_pack("{s:s, s:s?, s:s?, s:I, s:I, s:I}", "diff_id",
				      layer->diff_id, "blob_digest", layer->blob_digest,
				      "media_type", layer->media_type, "compressed_size_bytes",
				      (json_int_t)layer->compressed_size, "erofs_size_bytes",
				      (json_int_t)layer->erofs_size, "position", (json_int_t)l));
	}
	return list;
}

static int print_image_json(const struct catalogue_image *i)
{
	json_t *doc = image_summary_json(i);

	if (doc) {
		(void)json_object_set_new(doc, "config", config_json(i));
		(void)json_object_set_new(doc, "layers", layers_json(i));
	}
	return output_json(doc);
}

#define NESTED_WIDTH 14

static void print_nested(const char *key, const char *value)
{
	char label[64];

	(void)snprintf(label, sizeof(label), "%s:", key);
	printf("  %-*s", NESTED_WIDTH, label);
	output_text(value ? value : "-", stdout);
	putchar('\n');
}

/* ["a", "b c"] as words on one line, each as a shell would need it only if it has blanks */
static void print_words(const char *key, const char *text)
{
	json_t *doc = text ? json_loads(text, 0, NULL) : NULL;
	const json_t *word;
	size_t i;

	if (!json_array_size(doc)) {
		print_nested(key, NULL);
	} else {
		printf("  %s:%*s", key, (int)(NESTED_WIDTH - strlen(key) - 1), "");
		json_array_foreach(doc, i, word)
		{
			const char *w = json_string_value(word);
			const char *quote = w && w[strcspn(w, " \t\n\"'")] ? "\"" : "";

			printf("%s%s", i ? " " : "", quote);
			output_text(w ? w : "", stdout);
			printf("%s", quote);
		}
		putchar('\n');
	}
	json_decref(doc);
}

/* "NAME=VALUE" of a list, or of an object in two parts */
static void print_member(const char *text, const char *value)
{
	printf("    ");
	output_text(text ? text : "", stdout);
	if (value) {
		putchar('=');
		output_text(value, stdout);
	}
	putchar('\n');
}

static void print_block(const char *key, const char *text)
{
	json_t *doc = text ? json_loads(text, 0, NULL) : NULL, *value;
	const char *name;
	size_t i;

	if (json_array_size(doc) || json_object_size(doc))
		printf("  %s:\n", key);
	json_array_foreach(doc, i, value) print_member(json_string_value(value), NULL);
	json_object_foreach(doc, name, value) print_member(name, json_string_value(value));
	json_decref(doc);
}

static void print_layers(const struct catalogue_image *i)
{
	printf("\nLayers (%zu)\n", i->layer_count);
	for (size_t l = 0; l < i->layer_count; l++) {
		char digest[OUTPUT_TEXT_MAX], size[OUTPUT_TEXT_MAX];

		output_short_digest(i->layers[l].diff_id, digest);
		output_size(i->layers[l].compressed_size, size);
		printf("  %-4zu%s  %10s  ", l + 1, digest, size);
		output_text(i->layers[l].media_type ? i->layers[l].media_type : "-", stdout);
		putchar('\n');
	}
}

static void print_image(const struct catalogue_image *i)
{
	char text[OUTPUT_TEXT_MAX];

	output_row("Reference", i->reference);
	output_row("Digest", i->manifest_digest);
	output_row("Architecture", i->architecture);
	output_row("OS", i->os);
	output_size(i->total_size, text);
	output_row("Size", text);
	output_time(i->created_at, text);
	output_row("Created", text);
	printf("\nConfig\n");
	print_words("Entrypoint", i->entrypoint);
	print_words("Cmd", i->cmd);
	print_nested("WorkingDir", i->working_dir);
	print_nested("User", i->user);
	print_block("Env", i->env);
	print_block("Labels", i->labels);
	print_layers(i);
}

static int run(int argc, char **argv)
{
	bool json = false;
	cleanup_store struct store store = { 0 };
	cleanup_free char *stored = NULL, *canonical = NULL;
	cleanup_catalogue_image struct catalogue_image *image = NULL;
	const char *reference = NULL;
	struct err err = ERR_INIT;
	int n, rc, code;

	code = command_parse("image inspect", rows, &json, argc, argv, &reference, 1, &n);
	if (code != EXIT_OK)
		return code;
	if (!n)
		return command_missing("image inspect", "REFERENCE");
	rc = store_open(CATALOGUE_READ, &store, &err);
	rc = rc ? rc : image_find_stored(&store, reference, &stored, &canonical, &err);
	rc = rc ? rc : catalogue_image_get(store.catalogue, stored, &image, &err);
	if (rc < 0)
		return output_failed(&err);
	if (json)
		return print_image_json(image);
	print_image(image);
	return EXIT_OK;
}

const struct command command_image_inspect = {
	.name = "inspect",
	.path = "image inspect",
	.usage = "[OPTIONS] REFERENCE",
	.help = "show an image in the cache",
	.run = run,
	.describe = describe,
};
