/* SPDX-License-Identifier: MIT */
/*
 * Packets that scapy 2.5.0 built, in hexadecimal, so that parsers and builders are compared with
 * someone else's reading of the RFCs. S is 10.0.0.1 or fd00::1 with 02:00:5e:10:00:01, D is 10.0.0.2
 * or fd00::2 with 02:00:5e:10:00:02. Unless the name begins with a frame's protocol (ARP, VLAN, QINQ,
 * LLDP) they begin with the IP header.
 */
#ifndef VN_TEST_PACKETS_H
#define VN_TEST_PACKETS_H

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PACKET_ARP_REQUEST                                                                 \
	"ffffffffffff02005e1000010806000108000604000102005e1000010a0000010000000000000a00" \
	"0002"

#define PACKET_ARP_REPLY                                                                   \
	"02005e10000102005e1000020806000108000604000202005e1000020a00000202005e1000010a00" \
	"0001"

#define PACKET_VLAN_PING                                                                   \
	"02005e10000202005e1000018100600508004500002310920000400156460a0000010a0000020800" \
	"66ca0007000161626364656667"

#define PACKET_QINQ_PING6                                                                  \
	"02005e10000202005e10000188a800648100000586dd60000000000b3a40fd000000000000000000" \
	"000000000001fd0000000000000000000000000000028000c14a00070001616263"

#define PACKET_PING                                                                        \
	"4500005410920000400156150a0000010a000002080000e500070001000102030405060708090a0b" \
	"0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f30313233" \
	"34353637"

#define PACKET_PONG "4500001f00010000400166db0a0000020a00000100002c93000700016f6464"

#define PACKET_PORT_UNREACHABLE                                                            \
	"4500004200010000400166b80a0000020a0000010303112300000000450000261092000040115633" \
	"0a0000010a00000204d2829a001245387472616365726f757465"

#define PACKET_TIME_EXCEEDED                                                               \
	"4500003800010000400165c60a0000fe0a0000010b00f4ff000000004500001c109200000101954d" \
	"0a0000010a0000020800f7ef00070009"

#define PACKET_FRAG_NEEDED                                                                 \
	"4500004400010000400166b60a0000020a00000103040ba10000057845000028109240004006163c" \
	"0a0000010a000002000100500000000000000000500220007b8f0000"

#define PACKET_OPTIONS                                                                     \
	"4800002d10920000401148200a0000010a000002070b04000000000000000001003504d2000da2f8" \
	"68656c6c6f"

#define PACKET_ROUTER_ALERT \
	"460000280001000001023ab80a000001e0000016940400002200f9020000000104000000e00000fb"

#define PACKET_FIRST_FRAGMENT                                                              \
	"4500002c109220004001363d0a0000010a0000020800123400070001000000000000000000000000" \
	"00000000"

#define PACKET_LAST_FRAGMENT \
	"45000028109200b9400155880a0000010a0000020000000000000000000000000000000000000000"

#define PACKET_UDP "4500002110920000401156380a0000010a000002003504d2000da2f868656c6c6f"

#define PACKET_UDP_NOSUM "4500002110920000401156380a0000010a000002003504d2000d000068656c6c6f"

#define PACKET_UDP6                                                                        \
	"60000000000d1140fd000000000000000000000000000001fd000000000000000000000000000002" \
	"003504d2000dbcf668656c6c6f"

#define PACKET_SYN                                                                         \
	"4500003c10924000400616280a0000010a0000029c400050000003e800000000a002faf098300000" \
	"020405b40402080a000000640000000001030307"

#define PACKET_DATA                                                                        \
	"45000046109240004006161e0a0000010a0000029c400050000003e9000007d1801801f6d9290000" \
	"0101080a0000006500000032474554202f20485454502f312e300d0a0d0a"

#define PACKET_SACK                                                                        \
	"4500003c10920000400656280a0000010a00000200509c400000000500000006a0100001a8aa0000" \
	"010105120000000a000000140000001e00000028"

#define PACKET_TCP6                                                                        \
	"6000000000140640fd000000000000000000000000000001fd000000000000000000000000000002" \
	"9c4001bb000000010000000050042000f7df0000"

#define PACKET_PING6                                                                       \
	"628abcde00103a40fd000000000000000000000000000001fd000000000000000000000000000002" \
	"8000f412000700016162636465666768"

#define PACKET_TOO_BIG                                                                     \
	"6000000000393a40fd000000000000000000000000000001fd000000000000000000000000000002" \
	"02008d58000005006000000000091140fd000000000000000000000000000002fd00000000000000" \
	"00000000000000010001000200098dd478"

#define PACKET_HOP_BY_HOP                                                                  \
	"6000000000100040fd000000000000000000000000000001fd000000000000000000000000000002" \
	"3a00050200000100800085b000070001"

#define PACKET_DEST_OPTIONS                                                                \
	"6000000000113c40fd000000000000000000000000000001fd000000000000000000000000000002" \
	"11001e02616200000001000200098dd478"

#define PACKET_ROUTING                                                                     \
	"6000000000212b40fd000000000000000000000000000001fd000000000000000000000000000002" \
	"1102000100000000fd0000000000000000000000000000090001000200098dcd78"

#define PACKET_FRAGMENT6                                                                   \
	"6000000000182c40fd000000000000000000000000000001fd000000000000000000000000000002" \
	"3a0000010000123480000001000700010000000000000000"

#define PACKET_FRAGMENT6_LAST                                                              \
	"6000000000142c40fd000000000000000000000000000001fd000000000000000000000000000002" \
	"3a0005a800001234000000000000000000000000"

#define PACKET_NS                                                                          \
	"6000000000203afffd000000000000000000000000000001ff0200000000000000000001ff000002" \
	"87001f8700000000fd000000000000000000000000000002010102005e100001"

#define PACKET_DAD                                                                         \
	"6000000000203aff00000000000000000000000000000000ff0200000000000000000001ff000002" \
	"870084ac00000000fd0000000000000000000000000000020e01a1a2a3a4a5a6"

#define PACKET_NA                                                                          \
	"6000000000203afffd000000000000000000000000000002fd000000000000000000000000000001" \
	"8800be8960000000fd000000000000000000000000000002020102005e100002"

#define PACKET_RS                                                                          \
	"6000000000083afffe800000000000000000000000000001ff020000000000000000000000000002" \
	"85007d3600000000"

#define PACKET_MLD2                                                                        \
	"6000000000240001fe800000000000000000000000000001ff020000000000000000000000000016" \
	"3a000502000001008f006f0f0000000104000000ff0200000000000000000000000000fb"

#define PACKET_GRE "4500001c00010000402f66b00a0000010a0000020000080061626364"

#define PACKET_LLDP "0180c200000e02005e10000188cc616263646566"

/* The bytes in memory that ends where they end, so that a sanitizer sees a read behind them. */
static inline uint8_t *exact_copy(const void *bytes, size_t length)
{
	uint8_t *copy = malloc(length);

	assert(copy || !length);
	if (length)
		memcpy(copy, bytes, length);
	return copy;
}

static inline unsigned hex_value(char digit)
{
	return (unsigned)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

/* The same from hexadecimal; to be freed. */
static inline uint8_t *from_hex(const char *hex, size_t *length)
{
	uint8_t *bytes;

	*length = strlen(hex) / 2;
	bytes = malloc(*length);
	assert(bytes);
	for (size_t i = 0; i < *length; i++)
		bytes[i] = (uint8_t)(hex_value(hex[2 * i]) << 4 | hex_value(hex[2 * i + 1]));
	return bytes;
}

#endif
