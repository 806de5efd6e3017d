/* SPDX-License-Identifier: Apache-2.0 */
/* What "msb pull" and the pull of "msb run" share. Inside msb-image. */
#ifndef CLI_PULL_H
#define CLI_PULL_H

#include "image/image.h"
#include "store/store.h"

/*
 * pull_image() - image_pull() with the registries of config.json and its progress on the terminal
 * @o:     credentials and policy; settings and progress are filled in
 * @quiet: no progress
 */
int pull_image(struct store *store, const char *reference, struct image_pull_options *o, bool quiet,
	struct image **ret, struct err *err);

#endif
