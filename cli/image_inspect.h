/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_IMAGE_INSPECT_H
#define CLI_IMAGE_INSPECT_H

#include "cli/cli.h"
#include "store/catalogue.h"

struct json_t;

extern const struct command command_image_inspect;

/* image_summary_json() - what lists and inspect say of an image (cli.md 2.8); NULL: no memory */
struct json_t *image_summary_json(const struct catalogue_image *image);

#endif
