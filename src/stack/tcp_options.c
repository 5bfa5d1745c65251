/* temporary */
#include "stack/tcp_options.h"
#include <string.h>
#include "base/bytes.h"
void vn_tcp_options_parse(const struct vnic_tcp *tcp, struct vn_tcp_options *o)
{
	const uint8_t *p; size_t off = 0, n;
	memset(o, 0, sizeof(*o));
	while (vnic_tcp_next_option(tcp, &off, &p, &n) == 1) {
		if (p[0] == 2 && n == 4) { o->has_mss = true; o->mss_bytes = vn_load16(p + 2); }
		if (p[0] == 3 && n == 3) { o->has_scale = true; o->scale = p[2]; }
		if (p[0] == 4 && n == 2) o->sack_permitted = true;
		if (p[0] == 8 && n == 10) { o->has_timestamps = true; o->timestamp = vn_load32(p + 2); o->timestamp_echo = vn_load32(p + 6); }
		if (p[0] == 5) for (size_t i = 2; i + 8 <= n && o->sack_count < 4; i += 8) { o->sacks[o->sack_count].begin = vn_load32(p + i); o->sacks[o->sack_count++].end = vn_load32(p + i + 4); }
	}
}
uint8_t vn_tcp_options_build(const struct vn_tcp_options *o, uint8_t *b)
{
	uint8_t n = 0;
	if (o->has_mss) { b[n] = 2; b[n+1] = 4; vn_store16(b + n + 2, o->mss_bytes); n += 4; }
	if (o->sack_permitted) { b[n++] = 1; b[n++] = 1; b[n++] = 4; b[n++] = 2; }
	if (o->has_timestamps) { b[n++] = 1; b[n++] = 1; b[n++] = 8; b[n++] = 10; vn_store32(b + n, o->timestamp); vn_store32(b + n + 4, o->timestamp_echo); n += 8; }
	if (o->has_scale) { b[n++] = 1; b[n++] = 3; b[n++] = 3; b[n++] = o->scale; }
	return n;
}
