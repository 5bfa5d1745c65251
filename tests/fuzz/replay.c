/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A fuzz target without a fuzzer: main() for a program that defines LLVMFuzzerTestOneInput(). It
 * feeds every file of a corpus directory, which are the findings of earlier fuzzing, and then a
 * fixed number of mutations of them that a seeded generator makes, the same ones every run. So what
 * the fuzzers found stays found, with any compiler and in seconds.
 *
 * usage: replay_NAME CORPUS [MUTATIONS [SEED]]
 *
 * Before each input runs, its name is put where the signal handlers find it. When the target
 * crashes or does not come back, the handler writes the input to stdout in hexadecimal, as TAP
 * comments, and ends. Only write() is called there: after a crash nothing else can be relied on.
 */
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define INPUT_BYTES_MAX (1u << 20)
#define HANG_S 10

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

struct input {
	uint8_t *bytes;
	size_t length;
	char *name;
};

struct corpus {
	struct input *inputs;
	size_t count;
};

static struct {
	const char *name;
	const uint8_t *bytes;
	size_t length;
	unsigned long mutation;
} running;

static void put(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(3);
}

static void put_number(unsigned long number)
{
	char digits[24], *at = digits + sizeof(digits) - 1;

	*at = '\0';
	do {
		*--at = (char)('0' + number % 10);
	} while ((number /= 10) > 0);
	put(at);
}

static void tell_and_end(int signal_number)
{
	static const char hex[] = "0123456789abcdef";

	put(signal_number == SIGALRM ? "# hangs" : "# crashes");
	put(" on ");
	put(running.name ? running.name : "(nothing)");
	if (running.mutation > 0) {
		put(", mutation ");
		put_number(running.mutation);
	}
	put(", ");
	put_number(running.length);
	put(" bytes:\n# ");
	for (size_t i = 0; i < running.length; i++) {
		const char pair[3] = {hex[running.bytes[i] >> 4], hex[running.bytes[i] & 15], '\0'};

		put(pair);
	}
	put("\n");
	signal(signal_number, SIG_DFL);
	raise(signal_number == SIGALRM ? SIGKILL : signal_number);
}

static void run(const char *name, unsigned long mutation, const uint8_t *bytes, size_t length)
{
	const struct itimerval limit = {.it_value.tv_sec = HANG_S}, off = {{0}, {0}};
	/* A copy of the exact size, so that a sanitizer sees the first byte read past its end. */
	uint8_t *copy = malloc(length > 0 ? length : 1);

	if (!copy) {
		puts("Bail out! out of memory");
		exit(3);
	}
	if (length > 0)
		memcpy(copy, bytes, length);
	running.name = name;
	running.bytes = copy;
	running.length = length;
	running.mutation = mutation;
	setitimer(ITIMER_REAL, &limit, NULL);
	LLVMFuzzerTestOneInput(copy, length);
	setitimer(ITIMER_REAL, &off, NULL);
	free(copy);
}

