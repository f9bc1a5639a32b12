/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers in the byte order of NVMe: the first byte is the lowest. */
#ifndef ZD_LITTLEENDIAN_H
#define ZD_LITTLEENDIAN_H

#include <stdint.h>

static inline uint16_t get16le(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t get32le(const uint8_t *p)
{
	return get16le(p) | (uint32_t)get16le(p + 2) << 16;
}
static inline uint64_t get64le(const uint8_t *p)
{
	return get32le(p) | (uint64_t)get32le(p + 4) << 32;
}
static inline void put16le(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)value;
	p[1] = (uint8_t)(value >> 8);
}
static inline void put32le(uint8_t *p, uint32_t value)
{
	put16le(p, value);
	put16le(p + 2, value >> 16);
}
static inline void put64le(uint8_t *p, uint64_t value)
{
	put32le(p, (uint32_t)value);
	put32le(p + 4, (uint32_t)(value >> 32));
}

#endif
