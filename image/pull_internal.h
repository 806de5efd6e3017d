/* SPDX-License-Identifier: Apache-2.0 */
/* Inside a pull. */
#ifndef IMAGE_PULL_INTERNAL_H
#define IMAGE_PULL_INTERNAL_H

#include "image/image_internal.h"
#include "image/reference.h"
#include "image/registry.h"

/*
 * struct pull - one pull, in its caller's thread
 * @manifest, @raw_manifest, @manifest_digest: of the platform
 * @fd: of each layer, marked; -1 while missing; a layer that occurs twice has two
 * @built: something was not in the cache
 */
struct pull {
	struct cache *cache;
	struct image_pull_options o;
	struct reference ref;
	char canonical[REFERENCE_TEXT_MAX];
	struct registry *registry;
	struct manifest manifest;
	struct buf raw_manifest, raw_config;
	char manifest_digest[DIGEST_TEXT_MAX];
	struct image_config config;
	int *fd;
	bool built;
};

/* pull_event() - tell the caller; fills in the reference and how many layers there are */
void pull_event(struct pull *p, struct image_event ev);

/* pull_resolve() - manifest and configuration for the platform, checked against each other */
int pull_resolve(struct pull *p, struct err *err);

/* pull_layers() - every layer of p->manifest into the cache, p->fd filled */
int pull_layers(struct pull *p, struct err *err);

#endif