static int load(const char *directory, const char *name, struct input *input)
{
	char path[4096];
	FILE *file;

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	file = fopen(path, "rb");
	if (!file)
		return -errno;
	input->bytes = malloc(INPUT_BYTES_MAX);
	input->name = strdup(name);
	if (!input->bytes || !input->name) {
		fclose(file);
		return -ENOMEM;
	}
	input->length = fread(input->bytes, 1, INPUT_BYTES_MAX, file);
	fclose(file);
	input->bytes = realloc(input->bytes, input->length > 0 ? input->length : 1);
	return input->bytes ? 0 : -ENOMEM;
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* Sorted by name, so that mutation N is the same input on every machine. */
static int load_all(const char *directory, struct corpus *corpus)
{
	struct dirent **entries;
	int count = scandir(directory, &entries, visible, alphasort);
	int rc = 0;

	if (count < 0)
		return -errno;
	corpus->inputs = calloc((size_t)count + 1, sizeof(*corpus->inputs));
	if (!corpus->inputs)
		rc = -ENOMEM;
	for (int i = 0; i < count; i++) {
		if (rc == 0) {
			rc = load(directory, entries[i]->d_name, &corpus->inputs[corpus->count]);
			corpus->count++;
		}
		free(entries[i]);
	}
	free(entries);
	return rc;
}

static void free_all(struct corpus *corpus)
{
	for (size_t i = 0; i < corpus->count; i++) {
		free(corpus->inputs[i].bytes);
		free(corpus->inputs[i].name);
	}
	free(corpus->inputs);
}

/* xorshift64*: any generator would do, as long as it is ours and so never changes. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static size_t below(uint64_t *state, size_t bound)
{
	return bound > 0 ? (size_t)((next_random(state) >> 16) % bound) : 0;
}

/* One small change, of the kinds that break parsers. Returns the new length. */
static size_t mutate_once(uint64_t *state, uint8_t *bytes, size_t length, size_t room,
			  const struct input *other)
{
	static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0x0f, 0xf0, 0x45};
	size_t at = below(state, length), count;

	switch (below(state, 7)) {
	case 0: /* cut the end off */
		return at;
	case 1: /* flip a bit */
		if (length > 0)
			bytes[at] ^= (uint8_t)(1u << below(state, 8));
		return length;
	case 2: /* an edge value */
		if (length > 0)
			bytes[at] = edges[below(state, sizeof(edges))];
		return length;
	case 3: /* any value */
		if (length > 0)
			bytes[at] = (uint8_t)next_random(state);
		return length;
	case 4: /* append noise */
		count = below(state, 64);
		for (size_t i = 0; i < count && length < room; i++)
			bytes[length++] = (uint8_t)next_random(state);
		return length;
	case 5: /* take bytes out of the middle */
		count = below(state, length - at < 16 ? length - at : 16);
		memmove(bytes + at, bytes + at + count, length - at - count);
		return length - count;
	default: /* the end of another input */
		count = other->length < room - at ? other->length : room - at;
		if (count > 0)
			memcpy(bytes + at, other->bytes, count);
		return at + count > length ? at + count : length;
	}
}

static int run_mutations(const struct corpus *corpus, unsigned long mutations, uint64_t seed)
{
	static const struct input nothing = {.name = (char *)"(nothing)"};
	uint8_t *bytes = malloc(INPUT_BYTES_MAX);
	uint64_t state = seed * 2 + 1;

	if (!bytes)
		return -ENOMEM;
	for (unsigned long i = 1; i <= mutations; i++) {
		const struct input *input = &nothing, *other = &nothing;
		size_t length, changes;

		if (corpus->count > 0) {
			input = &corpus->inputs[below(&state, corpus->count)];
			other = &corpus->inputs[below(&state, corpus->count)];
		}
		length = input->length;
		if (length > 0)
			memcpy(bytes, input->bytes, length);
		changes = 1 + below(&state, 4);
		while (changes-- > 0)
			length = mutate_once(&state, bytes, length, INPUT_BYTES_MAX, other);
		run(input->name, i, bytes, length);
	}
	free(bytes);
	return 0;
}

int main(int argc, char **argv)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGALRM};
	struct corpus corpus = {NULL, 0};
	unsigned long mutations = argc > 2 ? strtoul(argv[2], NULL, 10) : 20000;
	uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
	int rc;

	if (argc < 2) {
		fprintf(stderr, "usage: %s CORPUS [MUTATIONS [SEED]]\n", argv[0]);
		return 2;
	}
	/* Each input makes a stack and frees it: giving its memory back each time takes most of it. */
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		signal(fatal[i], tell_and_end);
	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);

	puts("1..2");
	rc = load_all(argv[1], &corpus);
	for (size_t i = 0; rc == 0 && i < corpus.count; i++)
		run(corpus.inputs[i].name, 0, corpus.inputs[i].bytes, corpus.inputs[i].length);
	/* An empty corpus is a mistake: the test would stay green and test next to nothing. */
	if (rc == 0 && corpus.count > 0)
		printf("ok 1 - %zu corpus files\n", corpus.count);
	else
		printf("not ok 1 - corpus\n# %s: %s\n", argv[1],
		       rc < 0 ? strerror(-rc) : "no files");

	rc = run_mutations(&corpus, mutations, seed);
	printf("%s 2 - %lu mutations\n", rc == 0 ? "ok" : "not ok", mutations);
	free_all(&corpus);
	return 0;
}
