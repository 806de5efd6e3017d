/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-image, the program beside msb that makes images. It is one of its own because every start of
 * msb would have to load the libraries of TLS, HTTP and decompression, and the worker of a machine
 * would keep them; and so that what parses a stranger's bytes is in no process that holds anything
 * of a machine.
 */
#ifndef CLI_IMAGE_PROGRAM_H
#define CLI_IMAGE_PROGRAM_H

#include <sys/types.h>

#include "image/image.h"
#include "lib/log.h"

/* Both programs list these commands; msb-image has them. */
#define HELP_PULL "download an image from a registry"
#define HELP_LOAD "load images from an archive or a folder"
#define HELP_SAVE "save images to an archive or a folder"

/* Where msb-image finds the socket of an image_fetch: one message, a struct err, comes back. */
#define IMAGE_FETCH_FD 0

/* The words for what is to be made. */
#define IMAGE_FETCH_LAYERED "layered"
#define IMAGE_FETCH_FLAT    "flat"

/* struct image_fetch - a pull that has ended well and keeps its image from being deleted */
struct image_fetch {
	int fd;
	pid_t pid;
};

/*
 * image_fetch() - bring an image into the cache, in a process that dies with this one
 * @reference: valid
 * @flat: as one ext4 file system too (image_make_flat())
 * @level: what it may log on stderr, where its progress goes too
 * Return: 0: open the image, then image_fetch_end(); else as image_pull(), -EPIPE it died
 */
int image_fetch(const char *reference, enum image_policy policy, bool flat, enum log_level level,
	struct image_fetch *ret, struct err *err);
void image_fetch_end(struct image_fetch *f);

#endif
