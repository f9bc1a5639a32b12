/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Killed at the door, after any number of machine instructions:
 *
 *     doorkill IMAGE STRIDE
 *
 * A child that has the image open to write goes out and in again, and dies after 0, STRIDE, 2 * STRIDE ... instructions
 * of it. Whoever comes then is let in at once, loses nothing, and the last one leaves the image clean. So where nobody
 * else has the image open, where somebody has, where a reader holds locks on all of it, and where the mutex of the door
 * is still to be made. Prints how many died in each of these.
 */
#include "device/hooks/hooks.h"
#include "testing.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ALONE, BESIDE_A_WRITER, BESIDE_A_READER, NO_MUTEX_YET, NR_SCENES };

static const char *path;
static uint8_t block[4096];
static uint64_t appended;

static zd_dev *open_it(unsigned flags)
{
	struct zd_error err;
	zd_dev *dev = NULL;
	int r = zd_open(path, flags, &dev, &err);

	if (r)
		fprintf(stderr, "%s\n", err.text);
	CLAIM(r == 0);
	return dev;
}

static void append(zd_dev *dev)
{
	uint64_t at;

	CLAIM(zd_append(dev, 1, block, sizeof(block), &at, NULL) == (int64_t)sizeof(block));
	CLAIM(at == zd_zone_start(dev, 1) + appended * sizeof(block));
	appended++;
}

/* The child; the parent counts its instructions from the stop on. */
static void go_out_and_in(int scene)
{
	zd_dev *dev = open_it(0);

	if (scene == NO_MUTEX_YET) {
		memset(dev->door + ZD_DOOR, 0, ZD_PAGE - ZD_DOOR);
		CLAIM(zd_door_join(dev) == 0);
	}
	CLAIM(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	raise(SIGSTOP);
	CLAIM(zd_door_enter(dev, NULL) == 0);
	zd_door_part(dev);
	zd_door_leave(dev);
	CLAIM(zd_door_enter(dev, NULL) == 0);
	if (!zd_door_others(dev, false))
		zd_door_first(dev);
	CLAIM(zd_door_join(dev) == 0);
	zd_door_leave(dev);
	_exit(0);
}

/* false: it came to its end before. */
static bool killed_after(int scene, unsigned long steps)
{
	unsigned long i;
	int status;
	pid_t child = fork();

	CLAIM(child >= 0);
	if (!child)
		go_out_and_in(scene);
	CLAIM(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
	for (i = 0; i < steps; i++) {
		CLAIM(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0);
		CLAIM(waitpid(child, &status, 0) == child);
		if (WIFEXITED(status)) {
			CLAIM(WEXITSTATUS(status) == 0);
			return false;
		}
		CLAIM(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
	}
	CLAIM(kill(child, SIGKILL) == 0);
	CLAIM(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
	return true;
}

static void look_around(int scene)
{
	zd_dev *reader = open_it(ZD_OPEN_READONLY | ZD_OPEN_BRIEFLY), *one = open_it(ZD_OPEN_BRIEFLY), *two = open_it(ZD_OPEN_BRIEFLY);
	struct zd_finding *findings;
	struct zd_error err;
	size_t count;

	CLAIM(zd_close(reader, NULL) == 0);
	append(one);
	append(two);
	CLAIM(zd_close(one, &err) == 0);
	append(two);
	CLAIM(zd_close(two, &err) == 0);
	reader = open_it(ZD_OPEN_READONLY | ZD_OPEN_BRIEFLY);
	CLAIM(zd_word_written(zd_load_word(reader, 1)) == appended * sizeof(block));
	CLAIM(zd_close(reader, NULL) == 0);
	if (scene == BESIDE_A_WRITER || scene == BESIDE_A_READER)
		return;
	CLAIM(zd_check(path, ZD_CHECK_BRIEFLY, &findings, &count, &err) == 0);
	CLAIM(count == 0);
	zd_findings_free(findings);
}

static void play(int scene, unsigned long stride)
{
	const struct flock all = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	zd_dev *writer = scene == BESIDE_A_WRITER ? open_it(0) : NULL;
	int fd = scene == BESIDE_A_READER ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	struct zd_finding *findings;
	unsigned long died = 0;
	struct zd_error err;
	size_t count;

	CLAIM(fd < 0 || fcntl(fd, F_OFD_SETLK, &all) == 0);
	while (killed_after(scene, died * stride)) {
		died++;
		look_around(scene);
	}
	if (writer)
		CLAIM(zd_close(writer, &err) == 0);
	if (fd >= 0)
		close(fd);
	writer = open_it(0);
	append(writer);
	CLAIM(zd_close(writer, &err) == 0);
	CLAIM(zd_check(path, 0, &findings, &count, &err) == 0);
	CLAIM(count == 0);
	zd_findings_free(findings);
	printf("%lu\n", died);
}

int main(int argc, char **argv)
{
	const struct zd_config config = { .struct_size = sizeof(struct zd_config),
		.size = 1ull << 30, .zone_size = 512ull << 20, .logical_block = 4096, .physical_block = 4096, .host_sync = ZD_SYNC_NEVER
	};
	struct zd_error err;
	zd_dev *dev;
	int scene;

	CLAIM(argc == 3 && strtoul(argv[2], NULL, 10) > 0);
	path = argv[1];
	if (zd_create(path, &config, 0, &dev, &err))
		fprintf(stderr, "%s\n", err.text);
	CLAIM(zd_close(dev, NULL) == 0);
	for (scene = 0; scene < NR_SCENES; scene++)
		play(scene, strtoul(argv[2], NULL, 10));
	return 0;
}
