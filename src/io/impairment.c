/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. An impairment as text is a list of NAME=VALUE, and each name has one row in
 * a table: which member it sets and in what unit. Numbers are read by strtod(3), so "0.5ms" and
 * "1e3kbit" are numbers too; what makes no sense is refused with the name and the value in the
 * sentence.
 */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "io/impair.h"

#define DELAY_MOST_NS UINT64_C(60000000000)
#define RATE_LEAST 1000
#define RATE_MOST UINT64_C(1000000000000)

enum unit {
	UNIT_PROBABILITY,
	UNIT_TIME,
	UNIT_RATE,
	UNIT_SEED
};

struct row {
	const char *name;
	enum unit unit;
	size_t offset;
};

static const struct row rows[] = {
	{"loss", UNIT_PROBABILITY, offsetof(struct vnic_impairment, loss)},
	{"duplicate", UNIT_PROBABILITY, offsetof(struct vnic_impairment, duplicate)},
	{"reorder", UNIT_PROBABILITY, offsetof(struct vnic_impairment, reorder)},
	{"corrupt", UNIT_PROBABILITY, offsetof(struct vnic_impairment, corrupt)},
	{"delay", UNIT_TIME, offsetof(struct vnic_impairment, delay_ns)},
	{"jitter", UNIT_TIME, offsetof(struct vnic_impairment, jitter_ns)},
	{"rate", UNIT_RATE, offsetof(struct vnic_impairment, rate_bits_per_second)},
	{"queue", UNIT_TIME, offsetof(struct vnic_impairment, queue_ns)},
	{"seed", UNIT_SEED, offsetof(struct vnic_impairment, seed)},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

struct suffix {
	const char *text;
	double factor;
};

static const struct suffix probabilities[] = {{"%", 0.01}, {"", 1}, {NULL, 0}};
static const struct suffix times[] = {{"s", 1e9}, {"ms", 1e6}, {"us", 1e3}, {"ns", 1}, {NULL, 0}};
static const struct suffix rates[] = {
	{"bit", 1}, {"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {NULL, 0}};

static const char *const examples[] = {
	[UNIT_PROBABILITY] = "1% or 0.01, at most 100%",
	[UNIT_TIME] = "20ms, at most 60s",
	[UNIT_RATE] = "100mbit, from 1kbit to 1000gbit",
	[UNIT_SEED] = "a number from 1 to 18446744073709551615",
};

static bool parse_scaled(const char *text, const struct suffix *suffixes, double least, double most,
			 double *result)
{
	char *end;
	double number;

	/* strtod(3) would also take "inf", "nan", "0x1p3" and a sign. */
	if (text[0] < '0' || text[0] > '9' || text[1] == 'x' || text[1] == 'X')
		return false;
	errno = 0;
	number = strtod(text, &end);
	if (errno || !isfinite(number))
		return false;
	if (number == 0 && !*end && least == 0) {
		*result = 0; /* needs no unit */
		return true;
	}
	for (; suffixes->text; suffixes++) {
		if (strcmp(end, suffixes->text) != 0)
			continue;
		*result = number * suffixes->factor;
		return *result >= least && *result <= most;
	}
	return false;
}

static bool parse_value(const struct row *row, const char *text, struct vnic_impairment *impairment)
{
	void *member = (char *)impairment + row->offset;
	unsigned long long seed;
	double number = 0;
	uint64_t whole;
	bool good = false;
	char *end;

	switch (row->unit) {
	case UNIT_PROBABILITY:
		good = parse_scaled(text, probabilities, 0, 1, &number);
		memcpy(member, &number, sizeof(number));
		return good;
	case UNIT_TIME:
		good = parse_scaled(text, times, 0, (double)DELAY_MOST_NS, &number);
		break;
	case UNIT_RATE:
		good = parse_scaled(text, rates, RATE_LEAST, (double)RATE_MOST, &number);
		break;
	case UNIT_SEED:
		errno = 0;
		seed = strtoull(text, &end, 10);
		whole = seed;
		memcpy(member, &whole, sizeof(whole));
		return text[0] >= '0' && text[0] <= '9' && !*end && errno == 0 && seed > 0;
	}
	whole = good ? (uint64_t)(number + 0.5) : 0;
	memcpy(member, &whole, sizeof(whole));
	return good;
}

static int parse_one(char *item, struct vnic_impairment *impairment, unsigned *seen,
		     struct vnic_error *error)
{
	char *value = strchr(item, '=');

	if (value)
		*value++ = 0;
	for (size_t i = 0; i < ROWS; i++) {
		if (strcmp(rows[i].name, item) != 0)
			continue;
		if (!value || !parse_value(&rows[i], value, impairment))
			return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
					"%s=%s makes no sense: it is %s", item, value ? value : "",
					examples[rows[i].unit]);
		if (*seen & 1u << i)
			return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "%s is given twice",
					item);
		*seen |= 1u << i;
		return 0;
	}
	return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
			"'%s' is no impairment: loss, delay, jitter, reorder, duplicate, corrupt, "
			"rate, queue, seed are",
			item);
}

static bool is_probability(double number)
{
	return number >= 0 && number <= 1; /* not a number is neither */
}

int vn_impairment_check(const struct vnic_impairment *impairment, struct vnic_error *error)
{
	uint64_t rate = impairment->rate_bits_per_second;

	if (!is_probability(impairment->loss) || !is_probability(impairment->duplicate) ||
	    !is_probability(impairment->reorder) || !is_probability(impairment->corrupt))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a probability is from 0 to 1");
	if (impairment->delay_ns > DELAY_MOST_NS || impairment->queue_ns > DELAY_MOST_NS)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a delay of more than 60 s makes no sense");
	if (impairment->jitter_ns > impairment->delay_ns)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"the jitter is more than the delay: it would be negative");
	if (impairment->reorder > 0 && impairment->delay_ns == 0)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"reordering wants a delay for packets to overtake");
	if (rate && (rate < RATE_LEAST || rate > RATE_MOST))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a rate is from 1 kbit/s to 1000 Gbit/s");
	if (impairment->queue_ns && !rate)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a queue wants a rate to wait for");
	return 0;
}

int vnic_impairment_parse(const char *text, struct vnic_impairment *impairment,
			  struct vnic_error *error)
{
	struct vnic_impairment result = {0};
	char *copy = strdup(text), *rest = copy, *item;
	unsigned seen = 0;
	int code = 0;

	if (!copy)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for an impairment");
	while (code == 0 && (item = strsep(&rest, ",")))
		code = parse_one(item, &result, &seen, error);
	if (code == 0)
		code = vn_impairment_check(&result, error);
	if (code == 0)
		*impairment = result;
	free(copy);
	return code;
}

bool vnic_impairment_is_any(const struct vnic_impairment *impairment)
{
	return impairment->loss > 0 || impairment->duplicate > 0 || impairment->reorder > 0 ||
	       impairment->corrupt > 0 || impairment->delay_ns || impairment->rate_bits_per_second;
}
