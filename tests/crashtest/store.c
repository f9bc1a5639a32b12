/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log-structured store, as small as one can be: each record is a block at the write pointer of zone 2. It finds its end
 * by reading on until a block is no record. Built with -DFORGETS_FLUSH it acknowledges what it has not flushed.
 */
#include "acknowledge.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096
#define LOG (8L << 20) /* where zone 2 begins */
#define RECORDS 6

struct record {
	char magic[8];
	uint32_t number, sum;
	unsigned char value[BLOCK - 16];
};

static uint32_t sum_of(const struct record *r)
{
	uint32_t sum = r->number * 2654435761u;
	size_t i;

	for (i = 0; i < sizeof(r->value); i++)
		sum = sum * 31 + r->value[i];
	return sum;
}

static int put_all(int fd)
{
	struct record r = { .magic = "record" };
	uint32_t i;

	for (i = 0; i < RECORDS; i++) {
		r.number = i;
		memset(r.value, 'a' + (int)i, sizeof(r.value));
		r.sum = sum_of(&r);
		if (pwrite(fd, &r, BLOCK, LOG + (off_t)i * BLOCK) != BLOCK) {
			perror("write");
			return 2;
		}
#ifndef FORGETS_FLUSH
		if (fsync(fd)) {
			perror("fsync");
			return 2;
		}
#endif
		acknowledge("put", i);
	}
	return 0;
}

static int check(int fd, uint32_t told)
{
	struct record r;
	uint32_t n;

	for (n = 0; n < RECORDS; n++) {
		if (pread(fd, &r, BLOCK, LOG + (off_t)n * BLOCK) != BLOCK)
			break;
		if (memcmp(r.magic, "record", 7) || r.number != n || r.sum != sum_of(&r))
			break;
	}
	printf("%u records, %u were acknowledged\n", n, told);
	return n < told;
}

int main(int argc, char **argv)
{
	const char *told = getenv("ZONED_MARKS");
	int fd = argc == 3 ? open(argv[2], O_RDWR) : -1;

	if (fd < 0) {
		fprintf(stderr, "usage: store put|check DISK\n");
		return 2;
	}
	return strcmp(argv[1], "put") ? check(fd, (uint32_t)atoi(told ? told : "0")) : put_all(fd);
}
