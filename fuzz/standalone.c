/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replays files through a fuzz target without libFuzzer: every regular file below the folders given
 * as arguments is one input. Lets any compiler keep the corpus as a regression test.
 */
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int replay(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	if (type != FTW_F)
		return 0;
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(st->st_size + 1);
	if (!f || !data || fread(data, 1, st->st_size, f) != (size_t)st->st_size) {
		fprintf(stderr, "cannot read %s\n", path);
		exit(1);
	}
	(void)LLVMFuzzerTestOneInput(data, st->st_size);
	free(data);
	fclose(f);
	return 0;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (nftw(argv[i], replay, 16, FTW_PHYS) != 0) {
			fprintf(stderr, "cannot walk %s\n", argv[i]);
			return 1;
		}
	}
	return 0;
}
