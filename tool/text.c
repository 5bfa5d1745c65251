/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. How output looks, for people and for programs. Both forms are written line
 * by line and flushed, since someone may be waiting at the other end of a pipe for the line that
 * says that the interface is ready.
 */
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void json_print(FILE *stream, cJSON *object)
{
	char *text = cJSON_PrintUnformatted(object);

	if (text)
		fprintf(stream, "%s\n", text);
	fflush(stream);
	cJSON_free(text);
	cJSON_Delete(object);
}

void json_add_count(cJSON *object, const char *key, uint64_t count)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, count);
	cJSON_AddRawToObject(object, key, text);
}

static bool wants_colour(FILE *stream)
{
	const char *none = getenv("NO_COLOR"); /* https://no-color.org */
	const char *term = getenv("TERM");

	return !(none && none[0]) && !(term && strcmp(term, "dumb") == 0) && isatty(fileno(stream));
}

const char *colour(FILE *stream, enum colour colour)
{
	static const char *const codes[] = {
		[COLOUR_NONE] = "\033[0m",    [COLOUR_BOLD] = "\033[1m",
		[COLOUR_DIM] = "\033[2m",     [COLOUR_GREEN] = "\033[32m",
		[COLOUR_YELLOW] = "\033[33m", [COLOUR_RED] = "\033[31m",
	};

	return wants_colour(stream) ? codes[colour] : "";
}

const char *bytes_format(uint64_t bytes, char *text)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double amount = (double)bytes;
	size_t unit;

	if (bytes < 1024) {
		snprintf(text, TEXT_BYTES, "%u byte%s", (unsigned)bytes, bytes == 1 ? "" : "s");
		return text;
	}
	amount /= 1024;
	for (unit = 0; amount >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
		amount /= 1024;
	snprintf(text, TEXT_BYTES, "%.1f %s", amount, units[unit]);
	return text;
}
