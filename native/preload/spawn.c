/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children and other programs: a forked child opens the disks anew, and a program that is started finds the run again,
 * whatever environment it is given.
 *
 * vfork() is fork() here: between vfork() and exec() a child works on its parent's tables, and closing a
 * descriptor there would close it in ours.
 */
#include "preload/preload.h"
#include "preload/raw.h"
#include "preload/real.h"
#include "preload/static.h"

#include <alloca.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

static char library[PATH_MAX]; /* where this one is */

static void prepare(void)
{
	zp_table_share();
	zp_disk_lock(true);
}

static void parent(void)
{
	zp_disk_lock(false);
}

static void child(void)
{
	zp_disk_forked();
	zp_scsi_forked();
	zp_nvme_forked();
	zp_raw_thread();
}

__attribute__((constructor)) static void at_start(void)
{
	Dl_info info;

	if (!zp_active())
		return;
	if (dladdr((void *)(uintptr_t)at_start, &info) && info.dli_fname)
		snprintf(library, sizeof(library), "%s", info.dli_fname);
	pthread_atfork(prepare, parent, child);
}

ZP_EXPORT pid_t vfork(void)
{
	return fork();
}

/* ---------------------------------------------------------------- the environment of a program */

struct additions {
	char preload[PATH_MAX * 2], run[PATH_MAX + 16], explain[32];
};

static size_t count(char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

/* A copy with what the run needs in it; room for count + 4. */
static char *const *completed(char *const *env, char **room, struct additions *own)
{
	bool run = false, explain = false;
	char *preload = NULL;
	size_t n = 0, i;

	for (i = 0; env && env[i]; i++) {
		if (!strncmp(env[i], "LD_PRELOAD=", 11)) {
			preload = env[i] + 11;
			continue;
		}
		run |= !strncmp(env[i], "ZONED_RUN=", 10);
		explain |= !strncmp(env[i], "ZONED_RUN_EXPLAIN=", 18);
		room[n++] = env[i];
	}
	if (preload && strstr(preload, library))
		snprintf(own->preload, sizeof(own->preload), "LD_PRELOAD=%s", preload);
	else
		snprintf(own->preload, sizeof(own->preload), "LD_PRELOAD=%s%s%s", library, preload && *preload ? ":" : "",
			 preload ? preload : "");
	room[n++] = own->preload;
	if (!run) {
		snprintf(own->run, sizeof(own->run), "ZONED_RUN=%s", zp_session.folder);
		room[n++] = own->run;
	}
	if (!explain && zp_session.explain) {
		snprintf(own->explain, sizeof(own->explain), "ZONED_RUN_EXPLAIN=1");
		room[n++] = own->explain;
	}
	room[n] = NULL;
	return room;
}

#define COMPLETED(env) completed(env, alloca((count(env) + 4) * sizeof(char *)), alloca(sizeof(struct additions)))
#define PASSED(env) (zp_active() && library[0] ? COMPLETED(env) : (env))

/* Where execvp() will find it. */
static bool on_path(const char *file, char *out)
{
	const char *at = getenv("PATH"), *end;

	if (strchr(file, '/'))
		return snprintf(out, PATH_MAX, "%s", file) < PATH_MAX;
	for (at = at ? at : "/bin:/usr/bin"; *at; at = *end ? end + 1 : end) {
		end = strchrnul(at, ':');
		if (snprintf(out, PATH_MAX, "%.*s/%s", (int)(end - at), at, file) < PATH_MAX && zp_real.access(out, X_OK) == 0)
			return true;
	}
	return false;
}

/* Before a program begins in a process of ours, or of a child. */
static void warn(const char *path)
{
	int saved = errno;

	zp_table_share();
	if (zp_active() && zp_is_privileged(path))
		dprintf(2,
			"zonedctl run: %s is a set-uid program or has capabilities: neither it nor what it starts finds the disks\n",
			path);
	errno = saved;
}

/* This process is about to become it. */
static void become(const char *path)
{
	warn(path);
	if (zp_active() && zp_is_static(path))
		zp_static_prepare();
}

ZP_EXPORT int execve(const char *path, char *const argv[], char *const env[])
{
	become(path);
	return zp_real.execve(path, argv, PASSED(env));
}

ZP_EXPORT int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

ZP_EXPORT int execvpe(const char *file, char *const argv[], char *const env[])
{
	char path[PATH_MAX];

	if (zp_active() && on_path(file, path))
		become(path);
	return zp_real.execvpe(file, argv, PASSED(env));
}

ZP_EXPORT int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

ZP_EXPORT int fexecve(int fd, char *const argv[], char *const env[])
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	become(path);
	return zp_real.fexecve(fd, argv, PASSED(env));
}

