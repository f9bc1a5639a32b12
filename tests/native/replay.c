/* SPDX-License-Identifier: Apache-2.0 */
/* Run a fuzz target over the files named, without libFuzzer: how its findings stay regression tests. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	int done = 0;

	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		uint8_t *data;
		long size;

		if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0 || fseek(file, 0, SEEK_SET)) {
			perror(argv[i]);
			return 2;
		}
		/* Exactly as long as the input, so that a read beyond it is seen. */
		data = malloc(size ? (size_t)size : 1);
		if (!data || fread(data, 1, (size_t)size, file) != (size_t)size) {
			perror(argv[i]);
			return 2;
		}
		fclose(file);
		fprintf(stderr, "%s\n", argv[i]);
		LLVMFuzzerTestOneInput(data, (size_t)size);
		free(data);
		done++;
	}
	printf("%d inputs\n", done);
	return 0;
}
