/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The checksum is the one's complement sum of big-endian 16-bit words. RFC 1071 section 2 lets us
 * be lazy twice: the sum may be made over words of any width as long as carries go back in at the
 * bottom, and over words in either byte order as long as the result is swapped once. So blocks are
 * summed in 64-bit words as the CPU loads them, then folded to 16 bits and brought into host
 * order.
 *
 * A partial sum, as it goes between the public functions, is a 32-bit one's complement sum (a
 * carry out of bit 31 is added at bit 0) of 16-bit words as numbers in host order. Hence plain
 * numbers, as the protocol and length of a pseudo header, can be added to it as they are, and
 * blocks of even length in any order. A sum is 0 only if every byte was 0, with every
 * implementation, so that "0 or 0xFFFF", the two zeros of one's complement, is never a matter of
 * which one ran.
 *
 * The SIMD versions treat a vector as 64-bit lanes x = 2^32 h + l. Adding x itself may overflow,
 * but with the sum of all h (which cannot, below 2^32 vectors) beside it the sum of all l is known
 * modulo 2^64, which is enough as it cannot overflow either: sum(l) = sum(x) - 2^32 sum(h). That
 * is a shift and two additions per vector, as cheap as loading it. They begin at an aligned
 * address where an even number of bytes leads there: a load that straddles two cache lines costs
 * two.
 *
 * Copying and summing together costs what copying costs: the sums are made from registers that the
 * copy has filled anyway.
 *
 * Which version runs is asked of the CPU at each call. libgcc has the answer ready in memory: one
 * load and one test, and no variable of our own.
 */
#include "packet/checksum.h"

#include <endian.h>
#include <string.h>
#include <vnic/checksum.h>

#include "base/bytes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_AVX2 1
#define AVX2 __attribute__((target("avx2")))
#endif

/* Below this the vectors cannot make up for their set-up. */
#define VECTOR_LEAST_BYTES 512
#define VECTOR_COPY_LEAST_BYTES 256

static inline uint64_t add64(uint64_t sum, uint64_t word)
{
	sum += word;
	return sum + (sum < word);
}

static inline uint64_t load64(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return word;
}

/* Up to 7 bytes; at which multiple of 16 bits a word is added makes no difference. */
static inline uint64_t sum_tail(const uint8_t *bytes, size_t length)
{
	uint64_t sum = 0;
	uint32_t word;
	uint16_t half;

	if (length & 4) {
		memcpy(&word, bytes, sizeof(word));
		sum += word;
		bytes += 4;
	}
	if (length & 2) {
		memcpy(&half, bytes, sizeof(half));
		sum += half;
		bytes += 2;
	}
	/* The last byte is the first of a word whose second is 0. */
	if (length & 1)
		sum += htobe16((uint16_t)(bytes[0] << 8));
	return sum;
}

/* Four sums side by side, so that no addition waits for the carry of the one before it. */
static inline uint64_t sum_words(uint64_t sum, const uint8_t *bytes, size_t length)
{
	uint64_t sums[4] = {sum, 0, 0, 0};

	for (; length >= 32; bytes += 32, length -= 32) {
		sums[0] = add64(sums[0], load64(bytes));
		sums[1] = add64(sums[1], load64(bytes + 8));
		sums[2] = add64(sums[2], load64(bytes + 16));
		sums[3] = add64(sums[3], load64(bytes + 24));
	}
	for (; length >= 8; bytes += 8, length -= 8)
		sums[0] = add64(sums[0], load64(bytes));
	if (length)
		sums[1] = add64(sums[1], sum_tail(bytes, length));
	return add64(add64(sums[0], sums[1]), add64(sums[2], sums[3]));
}

static inline uint32_t add32(uint32_t sum, uint32_t number)
{
	sum += number;
	return sum + (sum < number);
}

static inline uint16_t fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static inline uint32_t add_portable(uint32_t sum, const uint8_t *bytes, size_t length_bytes)
{
	return add32(sum, be16toh(fold(sum_words(0, bytes, length_bytes))));
}

/* As sum_words(). */
static inline uint64_t copy_words(uint64_t sum, uint8_t *to, const uint8_t *from, size_t length)
{
	uint64_t sums[4] = {sum, 0, 0, 0}, words[4];

	for (; length >= 32; to += 32, from += 32, length -= 32) {
		memcpy(words, from, sizeof(words));
		memcpy(to, words, sizeof(words));
		for (size_t i = 0; i < 4; i++)
			sums[i] = add64(sums[i], words[i]);
	}
	memcpy(to, from, length);
	sums[0] = sum_words(sums[0], to, length);
	return add64(add64(sums[0], sums[1]), add64(sums[2], sums[3]));
}

static inline uint32_t copy_portable(uint8_t *to, const uint8_t *from, size_t length_bytes)
{
	return be16toh(fold(copy_words(0, to, from, length_bytes)));
}

static uint32_t portable_copy(void *to, const void *from, size_t length_bytes)
{
	return copy_portable(to, from, length_bytes);
}

static uint32_t portable_add(uint32_t sum, const void *bytes, size_t length_bytes)
{
	return add_portable(sum, bytes, length_bytes);
}

static bool portable_supported(void)
{
	return true;
}

#ifdef HAVE_AVX2
/* Sums over vectors, in 64-bit lanes: of the lanes, modulo 2^64, and of their upper halves. */
struct avx2_sums {
	__m256i all;
	__m256i upper;
};

