/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel's ublk driver, its io_uring and its zone reports look like from here: numbers and layouts of Linux 6.12
 * (linux/ublk_cmd.h, linux/io_uring.h, linux/blkzoned.h), declared anew, as distributions' headers are often older than
 * the kernel that runs.
 */
#ifndef ZD_SERVE_UBLK_KERNEL_H
#define ZD_SERVE_UBLK_KERNEL_H

#include <stdint.h>
#include <sys/ioctl.h>

/* ---------------------------------------------------------------- io_uring */

#define URING_SETUP_COOP_TASKRUN (1u << 8)
#define URING_SETUP_SQE128 (1u << 10)
#define URING_SETUP_SINGLE_ISSUER (1u << 12)
#define URING_SETUP_DEFER_TASKRUN (1u << 13)
#define URING_ENTER_GETEVENTS 1u
#define URING_OP_READ 22
#define URING_OP_URING_CMD 46
#define URING_OFF_SQ 0ll
#define URING_OFF_CQ 0x8000000ll
#define URING_OFF_SQES 0x10000000ll
#define URING_FEAT_SINGLE_MMAP 1u

struct uring_sqe {
	uint8_t opcode, flags;
	uint16_t ioprio;
	int32_t fd;
	union {
		uint64_t off;
		uint32_t cmd_op;
	};
	uint64_t addr;
	uint32_t len, op_flags;
	uint64_t user_data;
	uint16_t buf_index, personality;
	int32_t splice_fd;
	uint8_t cmd[16]; /* 80 bytes with URING_SETUP_SQE128 */
};
_Static_assert(sizeof(struct uring_sqe) == 64, "the kernel's");

struct uring_cqe {
	uint64_t user_data;
	int32_t res;
	uint32_t flags;
};

struct uring_params {
	uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, resv[3];
	struct {
		uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, resv1;
		uint64_t user_addr;
	} sq;
	struct {
		uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1;
		uint64_t user_addr;
	} cq;
};
_Static_assert(sizeof(struct uring_params) == 120, "the kernel's");

/* ---------------------------------------------------------------- ublk: control */

struct ublk_ctrl {
	uint32_t dev_id;
	uint16_t queue_id, len;
	uint64_t addr, data;
	uint16_t dev_path_len, pad;
	uint32_t reserved;
};
_Static_assert(sizeof(struct ublk_ctrl) == 32, "the kernel's");

#define UBLK_GET_DEV_INFO _IOR('u', 0x02, struct ublk_ctrl)
#define UBLK_ADD_DEV _IOWR('u', 0x04, struct ublk_ctrl)
#define UBLK_DEL_DEV _IOWR('u', 0x05, struct ublk_ctrl)
#define UBLK_START_DEV _IOWR('u', 0x06, struct ublk_ctrl)
#define UBLK_STOP_DEV _IOWR('u', 0x07, struct ublk_ctrl)
#define UBLK_SET_PARAMS _IOWR('u', 0x08, struct ublk_ctrl)
#define UBLK_START_USER_RECOVERY _IOWR('u', 0x10, struct ublk_ctrl)
#define UBLK_END_USER_RECOVERY _IOWR('u', 0x11, struct ublk_ctrl)
#define UBLK_GET_FEATURES _IOR('u', 0x13, struct ublk_ctrl)

#define UBLK_F_USER_RECOVERY (1ull << 3)
#define UBLK_F_USER_RECOVERY_REISSUE (1ull << 4)
#define UBLK_F_CMD_IOCTL_ENCODE (1ull << 6)
#define UBLK_F_USER_COPY (1ull << 7)
#define UBLK_F_ZONED (1ull << 8)

enum ublk_state { UBLK_DEAD = 0, UBLK_LIVE = 1, UBLK_QUIESCED = 2 };

struct ublk_dev_info {
	uint16_t nr_hw_queues, queue_depth, state, pad0;
	uint32_t max_io_buf_bytes, dev_id;
	int32_t ublksrv_pid;
	uint32_t pad1;
	uint64_t flags;
	uint64_t ublksrv_flags; /* the server's own, which the kernel keeps */
	uint32_t owner_uid, owner_gid;
	uint64_t reserved1, reserved2;
};
_Static_assert(sizeof(struct ublk_dev_info) == 64, "the kernel's");

#define UBLK_ATTR_READ_ONLY 1u
#define UBLK_ATTR_ROTATIONAL 2u
#define UBLK_ATTR_VOLATILE_CACHE 4u
#define UBLK_ATTR_FUA 8u
#define UBLK_PARAM_TYPE_BASIC 1u
#define UBLK_PARAM_TYPE_DISCARD 2u
#define UBLK_PARAM_TYPE_ZONED 8u

struct ublk_params {
	uint32_t len, types;
	struct {
		uint32_t attrs;
		uint8_t logical_bs_shift, physical_bs_shift, io_opt_shift, io_min_shift;
		uint32_t max_sectors, chunk_sectors;
		uint64_t dev_sectors, virt_boundary_mask;
	} basic;
	struct {
		uint32_t alignment, granularity, max_sectors, max_write_zeroes_sectors;
		uint16_t max_segments, reserved;
	} discard;
	struct {
		uint32_t char_major, char_minor, disk_major, disk_minor;
	} devt;
	struct {
		uint32_t max_open, max_active, max_append_sectors;
		uint8_t reserved[20];
	} zoned;
};
_Static_assert(sizeof(struct ublk_params) == 8 + 32 + 20 + 16 + 32 + 4, "the kernel's");

/* ---------------------------------------------------------------- ublk: requests */

struct ublk_io {
	uint16_t q_id, tag;
	int32_t result;
	uint64_t addr; /* of an append: the sector where it landed */
};
_Static_assert(sizeof(struct ublk_io) == 16, "fits into an entry");

#define UBLK_FETCH _IOWR('u', 0x20, struct ublk_io)
#define UBLK_COMMIT_AND_FETCH _IOWR('u', 0x21, struct ublk_io)

#define UBLK_MAX_DEPTH 4096u
#define UBLK_MAX_QUEUES 4096u
#define UBLK_IO_BUF_OFFSET 0x80000000ull /* of /dev/ublkcN: data of queue << 41 | tag << 25 */
#define UBLK_TAG_SHIFT 25
#define UBLK_QUEUE_SHIFT 41

enum ublk_op {
	UBLK_READ = 0,
	UBLK_WRITE = 1,
	UBLK_FLUSH = 2,
	UBLK_DISCARD = 3,
	UBLK_WRITE_ZEROES = 5,
	UBLK_ZONE_OPEN = 10,
	UBLK_ZONE_CLOSE = 11,
	UBLK_ZONE_FINISH = 12,
	UBLK_ZONE_APPEND = 13,
	UBLK_ZONE_RESET_ALL = 14,
	UBLK_ZONE_RESET = 15,
	UBLK_REPORT_ZONES = 18
};
#define UBLK_IO_FUA (1u << 13)
#define UBLK_IO_NOUNMAP (1u << 15)

struct ublk_io_desc {
	uint32_t op_flags; /* enum ublk_op in the low byte */
	uint32_t nr;       /* sectors; UBLK_REPORT_ZONES: zones */
	uint64_t start_sector, addr;
};
_Static_assert(sizeof(struct ublk_io_desc) == 24, "the kernel's");

/* struct blk_zone of linux/blkzoned.h */
struct ublk_zone {
	uint64_t start, len, wp;
	uint8_t type, cond, non_seq, reset, resv[4];
	uint64_t capacity;
	uint8_t reserved[24];
};
_Static_assert(sizeof(struct ublk_zone) == 64, "the kernel's");

#endif
