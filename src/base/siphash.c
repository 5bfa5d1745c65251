/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * SipHash-2-4 by Aumasson and Bernstein ("SipHash: a fast short-input PRF", 2012): four words of
 * state, started from the key and constants. Each 8 bytes of the message are mixed in with two
 * rounds; the last word has what bytes are left and the message's length in its highest byte. Four
 * rounds finish it.
 *
 * RFC 6528 wants a TCP's initial sequence numbers from a function of the connection's addresses and
 * ports that cannot be computed from outside, and names MD5 for it. This is made for such short
 * inputs, is several times as fast, and nobody knows an attack on it.
 */
#include "base/siphash.h"

#include <string.h>

struct sip {
	uint64_t v0, v1, v2, v3;
};

static uint64_t load64_little(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

static inline uint64_t rotate_left(uint64_t word, unsigned bits)
{
	return word << bits | word >> (64 - bits);
}

static inline void mix(struct sip *sip, unsigned rounds)
{
	for (; rounds; rounds--) {
		sip->v0 += sip->v1;
		sip->v2 += sip->v3;
		sip->v1 = rotate_left(sip->v1, 13) ^ sip->v0;
		sip->v3 = rotate_left(sip->v3, 16) ^ sip->v2;
		sip->v0 = rotate_left(sip->v0, 32);

		sip->v2 += sip->v1;
		sip->v0 += sip->v3;
		sip->v1 = rotate_left(sip->v1, 17) ^ sip->v2;
		sip->v3 = rotate_left(sip->v3, 21) ^ sip->v0;
		sip->v2 = rotate_left(sip->v2, 32);
	}
}

static inline void add(struct sip *sip, uint64_t word)
{
	sip->v3 ^= word;
	mix(sip, 2);
	sip->v0 ^= word;
}

uint64_t vn_siphash(const uint8_t key[16], const void *bytes, size_t length_bytes)
{
	const uint8_t *at = bytes;
	uint64_t key0 = load64_little(key), key1 = load64_little(key + 8);
	uint64_t last = (uint64_t)length_bytes << 56;
	size_t left = length_bytes;
	/* "somepseudorandomlygeneratedbytes" */
	struct sip sip = {
		.v0 = key0 ^ 0x736f6d6570736575,
		.v1 = key1 ^ 0x646f72616e646f6d,
		.v2 = key0 ^ 0x6c7967656e657261,
		.v3 = key1 ^ 0x7465646279746573,
	};

	for (; left >= 8; left -= 8, at += 8)
		add(&sip, load64_little(at));
	for (size_t i = 0; i < left; i++)
		last |= (uint64_t)at[i] << (8 * i);
	add(&sip, last);
	sip.v2 ^= 0xff;
	mix(&sip, 4);
	return sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3;
}