AVX2 static inline __m256i avx2_take(struct avx2_sums *sums, const uint8_t *bytes)
{
	__m256i x = _mm256_loadu_si256((const __m256i *)(const void *)bytes);

	sums->all = _mm256_add_epi64(sums->all, x);
	sums->upper = _mm256_add_epi64(sums->upper, _mm256_srli_epi64(x, 32));
	return x;
}

AVX2 static inline void avx2_carry(struct avx2_sums *sums, uint8_t *to, const uint8_t *from)
{
	_mm256_storeu_si256((__m256i *)(void *)to, avx2_take(sums, from));
}

AVX2 static inline uint64_t avx2_total(struct avx2_sums a, struct avx2_sums b, uint64_t total)
{
	uint64_t lanes[8];

	a.all = _mm256_add_epi64(a.all, b.all);
	a.upper = _mm256_add_epi64(a.upper, b.upper);
	a.all = _mm256_sub_epi64(a.all, _mm256_slli_epi64(a.upper, 32));
	_mm256_storeu_si256((__m256i *)(void *)lanes, a.all);
	_mm256_storeu_si256((__m256i *)(void *)(lanes + 4), a.upper);
	for (size_t i = 0; i < 8; i++)
		total = add64(total, lanes[i]);
	return total;
}

AVX2 static uint32_t avx2_add(uint32_t sum, const void *start, size_t length_bytes)
{
	struct avx2_sums a = {_mm256_setzero_si256(), _mm256_setzero_si256()}, b = a;
	const uint8_t *bytes = start;
	size_t head = -(uintptr_t)bytes & 31;
	uint64_t total = 0;

	if (head % 2 == 0 && length_bytes > head) {
		total = sum_words(0, bytes, head);
		bytes += head;
		length_bytes -= head;
	}
	for (; length_bytes >= 128; bytes += 128, length_bytes -= 128) {
		avx2_take(&a, bytes);
		avx2_take(&b, bytes + 32);
		avx2_take(&a, bytes + 64);
		avx2_take(&b, bytes + 96);
	}
	total = avx2_total(a, b, total);
	return add32(sum, be16toh(fold(sum_words(total, bytes, length_bytes))));
}

/* Not aligned: the source, the destination or the length of a head that aligns one is odd here. */
AVX2 static uint32_t avx2_copy(void *destination, const void *source, size_t length_bytes)
{
	struct avx2_sums a = {_mm256_setzero_si256(), _mm256_setzero_si256()}, b = a;
	const uint8_t *from = source;
	uint8_t *to = destination;

	for (; length_bytes >= 64; to += 64, from += 64, length_bytes -= 64) {
		avx2_carry(&a, to, from);
		avx2_carry(&b, to + 32, from + 32);
	}
	return be16toh(fold(copy_words(avx2_total(a, b, 0), to, from, length_bytes)));
}

static bool avx2_supported(void)
{
	return __builtin_cpu_supports("avx2");
}
#endif

static const struct vn_checksum_implementation implementations[] = {
#ifdef HAVE_AVX2
	{"avx2", avx2_add, avx2_copy, avx2_supported},
#endif
	{"portable", portable_add, portable_copy, portable_supported},
};

const struct vn_checksum_implementation *vn_checksum_implementations(size_t *count)
{
	*count = sizeof(implementations) / sizeof(implementations[0]);
	return implementations;
}

const char *vnic_checksum_implementation(void)
{
	size_t i = 0;

	while (!implementations[i].supported())
		i++;
	return implementations[i].name;
}

uint32_t vnic_checksum_add(uint32_t sum, const void *bytes, size_t length_bytes)
{
#ifdef HAVE_AVX2
	if (length_bytes >= VECTOR_LEAST_BYTES && avx2_supported())
		return avx2_add(sum, bytes, length_bytes);
#endif
	return add_portable(sum, bytes, length_bytes);
}

uint32_t vn_checksum_copy(void *to, const void *from, size_t length_bytes)
{
	if (length_bytes == 0) /* then from may be NULL, which memcpy(3) may not be given */
		return 0;
#ifdef HAVE_AVX2
	if (length_bytes >= VECTOR_COPY_LEAST_BYTES && avx2_supported())
		return avx2_copy(to, from, length_bytes);
#endif
	return copy_portable(to, from, length_bytes);
}

uint32_t vnic_checksum_add_pseudo(uint32_t sum, const struct vnic_address *source,
				  const struct vnic_address *destination, uint8_t protocol,
				  uint32_t length_bytes)
{
	size_t count = source->family == VNIC_IPV4 ? VNIC_IPV4_BYTES : VNIC_IPV6_BYTES;

	sum = add_portable(sum, source->bytes, count);
	sum = add_portable(sum, destination->bytes, count);
	return add32(add32(sum, length_bytes), protocol);
}

uint16_t vnic_checksum_fold(uint32_t sum)
{
	return fold(sum);
}

uint16_t vnic_checksum_finish(uint32_t sum)
{
	return (uint16_t)~fold(sum);
}

uint16_t vnic_checksum(const void *bytes, size_t length_bytes)
{
	return vnic_checksum_finish(vnic_checksum_add(0, bytes, length_bytes));
}

uint16_t vnic_checksum_update16(uint16_t checksum, uint16_t before, uint16_t after)
{
	return (uint16_t)~fold((uint64_t)(uint16_t)~checksum + (uint16_t)~before + after);
}

uint16_t vnic_checksum_update32(uint16_t checksum, uint32_t before, uint32_t after)
{
	return (uint16_t)~fold((uint64_t)(uint16_t)~checksum + (uint32_t)~before + after);
}
