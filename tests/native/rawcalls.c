/* SPDX-License-Identifier: Apache-2.0 */
/* A program that uses a disk by system calls of its own, past libc: in the first thread, in another one, in a child. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long raw(long number, long a, long b, long c, long d)
{
	register long fourth __asm__("r10") = d;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth) : "rcx", "r11", "memory");
	return result;
}

static long disk;
static char block[4096] __attribute__((aligned(4096)));

static void *write_one(void *at)
{
	memset(block, 'r', sizeof(block));
	printf("write %ld\n", raw(SYS_pwrite64, disk, (long)block, sizeof(block), (long)at));
	memset(block, 0, sizeof(block));
	printf("read %ld", raw(SYS_pread64, disk, (long)block, sizeof(block), (long)at));
	printf(" %c\n", block[4095]);
	fflush(stdout);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	(void)argc;
	disk = raw(SYS_openat, AT_FDCWD, (long)argv[1], O_RDWR, 0);
	printf("opened %d\n", disk >= 0);
	write_one((void *)0);
	pthread_create(&thread, NULL, write_one, (void *)4096);
	pthread_join(thread, NULL);
	fflush(stdout);
	if (fork() == 0) {
		write_one((void *)8192);
		_exit(0);
	}
	wait(NULL);
	printf("misaligned %ld\n", raw(SYS_pwrite64, disk, (long)block, 1, -1));
	printf("own process %d\n", raw(SYS_getpid, 0, 0, 0, 0) == getpid());
	printf("closed %ld, ", raw(SYS_close, disk, 0, 0, 0));
	printf("then %ld\n", raw(SYS_close, disk, 0, 0, 0));
	return 0;
}
