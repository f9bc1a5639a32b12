/* SPDX-License-Identifier: Apache-2.0 */
/* What crosses the library's boundary: the number of the interface, structs of other sizes, names and texts. */
#include "disk.h"

CASE(abi, number_is_that_of_the_headers)
{
	WANT(zd_abi() == ZD_ABI);
}

CASE(structs, without_a_size_are_refused)
{
	struct zd_config config = disk_config();
	struct zd_info info = { 0 };
	struct zd_counters counters = { 0 };
	struct zd_trace_status status = { 0 };
	zd_dev *dev = disk_new(), *other = dev;
	struct zd_error err;

	config.struct_size = 0;
	REFUSED(zd_create(NULL, &config, 0, &other, &err), -EINVAL, &err);
	WANT(other == NULL && strstr(err.text, "struct zd_config"));
	REFUSED(zd_info(dev, &info, &err), -EINVAL, &err);
	REFUSED(zd_counters(dev, &counters, &err), -EINVAL, &err);
	REFUSED(zd_trace_status(dev, &status, &err), -EINVAL, &err);
	WANT(zd_close(dev, NULL) == 0);
}

CASE(structs, of_a_later_version_may_ask_for_nothing_new)
{
	struct { struct zd_config now; uint64_t later; } config = { .now = disk_config() };
	struct zd_error err;
	zd_dev *dev;

	config.now.struct_size = sizeof(config);
	WANT(zd_create(NULL, &config.now, 0, &dev, &err) == 0);
	WANT(zd_close(dev, NULL) == 0);
	config.later = 1;
	REFUSED(zd_create(NULL, &config.now, 0, &dev, &err), -EINVAL, &err);
}

CASE(structs, of_a_later_version_get_zeros)
{
	struct { struct zd_info now; uint64_t later, beyond; } info = { .later = 7, .beyond = 7 };
	zd_dev *dev = disk_new();

	info.now.struct_size = offsetof(__typeof__(info), beyond);
	WANT(zd_info(dev, &info.now, NULL) == 0);
	WANT(info.now.nr_zones == ZONES && info.later == 0 && info.beyond == 7);
	WANT(info.now.struct_size == offsetof(__typeof__(info), beyond));
	WANT(zd_close(dev, NULL) == 0);
}

CASE(structs, reserve_only_zeros)
{
	struct zd_config config = disk_config();
	struct zd_fault fault = { .kind = ZD_FAULT_MEDIUM, .last_zone = ZD_NO_ZONE, .bit = ZD_NONE };
	zd_dev *dev = disk_new();
	struct zd_error err;
	uint32_t id;

	WANT(zd_fault_add(dev, &fault, &id, &err) == 0);
	fault.order = 1;
	fault.reserved2[3] = 1;
	REFUSED(zd_fault_add(dev, &fault, &id, &err), -EINVAL, &err);
	WANT(zd_close(dev, NULL) == 0);
	config.reserved2 = 1;
	REFUSED(zd_create(NULL, &config, 0, &dev, &err), -EINVAL, &err);
}

CASE(error, texts_of_codes)
{
	const char *text;
	int code;

	WANT(strcmp(zd_strerror(0), "success") == 0);
	WANT(strcmp(zd_strerror(-ENOSPC), strerror(ENOSPC)) == 0);
	WANT(strstr(zd_strerror(-99999), "-99999"));
	for (code = ZD_E_FIRST_RULE; code > ZD_E_FIRST_RULE - ZD_NR_RULES; code--) {
		text = zd_strerror(code);
		WANT(text && *text && !strstr(text, "unknown") && text[strlen(text) - 1] != '.');
		WANT(zd_rule_name(code) && zd_rule_info(code, ZD_ZBC) && zd_rule_info(code, ZD_ZNS)->nvme_status);
	}
	for (code = ZD_E_GEOMETRY; code >= ZD_E_CLOSED; code--)
		WANT(zd_rule_name(code) && !strstr(zd_strerror(code), "unknown") && !zd_rule_info(code, ZD_ZBC));
	WANT(!zd_rule_name(0) && !zd_rule_name(-EIO) && !zd_rule_info(ZD_E_GAP, 3) && !zd_rule_info(ZD_E_GAP, -1));
}

CASE(error, sentence_has_the_numbers)
{
	struct zd_said_disk said = { .size = (uint64_t)ZONES * ZONE, .zone_size = ZONE, .nr_zones = ZONES, .logical_block = BLOCK,
				     .physical_block = BLOCK };
	zd_dev *dev = disk_new();
	char text[200], small[12];
	struct zd_error err;
	size_t whole;

	REFUSED(zd_pwrite(dev, block, BLOCK, AT(5) + BLOCK, &err), ZD_E_UNALIGNED_WRITE, &err);
	whole = zd_rule_sentence(&err, &said, text, sizeof(text));
	WANT(whole == strlen(text) && strstr(text, "5246976") && strstr(text, "5242880"));
	WANT(zd_rule_sentence(&err, &said, small, sizeof(small)) == whole && strlen(small) == sizeof(small) - 1);
	WANT(zd_rule_sentence(&err, &said, NULL, 0) == whole);
	WANT(zd_close(dev, NULL) == 0);
}
