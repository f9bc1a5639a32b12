/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structs that grow at their end, between a program and a library that were compiled at different times, and the number
 * of the interface that both share.
 */
#include "base/base.h"

uint32_t zd_abi(void)
{
	return ZD_ABI;
}

static uint32_t told_size(const void *of)
{
	uint32_t size;

	memcpy(&size, of, sizeof(size));
	return size;
}

int zd_struct_room(const void *to, size_t first, const char *name, struct zd_error *err)
{
	uint32_t told = told_size(to);

	if (told < first)
		return zd_fail(err, -EINVAL, "struct_size of struct %s is %u: set it to sizeof(struct %s) before the call", name, told, name);
	return 0;
}

int zd_struct_in(void *to, size_t size, size_t first, const void *from, const char *name, struct zd_error *err)
{
	size_t told = told_size(from), i;
	const uint8_t *bytes = from;
	int r = zd_struct_room(from, first, name, err);

	for (i = size; !r && i < told; i++) {
		if (bytes[i])
			r = zd_fail(err, -EINVAL, "struct %s asks for something that this version of the library does not know", name);
	}
	if (r)
		return r;
	memset(to, 0, size);
	memcpy(to, from, told < size ? told : size);
	return 0;
}

void zd_struct_out(void *to, const void *from, size_t size)
{
	uint32_t told = told_size(to);
	uint8_t *bytes = to;

	memcpy(bytes + sizeof(told), (const uint8_t *)from + sizeof(told), (told < size ? told : size) - sizeof(told));
	if (told > size)
		memset(bytes + size, 0, told - size);
}