ZP_EXPORT int execveat(int dirfd, const char *path, char *const argv[], char *const env[], int flags)
{
	char whole[PATH_MAX + 64];

	if (dirfd == AT_FDCWD || *path == '/')
		snprintf(whole, sizeof(whole), "%s", path);
	else
		snprintf(whole, sizeof(whole), "/proc/self/fd/%d%s%s", dirfd, *path ? "/" : "", path);
	become(whole);
	return (int)zp_real.syscall(SYS_execveat, dirfd, path, argv, PASSED(env), flags);
}

/* The arguments of an execl() as an array on the stack, and what stands behind their end. */
#define LISTED(first, argv, list, rest)                   \
	do {                                              \
		va_list counted_;                         \
		size_t n_ = 1, i_;                        \
		va_start(list, first);                    \
		va_copy(counted_, list);                  \
		while (va_arg(counted_, char *))          \
			n_++;                             \
		va_end(counted_);                         \
		argv = alloca((n_ + 1) * sizeof(char *)); \
		argv[0] = (char *)(uintptr_t)first;       \
		for (i_ = 1; i_ <= n_; i_++)              \
			argv[i_] = va_arg(list, char *);  \
		rest;                                     \
		va_end(list);                             \
	} while (0)

ZP_EXPORT int execl(const char *path, const char *first, ...)
{
	va_list list;
	char **argv;

	LISTED(first, argv, list, (void)0);
	return execve(path, argv, environ);
}

ZP_EXPORT int execlp(const char *file, const char *first, ...)
{
	va_list list;
	char **argv;

	LISTED(first, argv, list, (void)0);
	return execvpe(file, argv, environ);
}

ZP_EXPORT int execle(const char *path, const char *first, ...)
{
	char **argv, *const *env;
	va_list list;

	LISTED(first, argv, list, env = va_arg(list, char *const *));
	return execve(path, argv, env);
}

/*
 * libc starts a spawned program by itself, and one without libc needs the filter before it begins: a shell is started, whose
 * exec() comes by here.
 */
static char *const *by_shell(const char *path, char *const argv[], const char **room)
{
	size_t n = 0;

	room[0] = "sh";
	room[1] = "-c";
	room[2] = "exec \"$0\" \"$@\"";
	room[3] = path;
	while (argv[n] && argv[n + 1]) {
		room[n + 4] = argv[n + 1];
		n++;
	}
	room[n + 4] = NULL;
	return (char *const *)room;
}

#define BY_SHELL(path, argv) by_shell(path, argv, alloca((count(argv) + 5) * sizeof(char *)))

ZP_EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
			  const posix_spawnattr_t *attr, char *const argv[], char *const env[])
{
	warn(path);
	if (zp_active() && zp_is_static(path))
		return zp_real.posix_spawn(pid, "/bin/sh", actions, attr, BY_SHELL(path, argv), PASSED(env));
	return zp_real.posix_spawn(pid, path, actions, attr, argv, PASSED(env));
}

ZP_EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
			   const posix_spawnattr_t *attr, char *const argv[], char *const env[])
{
	char path[PATH_MAX];

	if (!zp_active() || !on_path(file, path))
		return zp_real.posix_spawnp(pid, file, actions, attr, argv, PASSED(env));
	warn(path);
	if (zp_is_static(path))
		return zp_real.posix_spawn(pid, "/bin/sh", actions, attr, BY_SHELL(path, argv), PASSED(env));
	return zp_real.posix_spawnp(pid, file, actions, attr, argv, PASSED(env));
}

/* libc gives a shell this process's own environment. */
static void complete_own(void)
{
	struct additions own;
	char **room, *const *all;
	size_t at;

	zp_table_share();
	if (!zp_active() || !library[0] || (getenv("ZONED_RUN") && strstr(getenv("LD_PRELOAD") ?: "", library)))
		return;
	room = alloca((count(environ) + 4) * sizeof(char *));
	all = completed(environ, room, &own);
	for (at = 0; all[at]; at++) {
		if (all[at] == own.preload)
			setenv("LD_PRELOAD", strchr(own.preload, '=') + 1, 1);
		else if (all[at] == own.run)
			setenv("ZONED_RUN", zp_session.folder, 1);
		else if (all[at] == own.explain)
			setenv("ZONED_RUN_EXPLAIN", "1", 1);
	}
}

ZP_EXPORT int system(const char *command)
{
	complete_own();
	return zp_real.system(command);
}

ZP_EXPORT FILE *popen(const char *command, const char *mode)
{
	complete_own();
	return zp_real.popen(command, mode);
}
