/* SPDX-License-Identifier: Apache-2.0 */
/* From a reference to the manifest and the configuration for a platform. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "image/pull_internal.h"
#include "lib/num.h"

/* An index may name an index; a loop of them would need a broken hash. */
#define INDEX_DEPTH_MAX 8

static int no_platform(const struct pull *p, const struct manifest *m, struct err *err)
{
	char have[200];

	manifest_platforms(m, have, sizeof(have));
	return err_msg(err, ENOENT, "there is no image for linux/%s; there are: %s",
		p->o.architecture, have);
}

/* One document, parsed into p->manifest. */
static int fetch_manifest(struct pull *p, const char *target, struct err *err)
{
	char type[MEDIA_TYPE_MAX];
	int rc;

	buf_consume(&p->raw_manifest, p->raw_manifest.len);
	rc = registry_manifest(p->registry, target, &p->raw_manifest, type, err);
	if (rc < 0)
		return rc;
	return manifest_parse((const char *)buf_head(&p->raw_manifest), p->raw_manifest.len, type,
		&p->manifest, err);
}

static int choose_manifest(struct pull *p, struct err *err)
{
	char target[REFERENCE_DIGEST_MAX + 1];
	int rc;

	(void)snprintf(target, sizeof(target), "%s", reference_target(&p->ref));
	for (unsigned depth = 0; depth < INDEX_DEPTH_MAX; depth++) {
		const struct index_entry *e;

		rc = fetch_manifest(p, target, err);
		if (rc < 0)
			return rc;
		if (!p->manifest.is_index) {
			digest_bytes(strchr(target, ':') ? target : "sha256:",
				buf_head(&p->raw_manifest), p->raw_manifest.len,
				p->manifest_digest);
			return 0;
		}
		e = manifest_choose(&p->manifest, p->o.architecture, p->o.variant);
		if (!e)
			return no_platform(p, &p->manifest, err);
		memcpy(target, e->d.digest, sizeof(e->d.digest));
		manifest_release(&p->manifest);
	}
	return err_msg(
		err, EBADMSG, "the image is hidden behind more than %d indexes", INDEX_DEPTH_MAX);
}

static int check_config(const struct pull *p, struct err *err)
{
	const struct image_config *c = &p->config;
	size_t n = config_layer_count(c);

	if (n != p->manifest.layer_count)
		return err_msg(err, EBADMSG,
			"layer count mismatch: config has %zu diff_ids but manifest has %zu layers",
			n, p->manifest.layer_count);
	if ((c->os[0] && strcmp(c->os, "linux")) ||
		(c->architecture[0] && strcmp(c->architecture, p->o.architecture)))
		return err_msg(err, ENOENT, "the image is for %.60s/%.60s, not for linux/%s", c->os,
			c->architecture, p->o.architecture);
	return 0;
}

int pull_resolve(struct pull *p, struct err *err)
{
	const struct descriptor *config = &p->manifest.config;
	int rc = choose_manifest(p, err);

	if (rc < 0)
		return rc;
	if (strcmp(config->media_type, MEDIA_OCI_CONFIG) &&
		strcmp(config->media_type, MEDIA_DOCKER_CONFIG))
		return err_msg(err, ENOTSUP,
			"it is no container image: its configuration is of type '%s'",
			config->media_type);
	rc = registry_document(p->registry, config, &p->raw_config, err);
	if (rc == 0)
		rc = config_parse(
			(const char *)buf_head(&p->raw_config), p->raw_config.len, &p->config, err);
	return rc ? rc : check_config(p, err);
}
