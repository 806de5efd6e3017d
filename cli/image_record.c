/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/image_record.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "image/reference.h"
#include "lib/num.h"

void image_explain_full(const struct store *store, struct err *err)
{
	struct err why = *err;

	if (why.code == ENOSPC || why.code == EDQUOT)
		(void)err_msg(err, why.code,
			"%.350s ('%.80s' is full; 'msb image prune' may help, MSB_HOME moves it)",
			why.msg, store->home.dir[HOME_CACHE]);
}

int image_canonical(const char *text, char **ret, struct err *err)
{
	char canonical[REFERENCE_TEXT_MAX];
	int rc = reference_canonical(text, canonical, err);

	if (rc < 0)
		return rc;
	*ret = strdup(canonical);
	return *ret ? 0 : err_set(err, ENOMEM, "read '%s'", text);
}

/* Other releases store what the user typed: compare what is meant. */
int image_find_stored(struct store *store, const char *text, char **ret_stored,
	char **ret_canonical, struct err *err)
{
	cleanup_free char *wanted = NULL;
	struct catalogue_image *list = NULL;
	char *found = NULL;
	size_t n = 0;
	int rc = image_canonical(text, &wanted, err);

	rc = rc ? rc : catalogue_image_list(store->catalogue, &list, &n, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < n && !found; i++) {
		cleanup_free char *canonical = NULL;

		if (image_canonical(list[i].reference, &canonical, NULL) == 0 &&
			strcmp(canonical, wanted) == 0)
			found = strdup(list[i].reference);
	}
	catalogue_images_free(list, n);
	if (!found)
		return err_msg(err, ENOENT, "image not found: %s", text);
	*ret_stored = found;
	*ret_canonical = take_ptr(&wanted);
	return 0;
}

/* --- what an image is, as rows */

/* JSON array of strings; NULL for an empty list. */
static char *json_list(char *const *list)
{
	json_t *doc = list && list[0] ? json_array() : NULL;
	char *text = NULL;

	for (size_t i = 0; doc && list[i]; i++) {
		/* What is not UTF-8 cannot be in JSON, which the config was. */
		(void)json_array_append_new(doc, json_string(list[i]));
	}
	if (doc)
		text = json_dumps(doc, JSON_COMPACT);
	json_decref(doc);
	return text;
}

/* "KEY=VALUE" as a JSON object */
static char *json_labels(char *const *list)
{
	json_t *doc = list && list[0] ? json_object() : NULL;
	char *text = NULL;

	for (size_t i = 0; doc && list[i]; i++) {
		cleanup_free char *key = strndup(list[i], strcspn(list[i], "="));
		const char *eq = strchr(list[i], '=');

		if (key)
			(void)json_object_set_new(doc, key, json_string(eq ? eq + 1 : ""));
	}
	if (doc)
		text = json_dumps(doc, JSON_COMPACT);
	json_decref(doc);
	return text;
}

static const char *or_null(const char *text)
{
	return text && *text ? text : NULL;
}

static struct catalogue_layer *layers_of(const struct image *image, uint64_t *ret_total)
{
	struct catalogue_layer *layers = calloc(MAX_OF(image->layer_count, 1U), sizeof(*layers));

	*ret_total = 0;
	for (size_t i = 0; layers && i < image->layer_count; i++) {
		const struct image_layer *l = &image->layers[i];

		layers[i] = (struct catalogue_layer){ l->diff_id, l->blob_digest, l->media_type,
			l->blob_size, l->erofs_size };
		*ret_total += l->blob_size;
	}
	return layers;
}

int image_record(struct store *store, const struct image *image, struct err *err)
{
	const struct image_config *config = &image->config;
	cleanup_free char *env = json_list(config->env), *cmd = json_list(config->cmd);
	cleanup_free char *entrypoint = json_list(config->entrypoint);
	cleanup_free char *labels = json_labels(config->labels);
	uint64_t total;
	cleanup_free struct catalogue_layer *layers = layers_of(image, &total);
	struct catalogue_image row = {
		.reference = image->reference,
		.manifest_digest = image->manifest_digest,
		.media_type = or_null(image->manifest_media_type),
		.architecture = or_null(config->architecture),
		.os = or_null(config->os),
		.variant = or_null(config->variant),
		.total_size = total,
		.config_digest = image->config_digest,
		.env = env,
		.cmd = cmd,
		.entrypoint = entrypoint,
		.working_dir = or_null(config->working_dir),
		.user = or_null(config->user),
		.labels = labels,
		.stop_signal = or_null(config->stop_signal),
		.layers = layers,
		.layer_count = image->layer_count,
	};

	if (!layers)
		return err_set(err, ENOMEM, "record image '%s'", image->reference);
	return catalogue_image_put(store->catalogue, &row, err);
}

static void unmark(struct image *image)
{
	close_fd(&image->fsmeta_fd);
	for (size_t i = 0; i < image->layer_count; i++)
		close_fd(&image->layers[i].fd);
}

void image_drop(struct store *store, struct image *const *images, size_t n)
{
	/* All of them first: two may be one image with two names. */
	for (size_t i = 0; i < n; i++)
		unmark(images[i]);
	for (size_t i = 0; i < n; i++) {
		const struct image *image = images[i];
		cleanup_free char **diff_ids = calloc(image->layer_count, sizeof(*diff_ids));

		for (size_t k = 0; diff_ids && k < image->layer_count; k++)
			diff_ids[k] = image->layers[k].diff_id;
		if (diff_ids)
			store_image_drop(store, image->reference, image->manifest_digest, diff_ids,
				image->layer_count);
	}
}
